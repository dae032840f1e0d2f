"""Whether vectors tell of the classes or of the pictures that happened to be taken: those of two halves, compared.

The pictures of each class are split in two, vectors are made of each half by itself, and the cosines of all pairs of
classes are correlated between the halves. On frozen features a head and class vectors are trained anew on each half;
each is also tried on the other half's pictures, so a weight decay is chosen on training pictures alone. A network that
learns as a whole takes too long to be trained twice: f(x) is shared, and only the vectors are made anew.
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
from common.train import optimizer, schedule
from common.train.session import seed_everything
from examples.im2vec import data, evaluation, model, objectives

STABLE = 0.7  # by Spearman and Brown's formula, 2 r / (1 + r), vectors of all pictures then agree to 0.82
MIN_CLASSES = 4  # of three there are three cosines, and they agree by chance
KEPT = 0.9  # fraction of the best accuracy that a larger decay must keep
MAX_EPOCHS = 30  # of a training on a half
NAMES = {"class": "class vectors", "mean": "means of f(x)"}


def halves(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Indices of two halves of the pictures of each class that has two; None with fewer than `MIN_CLASSES` of these."""
    return None if len(usable(labels)) < MIN_CLASSES else split_halves(labels, seed)


def usable(labels: np.ndarray) -> np.ndarray:
    """The classes with a picture for either half."""
    return np.flatnonzero(np.bincount(labels) > 1)


def compare(rows: np.ndarray, labels: np.ndarray, split: Sequence[np.ndarray], fit: Callable) -> dict[str, float]:
    """How well the vectors of two halves agree.

    Parameters
    ----------
    rows : (n, width) float32
        Features, or f(x).
    labels : (n,) int
    split : two arrays of int
        Indices of the rows of either half.
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
    for number, (own, other) in enumerate((split, split[::-1])):
        encode, objective = fit(rows[own], labels[own], number)
        seen, unseen = encode(rows[own]), encode(rows[other])
        vectors = objective.class_vectors()
        if not all(np.isfinite(values).all() for values in (seen, unseen, vectors)):
            return {"class": 0.0, "mean": 0.0, "accuracy": 0.0}  # the training diverged
        learned.append(evaluation.similarity(vectors))
        means.append(evaluation.similarity(evaluation.class_means(seen, labels[own], len(classes))))
        scores = evaluation.scores(objective, unseen)
        right.append(metrics.accuracy_at_k(scores, labels[other], (1,))["accuracy"])
    return {"class": _agreement(learned), "mean": _agreement(means), "accuracy": float(np.mean(right))}


def _agreement(matrices: Sequence[np.ndarray]) -> float:
    if min(np.ptp(evaluation.pairs(matrix)) for matrix in matrices) < 1e-6:
        return 0.0
    return evaluation.stability(matrices)


class Training:
    """The training of head and class vectors, or of class vectors alone, as train.py does it; `compare`'s `fit`.

    Parameters
    ----------
    metadata : dict
        Of the model, see `examples.im2vec.modelfile.Model`.
    classes : (m,) int
        Which of the model's classes the pictures are of; labels are indices of it.
    options : pair of dict
        Options of SGD for the head and for the vectors.
    head : bool
        Whether there is a head to train: the rows are then features, else f(x).
    args : argparse.Namespace
        Of train.py: ``epochs`` (of which `MAX_EPOCHS` are done at most), ``batch_size``, ``balance`` and ``seed``.
    """

    def __init__(self, metadata: dict, classes: np.ndarray, options: Sequence[dict], head: bool, args):
        self.metadata, self.options, self.head = metadata, options, head
        self.epochs, self.batch_size, self.seed = min(args.epochs, MAX_EPOCHS), args.batch_size, args.seed
        self.balance = args.balance
        groups = metadata["groups"]
        self.groups = None if groups is None else np.unique(np.asarray(groups)[classes], return_inverse=True)[1]

    def __call__(self, rows: np.ndarray, labels: np.ndarray, number: int):
        """Train on `rows`; the values to start from differ with `number`."""
        mx.random.seed(self.seed + number)
        name, negatives, options = self.metadata["objective"], self.metadata["negatives"], self.options
        dim = self.metadata["dim"] if self.head else rows.shape[1]
        head = model.head(rows.shape[1], dim, name == "negative") if self.head else None
        counts = data.drawn(labels, labels.max() + 1, self.balance)
        objective = objectives.create(name, counts, dim, negatives, self.groups)
        objective.initialize()
        groups = [(objective.collect_params(), "sgd", options[1])]
        if head:
            groups.append((head.collect_params(), "sgd", options[0]))
        for block in filter(None, (head, objective)):
            block.hybridize(static_alloc=True, static_shape=True)
        encode = head or (lambda x: x)
        self._run(encode, objective, optimizer.trainer(groups, "local"), rows, labels, self.seed + number)
        return (lambda x: encode(mx.nd.array(x)).asnumpy()), objective

    def _run(self, encode, objective, trainer, rows, labels, seed):
        drawn = labels if self.balance else None
        sampler = Shuffled(len(labels), data.batch_size(self.batch_size, len(labels)), seed, labels=drawn)
        for epoch in range(self.epochs):
            trainer.optimizer.scale_rates(schedule.half_cosine(epoch, self.epochs))
            for batch in FeatureSet(rows, labels, sampler=sampler).epoch(epoch):
                seed_everything(seed, epoch, batch.number, 0)
                x, y = mx.nd.array(batch.images), mx.nd.array(batch.labels, dtype="int32")
                with autograd.record():
                    loss = objective(encode(x), y)
                loss.backward()
                trainer.step(len(batch.labels) * objective.terms)


def choose(rows, labels, decays: Sequence[float], fit_with: Callable, seed: int, log=print) -> dict | None:
    """The smallest weight decay whose class vectors are stable and keep the accuracy; where none does, the first.

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
    split, tried = halves(labels, seed), []
    if split is None:
        return None
    for decay in decays:
        tried.append({**compare(rows, labels, split, fit_with(decay)), "decay": decay})
        log("weight decay {decay:.2g}: vectors of two halves of the pictures agree to {class:.2f}, means of f(x) to"
            " {mean:.2f}; accuracy {accuracy:.3f} on the other half".format(**tried[-1]))  # fmt: skip
        if tried[-1]["accuracy"] < KEPT * max(one["accuracy"] for one in tried):
            break
        if tried[-1]["class"] >= STABLE:
            return tried[-1]
    return tried[0]


