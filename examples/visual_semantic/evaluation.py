"""How well pictures find their words and words their pictures; what simpler ways do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import mxnet as mx
import numpy as np
from scipy.linalg import solve

from common import metrics
from common.files.errors import UserError
from common.show import tables
from examples.visual_semantic import baselines, protocol

KS = (1, 2, 5, 10, 20)  # accuracy@k is what DeViSE calls flat hit@k
FOUND = 10  # pictures a word's search shows
PENALTIES = (1.0, 10.0, 1e2, 1e3, 1e4)
CONSE = 10  # classes that ConSE mixes
SHOWN = ("accuracy", "zero_shot", "zero_shot_accuracy@5", "zero_shot_accuracy@10", "seen", "unseen", "harmonic",
         "calibrated_harmonic", "ausuc", "map_unseen", "recall@1_unseen")  # fmt: skip


def word_metrics(
    valid: np.ndarray, valid_labels, test: np.ndarray, test_labels, words: np.ndarray, seen: int, handicap=0.0,
    asked: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict:  # fmt: skip
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
        Taken off the cosines with seen words for the metrics that begin with ``calibrated_``, see
        `protocol.calibrated`; 0: without these.
    asked : pair of bool arrays, optional
        See `queries_and_gallery`; default all.

    Returns
    -------
    dict of str to float
        ``accuracy`` of pictures of seen classes among the seen words; those of `common.metrics.zero_shot`; with a
        handicap ``calibrated_unseen``, ``calibrated_seen`` and ``calibrated_harmonic``; ``ausuc``;
        ``map_seen``, ``map_unseen``, ``precision@10_seen``, ``precision@10_unseen``: each word searched for in all
        pictures, or those of the gallery; ``recall@1_unseen``: each picture of an unseen class searched for among the
        others of these.
    """
    vectors = np.concatenate([part for part in (valid, test) if len(part)])
    labels = np.concatenate([valid_labels, test_labels]).astype(np.int64)
    queries, gallery = asked or (np.ones(len(labels), bool), np.ones(len(labels), bool))
    is_seen = np.arange(len(words)) < seen
    every = vectors @ words.T
    cosines, own = every[queries], labels[queries]
    known = is_seen[own]
    result = {}
    if known.any():
        result["accuracy"] = metrics.accuracy_at_k(cosines[known, :seen], own[known], (1,))["accuracy"]
    ks = [k for k in KS if k < max(len(words) - seen, 2)]
    result.update(metrics.zero_shot(cosines, own, is_seen, ks))
    if handicap:
        result.update(protocol.calibrated(cosines, own, is_seen, handicap))
    if known.any() and not known.all():
        result["ausuc"] = metrics.area_seen_unseen(cosines, own, is_seen)
    result.update(picture_search(test, test_labels))
    shown, found = _word_search(every[gallery], labels[gallery])
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


