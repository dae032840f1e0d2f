"""Pictures of class vectors: similarity ordered by clustering, its tree, maps with an example of each class, a film."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from common.images import resize

DPI = 110
LABELLED = 120  # classes: with more, maps carry pictures alone
FILM_SIDE = 560  # pixels


def tree(similar: np.ndarray) -> np.ndarray:
    """Average linkage of the classes at distance 1 - cosine, leaves ordered so that neighbours are alike."""
    distance = squareform(np.maximum(1 - similar, 0), checks=False)
    return hierarchy.optimal_leaf_ordering(hierarchy.linkage(distance, "average"), distance)


def similarity(similar: np.ndarray, names: Sequence[str], path) -> Path:
    """The cosine of each pair of classes as a heat map, in the order of `tree`; with numbers for up to 20 classes."""
    order = hierarchy.leaves_list(tree(similar))
    n, ordered = len(names), [names[i] for i in order]
    side = np.clip(0.17 * n + 2.5, 4.5, 20)
    figure, axis = plt.subplots(figsize=(side + 1, side))
    shown = similar[np.ix_(order, order)]
    image = axis.imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1)
    axis.set_xticks(range(n), ordered, rotation=90, fontsize=8 if n > 20 else 10)
    axis.set_yticks(range(n), ordered, fontsize=8 if n > 20 else 10)
    axis.tick_params(length=0)
    if n <= 20:
        for i, j in np.ndindex(n, n):
            colour = "white" if abs(shown[i, j]) > 0.6 else "black"
            axis.text(j, i, f"{shown[i, j]:.2f}".replace("0.", "."), ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, ax=axis, fraction=0.04, pad=0.02, label="cosine")
    axis.set_title("Cosine similarity, in the order of the tree")
    return _write(figure, path)


def dendrogram(similar: np.ndarray, names: Sequence[str], path) -> Path:
    """The tree of the classes; branches of one colour join below two thirds of its height."""
    links = tree(similar)
    figure, axis = plt.subplots(figsize=(8, np.clip(0.19 * len(names) + 1, 2.5, 40)))
    hierarchy.dendrogram(
        links, labels=list(names), orientation="left", ax=axis, color_threshold=links[:, 2].max() * 2 / 3,
        above_threshold_color="#888888", leaf_font_size=9,
    )  # fmt: skip
    axis.set_xlabel("1 - cosine, mean over the pairs that join")
    axis.spines[["top", "left", "right"]].set_visible(False)
    return _write(figure, path)


def class_map(places: np.ndarray, examples: np.ndarray, names: Sequence[str], path, title: str) -> Path:
    """The example picture of each class at its place in the plane, named where that can be read."""
    side, named = 1400, len(names) <= LABELLED
    thumb = int(np.clip(side / (2.2 * np.sqrt(len(names))), 14, 110))
    canvas, corners = _canvas(places, examples, side, thumb, named)
    figure, axis = plt.subplots(figsize=(11, 11))
    axis.imshow(canvas)
    for (y, x), name in zip(corners, names if named else ()):
        size = 12 if len(names) <= 30 else 8
        axis.text(x + thumb / 2, y + thumb + 3, name, ha="center", va="top", fontsize=size)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=14)
    axis.spines[:].set_color("#cccccc")
    return _write(figure, path)


def _canvas(places, examples, side: int, thumb: int, named: bool) -> tuple[np.ndarray, np.ndarray]:
    """A white square with the pictures at their places (0..1, y upwards), and each one's top left corner (y, x)."""
    canvas = np.full((side, side, 3), 255, np.uint8)
    height = thumb + (0.035 * side if named else 0)  # with the name below
    room = np.array([side - height, side - thumb]) * 0.94  # a margin for names wider than their picture
    corners = np.stack([1 - places[:, 1], places[:, 0]], axis=1) * room + 0.03 * side
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


def unit_square(places: np.ndarray) -> np.ndarray:
    """`places` (n, 2) moved and scaled into 0..1, each axis by itself."""
    low = places.min(axis=0)
    return (places - low) / np.maximum(np.ptp(places, axis=0), 1e-9)


def principal(directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two directions of largest variance (d, 2), and the share of the variance each explains."""
    _, size, rows = np.linalg.svd(directions - directions.mean(axis=0), full_matrices=False)
    return rows[:2].T, (size**2 / (size**2).sum())[:2]


def neighbour_map(directions: np.ndarray, seed: int = 0) -> np.ndarray:
    """The places t-SNE (van der Maaten and Hinton 2008) gives the rows: (n, 2)."""
    from sklearn.manifold import TSNE

    perplexity = min(20.0, max(1.0, (len(directions) - 1) / 3))
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(directions.astype(np.float32))


def film(frames: Sequence[np.ndarray], examples: np.ndarray, names: Sequence[str], path) -> Path:
    """The class vectors through training, as a GIF of one frame an epoch and a longer last one.

    Parameters
    ----------
    frames : sequence of (n, d) arrays
        Directions before training and after each epoch; all are shown in the plane of the last one's two
        directions of largest variance.
    """
    axes, _ = principal(frames[-1])
    planes = [frame @ axes for frame in frames]
    low = np.min([plane.min(axis=0) for plane in planes], axis=0)
    reach = np.maximum(np.max([plane.max(axis=0) for plane in planes], axis=0) - low, 1e-9)
    thumb = int(np.clip(FILM_SIDE / (2.2 * np.sqrt(len(names))), 9, 40))
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), 11)
    pictures = []
    for epoch, plane in enumerate(planes):
        canvas, corners = _canvas((plane - low) / reach, examples, FILM_SIDE, thumb, named=False)
        picture = Image.fromarray(canvas)
        draw = ImageDraw.Draw(picture)
        if len(names) <= LABELLED // 3:
            for (y, x), name in zip(corners, names):
                draw.text((x + thumb / 2, y + thumb), name, fill="black", font=font, anchor="ma")
        draw.text((6, FILM_SIDE - 6), f"epoch {epoch}", fill="black", font=font, anchor="ls")
        pictures.append(picture.quantize(128))
    durations = [250] * (len(pictures) - 1) + [2000]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return Path(path)


def _write(figure, path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    return path
