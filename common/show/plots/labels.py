"""Names in a picture: classes that look alike told apart, and labels that do not lie on each other."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from matplotlib.font_manager import findfont
from matplotlib.patheffects import withStroke
from PIL import Image, ImageDraw, ImageFont

ALIKE = 0.8  # of their ink in common: a reader takes such characters for each other
RINGS = (0, 12, 24, 36, 48, 64, 80)  # points that a label may stand away from what it names
SMALLEST = 5  # points of a text that can be read


def told_apart(names: Sequence[str]) -> list[str]:
    """Names of classes for a picture: characters that look like another one of them get their code point.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    list of str
        ``"I"`` beside ``"l"`` becomes ``"I U+0049"``; other names stay.
    """
    single = [i for i, name in enumerate(names) if len(name) == 1 and name.isprintable() and not name.isspace()]
    if len(single) < 2:
        return list(names)
    ink = np.stack([_ink(names[i]) for i in single])
    common, own = ink @ ink.T, (ink**2).sum(axis=1)
    alike = common > ALIKE * (own[:, None] + own - common)  # the Jaccard index of the inks
    np.fill_diagonal(alike, False)
    shown = list(names)
    for i, is_alike in zip(single, alike.any(axis=1)):
        shown[i] += f" U+{ord(names[i]):04X}" * bool(is_alike)
    return shown


@functools.lru_cache(4096)
def _ink(character: str, side: int = 32) -> np.ndarray:
    """A character in the pictures' font, as large as fits into a square, which is flattened: values 0..1."""
    drawn = Image.new("L", (4 * side, 4 * side))
    font = ImageFont.truetype(findfont("DejaVu Sans"), 2 * side)
    ImageDraw.Draw(drawn).text((2 * side, 3 * side), character, fill=255, font=font, anchor="ms")
    square = Image.new("L", (side, side))
    box = drawn.getbbox()
    if box:
        drawn = drawn.crop(box)
        drawn = drawn.resize([max(1, round(length * side / max(drawn.size))) for length in drawn.size])
        square.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    return np.asarray(square, np.float32).ravel() / 255


def label(axis, coords: np.ndarray, texts: Sequence[str], size: float = 8, avoid: np.ndarray | None = None) -> int:
    """Write a text at each point, moved aside, with a line to its point, so that no text lies on another.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Whose limits are final.
    coords : (n, 2) array
    texts : sequence of n str
        In the order of their importance: the first ones choose their place first.
    size : float
        Points.
    avoid : (m, 4) array, optional
        Left, bottom, right and top, in the axis's coordinates, of what should not be written on where that can be had.

    Returns
    -------
    int
        How many found a place; the others are left out.
    """
    figure = axis.figure
    figure.draw_without_rendering()  # settles the layout, on which boxes depend
    renderer, frame, point = figure.canvas.get_renderer(), axis.get_window_extent(), figure.dpi / 72
    corners = np.zeros((0, 2)) if avoid is None else np.reshape(avoid, (-1, 2))
    kept_free = np.sort(axis.transData.transform(corners).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    turns = np.radians(np.arange(0, 360, 30) - 90)  # below first
    moves = np.array([(r * np.cos(a) * 1.3, r * np.sin(a)) for r in RINGS for a in (turns if r else turns[:1])])
    written = np.zeros((0, 4))
    for (x, y), text in zip(coords, texts):
        look = {"ha": "center", "va": "center", "fontsize": size, "zorder": 5}
        probe = axis.annotate(text, (x, y), **look)
        box = probe.get_window_extent(renderer).extents + point * np.array([-2, -1, 2, 1])
        probe.remove()
        boxes = box + point * np.tile(moves, 2)
        inside = (boxes[:, :2] >= (frame.x0, frame.y0)).all(axis=1) & (boxes[:, 2:] <= (frame.x1, frame.y1)).all(axis=1)
        free = np.flatnonzero(inside & ~_overlap(boxes, written).any(axis=1))
        if not len(free):
            continue
        best = free[_overlap(boxes[free], kept_free).sum(axis=1).argmin()]
        line = {"arrowstyle": "-", "linewidth": 0.6, "color": "#555555", "shrinkA": 0, "shrinkB": 0}
        axis.annotate(
            text, (x, y), moves[best], textcoords="offset points", arrowprops=line if moves[best].any() else None,
            path_effects=[withStroke(linewidth=2.5, foreground="white")], **look,
        )  # fmt: skip
        written = np.concatenate([written, boxes[best : best + 1]])
    return len(written)


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of (n, 4) boxes, left, bottom, right, top, share area with which of (m, 4) others: (n, m) bool."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    return (low < np.minimum(boxes[:, None, 2:], others[None, :, 2:])).all(axis=2)


def fitting(names: Sequence[str], inches: float, size: float) -> tuple[list[int], list[str], float]:
    """Names along an axis that do not run into each other: smaller, and where that is not enough every second, ...

    Parameters
    ----------
    names : sequence of str
        One line each.
    inches : float
        Length of the axis.
    size : float
        Points that the names should have.

    Returns
    -------
    places : list of int
        Indices in `names` of those to write.
    shown : list of str
        These.
    size : float
        Points.
    """
    room = 72 * inches / max(len(names), 1) / 1.25  # points for a name: lines are 1.25 times as high as their size
    size = min(size, max(room, SMALLEST))
    places = list(range(0, len(names), int(np.ceil(size / room - 1e-9))))
    return places, [names[i] for i in places], size
