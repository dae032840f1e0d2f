"""What all pictures share: colours, how text is cut to fit, and how a figure or a film is written."""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.font_manager import findfont, get_font
from PIL import Image

from common.files.disk import atomic, with_folder

RIGHT, WRONG, QUERY = "#1b7837", "#c51b29", "#404040"
DPI = 110
# Okabe and Ito's colours: told apart by colour-blind readers too.
CLASSES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")
GOLDEN = 0.618034  # multiples of it, modulo 1, are far apart, however many there are


def colours(count: int) -> list:
    """A colour for each of so many classes: `CLASSES`, or for more of them hues far apart in three lightnesses.

    Returns
    -------
    list of str or of (3,) tuple
        As matplotlib takes colours.
    """
    if count <= len(CLASSES):
        return list(CLASSES[:count])
    return [colorsys.hls_to_rgb(GOLDEN * i % 1, (0.42, 0.62, 0.28)[i % 3], 0.8) for i in range(count)]


def write(figure, path) -> Path:
    """Save a figure as PNG, its folder made, and close it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path

    Returns
    -------
    Path

    Raises
    ------
    UserError
        It cannot be written.
    """
    path = with_folder(path)
    try:
        with atomic(path) as tmp:
            figure.savefig(tmp, dpi=DPI, bbox_inches="tight", facecolor="white")
    finally:
        plt.close(figure)
    return path


def gif(frames: Sequence[np.ndarray], path, pause: int = 250, last: int = 2000) -> Path:
    """A film that starts again at its end.

    Parameters
    ----------
    frames : sequence of (H, W, 3) uint8
        Of one size.
    path : path
    pause, last : int
        Milliseconds that a frame is shown, and the last one.

    Returns
    -------
    Path

    Raises
    ------
    UserError
        It cannot be written.
    """
    path = with_folder(path)
    pictures = [Image.fromarray(frame).quantize(128) for frame in frames]
    durations = [pause] * (len(pictures) - 1) + [last]
    with atomic(path) as tmp:
        pictures[0].save(tmp, save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return path


def canvas(figure) -> np.ndarray:
    """The pixels of a figure at its full size, (H, W, 3) uint8, for a film; closes it."""
    figure.set_dpi(DPI)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return pixels


def shorten(text: str, max_length: int) -> str:
    """A text on one line, cut where it is too long; characters that the font lacks become boxes.

    Parameters
    ----------
    text : str
    max_length : int
        Characters.

    Returns
    -------
    str
        Dollar signs escaped, which matplotlib takes for formulas.
    """
    text = " ".join(str(text).split())
    text = text if len(text) <= max_length else text[: max_length - 1] + "…"
    return "".join(letter if ord(letter) in _drawable() else "□" for letter in text).replace("$", r"\$")


def shorten_lines(text: str, max_length: int) -> str:
    """`shorten` of each line of a text.

    Parameters
    ----------
    text : str
    max_length : int
        Characters of a line.

    Returns
    -------
    str
    """
    return "\n".join(shorten(line, max_length) for line in str(text).split("\n"))


@functools.cache
def _drawable() -> set[int]:
    return set(get_font(findfont("DejaVu Sans")).get_charmap())
