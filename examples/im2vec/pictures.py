"""Pictures of class vectors: maps with an example of each class, and a film of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.data.images import resize
from common.show import plots

LABELLED = 120  # classes: with more, maps carry pictures alone
FILM_SIDE = 560  # pixels
FEWEST = 3  # classes that a map by neighbourhood says something of


def class_map(coords: np.ndarray, examples: np.ndarray, names: Sequence[str], path, title: str) -> Path:
    """The example picture of each class at its coordinates in the plane, named where that can be read."""
    side, named = 1400, len(names) <= LABELLED
    thumb = int(np.clip(side / (2.2 * np.sqrt(len(names))), 14, 110))
    canvas, corners = _canvas(coords, examples, side, thumb, named)
    figure, axis = plt.subplots(figsize=(11, 11))
    axis.imshow(canvas)
    for (y, x), name in zip(corners, names if named else ()):
        size = 12 if len(names) <= 30 else 8
        axis.text(x + thumb / 2, y + thumb + 3, name, ha="center", va="top", fontsize=size)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=14)
    axis.spines[:].set_color("#cccccc")
    return plots.write(figure, path)


def _canvas(coords, examples, side: int, thumb: int, named: bool) -> tuple[np.ndarray, np.ndarray]:
    """A white square with the pictures at `coords` (0..1, y upwards), and each one's top left corner (y, x)."""
    canvas = np.full((side, side, 3), 255, np.uint8)
    height = thumb + (0.035 * side if named else 0)  # with the name below
    room = np.array([side - height, side - thumb]) * 0.94  # a margin for names wider than their picture
    corners = np.stack([1 - coords[:, 1], coords[:, 0]], axis=1) * room + 0.03 * side
    if named:
        corners = _apart(corners, np.array([height, thumb * 1.3]), side - np.array([height, thumb]))
    corners = corners.astype(int)
    for (y, x), example in zip(corners, examples):
        canvas[y : y + thumb, x : x + thumb] = resize(example, (thumb, thumb))
    return canvas, corners


def _apart(corners: np.ndarray, size: np.ndarray, limit: np.ndarray, rounds: int = 100) -> np.ndarray:
    """Push boxes of one `size` apart, along the axis where they overlap less, until none do or the rounds are over."""
    corners = corners.astype(float)
    for _ in range(rounds):
        gap = corners[:, None] - corners[None]
        overlap = np.maximum(size - np.abs(gap), 0)
        overlap[(overlap == 0).any(axis=2)] = 0
        overlap[np.arange(len(corners)), np.arange(len(corners))] = 0
        if not overlap.any():
            break
        along = np.eye(2)[overlap.argmin(axis=2)]  # the axis of the smaller overlap
        first = np.sign(np.arange(len(corners))[:, None] - np.arange(len(corners)))  # where two coincide, by number
        way = np.where(gap == 0, first[..., None], np.sign(gap))
        corners = np.clip(corners + (0.5 * overlap * along * way).sum(axis=1), 0, limit)
    return corners


def film(frames: Sequence[np.ndarray], examples: np.ndarray, names: Sequence[str], path) -> Path:
    """The class vectors through training, as a GIF of one frame an epoch and a longer last one.

    Parameters
    ----------
    frames : sequence of (n, d) arrays
        Directions before training and after each epoch; all are shown in the plane of the last one's two
        directions of largest variance.
    examples : (n, s, s, 3) uint8
        A picture of each class.
    names : sequence of n str
    path : path
    """
    thumb = int(np.clip(FILM_SIDE / (2.2 * np.sqrt(len(names))), 9, 40))
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), 11)

    def draw(coords, epoch, limits):
        low, high = limits
        at = (coords - low) / np.maximum(high - low, 1e-9)
        canvas, corners = _canvas(at, examples, FILM_SIDE, thumb, named=False)
        picture = Image.fromarray(canvas)
        pen = ImageDraw.Draw(picture)
        if len(names) <= LABELLED // 3:
            for (y, x), name in zip(corners, names):
                pen.text((x + thumb / 2, y + thumb), name, fill="black", font=font, anchor="ma")
        pen.text((6, FILM_SIDE - 6), f"epoch {epoch}", fill="black", font=font, anchor="ls")
        return np.asarray(picture)

    return plots.film(frames, draw, path, (np.zeros(frames[-1].shape[1]), plots.principal(frames[-1])[0]))
