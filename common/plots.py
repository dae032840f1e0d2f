"""The pictures of a run. Every function writes a PNG (or GIF) to the path given and returns it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.font_manager import findfont, get_font
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from common.datasets import ImageSet
from common.images import resize

RIGHT, WRONG, QUERY = "#1b7837", "#c51b29", "#404040"
DPI = 110
# Okabe and Ito's colours: told apart by colour-blind readers too.
CLASSES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")


def _write(figure, path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    return path


def curves(rows: Sequence[dict], path, names: Sequence[str]) -> Path:
    """One panel for each of `names` over the epochs, from the rows of ``metrics.jsonl``."""
    rows = [row for row in rows if row.get("batch") == 0]  # one row an epoch; the others are inside epochs
    names = [name for name in names if any(name in row for row in rows)]
    figure, axes = plt.subplots(1, max(len(names), 1), figsize=(4 * max(len(names), 1), 2.8), squeeze=False)
    for axis, name in zip(axes[0], names):
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        axis.plot(*zip(*points), marker="o", markersize=3.5, color="#2166ac")
        axis.set(title=name, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return _write(figure, path)


def tsne(embeddings: np.ndarray, image_set: ImageSet, path, most: int = 400, seed: int = 0, side: int = 28) -> Path:
    """The pictures at the places t-SNE (van der Maaten and Hinton 2008) gives their embeddings.

    Parameters
    ----------
    embeddings : (n, d) array
    most : int
        Pictures shown: whole classes, drawn at random with `seed`.
    side : int
        Pixels of a picture on the sheet.
    """
    from sklearn.manifold import TSNE

    chosen = _whole_classes(image_set.labels, most, seed)
    perplexity = min(20.0, max(2.0, (len(chosen) - 1) / 4))
    places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(embeddings[chosen])
    places = (places - places.min(axis=0)) / np.maximum(np.ptp(places, axis=0), 1e-9)
    figure, axis = plt.subplots(figsize=(11, 11))
    colours = plt.get_cmap("hsv")(np.linspace(0, 0.95, len(image_set.class_names)))
    for place, index in zip(places, chosen):
        picture = OffsetImage(resize(image_set.read(index), (side, side)), zoom=0.72)
        frame = {"edgecolor": colours[image_set.labels[index]], "linewidth": 1.4}
        axis.add_artist(AnnotationBbox(picture, place, pad=0.08, bboxprops=frame))
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[], yticks=[])
    classes = len(np.unique(image_set.labels[chosen]))
    axis.set_title(f"t-SNE of {len(chosen)} embeddings; the frame's colour is the class (of {classes})")
    return _write(figure, path)


def _whole_classes(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Indices of all pictures of random classes, `most` at the most (at least one class)."""
    chosen: list[int] = []
    rng = np.random.default_rng(seed)
    for label in rng.permutation(np.unique(labels)):
        members = np.flatnonzero(labels == label)
        if chosen and len(chosen) + len(members) > most:
            break
        chosen += members[:most].tolist()
    return np.array(chosen)


def retrieval_sheet(
    embeddings: np.ndarray, image_set: ImageSet, path, queries: int = 12, k: int = 10, seed: int = 0
) -> Path:
    """Each row a query and its `k` nearest, wrong ones framed in red."""
    from common.metrics import unit

    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(image_set), min(queries, len(image_set)), replace=False)
    vectors = unit(embeddings)
    similarity = vectors[chosen] @ vectors.T
    similarity[np.arange(len(chosen)), chosen] = -np.inf
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    rows = []
    for query, found in zip(chosen, nearest):
        own = image_set.labels[query]
        row = [(image_set.read(query), "query", QUERY)]
        for index in found:
            right = image_set.labels[index] == own
            row.append((image_set.read(index), "", RIGHT if right else WRONG))
        rows.append(row)
    return sheet(rows, path, "Each row: a query and its nearest pictures (green: same class, red: another)")


def sheet(rows: Sequence[Sequence[tuple]], path, title: str = "") -> Path:
    """Rows of pictures, each a tuple of picture (H, W, 3), caption, and colour of its frame (None: no frame)."""
    columns = max(len(row) for row in rows)
    tall = any(caption for row in rows for _, caption, _ in row[1:])
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(columns * 0.95, len(rows) * (1.15 if tall else 0.98)), squeeze=False
    )
    for line, row in zip(axes, rows):
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for axis, (picture, caption, colour) in zip(line, row):
            axis.imshow(resize(picture, (96, 96)) if max(picture.shape[:2]) > 96 else picture)
            if colour:
                axis.spines[:].set(visible=True, color=colour, linewidth=3)
            if caption and (tall or line is axes[0]):
                axis.set_title(_shorten(caption, 40), fontsize=8, pad=4)
    figure.suptitle(title, fontsize=11, y=0.995)
    figure.tight_layout(pad=0.5, rect=(0, 0, 1, 0.985))
    return _write(figure, path)


