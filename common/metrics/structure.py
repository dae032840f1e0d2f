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


def nearest_is_same(similar: np.ndarray, groups: Sequence[int]) -> np.ndarray:
    """Whether the nearest other thing is of the same group: (n,) bool.

    A thing of another group that is as near counts before it.

    Parameters
    ----------
    similar : (n, n) array
        Similarities; the diagonal is not read.
    groups : (n,) int

    Raises
    ------
    UserError
        Similarities that are not finite.
    """
    groups, others = np.asarray(groups), np.array(similar, np.float64)
    np.fill_diagonal(others, 0)
    finite.check(others, "the similarities", finite.NO_FIGURE)
    np.fill_diagonal(others, -np.inf)
    same = groups[:, None] == groups
    return np.where(same, others, -np.inf).max(axis=1) > np.where(same, -np.inf, others).max(axis=1)


def purity(similar: np.ndarray, groups: Sequence[int], keep: Sequence[int] | None = None) -> tuple[float, float]:
    """The fraction of things whose nearest other thing is of the same group, and what chance would give.

    Parameters
    ----------
    similar, groups
        As in `nearest_is_same`.
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
    chance = (np.bincount(groups)[groups] - 1) / (len(groups) - 1)
    return float(nearest_is_same(similar, groups)[keep].mean()), float(chance[keep].mean())


def procrustes(a: np.ndarray, b: np.ndarray) -> float:
    r"""What of `b` no shift, rotation, reflection and scaling makes `a`: the disparity of Procrustes analysis.

    Both are centred and brought to a Frobenius norm of 1; the least sum of squared differences is then
    :math:`1 - (\sum_i \sigma_i(A'B))^2`. scipy's `procrustes` gives the same, of as many columns.

    Parameters
    ----------
    a, b : (n, d) and (n, e) arrays
        The same things in the same order; the narrower counts as padded with zeros.

    Returns
    -------
    float
        0..1; 1 where one of them has all things in one place.

    References
    ----------
    J. C. Gower: Generalized Procrustes Analysis. Psychometrika 40, 1975.
    """
    tables = [finite.check(np.asarray(table, np.float64), "the vectors", finite.NO_FIGURE) for table in (a, b)]
    tables = [table - table.mean(axis=0) for table in tables]
    norms = [np.linalg.norm(table) for table in tables]
    if not all(norms):
        return 1.0
    a, b = (np.linalg.qr(table.T, mode="r").T / norm for table, norm in zip(tables, norms))  # as wide as n at the most
    return float(max(0, 1 - np.linalg.svd(a.T @ b, compute_uv=False).sum() ** 2))


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
