"""The pictures of a run. Every function writes a PNG (or GIF) to the path given and returns it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from common.datasets import ImageSet
from common.images import resize

RIGHT, WRONG, QUERY = "#1b7837", "#c51b29", "#404040"
DPI = 110


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
                axis.set_title(caption, fontsize=8, pad=4)
    figure.suptitle(title, fontsize=11, y=0.995)
    figure.tight_layout(pad=0.5, rect=(0, 0, 1, 0.985))
    return _write(figure, path)
