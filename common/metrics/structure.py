"""Structure: how well clusters, groups and similarities of embeddings agree with what is known of them."""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np

from common.files import finite
from common.metrics.nearest import unit


def nmi(embeddings: np.ndarray, labels: np.ndarray, seed: int = 0, tries: int = 5) -> float:
    """Normalised mutual information of k-means clusters (as many as classes) and the classes.

    Parameters
    ----------
    embeddings : (n, d) array
    labels : (n,) int array
    seed : int
    tries : int
        Starts of k-means, of which the tightest clustering counts: one alone often ends with two clusters in a class.

    Returns
    -------
    float
        0..1.

    Raises
    ------
    UserError
        Embeddings that are not finite.
    """
    from sklearn.metrics import normalized_mutual_info_score

    vectors = unit(finite.check(embeddings, "the embeddings", finite.NO_FIGURE))
    classes = len(np.unique(labels))
    options = {"seed": seed, "niter": 20, "nredo": tries, "min_points_per_centroid": 1}
    kmeans = faiss.Kmeans(vectors.shape[1], classes, **options)
    kmeans.train(vectors)
    _, cluster = kmeans.index.search(vectors, 1)
    return float(normalized_mutual_info_score(labels, cluster[:, 0]))


def purity(similar: np.ndarray, groups: Sequence[int], keep: Sequence[int] | None = None) -> tuple[float, float]:
    """The fraction of things whose nearest other thing is of the same group, and what chance would give.

    A thing of another group that is as near counts before it.

    Parameters
    ----------
    similar : (n, n) array
        Similarities; the diagonal is not read.
    groups : (n,) int
    keep : indices, optional
        Only these are asked; the nearest is still looked for among all.

    Returns
    -------
    purity, chance : float
        0..1.

    Raises
    ------
    UserError
        Similarities that are not finite.
    """
    _, groups = np.unique(groups, return_inverse=True)
    keep = np.arange(len(groups)) if keep is None else np.asarray(keep)
    others = np.array(similar, np.float64)
    np.fill_diagonal(others, 0)
    finite.check(others, "the similarities", finite.NO_FIGURE)
    np.fill_diagonal(others, -np.inf)
    same = groups[:, None] == groups
    right = np.where(same, others, -np.inf).max(axis=1) > np.where(same, -np.inf, others).max(axis=1)
    chance = (np.bincount(groups)[groups] - 1) / (len(groups) - 1)
    return float(right[keep].mean()), float(chance[keep].mean())


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's rank correlation of two matrices over their unordered pairs.

    Parameters
    ----------
    a, b : (n, n) arrays
        One that is not symmetric (such as a confusion) is first averaged with its transpose; diagonals are not read.

    Returns
    -------
    float or None
        -1..1; None where all pairs of one of them are equal: there are no ranks, and it is not defined.

    Raises
    ------
    UserError
        Similarities that are not finite.
    """
    from scipy import stats

    upper = np.triu_indices(len(a), 1)
    means = [finite.check(((m + m.T) / 2)[upper], "the similarities", finite.NO_FIGURE) for m in (a, b)]
    if not all(len(values) and np.ptp(values) for values in means):
        return None
    return float(stats.spearmanr(*means).statistic)
