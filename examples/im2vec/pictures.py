"""Pictures of class vectors: maps with an example of each class, and a film of them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.data.images import resize
from common.show import plots

SIDE, AXIS = 1400, 0.77  # pixels of a map, and its share of the figure's width
MARGIN = 20  # pixels above and below a map
LINE = 14  # letters of a name in a line
LONGEST = 40  # letters of a word that is not cut
LABELLED = 120  # classes: with more, maps carry pictures alone
FILM_SIDE = 560  # pixels
FEWEST = 3  # classes that a map by neighbourhood says something of
CHARTED = 62  # classes in a chart of the nearest


def thumbnail(classes: int) -> int:
    """The side in pixels of the example of a class on a map of so many."""
    return int(np.clip(SIDE / (2.2 * np.sqrt(classes)), 14, 110))


def class_map(coords: np.ndarray, examples: np.ndarray, names: Sequence[str], path, title: str) -> Path:
    """The example picture of each class at its coordinates in the plane, named where that can be read."""
    thumb = thumbnail(len(names))
    inches, points = (11, 12) if len(names) <= 30 else (14, 9)
    called = plots.told_apart(names)
    wrapped = ("\n".join(textwrap.wrap(name, LINE, break_long_words=False)) for name in called)
    labels = [plots.base.shorten_lines(name, LONGEST) for name in wrapped]
    em = points / 72 * SIDE / (AXIS * inches)  # pixels of the canvas
    room = np.array(
        [[1.2 * em * (label.count("\n") + 1), 0.6 * em * max(map(len, label.split("\n")))] for label in labels]
    )
    canvas, corners = _canvas(coords, examples, SIDE, thumb, room if len(names) <= LABELLED else None)
    lowest = corners[:, 0] + thumb + (room[:, 0] if len(names) <= LABELLED else 0)
    top, bottom = max(corners[:, 0].min() - MARGIN, 0), min(lowest.max() + MARGIN, SIDE)
    figure, axis = plots.base.plt.subplots(figsize=(inches, inches))
    axis.imshow(canvas)
    axis.set_ylim(bottom, top)  # a map that is wider than high leaves no empty paper
    for (y, x), label in zip(corners, labels if len(names) <= LABELLED else ()):
        axis.text(x + thumb / 2, y + thumb + 3, label, ha="center", va="top", fontsize=points, linespacing=1.1)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=14)
    axis.spines[:].set_color("#cccccc")
    return plots.write(figure, path)


def _canvas(coords, examples, side: int, thumb: int, room: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """A white square with the pictures at `coords` (0..1, y upwards), and each one's top left corner (y, x).

    `room` (n, 2) is the height and width of what is written below each; then none lies on another where there is space.
    """
    canvas = np.full((side, side, 3), 255, np.uint8)
    size = np.full((len(coords), 2), thumb)
    if room is not None:
        size = np.stack([thumb + 6 + room[:, 0], np.maximum(thumb, room[:, 1]) + 6], axis=1)
    margin = size / 2
    centres = margin + np.stack([1 - coords[:, 1], coords[:, 0]], axis=1) * (side - size)
    if room is not None:
        centres = _apart(centres, size, side)
    corners = (centres - np.stack([margin[:, 0], np.full(len(size), thumb / 2)], axis=1)).astype(int)
    for (y, x), example in zip(corners, examples):
        canvas[y : y + thumb, x : x + thumb] = resize(example, (thumb, thumb))
    return canvas, corners


def _apart(centres: np.ndarray, size: np.ndarray, side: int, rounds: int = 300) -> np.ndarray:
    """Push boxes of these sizes apart, along the axis where two overlap less, until none do or the rounds are over."""
    wanted, number = (size[:, None] + size[None]) / 2, np.arange(len(centres))
    first = np.sign(number[:, None] - number)[..., None]  # where two coincide, by number
    for _ in range(rounds):
        gap = centres[:, None] - centres[None]
        overlap = np.maximum(wanted - np.abs(gap), 0)
        overlap[(overlap == 0).any(axis=2)] = 0
        overlap[number, number] = 0
        if not overlap.any():
            break
        along = np.eye(2)[overlap.argmin(axis=2)]  # the axis of the smaller overlap
        way = np.where(gap == 0, first, np.sign(gap))
        centres = np.clip(centres + (0.5 * overlap * along * way).sum(axis=1), size / 2, side - size / 2)
    return centres


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
    import matplotlib

    thumb, called = int(np.clip(FILM_SIDE / (2.2 * np.sqrt(len(names))), 9, 40)), plots.told_apart(names)
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), 11)

    def draw(coords, epoch, limits):
        low, high = limits
        at = 0.5 + (coords - (low + high) / 2) / max((high - low).max(), 1e-9)  # both axes alike
        canvas, corners = _canvas(at, examples, FILM_SIDE, thumb, None)
        picture = Image.fromarray(canvas)
        pen = ImageDraw.Draw(picture)
        if len(names) <= LABELLED // 3:
            for (y, x), name in zip(corners, called):
                pen.text((x + thumb / 2, y + thumb), name, fill="black", font=font, anchor="ma")
        pen.text((6, FILM_SIDE - 6), f"epoch {epoch}", fill="black", font=font, anchor="ls")
        return np.asarray(picture)

    return plots.film(frames, draw, path, (np.zeros(frames[-1].shape[1]), plots.principal(frames[-1])[0]))


def nearest_chart(found: Sequence, path, title: str) -> Path:
    """The nearest of each class, the darker the surer, of up to `CHARTED` classes.

    Parameters
    ----------
    found : sequence of examples.im2vec.comparison.Neighbour
    path : path
    title : str

    Returns
    -------
    Path
    """
    every = list(dict.fromkeys(one.name for one in found))
    names = every[:CHARTED]
    ranks = max(one.rank for one in found)
    shares = np.full((len(names), ranks), np.nan)
    figure, axis = plots.base.plt.subplots(figsize=(1.5 + 1.5 * ranks, 1.2 + 0.27 * len(names)))
    for one in found:
        if one.name in names:
            row, column, share = names.index(one.name), one.rank - 1, one.share or 0.0
            shares[row, column] = share
            colour = "white" if share > 0.6 else "black"
            text = f"{plots.base.shorten(one.nearest, 16)} {one.cosine:.2f}"
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axis.set_yticks(range(len(names)), [plots.base.shorten(name, 24) for name in names], fontsize=8)
    axis.set_xticks(range(ranks), [f"{rank + 1}." for rank in range(ranks)])
    axis.set_title(title + (f", first {CHARTED} classes" if len(every) > CHARTED else ""), fontsize=10)
    figure.colorbar(image, ax=axis, fraction=0.04, pad=0.02, label="share of the samples that have it")
    figure.tight_layout()
    return plots.write(figure, Path(path))
