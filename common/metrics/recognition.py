"""Recognition: confusion, accuracies, zero-shot and generalised zero-shot, words to pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.files import finite


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """How many pictures of each class are taken for each class.

    Parameters
    ----------
    labels, predictions : (n,) int arrays
        Class numbers, 0 to `classes` - 1.
    classes : int

    Returns
    -------
    (classes, classes) int64
        Row: the class; column: what it is taken for.
    """
    labels, predictions = np.asarray(labels, np.int64), np.asarray(predictions, np.int64)
    return np.bincount(labels * classes + predictions, minlength=classes * classes).reshape(classes, classes)


def accuracy_key(k: int) -> str:
    """The name of top-`k` accuracy in all metrics: ``"accuracy"`` for 1, else ``"accuracy@5"`` and so on."""
    return "accuracy" if k == 1 else f"accuracy@{k}"


def accuracy_at_k(scores: np.ndarray, labels: np.ndarray, ks: Sequence[int] = (1, 5)) -> dict[str, float]:
    """The fraction of pictures whose class is among the `k` best scored (flat hit@k of Frome et al. 2013, section 4.2).

    A class that ties with the right one counts before it.

    Parameters
    ----------
    scores : (n, classes) array
        Higher is likelier.
    labels : (n,) int array
    ks : sequence of int

    Returns
    -------
    dict of str to float
        ``"accuracy"`` for ``k = 1``, ``"accuracy@5"`` and so on, 0..1.

    Raises
    ------
    UserError
        Scores that are not finite.
    """
    rank = _rank(scores, labels)
    return {accuracy_key(k): float(np.mean(rank <= k)) for k in ks}


def per_class_accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """The mean over the classes in `labels` of each one's accuracy (Xian et al. 2019, section 5.1).

    Parameters
    ----------
    labels, predictions : (n,) int arrays

    Returns
    -------
    float
        0..1.
    """
    return float(np.mean(by_class(labels, np.asarray(labels) == np.asarray(predictions))[2]))


def by_class(labels: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What fraction of each class's samples is right.

    Parameters
    ----------
    labels : (n,) int array
    right : (n,) bool array

    Returns
    -------
    classes : (c,) int array
        The labels that occur, in ascending order.
    counts : (c,) int array
        Samples of each.
    fractions : (c,) float array
        0..1.
    """
    classes, inverse = np.unique(labels, return_inverse=True)
    counts = np.bincount(inverse)
    return classes, counts, np.bincount(inverse, right) / counts


def harmonic_mean(seen: float, unseen: float) -> float:
    """The harmonic mean of seen and unseen accuracy, of generalised zero-shot recognition (Xian et al. 2019, eq. 12).

    Parameters
    ----------
    seen, unseen : float
        0..1.

    Returns
    -------
    float
        ``2 * seen * unseen / (seen + unseen)``, 0 where both are 0.
    """
    return 2 * seen * unseen / (seen + unseen) if seen + unseen else 0.0


