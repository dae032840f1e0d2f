"""How well pictures find their words and words their pictures; what simpler ways do."""

from __future__ import annotations

from collections.abc import Mapping

import mxnet as mx
import numpy as np

from common import metrics
from common.show import tables

KS = (1, 2, 5, 10, 20)  # accuracy@k is what DeViSE calls flat hit@k
FOUND = 10  # pictures a word's search shows
PENALTIES = (1.0, 10.0, 1e2, 1e3, 1e4)
CONSE = 10  # classes that ConSE mixes
SHOWN = ("accuracy", "zero_shot", "zero_shot_accuracy@5", "zero_shot_accuracy@10", "seen", "unseen", "harmonic",
         "ausuc", "map_unseen", "recall@1_unseen")  # fmt: skip


def word_metrics(
    valid: np.ndarray, valid_labels, test: np.ndarray, test_labels, words: np.ndarray, seen: int, handicap=0.0
) -> dict:
    """All metrics of one way to put pictures among words.

    Parameters
    ----------
    valid, test : (n, dim) arrays
        Unit vectors of held-back pictures of seen classes and of pictures of unseen ones; either may have no row.
    valid_labels, test_labels : (n,) int arrays
        Rows of `words`.
    words : (classes, dim) array
        Unit vectors, those of the seen classes first.
    seen : int
        How many classes were trained on.
    handicap : float
        Taken off the cosines with seen words where seen and unseen classes compete (calibrated stacking, Chao et al.
        2016).

    Returns
    -------
    dict of str to float
        ``accuracy`` of pictures of seen classes among the seen words; those of `common.metrics.zero_shot`; ``ausuc``;
        ``map_seen``, ``map_unseen``, ``precision@10_seen``, ``precision@10_unseen``: each word searched for in all
        pictures; ``recall@1_unseen``: each picture of an unseen class searched for among the others of these.
    """
    vectors = np.concatenate([part for part in (valid, test) if len(part)])
    labels = np.concatenate([valid_labels, test_labels]).astype(np.int64)
    is_seen = np.arange(len(words)) < seen
    cosines = vectors @ words.T
    result = {}
    if len(valid):
        result["accuracy"] = metrics.accuracy_at_k(cosines[: len(valid), :seen], valid_labels, (1,))["accuracy"]
    ks = [k for k in KS if k < max(len(words) - seen, 2)]
    result.update(metrics.zero_shot(cosines - handicap * is_seen, labels, is_seen, ks))
    if len(valid) and len(test):
        result["ausuc"] = metrics.area_seen_unseen(cosines, labels, is_seen)
    result.update(picture_search(test, test_labels))
    shown = np.unique(labels)
    found = metrics.text_to_image(cosines.T[shown], labels[None] == shown[:, None], (FOUND,))
    for kind, chosen in (("seen", is_seen[shown]), ("unseen", ~is_seen[shown])):
        if chosen.any():
            result[f"map_{kind}"] = float(found["average_precision"][chosen].mean())
            result[f"precision@{FOUND}_{kind}"] = float(found[f"precision@{FOUND}"][chosen].mean())
    return result