def choose_on_features(
    run, args, metadata: dict, features: FeatureSet, decays: Sequence[float], options: Callable
) -> dict | None:
    """`choose` for a run on frozen features, kept in the run's folder, where a resumed run finds it.

    Parameters
    ----------
    run : common.run.Run
    args : argparse.Namespace
        Of train.py.
    metadata : dict
        Of the model.
    features : FeatureSet
        Of all training pictures.
    decays : sequence of float
        See `choose`.
    options : callable (decay) -> pair of dict
        Options of SGD for the head and for the vectors.

    Raises
    ------
    UserError
        The kept choice cannot be read.
    """
    file, labels = run.folder / "stability.json", features.labels
    if file.is_file():
        with reading(file, "remove it, and it is measured again"):
            return json.loads(file.read_text(encoding="utf-8"))
    if run.resumed and any(run.checkpoints.iterdir()):  # begun by an earlier version, which took the default
        decays = decays[:1]

    def fit_with(decay):
        return Training(metadata, usable(labels), options(decay), True, args)

    agreement = choose(features.features, labels, decays, fit_with, args.seed, run.log)
    write_json(file, agreement)
    return agreement


def of_vectors(args, metadata: dict, vectors: np.ndarray, labels: np.ndarray, options: Sequence[dict]) -> dict | None:
    """`compare` for f(x) that is shared by both halves.

    Parameters
    ----------
    args : argparse.Namespace
        Of train.py.
    metadata : dict
        Of the model.
    vectors : (n, d) float32
        f(x) of all training pictures.
    labels : (n,) int
    options : pair of dict
        Options of SGD for the head and for the vectors.
    """
    split = halves(labels, args.seed)
    if split is None:
        return None
    return compare(vectors, labels, split, Training(metadata, usable(labels), options, False, args))


def metrics_of(agreement: dict | None) -> dict[str, float]:
    """For ``metrics.json``."""
    return {} if agreement is None else {f"stability_{kind}": agreement[kind] for kind in NAMES}


def shown(agreement: dict | None) -> str:
    """Which vectors to show: ``class`` if stable or not measured, else ``mean`` if that is stable, or more so."""
    if agreement is None or agreement["class"] >= STABLE:
        return "class"
    return "mean" if agreement["mean"] >= STABLE or agreement["mean"] > agreement["class"] else "class"


def sentence(agreement: dict | None) -> str:
    """What was found, in one line."""
    if agreement is None:
        wanted = f"{MIN_CLASSES} classes with two pictures"
        return f"stability not measured, which takes {wanted}: the class vectors are shown"
    told = ", ".join(f"{name} {agreement[kind]:.2f}" for kind, name in NAMES.items())
    if max(agreement["class"], agreement["mean"]) < STABLE:
        return (
            f"warning: neither is stable between two halves of the pictures ({told}; {STABLE} is wanted): which"
            f" classes are near is mostly chance; more pictures a class help; the {NAMES[shown(agreement)]} are shown"
        )
    return f"stability between two halves of the pictures: {told}; the {NAMES[shown(agreement)]} are shown"
