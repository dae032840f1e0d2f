"""Embeddings in the plane: by neighbourhood, by variance, and through training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from common.data.images import resize
from common.data.imageset import ImageSet
from common.show.plots.base import CLASSES, canvas, gif, shorten, write

FEWEST = 5  # pictures that t-SNE can place
CLASSES_SHOWN = 20
FLAT = 1e-18  # the square of a smaller spread underflows in float32


def tsne(
    embeddings: np.ndarray, image_set: ImageSet, path, max_pictures: int = 400, seed: int = 0, side: int = 28
) -> Path | None:
    """The pictures where t-SNE puts their embeddings.

    Parameters
    ----------
    embeddings : (n, d) array
    image_set : ImageSet
        Of the n pictures.
    path : path
    max_pictures : int
        Pictures shown, see `sample_evenly`.
    seed : int
        Of the sample and of t-SNE.
    side : int
        Pixels of a picture on the sheet.

    Returns
    -------
    Path or None
        None where there are fewer than `FEWEST` pictures, or all lie on one point.
    """
    if unplaceable(embeddings):
        return None
    chosen = sample_evenly(image_set.labels, max_pictures, seed)
    if unplaceable(embeddings[chosen], fewest=1):
        return None
    coords = unit_square(neighbour_map(embeddings[chosen], seed))
    figure, axis = plt.subplots(figsize=(11, 11))
    colours = plt.get_cmap("hsv")(np.linspace(0, 0.95, len(image_set.class_names)))
    for xy, index in zip(coords, chosen):
        picture = OffsetImage(resize(image_set.read(index), (side, side)), zoom=0.72)
        frame = {"edgecolor": colours[image_set.labels[index]], "linewidth": 1.4}
        axis.add_artist(AnnotationBbox(picture, xy, pad=0.08, bboxprops=frame))
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[], yticks=[])
    classes = len(np.unique(image_set.labels[chosen]))
    axis.set_title(f"t-SNE of {len(chosen)} embeddings; the frame's colour is the class (of {classes})")
    return write(figure, path)


def neighbour_map(vectors: np.ndarray, seed: int = 0, max_perplexity: float = 20.0) -> np.ndarray:
    """Coordinates in the plane by t-SNE (van der Maaten and Hinton 2008).

    Parameters
    ----------
    vectors : (n, d) array
        Such that `unplaceable` has nothing against them.
    seed : int
    max_perplexity : float
        Effective number of neighbours of a row; a third of the others where these are few.

    Returns
    -------
    (n, 2) float32
    """
    from sklearn.manifold import TSNE

    vectors = np.asarray(vectors, np.float32)
    perplexity = min(max_perplexity, max(1.0, (len(vectors) - 1) / 3))
    init = "pca" if vectors.shape[1] > 1 else "random"
    return TSNE(perplexity=perplexity, init=init, random_state=seed).fit_transform(vectors)


def unplaceable(vectors: np.ndarray, fewest: int = FEWEST) -> str:
    """Why t-SNE cannot place vectors, on which scikit-learn's would end the process.

    Parameters
    ----------
    vectors : (n, d) array
    fewest : int
        How many there must be.

    Returns
    -------
    str
        Empty where it can.
    """
    vectors = np.asarray(vectors, np.float32)  # the type that it computes in
    if len(vectors) < fewest:
        return f"{len(vectors)} are too few, {fewest} are needed"
    if not np.isfinite(vectors).all():
        return "some are not finite"
    return "" if np.ptp(vectors, axis=0).max() > FLAT else "all lie on one point"


def unit_square(coords: np.ndarray) -> np.ndarray:
    """Coordinates (n, 2) moved and scaled into 0..1, each axis by itself."""
    return (coords - coords.min(axis=0)) / np.maximum(np.ptp(coords, axis=0), 1e-9)


def sample_evenly(labels: np.ndarray, max_pictures: int, seed: int) -> np.ndarray:
    """Indices of pictures of random classes: all of a class where classes are small, else equally many of each.

    No class takes so many that fewer than `CLASSES_SHOWN` (or all there are) could be shown.

    Parameters
    ----------
    labels : (n,) int array
    max_pictures : int
        In all.
    seed : int

    Returns
    -------
    (m,) int array
    """
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.unique(labels))
    each = max(1, max_pictures // min(len(classes), CLASSES_SHOWN))
    chosen: list[int] = []
    for label in classes:
        members = np.flatnonzero(labels == label)
        own = members if len(members) <= each else np.sort(rng.choice(members, each, replace=False))
        if len(chosen) + len(own) > max_pictures:
            break
        chosen += own.tolist()
    return np.array(chosen)


def principal(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two directions of largest variance.

    Parameters
    ----------
    vectors : (n, d) array

    Returns
    -------
    axes : (d, 2) array
        Of length one.
    fractions : (2,) array
        Of the variance that each explains, 0..1; 0 where all vectors are equal.
    """
    _, size, rows = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    total = (size**2).sum()
    return rows[:2].T, (size**2 / (total if total else 1))[:2]


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
        Indices in `names`.
    names : sequence of str
        Of the classes.
    path : path
    anchors : (len(names), d) array, optional
        One vector a class, such as its word's: shown as a triangle in the class's colour. Together they count as much
        as all embeddings do in what the directions are, or few and scattered pictures would hide how they lie.
    title : str

    Returns
    -------
    Path
    """
    from common.metrics import unit

    vectors, anchors = unit(embeddings), None if anchors is None else unit(anchors)
    centre, axes, fractions = _plane(vectors, anchors)
    anchors = None if anchors is None else (anchors - centre) @ axes
    return write(_scatter((vectors - centre) @ axes, labels, names, anchors, title, fractions), path)


def _plane(vectors: np.ndarray, anchors: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The centre, the two directions of largest variance (d, 2), and the fraction of the variance each explains."""
    if anchors is not None:
        vectors = np.concatenate([vectors, np.repeat(anchors, -(-len(vectors) // len(anchors)), axis=0)])
    return vectors.mean(axis=0), *principal(vectors)


def film(
    frames: Sequence[np.ndarray],
    draw: Callable[[np.ndarray, int, tuple], np.ndarray],
    path,
    plane: tuple[np.ndarray, np.ndarray],
    fixed: np.ndarray | None = None,
    pause: int = 250,
    last: int = 2000,
) -> Path:
    """Vectors through training as a GIF, all frames in one plane and one window.

    Parameters
    ----------
    frames : sequence of (n, d) arrays
        The same things, an epoch each.
    draw : callable (coords, number, limits) -> (H, W, 3) uint8
        Draws frame `number` of the things at `coords` (n, 2); `limits` are the smallest and the largest coordinates,
        two (2,) arrays, that occur in any frame.
    path : path
    plane : (d,) and (d, 2) arrays
        Origin and axes.
    fixed : (m, 2) array, optional
        Coordinates that must lie within the limits too.
    pause, last : int
        Milliseconds that a frame is shown, and the last one.

    Returns
    -------
    Path
    """
    origin, axes = plane
    coords = [(frame - origin) @ axes for frame in frames]
    every = np.concatenate(coords if fixed is None else [*coords, fixed])
    limits = every.min(axis=0), every.max(axis=0)
    return gif([draw(at, number, limits) for number, at in enumerate(coords)], path, pause, last)


def pca_film(
    frames: Sequence[np.ndarray],
    labels: np.ndarray,
    names: Sequence[str],
    path,
    anchors: np.ndarray | None = None,
    titles: Sequence[str] | None = None,
    pause: int = 900,
) -> Path:
    """`pca` through training as a GIF: a frame for each of `frames`, all in the plane of the last one.

    The plane stays, so anchors stay too and the pictures are seen to move.

    Parameters
    ----------
    frames : sequence of (n, d) arrays
        The same pictures, an epoch each.
    labels, names, anchors
        As in `pca`.
    path : path
    titles : sequence of str, optional
        One for each frame.
    pause : int
        Milliseconds of a frame.

    Returns
    -------
    Path
    """
    from common.metrics import unit

    frames, anchors = [unit(frame) for frame in frames], None if anchors is None else unit(anchors)
    centre, axes, fractions = _plane(frames[-1], anchors)
    anchors = None if anchors is None else (anchors - centre) @ axes
    titles = titles or [f"epoch {number}" for number in range(1, len(frames) + 1)]

    def draw(coords, number, limits):
        low, high = limits
        margin = 0.06 * (high - low) + 1e-9
        window = low - margin, high + margin
        return canvas(_scatter(coords, labels, names, anchors, titles[number], fractions, window))

    return film(frames, draw, path, (centre, axes), anchors, pause, 3 * pause)


def _scatter(coords, labels, names, anchors, title, fractions, limits=None):
    """A figure of `coords` (n, 2) coloured by class, and the classes' `anchors` (classes, 2) as triangles."""
    figure, axis = plt.subplots(figsize=(7.5, 5.5), layout="constrained")
    size = 14 if len(coords) > 100 else 45
    for label, name in enumerate(names):
        colour = CLASSES[label % len(CLASSES)]
        axis.scatter(
            *coords[labels == label].T, s=size, alpha=0.55, color=colour, linewidths=0, label=shorten(name, 24)
        )
        if anchors is not None:
            axis.scatter(*anchors[label], s=150, marker="^", color=colour, edgecolors="black", zorder=3)
    first, second = 100 * fractions
    axis.set(xlabel=f"first direction ({first:.0f} %)", ylabel=f"second ({second:.0f} %)", title=title)
    if limits is not None:
        (left, bottom), (right, top) = limits
        axis.set(xlim=(left, right), ylim=(bottom, top))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
