"""Embeddings in the plane: by neighbourhood, by variance, and through training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from common.data.images import resize
from common.data.sets import ImageSet
from common.show.plots.base import CLASSES, canvas, gif, shorten, write

FEWEST = 5  # pictures that t-SNE can place
CLASSES_SHOWN = 20
FLAT = 1e-18  # the square of a smaller spread is no number in 32 bits


def tsne(
    embeddings: np.ndarray, image_set: ImageSet, path, most: int = 400, seed: int = 0, side: int = 28
) -> Path | None:
    """The pictures at the places t-SNE (van der Maaten and Hinton 2008) gives their embeddings.

    Parameters
    ----------
    embeddings : (n, d) array
    most : int
        Pictures shown, drawn at random with `seed`: all of a class where classes are small, else equally many of each.
    side : int
        Pixels of a picture on the sheet.

    Returns
    -------
    Path or None
        None where there are fewer than `FEWEST` pictures, or all lie on one point.
    """
    from sklearn.manifold import TSNE

    if unplaceable(embeddings):
        return None
    chosen = _sample(image_set.labels, most, seed)
    if unplaceable(embeddings[chosen], fewest=1):
        return None
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
    return write(figure, path)


def unplaceable(vectors: np.ndarray, fewest: int = FEWEST) -> str:
    """Why t-SNE cannot place the rows, of which scikit-learn's would end the process; "" where it can."""
    vectors = np.asarray(vectors, np.float32)  # what it reckons with
    if len(vectors) < fewest:
        return f"{len(vectors)} are too few, {fewest} are needed"
    if not np.isfinite(vectors).all():
        return "some are not finite"
    return "" if np.ptp(vectors, axis=0).max() > FLAT else "all lie on one point"


def _sample(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Indices of pictures of random classes, `most` in all at the most.

    No class takes so many that fewer than `CLASSES_SHOWN` (or all there are) could be shown.
    """
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.unique(labels))
    each = max(1, most // min(len(classes), CLASSES_SHOWN))
    chosen: list[int] = []
    for label in classes:
        members = np.flatnonzero(labels == label)
        part = members if len(members) <= each else np.sort(rng.choice(members, each, replace=False))
        if len(chosen) + len(part) > most:
            break
        chosen += part.tolist()
    return np.array(chosen)


def principal(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two directions of largest variance (d, 2), and the share of the variance each explains."""
    _, size, rows = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    return rows[:2].T, (size**2 / (size**2).sum())[:2]


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
        One vector a class, such as its word's: shown as a triangle in the class's colour. Together they count as much
        as all embeddings do in what the directions are, or few and scattered pictures would hide how they lie.
    """
    from common.metrics import unit

    vectors, anchors = unit(embeddings), None if anchors is None else unit(anchors)
    centre, axes, shares = _plane(vectors, anchors)
    anchors = None if anchors is None else (anchors - centre) @ axes
    return write(_scatter((vectors - centre) @ axes, labels, names, anchors, title, shares), path)


def _plane(vectors: np.ndarray, anchors: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The centre, the two directions of largest variance (d, 2), and the share of the variance each explains."""
    if anchors is not None:
        vectors = np.concatenate([vectors, np.repeat(anchors, -(-len(vectors) // len(anchors)), axis=0)])
    return vectors.mean(axis=0), *principal(vectors)


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
    titles : sequence of str, optional
        One for each frame.
    pause : int
        Milliseconds of a frame.
    """
    from common.metrics import unit

    frames, anchors = [unit(frame) for frame in frames], None if anchors is None else unit(anchors)
    centre, axes, shares = _plane(frames[-1], anchors)
    places = [(frame - centre) @ axes for frame in frames]
    anchors = None if anchors is None else (anchors - centre) @ axes
    every = np.concatenate(places if anchors is None else [*places, anchors])
    margin = 0.06 * np.ptp(every, axis=0) + 1e-9
    limits = every.min(axis=0) - margin, every.max(axis=0) + margin
    titles = titles or [f"epoch {number}" for number in range(1, len(frames) + 1)]
    drawn = [canvas(_scatter(at, labels, names, anchors, text, shares, limits)) for at, text in zip(places, titles)]
    return gif(drawn, path, pause, last=3 * pause)


def _scatter(places, labels, names, anchors, title, shares, limits=None):
    """A figure of `places` (n, 2) coloured by class, and the classes' `anchors` (classes, 2) as triangles."""
    figure, axis = plt.subplots(figsize=(7.5, 5.5), layout="constrained")
    size = 14 if len(places) > 100 else 45
    for label, name in enumerate(names):
        colour = CLASSES[label % len(CLASSES)]
        axis.scatter(
            *places[labels == label].T, s=size, alpha=0.55, color=colour, linewidths=0, label=shorten(name, 24)
        )
        if anchors is not None:
            axis.scatter(*anchors[label], s=150, marker="^", color=colour, edgecolors="black", zorder=3)
    first, second = 100 * shares
    axis.set(xlabel=f"first direction ({first:.0f} %)", ylabel=f"second ({second:.0f} %)", title=title)
    if limits is not None:
        (left, bottom), (right, top) = limits
        axis.set(xlim=(left, right), ylim=(bottom, top))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
