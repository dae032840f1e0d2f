"""How sure a finding about classes is: pictures drawn again, seeds compared, classes put into another order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

DRAWS = 2000  # of the bootstrap over classes
PERMUTATIONS = 20  # of the classes, for what chance gives
LEVEL = 0.95


def drawn_again(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How often each picture counts when as many of its class are drawn with replacement: (n,) int."""
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    chosen = starts + (rng.random(len(labels)) * np.repeat(counts, counts)).astype(int)
    return np.bincount(order[chosen], minlength=len(labels))


def among_nearest(similar: np.ndarray, k: int) -> np.ndarray:
    """Whether class j is one of the `k` most similar to class i, other than i: (n, n) bool.

    `k` is at most the number of the other classes; of equals those that come first count, as in
    `examples.im2vec.evaluation.nearest`.
    """
    others = np.array(similar, np.float64)
    np.fill_diagonal(others, -np.inf)
    found = np.zeros(others.shape, bool)
    order = np.argsort(-others, axis=1, kind="stable")[:, : min(k, len(others) - 1)]
    np.put_along_axis(found, order, True, axis=1)
    return found


def share(matrices: Iterable[np.ndarray], k: int) -> np.ndarray:
    """In which fraction of the similarity matrices class j is among the `k` nearest of class i: (n, n)."""
    times, samples = 0, 0
    for matrix in matrices:
        times, samples = times + among_nearest(matrix, k), samples + 1
    return times / samples


def overlap(matrices: Sequence[np.ndarray], k: int) -> np.ndarray:
    """The fraction of a class's `k` nearest that two of the matrices have in common, mean over all pairs: (n,)."""
    nearest = np.array([among_nearest(matrix, k) for matrix in matrices])
    pairs = len(nearest) * (len(nearest) - 1) / 2
    times = nearest.sum(axis=0)
    return (times * (times - 1) / 2).sum(axis=1) / pairs / nearest[0].sum(axis=1)


def interval(values: np.ndarray, groups: np.ndarray | None = None, seed: int = 0) -> tuple[float, float, float]:
    """A mean, and between what it lies when the values are drawn again with replacement, in 95 % of the draws.

    Parameters
    ----------
    values : (n,) array
        One of each class or question.
    groups : (n,) int, optional
        Values of one group are drawn together: they are not independent.
    seed : int

    Returns
    -------
    mean, low, high : float
    """
    values = np.asarray(values, np.float64)
    groups = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (DRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(values.mean()), float(low), float(high)
