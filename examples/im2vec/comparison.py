"""What the vectors of a run's classes are compared by, each figure with what chance gives, and how sure it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from common import metrics
from common.files.errors import UserError, near
from examples.im2vec import analogies, confidence, evaluation
from examples.im2vec.spaces import LEARNED, OF_CONFUSIONS, Examined

CHANCE = "chance"
SPEARMAN, DISPARITY = "Spearman, learned", "disparity"

Figures = dict[str, dict[str, list]]
Intervals = dict[str, dict[str, tuple[float, float, float]]]


def members(metadata: dict, beginnings: Sequence[str]) -> dict[str, np.ndarray]:
    """The classes whose nearest is asked for, by the name of the figure: all, and those in groups called so.

    Raises
    ------
    UserError
        There are no groups, or none that is called so.
    """
    if not metadata["groups"]:
        if beginnings:
            raise UserError(f"--groups {beginnings[0]}: the classes of {metadata['dataset']} have no groups")
        return {}
    found = {"purity": np.arange(len(metadata["groups"]))}
    together = np.flatnonzero(np.bincount(metadata["groups"])[metadata["groups"]] > 1)
    if len(together) < len(found["purity"]):  # a class that is alone in its group has no neighbour to find there
        found[f"purity of the {len(together)} not alone"] = together
    for beginning in beginnings:
        groups = [i for i, name in enumerate(metadata["group_names"]) if name.startswith(beginning)]
        if not groups:
            raise UserError(f"--groups {beginning}: no group is called so{near(beginning, metadata['group_names'])}")
        found[f"purity {beginning}"] = np.flatnonzero(np.isin(metadata["groups"], groups))
    return found


def agreement(similar, confusion, confusion_of_others, of_words, known, groups, asked) -> dict[str, float | None]:
    """Spearman's correlation of similarities with confusions and word vectors, and purity by groups.

    Parameters
    ----------
    similar : (n, n) array
    confusion, confusion_of_others : (n, n) array or None
        None: no such figure.
    of_words : (m, m) array
        Similarities of the names of the classes `known`.
    known : sequence of m int
    groups : (n,) int or None
    asked : dict
        Of `members`.
    """
    found = {}
    if confusion is not None:
        found["own confusions"] = metrics.spearman(similar, confusion)
    if confusion_of_others is not None:
        found["others' confusions"] = metrics.spearman(similar, confusion_of_others)
    if len(known) > 2:
        found["word vectors"] = metrics.spearman(similar[np.ix_(known, known)], of_words)
    for name, kept in asked.items():
        found[name] = metrics.purity(similar, groups, kept)[0]
    return found


def beside(vectors: np.ndarray, learned: np.ndarray, order: np.ndarray | None = None) -> dict[str, float | None]:
    """How like the learned class vectors others are: rank correlation of their cosines, and Procrustes disparity.

    `order` puts the classes of `vectors` into another order.
    """
    of_vectors, of_learned = (evaluation.directions(table) for table in (vectors, learned))
    of_vectors = of_vectors if order is None else of_vectors[order]
    return {
        SPEARMAN: metrics.spearman(of_vectors @ of_vectors.T, of_learned @ of_learned.T),
        DISPARITY: metrics.procrustes(of_vectors, of_learned),
    }


def figures(runs: Sequence[Examined], words: tuple, asked: Mapping[str, np.ndarray]) -> Figures:
    """All figures, by row, by name: a value a run, or one of all runs. The last row is that of chance.

    Parameters
    ----------
    runs : sequence of Examined
    words : (similarities, known)
        Of `evaluation.word_similarity`.
    asked : dict
        Of `members`.

    Returns
    -------
    dict
        Chance has one value of each: for purity the expected one, else the mean over the class vectors of the first
        run with the classes in a random order. ``by chance`` beside the disparity is the same of the row's own.
    """
    found: Figures = {row: {} for row in runs[0].vectors}
    similarities = [{row: evaluation.similarity(vectors) for row, vectors in run.vectors.items()} for run in runs]
    for number, run in enumerate(runs):
        for row, vectors in run.vectors.items():
            own = None if row in OF_CONFUSIONS else run.confusion
            one = agreement(similarities[number][row], own, others(runs, number), *words, run.metadata["groups"], asked)
            if row != LEARNED:
                one |= beside(vectors, run.vectors[LEARNED])
                one[f"{DISPARITY} by chance"] = _in_any_order(vectors, run.vectors[LEARNED], DISPARITY)
            for name, value in one.items():
                found[row].setdefault(name, []).append(value)
    if len(runs) > 1:
        for row in runs[0].vectors:
            found[row]["stability"] = [evaluation.stability([of_run[row] for of_run in similarities])]
    first, learned, similar = runs[0], runs[0].vectors[LEARNED], similarities[0][LEARNED]

    def reordered(order):
        return agreement(similar[np.ix_(order, order)], first.confusion, others(runs, 0), *words, None, {})

    rng = np.random.default_rng(0)
    drawn = [reordered(rng.permutation(len(similar))) for _ in range(confidence.PERMUTATIONS)]
    by_chance = {name: mean_of([one[name] for one in drawn]) for name in drawn[0]}
    by_chance |= {name: _in_any_order(learned, learned, name) for name in (SPEARMAN, DISPARITY)}
    by_chance |= {name: metrics.purity(similar, first.metadata["groups"], kept)[1] for name, kept in asked.items()}
    found[CHANCE] = {name: [value] for name, value in by_chance.items()}
    return found


def _in_any_order(vectors, learned, name: str) -> float | None:
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(vectors)) for _ in range(confidence.PERMUTATIONS)]
    return mean_of([beside(vectors, learned, order)[name] for order in orders])


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None where one is not defined."""
    return None if None in values else float(np.mean(values))


