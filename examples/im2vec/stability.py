"""Whether vectors tell of the classes or of the pictures that happened to be taken: those of two halves, compared.

The pictures of each class are split in two, vectors are made of each half by itself, and the cosines of all pairs of
classes are correlated between the halves. On frozen features a head and class vectors are trained anew on each half;
each is also tried on the other half's pictures, so a weight decay is chosen on training pictures alone. Where the whole
network learns, it is too dear to train twice: f(x) is shared, and only the vectors are made anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import mxnet as mx
import numpy as np
from mxnet import autograd

from common import metrics
from common.data.features import FeatureSet
from common.data.samplers import Shuffled
from common.data.splits import split_halves
from common.files.disk import write_json
from common.files.errors import reading
from common.train import optimizer, trainer
from examples.im2vec import data, evaluation, model, objectives

STABLE = 0.7  # by Spearman and Brown's formula, 2 r / (1 + r), vectors of all pictures then agree to 0.82
MIN_CLASSES = 4  # classes: of three there are three cosines, and they agree by chance
FACTORS = (1, 1.5, 2, 2.5, 3)  # of the default weight decay, tried in this order
KEPT = 0.9  # fraction of the best accuracy that a larger decay must keep
EPOCHS = 30  # at the most, of a training on a half
NAMES = {"class": "class vectors", "mean": "means of f(x)"}


def halves(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Indices of two halves of the pictures of each class that has two; None with fewer than `MIN_CLASSES` of these."""
    return None if len(usable(labels)) < MIN_CLASSES else split_halves(labels, seed)


def usable(labels: np.ndarray) -> np.ndarray:
    """The classes with a picture for either half."""
    return np.flatnonzero(np.bincount(labels) > 1)


def compare(rows: np.ndarray, labels: np.ndarray, halves: Sequence[np.ndarray], fit: Callable) -> dict[str, float]:
    """How well the vectors of two halves agree.

    Parameters
    ----------
    rows : (n, width) float32
        Features, or f(x).
    labels : (n,) int
    halves : two arrays of indices in `rows`
    fit : callable (rows, labels, number of the half) -> (encode, objective)
        `encode` gives f(x) for rows.

    Returns
    -------
    dict of str to float
        ``class`` and ``mean``: Pearson's correlation, over all pairs of classes, of the cosines of the learned vectors
        and of the means of f(x); 0 where they are not finite or all alike. ``accuracy``: of each half's vectors on the
        other's pictures.
    """
    learned, means, right, classes = [], [], [], usable(labels)
    labels = np.searchsorted(classes, labels)
    for number, (own, other) in enumerate((halves, halves[::-1])):
        encode, objective = fit(rows[own], labels[own], number)
        found, unseen = encode(rows[own]), encode(rows[other])
        vectors = objective.class_vectors()
        if not all(np.isfinite(values).all() for values in (found, unseen, vectors)):
            return {"class": 0.0, "mean": 0.0, "accuracy": 0.0}  # the training diverged
        learned.append(evaluation.similarity(vectors))
        means.append(evaluation.similarity(evaluation.class_means(found, labels[own], len(classes))))
        scores = evaluation.scores(objective, unseen)
        right.append(metrics.accuracy_at_k(scores, labels[other], (1,))["accuracy"])
    return {"class": _agreement(learned), "mean": _agreement(means), "accuracy": float(np.mean(right))}


def _agreement(matrices: Sequence[np.ndarray]) -> float:
    if min(np.ptp(evaluation.pairs(matrix)) for matrix in matrices) < 1e-6:
        return 0.0
    return evaluation.stability(matrices)


def decays(given: float | None, classes: int, objective: str, frozen: bool) -> list[float]:
    """The weight decays to choose from: the one given, or the default and, on frozen features, larger ones."""
    if given is not None or not frozen:
        return [5e-4 if given is None else given]
    default = 0.01 / classes**0.5 * (10 if objective == "softmax" else 1)  # its gradient is no mean over k + 1 terms
    return [default * factor for factor in FACTORS]


