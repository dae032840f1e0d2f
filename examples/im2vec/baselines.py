"""Class vectors in closed form, to set the learned ones beside: canonical correlation, and a factorised confusion."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky, solve_triangular, svd

from examples.im2vec import evaluation

FLAT = 1e-9  # of the mean variance, added to a covariance so that it can be inverted
ENERGY = 0.9  # of the sum of squared singular values, which the default rank holds


def canonical(
    rows: np.ndarray, labels: np.ndarray, classes: int, shrinkage: float = 0.0, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""The means of each class's canonical variates, from canonical correlation analysis of pictures and classes.

    With the classes written as indicators y, the directions :math:`w` whose :math:`w \cdot x` correlates most with a
    function of the class are those of linear discriminant analysis (Bartlett 1938). With M the class means less the
    mean of all, P the classes' shares and :math:`L L' = S` the covariance of all pictures,
    :math:`P^{1/2} M L'^{-1} = U \operatorname{diag}(\rho) V'` has the canonical correlations :math:`\rho`, and
    :math:`M L'^{-1} V` are the class means of the variates.

    Parameters
    ----------
    rows : (n, width) array
        Features.
    labels : (n,) int
    classes : int
    shrinkage : float
        0..1: so much of S is replaced by its mean variance times I.
    weights : (n,) array, optional
        How often each picture counts.

    Returns
    -------
    vectors : (classes, m) float64
        The largest correlation first; m is the smaller of `width` and `classes`.
    correlations : (m,) float64
        0..1, descending.

    References
    ----------
    H. Hotelling: Relations Between Two Sets of Variates. Biometrika 28, 1936.
    M. S. Bartlett: Further Aspects of the Theory of Multiple Regression. Proc. Cambridge Phil. Soc. 34, 1938.
    """
    rows = np.asarray(rows, np.float64)
    weights = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    fractions = weights / weights.sum()
    centred = rows - fractions @ rows
    covariance = (centred * fractions[:, None]).T @ centred
    width = len(covariance)
    mean = np.trace(covariance) / width
    covariance *= 1 - shrinkage
    covariance[np.diag_indices(width)] += (shrinkage + FLAT) * mean
    means = evaluation.class_means(centred, labels, classes, weights)
    whitened = solve_triangular(cholesky(covariance, lower=True), means.T, lower=True).T
    shares = np.bincount(labels, fractions, classes)
    _, correlations, axes = svd(np.sqrt(shares)[:, None] * whitened, full_matrices=False)
    return whitened @ axes.T, np.minimum(correlations, 1)


def pmi(joint: np.ndarray, positive: bool) -> np.ndarray:
    r"""Pointwise mutual information of right and given classes, :math:`\log p(y, c) / p(y) p(c)`.

    A classifier's confusion is averaged with its transpose first, so that rows and columns stand for the same.

    Parameters
    ----------
    joint : (n, n) array
        How often pictures of class y (row) were taken for class c; counts, or sums of probabilities.
    positive : bool
        What is less than 0 becomes 0.

    Returns
    -------
    (n, n) float64
        0 for what never happened, as Levy and Goldberg have it.
    """
    joint = (joint + joint.T) / 2
    joint = joint / joint.sum()
    margin = joint.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log(joint) - np.log(margin)[:, None] - np.log(margin)
    found[joint == 0] = 0
    return np.maximum(found, 0) if positive else found


def factors(matrix: np.ndarray, rank: int | None = None) -> np.ndarray:
    r"""The rows of :math:`U_r \Sigma_r^{1/2}` of the matrix's truncated singular value decomposition.

    Negative sampling factorises the pointwise mutual information of words and contexts, less a constant; this is the
    direct way, with the root of the singular values on either side (Levy and Goldberg 2014, section 4.2).

    Parameters
    ----------
    matrix : (n, m) array
    rank : int, optional
        Default is the smallest whose singular values hold `ENERGY` of the sum of all squared ones.

    Returns
    -------
    (n, rank) float64
    """
    left, values, _ = svd(matrix, full_matrices=False)
    if rank is None:
        energy = np.cumsum(values**2)
        rank = 1 + int(np.searchsorted(energy, ENERGY * energy[-1]))
    return left[:, :rank] * np.sqrt(values[:rank])
