"""What belongs to pairs of classes: confusions, cosines in the order of their tree, and the tree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from common.show.plots.base import shorten, write
from common.show.plots.labels import fitting, told_apart

WRITTEN = 20  # classes up to which the numbers are written in
HEIGHT = 0.77  # of an axis, as a share of its figure's


def confusion(counts: np.ndarray, names: Sequence[str], path, title: str = "Confusion") -> Path:
    """The fraction of each class (row) taken for each other (column), as a heat map.

    Parameters
    ----------
    counts : (n, n) array
        As `common.metrics.confusion` gives it.
    names : sequence of n str
        Of the classes. Up to `WRITTEN` of them the fractions are written in. Names that would run into each other are
        smaller, and beyond that every second one, or third, ... is shown.
    path : path
    title : str

    Returns
    -------
    Path
    """
    counts = np.asarray(counts, float)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n, names = len(names), [shorten(name, 24) for name in told_apart(names)]
    side, size = float(np.clip(0.15 * n + 3, 4.5, 20)), 9 if n <= WRITTEN else 6
    figure, axis = plt.subplots(figsize=(side + 1, side))
    image = axis.imshow(fractions, cmap="viridis", vmin=0, vmax=1)
    _name(axis, names, side, size)
    axis.set(xlabel="taken for", ylabel="is", title=title)
    if n <= WRITTEN:
        for i, j in zip(*np.nonzero(fractions >= 0.005)):
            colour = "black" if fractions[i, j] > 0.6 else "white"
            axis.text(j, i, f"{100 * fractions[i, j]:.0f}", ha="center", va="center", color=colour, fontsize=7)
    label = "share of the row" + " (numbers: in %)" * (n <= WRITTEN)
    figure.colorbar(image, ax=axis, fraction=0.04, pad=0.02, label=label)
    return write(figure, path)


def _name(axis, names: Sequence[str], side: float, size: float) -> None:
    """Names at rows and columns, for a figure `side` inches high."""
    places, shown, size = fitting(names, HEIGHT * side, size)
    axis.set_xticks(places, shown, rotation=90, fontsize=size)
    axis.set_yticks(places, shown, fontsize=size)
    axis.tick_params(length=0)


def tree(similar: np.ndarray) -> np.ndarray:
    """Average linkage by (n, n) cosines at distance 1 - cosine, leaves ordered so that neighbours are alike.

    Returns
    -------
    (n - 1, 4) array
        As `scipy.cluster.hierarchy.linkage` gives it.
    """
    distance = squareform(np.maximum(1 - similar, 0), checks=False)
    return hierarchy.optimal_leaf_ordering(hierarchy.linkage(distance, "average"), distance)


def cosines(
    values: np.ndarray,
    names: Sequence[str],
    path,
    title: str = "Cosine similarity, in the order of the tree",
    order_by: np.ndarray | None = None,
    axes: tuple[str, str] = ("", ""),
) -> Path:
    """Cosines of each pair as a heat map from -1 to 1, in the order of `tree`; with numbers for up to 20 classes.

    Parameters
    ----------
    values : (n, n) array
        Row i and column i belong to name i; need not be symmetric (pictures of a class to the word of another).
    names : sequence of n str
    path : path
    title : str
    order_by : (n, n) array, optional
        The symmetric cosines whose tree gives the order; default is `values`.
    axes : (str, str)
        What rows and columns are.

    Returns
    -------
    Path
    """
    values = np.asarray(values)
    order = hierarchy.leaves_list(tree(values if order_by is None else order_by))
    names = [shorten(name, 40) for name in told_apart(names)]
    n, ordered = len(names), [names[i] for i in order]
    side, size = float(np.clip(0.17 * n + 2.5, 4.5, 20)), 10 if n <= WRITTEN else 8
    figure, axis = plt.subplots(figsize=(side + 1, side))
    shown = values[np.ix_(order, order)]
    image = axis.imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1)
    _name(axis, ordered, side, size)
    axis.set(ylabel=axes[0], xlabel=axes[1], title=title)
    if n <= WRITTEN:
        for i, j in np.ndindex(n, n):
            colour = "white" if abs(shown[i, j]) > 0.6 else "black"
            axis.text(j, i, f"{shown[i, j]:.2f}".replace("0.", "."), ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, ax=axis, fraction=0.04, pad=0.02, label="cosine")
    return write(figure, path)


def dendrogram(similar: np.ndarray, names: Sequence[str], path) -> Path:
    """The `tree` of cosines, its leaves from top to bottom in the order of the rows of `cosines`.

    Branches of one colour join below two thirds of its height.

    Parameters
    ----------
    similar : (n, n) array
        Cosines.
    names : sequence of n str
    path : path

    Returns
    -------
    Path
    """
    links = tree(similar)
    names, height = [shorten(name, 40) for name in told_apart(names)], float(np.clip(0.19 * len(names) + 1, 2.5, 40))
    figure, axis = plt.subplots(figsize=(8, height))
    hierarchy.dendrogram(
        links, labels=names, orientation="left", ax=axis, color_threshold=links[:, 2].max() * 2 / 3,
        above_threshold_color="#888888", leaf_font_size=fitting(names, HEIGHT * height, 9)[2],
    )  # fmt: skip
    axis.invert_yaxis()  # scipy draws the first leaf at the bottom, a heat map its first row at the top
    axis.set_xlabel("1 - cosine, mean over the pairs that join")
    axis.spines[["top", "left", "right"]].set_visible(False)
    return write(figure, path)