class Training:
    """The training of head and class vectors, or of class vectors alone, as train.py does it; `compare`'s `fit`.

    Parameters
    ----------
    about : dict
        Of the model, see `examples.im2vec.modelfile.Model`.
    classes : (m,) int
        Which of the model's classes the pictures are of; labels are indices in it.
    options : pair of dict
        Options of SGD for the head and for the vectors.
    head : bool
        Whether there is a head to train: the rows are then features, else f(x).
    epochs, batch_size, seed
        Flags of train.py; `EPOCHS` at the most.
    """

    def __init__(self, about, classes, options, head: bool, epochs: int, batch_size: int | None = None, seed: int = 0):
        self.about, self.options, self.head = about, options, head
        self.epochs, self.batch_size, self.seed = min(epochs, EPOCHS), batch_size, seed
        groups = about["groups"]
        self.groups = None if groups is None else np.unique(np.asarray(groups)[classes], return_inverse=True)[1]

    def __call__(self, rows: np.ndarray, labels: np.ndarray, number: int):
        """Train on `rows`; the values to start from differ with `number`."""
        mx.random.seed(self.seed + number)
        about, options = self.about, self.options
        dim = about["dim"] if self.head else rows.shape[1]
        head = model.head(rows.shape[1], dim, about["objective"] == "negative") if self.head else None
        objective = objectives.create(about["objective"], np.bincount(labels), dim, about["negatives"], self.groups)
        objective.initialize()
        groups = [(objective.collect_params(), "sgd", options[1])]
        if head:
            groups.append((head.collect_params(), "sgd", options[0]))
        for block in filter(None, (head, objective)):
            block.hybridize(static_alloc=True, static_shape=True)
        encode = head or (lambda x: x)
        self._run(encode, objective, optimizer.trainer(groups, "local"), rows, labels, self.seed + number)
        return (lambda x: encode(mx.nd.array(x)).asnumpy()), objective

    def _run(self, encode, objective, updater, rows, labels, seed):
        sampler = Shuffled(len(labels), data.batch_size(self.batch_size, len(labels)), seed)
        for epoch in range(self.epochs):
            updater.optimizer.scale_rates(0.5 + 0.5 * np.cos(np.pi * epoch / self.epochs))
            for batch in FeatureSet(rows, labels, sampler=sampler).epoch(epoch):
                trainer.seed_everything(seed, epoch, batch.number, 0)
                x, y = mx.nd.array(batch.images), mx.nd.array(batch.labels, dtype="int32")
                with autograd.record():
                    loss = objective(encode(x), y)
                loss.backward()
                updater.step(len(batch.labels) * objective.terms)


def choose(rows, labels, decays: Sequence[float], fit_with: Callable, seed: int, log=print) -> dict | None:
    """The smallest weight decay that makes the class vectors stable and keeps the accuracy; where none does, the first.

    Parameters
    ----------
    rows, labels
        See `compare`.
    decays : sequence of float
        The default first, then larger ones.
    fit_with : callable (decay) -> `fit` of `compare`
    seed : int
        Draws the halves.
    log : callable

    Returns
    -------
    dict or None
        What `compare` gives, and ``decay``; None where there are too few classes for it.
    """
    parts, tried = halves(labels, seed), []
    if parts is None:
        return None
    for decay in decays:
        tried.append({**compare(rows, labels, parts, fit_with(decay)), "decay": decay})
        log("weight decay {decay:.2g}: vectors of two halves of the pictures agree to {class:.2f}, means of f(x) to"
            " {mean:.2f}; accuracy {accuracy:.3f} on the other half".format(**tried[-1]))  # fmt: skip
        if tried[-1]["accuracy"] < KEPT * max(one["accuracy"] for one in tried):
            break
        if tried[-1]["class"] >= STABLE:
            return tried[-1]
    return tried[0]


def of_features(run, args, about: dict, rows: FeatureSet, decays: Sequence[float], options: Callable) -> dict | None:
    """`choose` for a run on frozen features, kept in the run's folder: a resumed run finds it there.

    Parameters
    ----------
    run : common.run.Run
    args : argparse.Namespace
        Of train.py, as are `decays` and ``options(decay)``, the options of SGD.
    about : dict
        Of the model.
    rows : FeatureSet
        Features of all training pictures.
    """
    file = run.folder / "stability.json"
    if file.is_file():
        with reading(file, "remove it, and it is measured again"):
            return json.loads(file.read_text(encoding="utf-8"))
    if run.resumed and any(run.checkpoints.iterdir()):  # begun by an earlier version, which took the default
        decays = decays[:1]

    def fit_with(decay):
        return Training(about, usable(rows.labels), options(decay), True, args.epochs, args.batch_size, args.seed)

    found = choose(rows.features, rows.labels, decays, fit_with, args.seed, run.log)
    write_json(file, found)
    return found


def of_vectors(args, about: dict, found: np.ndarray, labels: np.ndarray, options: Sequence[dict]) -> dict | None:
    """`compare` for f(x) that is shared by both halves: the vectors f(x) `found` (n, d) of all training pictures."""
    parts = halves(labels, args.seed)
    if parts is None:
        return None
    fit = Training(about, usable(labels), options, False, args.epochs, args.batch_size, args.seed)
    return compare(found, labels, parts, fit)


def figures(found: dict | None) -> dict[str, float]:
    """For ``metrics.json``."""
    return {} if found is None else {f"stability_{kind}": found[kind] for kind in NAMES}


def shown(found: dict | None) -> str:
    """Which vectors to show: ``class`` if stable or not measured, else ``mean`` if that is stable, or more so."""
    if found is None or found["class"] >= STABLE:
        return "class"
    return "mean" if found["mean"] >= STABLE or found["mean"] > found["class"] else "class"


def sentence(found: dict | None) -> str:
    """What was found, in one line."""
    if found is None:
        return (
            f"stability not measured, which takes {MIN_CLASSES} classes with two pictures: the class vectors are"
            " shown"
        )
    figures = ", ".join(f"{name} {found[kind]:.2f}" for kind, name in NAMES.items())
    if max(found["class"], found["mean"]) < STABLE:
        return (
            f"warning: neither is stable between two halves of the pictures ({figures}; {STABLE} is wanted): which"
            f" classes are near is mostly chance; more pictures a class help; the {NAMES[shown(found)]} are shown"
        )
    return f"stability between two halves of the pictures: {figures}; the {NAMES[shown(found)]} are shown"
