"""Linear ways from pictures' features to words, of the field's comparisons (Xian et al. 2019, section 3).

Each learns a matrix :math:`W` (width, dim) for the score :math:`F(x, y) = x^\\top W s_y` of a picture's features `x`,
less their mean and in standard deviations, and the unit word vector `s_y` of a class. What each needs chosen is chosen
on classes that it was not fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from scipy.linalg import solve

from common import metrics
from common.data.splits import draw_classes
from common.files.errors import UserError

TITLES = {"eszsl": "ESZSL", "sje": "SJE", "ale": "ALE", "devise": "DeViSE"}
FEWEST = 4  # seen classes, of which two are held back
DRAWS = 3  # of classes that are held back for a choice
FACTORS = 10.0 ** np.arange(-3, 4)  # of ESZSL's penalties, in means of the diagonals that they are added to
RATES, EPOCHS, BATCH = (0.1, 1.0, 10.0), 10, 64


class Linear:
    """Features (n, width) -> unit vectors (n, dim) among the words.

    Parameters
    ----------
    mean, spread : (width,) array
        Of the training pictures' features.
    weights : (width, dim) array

    Attributes
    ----------
    constants : tuple
        What it was fitted with: ESZSL's factors, or learning rate and epochs.
    """

    constants: tuple = ()

    def __init__(self, mean: np.ndarray, spread: np.ndarray, weights: np.ndarray):
        self.mean, self.spread, self.weights = mean, spread, weights

    @classmethod
    def of(cls, features: np.ndarray) -> Linear:
        """One without weights yet, for these training pictures."""
        features = np.asarray(features, np.float64)
        return cls(features.mean(axis=0), features.std(axis=0) + 1e-6, np.empty(0))

    def standard(self, features: np.ndarray) -> np.ndarray:
        """What the weights are multiplied by, at length one for a typical picture."""
        return (features - self.mean) / self.spread / np.sqrt(len(self.mean))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return metrics.unit(self.standard(features) @ self.weights) if len(features) else features


def fit(
    name: str, features: np.ndarray, labels: np.ndarray, words: np.ndarray, seed: int = 0,
    held: Iterable[np.ndarray] | None = None,
) -> Linear:  # fmt: skip
    """A baseline, with what it needs chosen on classes held back from it.

    Parameters
    ----------
    name : {"eszsl", "sje", "ale", "devise"}
    features : (n, width) array
    labels : (n,) int array
    words : (classes, dim) array
        Unit vectors of the classes trained on.
    seed : int
        Of the classes held back, and of the order of pictures.
    held : iterable of int arrays, optional
        The classes held back, each time; default is `held_back`.

    Raises
    ------
    UserError
        There are too few classes to hold some back.
    """
    if len(words) < FEWEST:
        raise UserError(f"{TITLES[name]} needs {FEWEST} seen classes to choose its constants, there are {len(words)}")
    x, every = Linear.of(features).standard(features), np.arange(len(words))
    scores: dict[tuple, list[float]] = {}
    for some in held or held_back(len(words), seed):
        new, kept = np.isin(labels, some), np.setdiff1d(every, some)
        given = x[~new], np.searchsorted(kept, labels[~new]), words[kept]
        for constants, weights in solutions(name, *given, seed):
            right = _accuracy(x[new], np.searchsorted(some, labels[new]), words[some], weights)
            scores.setdefault(constants, []).append(right)
    best = max(scores, key=lambda constants: np.mean(scores[constants]))
    return fit_with(name, best, features, labels, words, seed)


def fit_with(name: str, constants: tuple, features, labels, words, seed: int = 0) -> Linear:
    """A baseline with these constants, such as `fit` chose; for the rest see there."""
    found = Linear.of(features)
    every = solutions(name, found.standard(features), labels, words, seed)
    found.weights, found.constants = next(weights for tried, weights in every if tried == constants), constants
    return found


def refit(name: str, constants: tuple, seed: int = 0) -> Callable:
    """`fit_with` of these constants, as a callable (features, labels, words) -> `Linear`."""
    return lambda features, labels, words: fit_with(name, constants, features, labels, words, seed)


def solutions(name: str, x, labels, words, seed: int = 0) -> Iterator[tuple[tuple, np.ndarray]]:
    """The weights for all constants that are tried: `eszsl` or `ranked`."""
    words = np.asarray(words, np.float64)
    return eszsl(x, labels, words) if name == "eszsl" else ranked(name, x, labels, words, seed)


def held_back(classes: int, seed: int, draws: int = DRAWS) -> Iterator[np.ndarray]:
    """Draws of a fifth of the classes, two at least, to choose by: sorted labels."""
    for draw in range(draws):
        chosen = draw_classes(list(map(str, range(classes))), max(2, classes // 5), seed + draw)
        yield np.sort(np.array(chosen, np.int64))


def _accuracy(x: np.ndarray, labels: np.ndarray, words: np.ndarray, weights: np.ndarray) -> float:
    """The per-class mean accuracy among these words."""
    right = (x @ weights @ words.T).argmax(axis=1) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def eszsl(x: np.ndarray, labels: np.ndarray, words: np.ndarray) -> Iterator[tuple[tuple, np.ndarray]]:
    r"""Embarrassingly simple zero-shot learning, for all pairs of penalties: a squared loss with a closed form.

    .. math:: W = (X^\top X + \gamma I)^{-1} X^\top Y S (S^\top S + \lambda I)^{-1}, \qquad Y_{iy} = \pm 1.

    Parameters
    ----------
    x : (n, width) array
    labels : (n,) int array
    words : (classes, dim) array

    Yields
    ------
    (gamma, lambda) as factors of the mean diagonals, and the (width, dim) weights

    References
    ----------
    B. Romera-Paredes, P. Torr: An Embarrassingly Simple Approach to Zero-Shot Learning. ICML 2015.
    """
    signs = np.where(labels[:, None] == np.arange(len(words)), 1.0, -1.0)
    of_x, moments, of_words = x.T @ x, x.T @ signs @ words, words.T @ words
    for gamma in FACTORS:
        left = solve(of_x + gamma * _mean_diagonal(of_x), moments, assume_a="pos")
        for penalty in FACTORS:
            right = solve(of_words + penalty * _mean_diagonal(of_words), left.T, assume_a="pos")
            yield (float(gamma), float(penalty)), right.T


def _mean_diagonal(matrix: np.ndarray) -> np.ndarray:
    return np.trace(matrix) / len(matrix) * np.eye(len(matrix))


def ranked(
    name: str, x: np.ndarray, labels: np.ndarray, words: np.ndarray, seed: int = 0
) -> Iterator[tuple[tuple, np.ndarray]]:
    """DeViSE, ALE or SJE by stochastic gradient descent from zero, for all learning rates and after each epoch.

    Parameters
    ----------
    name : {"devise", "ale", "sje"}
        See `slopes`.
    x : (n, width) array
    labels : (n,) int array
    words : (classes, dim) array
    seed : int

    Yields
    ------
    (learning rate, epochs) and the (width, dim) weights
    """
    coordinates, axes = (part.T for part in np.linalg.qr(words.T)[::-1])  # all steps lie in the span of the words
    rng, weights = np.random.default_rng(seed), np.zeros((x.shape[1], len(RATES), len(axes)))
    each, found = np.array(RATES)[:, None], []
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        for start in range(0, len(x), BATCH):  # all rates in one go, since each goes through the same batches
            chosen = order[start : start + BATCH]
            batch = x[chosen]
            scores = np.tensordot(batch, weights, 1) @ coordinates.T
            slope = slopes(name, scores.reshape(-1, len(words)), np.repeat(labels[chosen], len(RATES)))
            steps = each * (slope.reshape(scores.shape) @ coordinates) / len(batch)
            weights = weights - np.tensordot(batch.T, steps, 1)
        found.append(weights)
    for i, lr in enumerate(RATES):
        for epoch, of_rates in enumerate(found):
            yield (lr, epoch + 1), of_rates[:, i] @ axes


def slopes(name: str, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    r"""The derivative of the ranking losses of pictures with classes y by their scores: (n, classes).

    With the violations :math:`\ell_j = [1 - F(x, y) + F(x, j)]_+` of the classes :math:`j \ne y`, of which r are
    above 0,

    .. math:: \text{devise: } \sum_j \ell_j, \qquad \text{ale: } \frac{1}{r} \sum_{k=1}^{r} \frac{1}{k} \sum_j \ell_j,
              \qquad \text{sje: } \max_j \ell_j .

    The margin is one for all: another one is another learning rate, since the weights start at zero.

    Parameters
    ----------
    name : {"devise", "ale", "sje"}
    scores : (n, classes) array
    labels : (n,) int array

    References
    ----------
    DeViSE: A. Frome et al., NIPS 2013, equation 1. ALE: Z. Akata, F. Perronnin, Z. Harchaoui, C. Schmid:
    Label-Embedding for Image Classification. PAMI 2016, with all classes' ranks instead of sampled ones. SJE: Z. Akata,
    S. Reed, D. Walter, H. Lee, B. Schiele: Evaluation of Output Embeddings for Fine-Grained Image Classification.
    CVPR 2015.
    """
    rows = np.arange(len(scores))
    violations = 1 + scores - scores[rows, labels][:, None]
    violations[rows, labels] = 0
    result = (violations > 0).astype(np.float64)
    if name == "ale":
        harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, scores.shape[1] + 1))])
        count = result.sum(axis=1).astype(np.int64)
        result *= (harmonic[count] / np.maximum(count, 1))[:, None]
    if name == "sje":
        result *= np.arange(scores.shape[1]) == violations.argmax(axis=1)[:, None]
    result[rows, labels] = -result.sum(axis=1)
    return result
