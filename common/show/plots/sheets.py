"""Pictures side by side: results of a search, worst mistakes, and heat over a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from common.data.images import resize
from common.data.imageset import ImageSet
from common.show.plots.base import QUERY, RIGHT, WRONG, shorten, shorten_lines, write
from common.show.plots.labels import told_apart

CHARACTERS = 15  # of a caption over a picture of a sheet of results


def sheet(rows: Sequence[Sequence[tuple]], path, title: str = "") -> Path:
    """Rows of pictures.

    Parameters
    ----------
    rows : sequence of sequences of (picture, caption, colour)
        Picture (H, W, 3) uint8, or None: the caption stands there instead; colour of its frame, or None: no frame.
        A line of a caption that is too long goes on in a second one.
    path : path
    title : str

    Returns
    -------
    Path
    """
    columns = max(len(row) for row in rows)
    rows = [[(picture, _caption(text, picture), colour) for picture, text, colour in row] for row in rows]
    lines = max((caption.count("\n") + 1 for row in rows for _, caption, _ in row[1:] if caption), default=0)
    size = (columns * 0.95, len(rows) * (0.98 + 0.17 * lines) + 0.25)
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="constrained")
    for number, (line, row) in enumerate(zip(axes, rows)):
        for axis in line:
            axis.set(xticks=[], yticks=[], aspect="equal")
            axis.spines[:].set_visible(False)
        for axis, (picture, caption, colour) in zip(line, row):
            if picture is None:
                axis.text(0.5, 0.5, caption, ha="center", va="center", fontsize=8, transform=axis.transAxes)
                continue
            axis.imshow(resize(picture, (96, 96)) if max(picture.shape[:2]) > 96 else picture)
            if colour:
                style = "--" if colour == WRONG else "-"  # red and green are one colour to some readers
                axis.spines[:].set(visible=True, color=colour, linewidth=3, linestyle=style)
            if caption and (lines or number == 0):  # "query" is said once
                axis.set_title(caption, fontsize=8, pad=4)
    _titled(figure, title)
    return write(figure, path)


def _titled(figure, title: str) -> None:
    """`title` over the figure, on as many lines as its width asks for."""
    if title:
        figure.suptitle(textwrap.fill(title, max(20, int(figure.get_figwidth() * 13))), fontsize=11)


def _caption(text: str, picture: np.ndarray | None) -> str:
    """The caption of a cell of `sheet`, in lines as long as it is wide: of words in its place, or over a picture."""
    if picture is None:
        return textwrap.fill(shorten(text, 48), 12)
    lines = (shorten(line, 4 * CHARACTERS) for line in str(text).split("\n"))
    return "\n".join(textwrap.fill(line, CHARACTERS, max_lines=2, placeholder="…") for line in lines)


def contact_sheet(
    pictures: Sequence[np.ndarray], captions: Sequence[str], path, title: str = "", columns: int = 6
) -> Path:
    """Pictures in a grid, each under its caption.

    Parameters
    ----------
    pictures : sequence of (H, W, 3) uint8
    captions : sequence of str
        Each line is cut to what fits.
    path : path
    title : str
    columns : int

    Returns
    -------
    Path
    """
    cells = [(picture, shorten_lines(caption, 16)) for picture, caption in zip(pictures, captions)]
    columns = min(columns, len(cells))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    lines = max(caption.count("\n") for _, caption in cells)
    size = (columns * 1.35, len(rows) * (1.5 + 0.15 * lines) + 0.3)
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for line, row in zip(axes, rows):
        for axis, (picture, caption) in zip(line, row):
            axis.imshow(resize(picture, (128, 128)) if max(picture.shape[:2]) > 128 else picture)
            axis.set_title(caption, fontsize=8, pad=3)
    _titled(figure, title)
    return write(figure, path)


def retrieval_sheet(
    embeddings: np.ndarray,
    image_set: ImageSet,
    path,
    queries: int = 12,
    k: int = 10,
    seed: int = 0,
    gallery: tuple[ImageSet | None, np.ndarray | None] = (None, None),
    own: np.ndarray | None = None,
    nearest: np.ndarray | None = None,
) -> Path:
    """Each row a query and its `k` nearest, wrong ones framed in red, dashed.

    Parameters
    ----------
    embeddings : (n, d) array
        Of the pictures in `image_set`.
    image_set : ImageSet
    path : path
    queries : int
        How many are drawn, with `seed`.
    k : int
    seed : int
    gallery : (ImageSet, (m, d) array), optional
        Where to search: pictures of the same classes and their embeddings; default the queries themselves.
    own : (n,) int array, optional
        Each query's index in that gallery, where it is not shown; -1: it is not there.
    nearest : (n, m) int array, optional
        Each query's nearest in that gallery, where a search has found them (`common.metrics.Retrieval`); -1: no more.

    Returns
    -------
    Path
    """
    from common.metrics import neighbours

    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(image_set), min(queries, len(image_set)), replace=False)
    among, base = gallery
    if among is None:
        among, base, own = image_set, embeddings, np.arange(len(image_set))
    if nearest is None:
        _, _, found = next(neighbours(embeddings[chosen], k, base, None if own is None else own[chosen]))
    else:
        found = nearest[chosen, :k]
    rows = []
    for query, places in zip(chosen, found):
        label = image_set.labels[query]
        row = [(image_set.read(query), "query", QUERY)]
        row += [(among.read(i), "", RIGHT if among.labels[i] == label else WRONG) for i in places if i >= 0]
        rows.append(row)
    return sheet(rows, path, "Each row: a query and its nearest pictures (green: same class; red, dashed: another)")


def mistakes(
    image_set: ImageSet, scores: np.ndarray, names: Sequence[str], path, max_pictures: int = 24
) -> Path | None:
    """The most confident mistakes: the prediction's score is furthest ahead of the right class's.

    Parameters
    ----------
    image_set : ImageSet
    scores : (n, classes) array
        Of each picture of `image_set` for each class.
    names : list of str
        Of the classes.
    path : path
    max_pictures : int

    Returns
    -------
    Path or None
        None where every picture is right.
    """
    rows, labels = np.arange(len(image_set)), image_set.labels
    predictions = scores.argmax(axis=1)
    ahead = np.where(predictions == labels, -np.inf, scores[rows, predictions] - scores[rows, labels])
    order = np.argsort(-ahead, kind="stable")[:max_pictures]
    worst = [int(i) for i in order if predictions[i] != labels[i]]
    if not worst:
        return None
    names = told_apart(names)
    captions = [f"{names[labels[i]]}\nas {names[predictions[i]]}\n{ahead[i]:.2f} ahead" for i in worst]
    pictures = [image_set.read(i) for i in worst]
    wrong = int(np.sum(predictions != labels))
    title = f"The {len(worst)} surest of {wrong} mistakes"
    return contact_sheet(pictures, captions, path, title)


def overlay(picture: np.ndarray, heat: np.ndarray, opacity: float = 0.45) -> np.ndarray:
    """A heat map, grown to a picture's size and laid over it in colours.

    Parameters
    ----------
    picture : (H, W, 3) uint8
    heat : (h, w) array
        0..1.
    opacity : float
        Of the heat, 0..1.

    Returns
    -------
    (H, W, 3) uint8
    """
    height, width = picture.shape[:2]
    grown = resize(np.ascontiguousarray(heat, np.float32), (width, height)).clip(0, 1)
    colours = plt.get_cmap("inferno")(grown)[..., :3] * 255
    grey = picture.mean(axis=2, keepdims=True)  # the picture's own colours would be taken for heat
    return ((1 - opacity) * grey + opacity * colours).round().astype(np.uint8)
