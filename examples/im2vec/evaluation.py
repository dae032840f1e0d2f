"""What a model is worth: how well it names held-back pictures, and what its vectors say about the classes.

Plain NumPy, but for `encode` and `scores`, which run the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mxnet as mx
import numpy as np
from scipy import sparse

from common.backbones import features
from common.data.loader import Loader
from common.files.disk import write_array
from common.files.errors import UserError, near
from common.metrics import accuracy_at_k, unit
from common.text.vectors import WordVectors
from common.text.vocabulary import tokenise
from common.train.workers import SharedEvaluation

BLOCK = 8192  # pictures summed at once
EXAMPLE_SIDE = 32  # pixels of a picture that is compared as it is, and the least of the example of a class


def encode(network, loader, shared: SharedEvaluation | None = None) -> np.ndarray:
    """What `network` gives for every picture of `loader`, in order: (n, d) float32.

    Of pictures of several views its head sees the mean of their features. With `shared` each worker reads a part.
    """
    head = None
    if isinstance(loader, Loader) and loader.transform.count > 1:
        network, head = network.backbone, network.head
    if shared:
        return shared.encode(network, loader, fill=False, head=head)
    return features.encode(network, loader.epoch(), fill=False, head=head)


def scores(objective, found: np.ndarray) -> np.ndarray:
    """Log-probability of each class, up to a constant of the picture, for vectors f(x): (n, classes)."""
    return objective.scores(mx.nd.array(found)).asnumpy()


def accuracy(of_classes: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Top-1 and top-5 accuracy; a class that ties with the right one counts before it."""
    return accuracy_at_k(of_classes, labels, (1, 5))


def class_means(vectors: np.ndarray, labels: np.ndarray, classes: int, weights: np.ndarray | None = None) -> np.ndarray:
    """The mean vector of each class: (classes, d) float32.

    `weights` (n,) is how often each vector counts; default is once.
    """
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    sums = np.zeros((classes, vectors.shape[1]))
    for start in range(0, len(labels), BLOCK):
        part = slice(start, start + BLOCK)
        places = labels[part], np.arange(len(labels[part]))
        sums += sparse.csr_array((weights[part], places), (classes, len(places[1]))) @ vectors[part].astype(np.float64)
    return (sums / np.bincount(labels, weights, classes)[:, None]).astype(np.float32)


def typical(of_classes: np.ndarray, pictures, side: int = EXAMPLE_SIDE) -> np.ndarray:
    """For each class its picture with the highest probability: (classes, side, side, 3) uint8."""
    own = of_classes - np.logaddexp.reduce(of_classes, axis=1, keepdims=True)
    classes = len(pictures.class_names)
    best = [max(np.flatnonzero(pictures.labels == c), key=lambda i, c=c: own[i, c]) for c in range(classes)]
    return pictures.subset(best).array(side)


def keep_vectors(run, objective, epoch: int) -> Path:
    """Write the class vectors as they are after `epoch` epochs into the run folder."""
    folder = run.folder / "vectors"
    folder.mkdir(exist_ok=True)
    path = folder / f"epoch-{epoch:04d}.npy"
    write_array(path, objective.class_vectors())
    return path


def centred(vectors: np.ndarray) -> np.ndarray:
    """The vectors less their mean: (n, d) float32."""
    return (vectors - vectors.mean(axis=0)).astype(np.float32)


def directions(vectors: np.ndarray) -> np.ndarray:
    """The vectors at length one after the mean of all is taken off: (n, d) float32.

    What all vectors share says nothing about how they differ: it holds the objective's prior (how seldom any class is
    right), and softmax does not even notice it.
    """
    return unit(centred(vectors))


def similarity(vectors: np.ndarray) -> np.ndarray:
    """Cosine of each pair of `directions`: (n, n)."""
    rows = directions(vectors)
    return np.clip(rows @ rows.T, -1, 1)


def pairs(matrix: np.ndarray) -> np.ndarray:
    """The entries for each unordered pair of different classes: (n * (n - 1) / 2,)."""
    return ((matrix + matrix.T) / 2)[np.triu_indices(len(matrix), 1)]


def stability(matrices: Sequence[np.ndarray]) -> float:
    """Mean Pearson correlation, over all pairs of seeds, of their similarity matrices off the diagonal."""
    table = np.corrcoef([pairs(matrix) for matrix in matrices])
    return float(table[np.triu_indices(len(table), 1)].mean())


def word_similarity(names: Sequence[str], path) -> tuple[np.ndarray, list[int]]:
    """Cosine of the names' word vectors, the mean where a name has several words.

    Parameters
    ----------
    names : sequence of str
    path
        See `common.text.vectors.WordVectors.read`.

    Returns
    -------
    similar : (m, m) array
    known : list of m int
        The names that have a word with a vector; only these are compared.
    """
    tokens = [tokenise(name) for name in names]
    vectors = WordVectors.read(path, {word for words in tokens for word in words})
    if vectors.left_out:
        print(vectors.report())
    found = [[word for word in words if word in vectors] for words in tokens]
    known = [i for i, words in enumerate(found) if words]
    rows = unit(np.array([vectors.matrix(found[i]).mean(axis=0) for i in known]))
    return rows @ rows.T, known


def nearest(similar: np.ndarray, names: Sequence[str], k: int = 5) -> dict[str, list[tuple[str, float]]]:
    """The `k` most similar other classes of each class, with their cosine."""
    others = similar.copy()
    np.fill_diagonal(others, -np.inf)
    order = np.argsort(-others, axis=1, kind="stable")[:, : min(k, len(names) - 1)]
    return {name: [(names[j], float(similar[i, j])) for j in row] for i, (name, row) in enumerate(zip(names, order))}


def analogy(expression: str, vectors: np.ndarray, names: Sequence[str], k: int = 5) -> list[tuple[str, float]]:
    """The classes nearest to a sum such as ``"lion - tiger + wolf"``, those named in it left out, with their cosine.

    Names with blanks are matched whole: the longest name at each position counts. As in word2vec the vectors are
    normalised to length one, here after the mean of all was subtracted.

    Raises
    ------
    UserError
        A word that is no class, with the near ones.
    """
    terms = parse(expression, names)
    rows = directions(vectors)
    number = {name: i for i, name in enumerate(names)}
    total = sum(sign * rows[number[name]] for sign, name in terms)
    cosine = rows @ unit(total[None])[0]
    named = {name for _, name in terms}
    return [(names[i], float(cosine[i])) for i in np.argsort(-cosine, kind="stable") if names[i] not in named][:k]


def parse(expression: str, names: Sequence[str]) -> list[tuple[int, str]]:
    """``"a - b + c"`` -> ``[(1, "a"), (-1, "b"), (1, "c")]``. Blanks stand around signs, so names may hold them."""
    terms, sign, words = [], 1, []
    for word in [*expression.split(), "+"]:
        if word not in ("+", "-") or not words:  # after a sign comes a name, be it a sign itself
            words.append(word)
        else:
            terms.append((sign, " ".join(words)))
            sign, words = (1 if word == "+" else -1), []
    for _, name in terms:
        if name not in names:
            raise UserError(f"--analogy {expression!r}: no class is called {name!r}{near(name, names)}")
    return terms