def contact_sheet(
    pictures: Sequence[np.ndarray], captions: Sequence[str], path, title: str = "", columns: int = 6
) -> Path:
    """Pictures (H, W, 3) in a grid, each under its caption (cut to what fits)."""
    cells = [(picture, _shorten(caption, 16)) for picture, caption in zip(pictures, captions)]
    columns = min(columns, len(cells))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    figure, axes = plt.subplots(len(rows), columns, figsize=(columns * 1.35, len(rows) * 1.5 + 0.3), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for line, row in zip(axes, rows):
        for axis, (picture, caption) in zip(line, row):
            axis.imshow(resize(picture, (128, 128)) if max(picture.shape[:2]) > 128 else picture)
            axis.set_title(caption, fontsize=8, pad=3)
    figure.suptitle(title, fontsize=11)
    figure.tight_layout(pad=0.5)
    return _write(figure, path)


def confusion(counts: np.ndarray, names: Sequence[str], path, title: str = "Confusion") -> Path:
    """The share of each class (row) taken for each other (column), as a heat map.

    Parameters
    ----------
    counts : (n, n) array
        As `common.metrics.confusion` gives it. Up to 20 classes the shares are written in; names are always shown.
    """
    counts = np.asarray(counts, float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n, names = len(names), [_shorten(name, 24) for name in names]
    side, size = float(np.clip(0.15 * n + 3, 4.5, 20)), 9 if n <= 20 else 6
    figure, axis = plt.subplots(figsize=(side + 1, side))
    image = axis.imshow(shares, cmap="viridis", vmin=0, vmax=1)
    axis.set_xticks(range(n), names, rotation=90, fontsize=size)
    axis.set_yticks(range(n), names, fontsize=size)
    axis.tick_params(length=0)
    axis.set(xlabel="taken for", ylabel="is", title=title)
    if n <= 20:
        for i, j in zip(*np.nonzero(shares >= 0.005)):
            colour = "black" if shares[i, j] > 0.6 else "white"
            axis.text(j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, ax=axis, fraction=0.04, pad=0.02, label="share of the row" + " (numbers: in %)" * (n <= 20))
    return _write(figure, path)


def pca(
    embeddings: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    path,
    anchors: np.ndarray | None = None,
    title: str = "PCA",
) -> Path:
    """The two directions of largest variance, a colour a class (up to eight told apart), all vectors at length one.

    Parameters
    ----------
    embeddings : (n, d) array
    labels : (n,) int array
        Places in `names`.
    anchors : (len(names), d) array, optional
        One vector a class, such as its word's: shown as a triangle in the class's colour.
    """
    from common.metrics import unit

    vectors = unit(embeddings)
    centre = vectors.mean(axis=0)
    _, size, rows = np.linalg.svd(vectors - centre, full_matrices=False)
    shares = 100 * size**2 / (size**2).sum()
    places = (vectors - centre) @ rows[:2].T
    figure, axis = plt.subplots(figsize=(7, 6))
    for label, name in enumerate(names):
        colour = CLASSES[label % len(CLASSES)]
        axis.scatter(*places[labels == label].T, s=14, alpha=0.55, color=colour, linewidths=0, label=_shorten(name, 24))
        if anchors is not None:
            anchor = (unit(anchors[label : label + 1]) - centre) @ rows[:2].T
            axis.scatter(*anchor.T, s=150, marker="^", color=colour, edgecolors="black", zorder=3)
    axis.set(xlabel=f"first direction ({shares[0]:.0f} %)", ylabel=f"second ({shares[1]:.0f} %)", title=title)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return _write(figure, path)


def bars(rows: Mapping[str, Mapping[str, float]], path, title: str = "") -> Path:
    """Methods compared: a group of bars for each figure, a colour for each method, the values written on them."""
    figures = list(dict.fromkeys(name for row in rows.values() for name in row))
    width = 0.8 / len(rows)
    figure, axis = plt.subplots(figsize=(max(4.5, 0.62 * len(figures) * len(rows) + 1), 3.4))
    for place, (method, row) in enumerate(rows.items()):
        heights = [row.get(name, np.nan) for name in figures]
        at = np.arange(len(figures)) + (place - (len(rows) - 1) / 2) * width
        drawn = axis.bar(at, heights, width * 0.94, label=method, color=CLASSES[place % len(CLASSES)])
        axis.bar_label(drawn, [f"{height:.3g}" if np.isfinite(height) else "" for height in heights], fontsize=7)
    axis.set_xticks(range(len(figures)), figures)
    axis.set_title(title)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return _write(figure, path)


def _shorten(text: str, most: int) -> str:
    """`text` on one line, cut to `most` characters; what the font has no shape for becomes a box."""
    text = " ".join(str(text).split())
    text = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(letter if ord(letter) in _drawable() else "□" for letter in text).replace("$", r"\$")


@functools.cache
def _drawable() -> set[int]:
    return set(get_font(findfont("DejaVu Sans")).get_charmap())