def zero_shot(scores: np.ndarray, labels: np.ndarray, seen: np.ndarray, ks: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Metrics of zero-shot and generalised zero-shot recognition (Xian et al. 2019; top-k as in Frome et al. 2013).

    Parameters
    ----------
    scores : (n, classes) array
        How well each picture fits each class, seen or not.
    labels : (n,) int array
    seen : (classes,) bool array
        Which classes were trained on.
    ks : sequence of int

    Returns
    -------
    dict of str to float, all 0..1
        ``zero_shot`` per-class mean accuracy of unseen pictures among the unseen classes alone, ``zero_shot_accuracy``
        and ``zero_shot_accuracy@k`` the same over pictures; ``generalised_accuracy`` and ``generalised_accuracy@k`` of
        unseen pictures among all classes; ``seen``, ``unseen`` per-class mean accuracies among all classes and
        ``harmonic`` their harmonic mean. Metrics without a picture to count are left out.

    Raises
    ------
    UserError
        Scores that are not finite.
    """
    scores, labels, seen = _checked(scores), np.asarray(labels), np.asarray(seen, bool)
    new = ~seen[labels]
    predictions = scores.argmax(axis=1)
    found = {}
    if new.any():
        columns = np.flatnonzero(~seen)
        alone, own = scores[np.ix_(new, columns)], np.searchsorted(columns, labels[new])
        found["zero_shot"] = per_class_accuracy(own, alone.argmax(axis=1))
        found.update({f"zero_shot_{name}": value for name, value in accuracy_at_k(alone, own, ks).items()})
        among_all = accuracy_at_k(scores[new], labels[new], ks)
        found.update({f"generalised_{name}": value for name, value in among_all.items()})
        found["unseen"] = per_class_accuracy(labels[new], predictions[new])
    if not new.all():
        found["seen"] = per_class_accuracy(labels[~new], predictions[~new])
    if "seen" in found and "unseen" in found:
        found["harmonic"] = harmonic_mean(found["seen"], found["unseen"])
    return found


def area_seen_unseen(scores: np.ndarray, labels: np.ndarray, seen: np.ndarray) -> float:
    """The area under the curve of seen against unseen accuracy (AUSUC, Chao et al. 2016), 0..1.

    The calibration constant that is subtracted from the scores of all seen classes is swept over its whole range. Each
    value gives a per-class mean accuracy of seen and one of unseen pictures, both among all classes; the area under
    their curve needs no choice of the constant.

    Parameters
    ----------
    scores : (n, classes) array
    labels : (n,) int array
        With pictures of both kinds.
    seen : (classes,) bool array
        Which classes were trained on.

    Returns
    -------
    float
        0..1.

    Raises
    ------
    ValueError
        All pictures are of seen classes, or all of unseen ones.
    UserError
        Scores that are not finite.
    """
    scores, labels, seen = _checked(scores), np.asarray(labels), np.asarray(seen, bool)
    known = seen[labels]
    if known.all() or not known.any():
        raise ValueError("pictures of seen and of unseen classes are needed")
    best = {kind: np.where(seen == kind, scores, -np.inf) for kind in (True, False)}
    gap = best[True].max(axis=1) - best[False].max(axis=1)  # a larger constant gives the picture to an unseen class
    weight = 1.0 / np.bincount(labels, minlength=len(seen))[labels]  # each class counts the same
    weight /= np.where(known, weight[known].sum(), weight[~known].sum())
    right = {kind: weight * (best[kind].argmax(axis=1) == labels) * (known == kind) for kind in (True, False)}
    order = np.argsort(gap, kind="stable")
    last = np.append(np.flatnonzero(np.diff(gap[order])), len(gap) - 1)  # pictures of one gap change sides together
    lost, won = (np.append(0, np.cumsum(right[kind][order])[last]) for kind in (True, False))
    seen_curve = right[True].sum() - lost
    return float(np.sum((seen_curve[:-1] + seen_curve[1:]) / 2 * np.diff(won)))


def text_to_image(scores: np.ndarray, right: np.ndarray, ks: Sequence[int] = (10,)) -> dict[str, np.ndarray]:
    """Average precision and precision@k of each word's ranking of the pictures; take means over the words you want.

    Parameters
    ----------
    scores : (words, n) array
    right : (words, n) bool array
        Which pictures show what the word means. Each word needs at least one.
    ks : sequence of int

    Returns
    -------
    dict of str to (words,) float array
        ``"average_precision"`` and ``"precision@10"`` and so on, 0..1. Of pictures that tie, the wrong come first.

    Raises
    ------
    ValueError
        A word without a right picture.
    UserError
        Scores that are not finite.
    """
    right = np.asarray(right, bool)
    if not right.any(axis=1).all():
        raise ValueError(f"word {int(np.argmin(right.any(axis=1)))} has no right picture")
    order = np.lexsort((right, -_checked(scores)), axis=1)
    hits = np.take_along_axis(right, order, axis=1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    found = {"average_precision": (precision * hits).sum(axis=1) / right.sum(axis=1)}
    return {**found, **{f"precision@{k}": hits[:, :k].mean(axis=1) for k in ks}}


def _rank(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The rank of the right class, from 1, after all classes that tie with it."""
    scores = _checked(scores)
    return (scores >= scores[np.arange(len(labels)), labels][:, None]).sum(axis=1)


def _checked(scores: np.ndarray) -> np.ndarray:
    return finite.check(np.asarray(scores), "the scores", finite.NO_FIGURE)
