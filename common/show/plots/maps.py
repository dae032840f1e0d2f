"""Embeddings in the plane: by neighbourhood, by variance, and through training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from common.data.images import resize
from common.data.imageset import ImageSet
from common.show.plots.base import CLASSES, canvas, colours, gif, shorten, write
from common.show.plots.labels import label, told_apart

FEWEST = 5  # pictures that t-SNE can place
CLASSES_SHOWN = 20
MARKS = "osDvPX"  # the triangle is a word's
LEGEND, COLUMN = 50, 25  # classes in a legend, and in a column of it
FLAT = 1e-18  # the square of a smaller spread underflows in float32


def tsne(
    embeddings: np.ndarray, image_set: ImageSet, path, max_pictures: int = 400, seed: int = 0, side: int = 28
) -> Path | None:
    """The pictures where t-SNE puts their embeddings, and the names of their classes beside them.

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
    there, labels = np.unique(image_set.labels[chosen], return_inverse=True)
    frames, boxes = colours(len(there)), []
    for xy, index, number in zip(coords, chosen, labels):
        picture = OffsetImage(resize(image_set.read(index), (side, side)), zoom=0.72)
        boxes.append(AnnotationBbox(picture, xy, pad=0.08, bboxprops={"edgecolor": frames[number], "linewidth": 1.4}))
        axis.add_artist(boxes[-1])
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[], yticks=[], aspect="equal")
    axis.set_title(f"t-SNE of {len(chosen)} embeddings; the frame's colour is the class (of {len(there)})")
    figure.draw_without_rendering()  # settles where the pictures are
    extents = [box.get_window_extent().get_points() for box in boxes]
    covered = axis.transData.inverted().transform(np.concatenate(extents)).reshape(-1, 4)
    names = [shorten(name, 24) for name in told_apart([image_set.class_names[i] for i in there])]
    label(axis, _middles(coords, labels, len(there)), names, avoid=covered)
    return write(figure, path)


def _middles(coords: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Of each class the member that is nearest to the median of all: a place where there is one, (classes, 2)."""
    places = np.empty((classes, 2))
    for number in range(classes):
        own = coords[labels == number]
        places[number] = own[((own - np.median(own, axis=0)) ** 2).sum(axis=1).argmin()]
    return places


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
    """Coordinates (n, 2) moved and scaled into the middle of 0..1, both axes alike, so that distances compare."""
    low, high = coords.min(axis=0), coords.max(axis=0)
    return 0.5 + (coords - (low + high) / 2) / max((high - low).max(), 1e-9)


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
    for one in classes:
        members = np.flatnonzero(labels == one)
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
    """The two directions of largest variance, a colour and a mark a class, all vectors at length one.

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
    first, second = 100 * fractions
    axis.set(xlabel=f"first direction ({first:.0f} %)", ylabel=f"second ({second:.0f} %)", title=title)
    axis.set_aspect("equal", adjustable="datalim")  # distances compare in every direction
    if anchors is not None:
        axis.scatter(*anchors.T, s=150, marker="^", color=colours(len(names)), edgecolors="black", zorder=3)
        axis.scatter([], [], marker="^", color="white", edgecolors="black", label="a class's word")  # for the legend
    if limits is not None:
        (left, bottom), (right, top) = limits
        axis.set(xlim=(left, right), ylim=(bottom, top))
    axis.spines[["top", "right"]].set_visible(False)
    scatter(axis, coords, labels, names, 14 if len(coords) > 100 else 45, 0.55)
    return figure


def scatter(axis, coords: np.ndarray, labels: np.ndarray, names: Sequence[str], size: float = 14, alpha: float = 1):
    """Points with a colour and, from the ninth class on, a mark of their class; a legend beside them.

    More than `LEGEND` classes are named among the points instead, where there is room.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        With a constrained layout, its other artists drawn already.
    coords : (n, 2) array
    labels : (n,) int array
        Indices in `names`.
    names : sequence of str
    size : float
        Of a mark, in square points.
    alpha : float
        0..1.
    """
    shown = [shorten(name, 24) for name in told_apart(names)]
    for number, (name, colour) in enumerate(zip(shown, colours(len(names)))):
        mark = MARKS[number // len(CLASSES) % len(MARKS)]
        own = coords[labels == number]
        axis.scatter(*own.T, s=size, alpha=alpha, color=[colour], marker=mark, linewidths=0, label=name)
    if len(names) <= LEGEND:
        look = {"fontsize": 8, "frameon": False, "ncols": -(-len(names) // COLUMN)}
        legend = axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), **look)
        for handle in legend.legend_handles:
            handle.set(alpha=1, sizes=[30])
        return
    there, own = np.unique(labels, return_inverse=True)
    label(axis, _middles(coords, own, len(there)), [shown[number] for number in there])