def others(runs: Sequence[Examined], number: int) -> np.ndarray | None:
    """The mean confusion of all runs but one; None where there is only one."""
    found = [run.confusion for i, run in enumerate(runs) if i != number]
    return sum(found) / len(found) if found else None


def intervals(
    runs: Sequence[Examined], asked: Mapping[str, np.ndarray], questions: analogies.Questions | None, k: int
) -> Intervals:
    """Purity, analogies and what two runs agree on, with 95 % intervals from classes or questions drawn again.

    Parameters
    ----------
    runs : sequence of Examined
    asked : dict
        Of `members`.
    questions : analogies.Questions, optional
    k : int
        Nearest classes that two runs are compared by.

    Returns
    -------
    dict
        By row, by name, (mean, low, high). ``... less class vectors`` is the difference on the same classes. Chance has
        three times the same value.
    """
    found: Intervals = {}
    for row in runs[0].vectors:
        one = found[row] = {}
        similar = [evaluation.similarity(run.vectors[row]) for run in runs]
        for name, kept in asked.items():
            groups = runs[0].metadata["groups"]
            right, of_learned = (
                np.mean([metrics.nearest_is_same(matrix, groups)[kept] for matrix in matrices], axis=0)
                for matrices in (similar, [evaluation.similarity(run.vectors[LEARNED]) for run in runs])
            )
            one[name] = confidence.interval(right)
            if row != LEARNED:
                one[f"{name} less class vectors"] = confidence.interval(right - of_learned)
        if len(runs) > 1:
            one[f"{k} nearest shared by two runs"] = confidence.interval(confidence.overlap(similar, k))
        if questions:
            answered = [analogies.right(run.vectors[row], questions) for run in runs]
            for method in analogies.METHODS:
                right = np.mean([one_run[method] for one_run in answered], axis=0)
                one[method] = confidence.interval(right, questions.asked)
    classes = len(runs[0].metadata["classes"])
    of_groups = runs[0].metadata["groups"]
    by_chance = {name: metrics.purity(np.eye(classes), of_groups, kept)[1] for name, kept in asked.items()}
    if len(runs) > 1:
        by_chance[f"{k} nearest shared by two runs"] = min(k, classes - 1) / (classes - 1)
    if questions:
        by_chance |= dict.fromkeys(analogies.METHODS, 1 / (classes - 3))
    found[CHANCE] = {name: (value,) * 3 for name, value in by_chance.items()}
    return found


@dataclasses.dataclass
class Neighbour:
    """One of the nearest of a class.

    Attributes
    ----------
    vectors : str
        What they were found by.
    name : str
        The class.
    rank : int
        From 1.
    nearest : str
    cosine : float
        Mean over the runs.
    share : float or None
        In which fraction of the `samples` it is among the k nearest; None where there is one sample.
    samples : int
        Runs, or the pictures of each run drawn again.
    """

    vectors: str
    name: str
    rank: int
    nearest: str
    cosine: float
    share: float | None
    samples: int


def neighbours(runs: Sequence[Examined], k: int, resamples: int, refits: int) -> dict[str, list[Neighbour]]:
    """The `k` nearest of each class by the mean of the runs, and how often each is there when pictures are drawn again.

    Parameters
    ----------
    runs : sequence of Examined
    k : int
    resamples : int
        Of each run, where vectors have a closed form.
    refits : int
        Trainings of each run's class vectors; with none the runs themselves are the samples.

    Returns
    -------
    dict of row to list of Neighbour
    """
    names, found = runs[0].metadata["classes"], {}
    for row in runs[0].vectors:
        number = refits if row == LEARNED else resamples
        if number:
            rng = np.random.default_rng(0)
            drawn = (evaluation.similarity(run.again[row](rng)) for run in runs for _ in range(number))
        else:
            drawn = (evaluation.similarity(run.vectors[row]) for run in runs)
        samples = max(number, 1) * len(runs)
        share = confidence.share(drawn, k)
        together = np.mean([evaluation.similarity(run.vectors[row]) for run in runs], axis=0)
        found[row] = [
            Neighbour(row, name, rank, other, cosine, share[i, names.index(other)] if samples > 1 else None, samples)
            for i, (name, listed) in enumerate(evaluation.nearest(together, names, k).items())
            for rank, (other, cosine) in enumerate(listed, 1)
        ]
    return found
