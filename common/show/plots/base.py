"""What all pictures share: colours, how text is cut to fit, and how a figure or a film is written."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.font_manager import findfont, get_font
from PIL import Image

from common.files.disk import atomic, writing

RIGHT, WRONG, QUERY = "#1b7837", "#c51b29", "#404040"
DPI = 110
# Okabe and Ito's colours: told apart by colour-blind readers too.
CLASSES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")


def write(figure, path) -> Path:
    """Save a figure as PNG, its folder made, and close it."""
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic(path) as beside:
            figure.savefig(beside, dpi=DPI, bbox_inches="tight", facecolor="white")
    finally:
        plt.close(figure)
    return path


def gif(frames: Sequence[np.ndarray], path, pause: int = 250, last: int = 2000) -> Path:
    """A film of `frames`, each (H, W, 3) uint8 of one size, that starts again at its end.

    Parameters
    ----------
    pause, last : int
        Milliseconds that a frame is shown, and the last one.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.fromarray(frame).quantize(128) for frame in frames]
    durations = [pause] * (len(pictures) - 1) + [last]
    with atomic(path) as beside:
        pictures[0].save(beside, save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return path


def canvas(figure) -> np.ndarray:
    """What `figure` looks like at its full size, (H, W, 3) uint8, for a film; closes it."""
    figure.set_dpi(DPI)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return pixels


def shorten(text: str, most: int) -> str:
    """`text` on one line, cut to `most` characters; what the font has no shape for becomes a box."""
    text = " ".join(str(text).split())
    text = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(letter if ord(letter) in _drawable() else "□" for letter in text).replace("$", r"\$")


def shorten_lines(text: str, most: int) -> str:
    """`shorten` of each line of `text`."""
    return "\n".join(shorten(line, most) for line in str(text).split("\n"))


@functools.cache
def _drawable() -> set[int]:
    return set(get_font(findfont("DejaVu Sans")).get_charmap())