def _word_search(cosines: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The words that pictures (n, words) of a gallery show, and how each is found: `common.metrics.text_to_image`."""
    shown = np.unique(labels)
    return shown, metrics.text_to_image(cosines.T[shown], labels[None] == shown[:, None], (FOUND,))


def queries_and_gallery(splits) -> tuple[np.ndarray, np.ndarray]:
    """Which held-back and then unseen pictures are named by the words, and which the words are searched for in.

    All, unless a table says it (`is_query`, `is_gallery`).

    Parameters
    ----------
    splits : data.Splits

    Raises
    ------
    UserError
        It says so for one of the two alone, and leaves nothing for the other.
    """
    flags = {}
    for name in ("is_query", "is_gallery"):
        of_parts = [(part, getattr(part, name)) for part in (splits.valid, splits.test)]
        flags[name] = np.concatenate([np.ones(len(p), bool) if flag is None else flag for p, flag in of_parts])
    if not any(flag.any() for flag in flags.values()):
        return tuple(np.ones_like(flag) for flag in flags.values())
    for name, flag in flags.items():
        if not flag.any():
            raise UserError(f"no picture that is held back or of an unseen class is marked {name}: mark some of them")
    return tuple(flags.values())


def by_class(vectors: np.ndarray, labels: np.ndarray, words: np.ndarray, seen: int, asked) -> dict[int, dict]:
    """Of each class how its pictures are named, and how it is found.

    Parameters
    ----------
    vectors : (n, dim) array
        Unit vectors of the held-back and then the unseen pictures.
    labels : (n,) int array
        Rows of `words`.
    words : (classes, dim) array
    seen : int
    asked : pair of bool arrays
        See `queries_and_gallery`.

    Returns
    -------
    dict of label to dict
        ``pictures``, the number of those that are named; ``accuracy`` among the seen or the unseen words, whichever it
        is of, and ``generalised_accuracy`` among all; ``map`` and ``precision@10`` of the search for it. What it has no
        picture for is missing.
    """
    queries, gallery = asked
    cosines, own, is_seen = vectors @ words.T, labels[queries], np.arange(len(words)) < seen
    among = {
        "accuracy": np.where(is_seen == is_seen[own][:, None], cosines[queries], -np.inf),
        "generalised_accuracy": cosines[queries],
    }
    rows: dict[int, dict] = {}
    for name, scores in among.items():
        for label, count, value in zip(*metrics.by_class(own, scores.argmax(axis=1) == own)):
            rows.setdefault(int(label), {"pictures": int(count)})[name] = float(value)
    shown, found = _word_search(cosines[gallery], labels[gallery])
    for name, key in (("map", "average_precision"), (f"precision@{FOUND}", f"precision@{FOUND}")):
        for label, value in zip(shown, found[key]):
            rows.setdefault(int(label), {"pictures": 0})[name] = float(value)
    return dict(sorted(rows.items()))


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


def evaluate(net, splits, reader) -> tuple[dict, dict[str, dict]]:
    """`word_metrics` of a model on the held-back and the unseen pictures, and `by_class` by the classes' names.

    Parameters
    ----------
    net : examples.visual_semantic.model.VisualSemanticNet
    splits : data.Splits
    reader : data.Reader
    """
    seen, asked = len(splits.seen), queries_and_gallery(splits)
    vectors = [reader.embed(net, split) for split in (splits.valid, splits.test)]
    labels = [split.labels for split in (splits.valid, splits.test)]
    found = word_metrics(vectors[0], labels[0], vectors[1], labels[1], net.words, seen, asked=asked)
    together = np.concatenate([part for part in vectors if len(part)])
    rows = by_class(together, np.concatenate(labels).astype(np.int64), net.words, seen, asked)
    return found, {splits.class_names[label]: row for label, row in rows.items()}


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
        self.weights = solve(self._gram + penalty * np.eye(len(self._gram)), self._moments, assume_a="pos")
        return self

    def again(self, features: np.ndarray, labels: np.ndarray, words: np.ndarray) -> Ridge:
        """The same penalty on other pictures (n, width), whose labels (n,) are rows of `words`."""
        return Ridge(features, words[labels], self.penalty)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Unit vectors (n, dim) among the words."""
        return metrics.unit((features - self.mean) @ self.weights + self.offset) if len(features) else features


def ridge(features: np.ndarray, labels: np.ndarray, words: np.ndarray, draws: Iterable[np.ndarray]) -> Ridge:
    """The ridge regression whose penalty, of `PENALTIES`, names classes best that are held back from it.

    Parameters
    ----------
    features : (n, width) array
    labels : (n,) int array
    words : (classes, dim) array
        Unit vectors of the classes trained on.
    draws : iterable of int arrays
        The classes held back, each time; where there is none, the middle penalty is taken.
    """
    right: dict[float, list[float]] = {penalty: [] for penalty in PENALTIES}
    for held in draws:
        new = np.isin(labels, held)
        model, own = Ridge(features[~new], words[labels[~new]], PENALTIES[0]), np.searchsorted(held, labels[new])
        for penalty, found in right.items():
            predictions = (model.refit(penalty)(features[new]) @ words[held].T).argmax(axis=1)
            found.append(metrics.per_class_accuracy(own, predictions))
    middle = PENALTIES[len(PENALTIES) // 2]
    best = max(PENALTIES, key=lambda penalty: np.mean(right[penalty])) if right[middle] else middle
    return Ridge(features, words[labels], best)


def draws_of(splits, seed: int) -> list[np.ndarray]:
    """The seen classes to make choices by, each time: those the data names, else `baselines.held_back`, if there are.

    Parameters
    ----------
    splits : data.Splits
    seed : int
    """
    if splits.choose_by:
        return [np.array([splits.seen.index(name) for name in splits.choose_by])]
    return list(baselines.held_back(len(splits.seen), seed)) if len(splits.seen) >= baselines.FEWEST else []


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
