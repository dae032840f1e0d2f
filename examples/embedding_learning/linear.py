"""Linear maps of frozen features in closed form.

PCA whitening, shrunk linear discriminant analysis, and whitening by the covariance within classes.
"""

from __future__ import annotations

import dataclasses

import faiss
import numpy as np
from scipy.linalg import eigh

from common.files import finite
from common.files.errors import UserError

SHRINKAGES = {  # tried on validation pictures; the first one where there are none; None is Ledoit and Wolf's
    "lda": (None, 0.1, 0.3, 0.6, 0.9),
    "wccn": (0.5, 0.1, 0.3, 0.7, 0.9),
}
TITLES = {"lda": "LDA", "wccn": "WCCN"}
FLAT = 1e-6  # a variance below this fraction of the largest is rounding


@dataclasses.dataclass(frozen=True)
class Linear:
    """Features (n, width) -> (n, d): ``(x - mean) @ matrix``.

    Attributes
    ----------
    mean : (width,) float64
    matrix : (width, d) float64
    """

    mean: np.ndarray
    matrix: np.ndarray

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
    x = _checked(features)
    mean = x.mean(axis=0)
    values, vectors = eigh(_covariance([x], 0.0))
    there = np.flatnonzero(values > FLAT * max(values[-1], 0))[::-1][:dims]
    if len(there) < 2:
        raise UserError(f"the features of {len(x)} training pictures vary in {len(there)} directions, and PCA needs 2")
    return Linear(mean, vectors[:, there] / np.sqrt(values[there]))


def itq(features: np.ndarray, dims: int, seed: int = 0) -> Linear:
    """Principal components, turned so that their signs lose least (Gong and Lazebnik 2011, section 2.2; faiss's).

    Parameters
    ----------
    features : (n, width) array
    dims : int
        Bits; no more than have a variance.
    seed : int
        Of the rotation that it starts from.

    Raises
    ------
    UserError
        Fewer than two components have a variance.

    References
    ----------
    Y. Gong, S. Lazebnik: Iterative Quantization: A Procrustean Approach to Learning Binary Codes. CVPR 2011.
    """
    whitening = pca_whitening(features, dims)
    components = whitening.matrix / np.linalg.norm(whitening.matrix, axis=0)
    rotation = faiss.ITQMatrix(components.shape[1])
    rotation.seed = seed + 1
    rotation.train(np.ascontiguousarray((features - whitening.mean) @ components, np.float32))
    turn = faiss.vector_to_array(rotation.A).reshape(components.shape[1], -1)
    return Linear(whitening.mean, components @ turn.T.astype(np.float64))


def lda(features: np.ndarray, labels: np.ndarray, dims: int, shrinkage: float | None = None) -> Linear:
    r"""The directions in which classes lie far apart for their own spread, which becomes one in each.

    As scikit-learn's ``LinearDiscriminantAnalysis(solver="eigen", shrinkage=...)`` has them, less the mean: those with
    the largest eigenvalues of :math:`S_t v = \lambda S_w v`. That makes a (width, width) matrix of each class, this
    none, so that thousands of classes take seconds.

    Parameters
    ----------
    features : (n, width) array
    labels : (n,) int array
    dims : int
        At most; classes less one are there.
    shrinkage : float, optional
        0..1, of both covariances; default is Ledoit and Wolf's of each class.

    Raises
    ------
    UserError
        There are too few classes or pictures: says what is needed.
    """
    check_classes(labels, "LDA")
    return _by_spread(features, labels, min(dims, len(np.unique(labels)) - 1), shrinkage, shrinkage)


def wccn(features: np.ndarray, labels: np.ndarray, dims: int, shrinkage: float | None = 0.5) -> Linear:
    r"""The space in which the pictures of a class spread alike in all directions, and what varies most of it.

    Within-class covariance normalisation: those with the largest eigenvalues of :math:`S_t v = \lambda S_w v`, where
    :math:`S_w` alone is shrunk. Cosines are then those of Mahalanobis space, and the number of directions is not bound
    by that of the classes: what tells apart classes that were not learned from is kept, which LDA leaves out.

    Parameters
    ----------
    features : (n, width) array
    labels : (n,) int array
    dims : int
        At most; no more than `width` or the pictures less one.
    shrinkage : float, optional
        0..1, as in `lda`.

    Raises
    ------
    UserError
        There are too few classes or pictures: says what is needed.

    References
    ----------
    A. O. Hatch, S. Kajarekar, A. Stolcke: Within-Class Covariance Normalization for SVM-based Speaker Recognition.
    Interspeech 2006.
    """
    check_classes(labels, "WCCN")
    return _by_spread(features, labels, min(dims, len(labels) - 1), shrinkage, 0.0)


FITS = {"lda": lda, "wccn": wccn}