def picture_search(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How often the picture nearest to one of an unseen class is of that class: vectors (n, d), labels (n,)."""
    if len(vectors) < 2:
        return {}
    return {"recall@1_unseen": metrics.recall_at_k(metrics.unit(vectors), labels, (1,))["recall@1"]}


def validation(outputs: np.ndarray, labels: np.ndarray, loss, ctx=None, words: np.ndarray | None = None) -> dict:
    """The metrics after an epoch, on held-back pictures of seen classes.

    Parameters
    ----------
    outputs : (n, seen) or (n, dim) array
        Logits; with `words`, embeddings.
    labels : (n,) int array
    loss : callable (outputs, labels) -> losses (n,)
    ctx : mx.Context, optional
        Of `loss`.
    words : (seen, dim) array, optional
        Unit vectors.

    Returns
    -------
    dict of str to float
        ``valid_loss``, ``accuracy``, ``score``, which orders epochs by accuracy and then by loss, and with `words`
        ``cosine``, the mean one with a picture's own word.
    """
    values = loss(mx.nd.array(outputs, ctx=ctx), mx.nd.array(labels, ctx=ctx, dtype="int32"))
    valid_loss = float(values.mean().asscalar())
    scores = outputs if words is None else outputs @ words.T
    accuracy = metrics.accuracy_at_k(scores, labels, (1,))["accuracy"]
    result = {"valid_loss": valid_loss, "accuracy": accuracy, "score": accuracy + 1e-6 / (1 + valid_loss)}
    if words is not None:
        result["cosine"] = float(np.mean(scores[np.arange(len(scores)), labels]))
    return result


def evaluate(net, splits, reader) -> dict:
    """`word_metrics` of a model on the held-back and the unseen pictures.

    Parameters
    ----------
    net : examples.visual_semantic.model.VisualSemanticNet
    splits : data.Splits
    reader : data.Reader
    """
    valid, test = (reader.embed(net, split) for split in (splits.valid, splits.test))
    return word_metrics(valid, splits.valid.labels, test, splits.test.labels, net.words, len(splits.seen))


def chance(seen: int, unseen: int) -> dict:
    """The metrics of guessing among so many seen and unseen classes."""
    result = {"accuracy": 1 / seen, "seen": 1 / (seen + unseen)}
    if unseen:
        fraction = 1 / (seen + unseen)
        result.update({"zero_shot": 1 / unseen, "unseen": fraction, "harmonic": fraction})
        ks = [k for k in KS if k < max(unseen, 2)]
        result.update({f"zero_shot_{metrics.accuracy_key(k)}": k / unseen for k in ks})
    return result


class Ridge:
    """Ridge regression of features onto word vectors: the plainest way from pictures to words.

    Parameters
    ----------
    features : (n, width) array
    targets : (n, dim) array
        The word vector of each picture's class.
    penalty : float
        On the squared weights; `refit` changes it.
    """

    def __init__(self, features: np.ndarray, targets: np.ndarray, penalty: float):
        features, targets = np.asarray(features, np.float64), np.asarray(targets, np.float64)
        self.mean, self.offset = features.mean(axis=0), targets.mean(axis=0)
        centred = features - self.mean
        self._gram, self._moments = centred.T @ centred, centred.T @ (targets - self.offset)
        self.refit(penalty)

    def refit(self, penalty: float) -> Ridge:
        """The same pictures with another penalty."""
        self.penalty = penalty
        self.weights = np.linalg.solve(self._gram + penalty * np.eye(len(self._gram)), self._moments)
        return self

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Unit vectors (n, dim) among the words."""
        return metrics.unit((features - self.mean) @ self.weights + self.offset) if len(features) else features


def ridge(train, train_labels, valid, valid_labels, words: np.ndarray, seen: int) -> Ridge:
    """The ridge regression whose penalty, of `PENALTIES`, classifies the seen pictures held back best."""
    model, right = Ridge(train, words[train_labels], PENALTIES[0]), {}
    for penalty in PENALTIES:
        predictions = (model.refit(penalty)(valid) @ words[:seen].T).argmax(axis=1)
        right[penalty] = float(np.mean(predictions == valid_labels)), penalty
    return model.refit(max(right, key=right.get))


def conse(logits: np.ndarray, words: np.ndarray, max_classes: int = CONSE) -> np.ndarray:
    """Convex combination of semantic embeddings (ConSE, Norouzi et al. 2014): a classifier's logits as a word vector.

    Parameters
    ----------
    logits : (n, seen) array
    words : (seen, dim) array
    max_classes : int
        So many of the likeliest classes are mixed, by their probabilities.

    Returns
    -------
    (n, dim) unit vectors
    """
    if not len(logits):
        return logits
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    if max_classes < probabilities.shape[1]:
        min_kept = np.partition(probabilities, -max_classes, axis=1)[:, -max_classes]
        probabilities = np.where(probabilities >= min_kept[:, None], probabilities, 0)
    return metrics.unit(probabilities @ words)


def together(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where two ways to put pictures among words agree: the unit vectors (n, dim) half-way between theirs."""
    return metrics.unit(one + other) if len(one) else one


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Methods and their metrics as lines of text; metrics that none of them has are left out."""
    return tables.table(rows, SHOWN)
