"""Linear maps of frozen features in closed form: PCA whitening and shrunk linear discriminant analysis."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.linalg import eigh
from sklearn.covariance import ledoit_wolf_shrinkage

from common.files import finite
from common.files.errors import UserError

SHRINKAGES = (0.03, 0.1, 0.3, 0.6, 0.9)  # tried on validation pictures, beside Ledoit and Wolf's
LEAST = 1e-3  # of a handful of pictures Ledoit and Wolf's is 0, and their spread cannot be inverted
FLAT = 1e-6  # a variance below this fraction of the largest is rounding


@dataclasses.dataclass(frozen=True)
class Linear:
    """Features (n, width) -> (n, d): ``(x - mean) @ matrix``.

    Attributes
    ----------
    mean : (width,) float64
    matrix : (width, d) float64
    shrinkage : float or None
        Of the covariance; None: it was not shrunk.
    """

    mean: np.ndarray
    matrix: np.ndarray
    shrinkage: float | None = None

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return ((features - self.mean) @ self.matrix).astype(np.float32)


def pca_whitening(features: np.ndarray, dims: int) -> Linear:
    """The principal components with the largest variance, each at variance one.

    Parameters
    ----------
    features : (n, width) array
    dims : int
        At most; no more than have a variance.

    Raises
    ------
    UserError
        Fewer than two components have a variance.
    """
    x, mean = _centred(features)
    values, vectors = eigh(x.T @ x / len(x))
    there = np.flatnonzero(values > FLAT * max(values[-1], 0))[::-1][:dims]
    if len(there) < 2:
        raise UserError(f"the features of {len(x)} training pictures vary in {len(there)} directions, and PCA needs 2")
    return Linear(mean, vectors[:, there] / np.sqrt(values[there]))


def lda(features: np.ndarray, labels: np.ndarray, dims: int, shrinkage: float | None = None) -> Linear:
    r"""The directions in which classes lie far apart for their own spread, which becomes one in each.

    As scikit-learn's ``LinearDiscriminantAnalysis(solver="eigen", shrinkage=...)``, less the mean: the largest
    eigenvalues of :math:`S_t v = \lambda S_w v`, both covariances shrunk to
    :math:`(1 - s) S + s \, \mathrm{tr}(S) / p \, I`.

    Parameters
    ----------
    features : (n, width) array
    labels : (n,) int array
    dims : int
        At most; classes less one are there.
    shrinkage : float, optional
        `s`, 0..1; default is Ledoit and Wolf's (2004, equation 14) for the spread within classes, one estimate of all.

    Raises
    ------
    UserError
        There are too few classes or pictures: says what is needed.
    """
    check_classes(labels)
    classes, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    x, mean = _centred(features)
    sums = np.zeros((len(classes), x.shape[1]))
    np.add.at(sums, inverse, x)
    residuals = x - (sums / counts[:, None])[inverse]
    if not residuals.any():
        raise UserError("LDA: the training pictures of a class all look the same to the network")
    if shrinkage is None:
        shrinkage = max(float(ledoit_wolf_shrinkage(residuals, assume_centered=True)), LEAST)
    within, total = (_shrunk(rows.T @ rows / len(rows), shrinkage) for rows in (residuals, x))
    width = len(mean)
    largest = [max(0, width - min(dims, len(classes) - 1)), width - 1]
    _, vectors = eigh(total, within, subset_by_index=largest)
    return Linear(mean, vectors[:, ::-1], shrinkage)


def check_classes(labels: np.ndarray) -> None:
    """Refuse training pictures that LDA cannot learn from.

    Raises
    ------
    UserError
        There are fewer than three classes, or none has two pictures.
    """
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 3:
        raise UserError(f"LDA needs 3 training classes, and there are {len(counts)}: of two it makes a single number")
    if counts.max() < 2:
        raise UserError("LDA needs a training class with 2 pictures, and each has 1: it learns from their spread")


def fit_head(net, inputs, evaluator, say) -> dict[str, float]:
    """Put LDA of the training pictures' features into the network's dense layer.

    Where there are validation pictures the shrinkage is the best on them, else Ledoit and Wolf's.

    Parameters
    ----------
    net : examples.embedding_learning.model.EmbeddingNet
        Its dense layer is replaced by one of as many numbers, or of classes less one where that is fewer.
    inputs : examples.embedding_learning.inputs.Inputs
        Of a frozen backbone.
    evaluator : examples.embedding_learning.evaluation.Evaluator
    say : callable (str)
        Is given a line on what was chosen.

    Returns
    -------
    dict of str to float
        Metrics, as an epoch has them.
    """
    features, labels = inputs.features("train"), inputs.pictures["train"].labels
    tried = []
    for shrinkage in (None, *SHRINKAGES) if "validation" in inputs.pictures else (None,):
        fitted = lda(features, labels, net.embed_dim, shrinkage)
        net.put_head(fitted.matrix.T, -fitted.mean @ fitted.matrix)
        tried.append((evaluator.choose(), fitted))
    figures, fitted = max(tried, key=lambda one: one[0][evaluator.best])  # the first of equal ones
    net.put_head(fitted.matrix.T, -fitted.mean @ fitted.matrix)
    classes = len(np.unique(labels))
    chosen = "Ledoit and Wolf's"
    if len(tried) > 1:
        each = ", ".join(f"{one.shrinkage:.3g}: {found[evaluator.best]:.3f}" for found, one in tried)
        chosen = f"the best by {evaluator.best} ({each})"
    say(f"LDA of {classes} classes: {net.embed_dim} dimensions, shrinkage {fitted.shrinkage:.3g}, {chosen}")
    return figures


def _centred(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = finite.check(features, "the features", finite.NO_FIGURE).astype(np.float64)
    mean = x.mean(axis=0)
    return x - mean, mean


def _shrunk(covariance: np.ndarray, shrinkage: float) -> np.ndarray:
    width = len(covariance)
    return (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / width * np.eye(width)