def _by_spread(features, labels, dims: int, within_shrinkage: float | None, total_shrinkage: float | None) -> Linear:
    """The directions with the largest variance for the spread of a class, which becomes one in each."""
    x = _checked(features)
    within = _covariance([x[labels == label] for label in np.unique(labels)], within_shrinkage)
    total = _covariance([x], total_shrinkage)
    spread, width = np.trace(within) / len(within), len(within)
    if spread <= FLAT**2 * np.trace(total) / width:
        raise UserError("LDA and WCCN: the training pictures of a class all look the same to the network")
    within += FLAT * spread * np.eye(width)  # of a handful of pictures Ledoit and Wolf's is 0
    _, vectors = eigh(total, within, subset_by_index=[max(0, width - dims), width - 1])
    return Linear(x.mean(axis=0), vectors[:, ::-1])


def _covariance(groups: list[np.ndarray], shrinkage: float | None) -> np.ndarray:
    r"""The mean over all rows of the covariances of their groups, shrunk to :math:`(1 - s) S + s \, T`.

    With a number :math:`T = \mathrm{tr}(S) / p \, I`; with None, in each group, the same of its standardised columns.
    """
    from sklearn.preprocessing import StandardScaler

    n, width = sum(map(len, groups)), groups[0].shape[1]
    rows, target = [], np.zeros(width)
    for group in groups:
        centred = group - group.mean(axis=0)
        if shrinkage is None:
            scale = StandardScaler().fit(group).scale_
            share, mean = _ledoit_wolf(centred / scale)
            target += len(group) / n * share * mean * scale**2
            centred *= np.sqrt(1 - share)
        rows.append(centred)
    stacked = np.concatenate(rows)
    covariance = stacked.T @ stacked / n
    if shrinkage is not None:
        target += shrinkage * np.trace(covariance) / width
        covariance *= 1 - shrinkage
    return covariance + np.diag(target)


def _ledoit_wolf(x: np.ndarray) -> tuple[float, float]:
    """The shrinkage of Ledoit and Wolf (2004, equation 14) for centred rows, and the mean variance.

    scikit-learn's `ledoit_wolf_shrinkage`, by the smaller of the two matrices of inner products.
    """
    n, width = x.shape
    products = x @ x.T if n < width else x.T @ x
    squares = np.sum(x * x, axis=1)
    norm, mean = np.sum(products * products) / n**2, squares.sum() / n / width
    delta = norm / width - mean**2
    beta = (np.sum(squares**2) / n - norm) / (n * width)
    return (float(np.clip(beta / delta, 0, 1)) if delta > 0 else 0.0), mean


def check_classes(labels: np.ndarray, title: str) -> None:
    """Refuse training pictures that a closed form, called `title`, cannot learn from.

    Raises
    ------
    UserError
        There are fewer than three classes, or none has two pictures.
    """
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 3:
        raise UserError(f"{title} needs 3 training classes, and there are {len(counts)}")
    if counts.max() < 2:
        raise UserError(f"{title} needs a training class with 2 pictures, and each has 1: it learns from their spread")


def fit_head(head: str, net, inputs, evaluator, say) -> dict[str, float]:
    """Put a closed form of the training pictures' features into the network's dense layer.

    Where there are validation pictures the shrinkage is the best on them, else the first of `SHRINKAGES`.

    Parameters
    ----------
    head : {"lda", "wccn"}
    net : examples.embedding_learning.model.EmbeddingNet
        Its dense layer is replaced by one of as many numbers, or of as many as there are (LDA: classes less one).
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
    tried, dims, shrinkages = [], net.embed_dim, SHRINKAGES[head]
    for shrinkage in shrinkages if "validation" in inputs.pictures else shrinkages[:1]:
        fitted = FITS[head](features, labels, dims, shrinkage)
        net.put_head(fitted.matrix.T, -fitted.mean @ fitted.matrix)
        tried.append((evaluator.choose(), shrinkage, fitted))
    figures, shrinkage, fitted = max(tried, key=lambda one: one[0][evaluator.best])  # the first of equal ones
    net.put_head(fitted.matrix.T, -fitted.mean @ fitted.matrix)
    why = "no validation pictures to choose on"
    if len(tried) > 1:
        why = ", ".join(f"{_name(s)}: {found[evaluator.best]:.3f}" for found, s, _ in tried)
        why = f"the best by {evaluator.best} ({why})"
    say(
        f"{TITLES[head]} of {len(np.unique(labels))} classes: {net.embed_dim} dimensions, shrinkage"
        f" {_name(shrinkage)}, {why}"
    )
    return figures


def _name(shrinkage: float | None) -> str:
    return "Ledoit-Wolf" if shrinkage is None else f"{shrinkage:g}"


def _checked(features: np.ndarray) -> np.ndarray:
    return finite.check(features, "the features", finite.NO_FIGURE).astype(np.float64)
