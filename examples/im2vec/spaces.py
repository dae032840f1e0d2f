"""The vectors of a run's classes, by each way of making them, and made again of pictures that are drawn again."""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import mxnet as mx
import numpy as np
from sklearn.covariance import ledoit_wolf_shrinkage

from common.data import sets
from common.data.loader import Loader
from common.data.samplers import Sequential
from common.export import engine
from common.files import outside
from common.files.errors import UserError, reading
from examples.im2vec import baselines, confidence, data, evaluation, modelfile, sgd, stability

LEARNED = "class vectors"
POSTERIORS, CONFUSIONS = "SVD of posteriors", "SVD of confusions"
OF_CONFUSIONS = (POSTERIORS, CONFUSIONS)  # made of the confusions that others are compared with
LEAST = 1e-12  # of a probability whose log is taken
REMEDY = "it is not the folder of a finished run"

Again = Callable[[np.random.Generator], np.ndarray]


@dataclasses.dataclass
class Examined:
    """What one run says of its classes.

    Attributes
    ----------
    metadata : dict
        Of the model.
    accuracy : float
        On held-back pictures.
    confusion : (n, n) array
        How its classifier names the held-back pictures of each class: rows sum to 1.
    vectors : dict of str to (n, d) array
        By the name of the way of making them, the learned ones first.
    again : dict of str to callable (random generator) -> (n, d) array
        The same of pictures drawn again, as many of each class.
    """

    metadata: dict
    accuracy: float
    confusion: np.ndarray
    vectors: dict[str, np.ndarray]
    again: dict[str, Again]


def read(folder, refits: bool = False, rank: int | None = None) -> Examined:
    """What the run in `folder` says.

    Parameters
    ----------
    folder : path
    refits : bool
        Learned vectors can be made again too, by a training of head and vectors on frozen features.
    rank : int, optional
        Of the factorised confusions, see `baselines.factors`.

    Raises
    ------
    UserError
        It is not the folder of a finished run; its network learned, and `refits` are asked for.
    """
    folder = Path(folder)
    with reading(folder, REMEDY):
        flags = outside.read_json(folder / "args.json", REMEDY)["args"]
        wanted = ["cifar10_dir", "cifar100_dir", "dataset", "data_path", "seed"]
        wanted += ["balance", "batch_size", "epochs", "lr", "momentum", "weight_decay"] * bool(refits)
        outside.check_fields(flags, dict.fromkeys(wanted, object))
        accuracy = outside.read_json(folder / "metrics.json", REMEDY)["accuracy"]
        counts = outside.load_npy(folder / "confusion.npy", mmap_mode=None)
    model, args = modelfile.load(folder / "model.params"), argparse.Namespace(**flags)
    path = {"cifar10": args.cifar10_dir, "cifar100": args.cifar100_dir}.get(args.dataset)
    dataset = data.load(
        args.dataset, path or args.data_path, model.metadata["classes"], args.seed, **sets.own_flags(args)
    )
    train, test, classes = dataset.train, dataset.test, len(dataset.train.class_names)
    is_frozen = model.metadata["pretrained"] and flags.get("backbone_lr") == 0
    if refits and not is_frozen:  # vectors alone, of an f(x) that is done, are others than those learned beside it
        raise UserError(f"--refits: the network of {folder} learned too; leave it out, and give runs of more seeds")
    ways: dict[str, Callable] = {}  # name: callable (how often each picture counts, or None for once) -> vectors
    if is_frozen:
        read_by = engine.named(flags.get("engine", "mxnet"))
        features = data.kept_features(model, train, test, flags.get("int8", False), read_by=read_by)
        seen, unseen = (model.net.head(mx.nd.array(rows)).asnumpy() for rows in features)
    else:
        seen, unseen = (_encoded(model, split) for split in (train, test))

    def means(rows):
        return lambda weights: evaluation.class_means(rows, train.labels, classes, weights)

    ways["means of f(x)"] = means(seen)
    if is_frozen:
        ways["means of features"] = means(features[0])
    rows = features[0] if is_frozen else seen
    rows = rows / np.where(rows.std(axis=0) > 0, rows.std(axis=0), 1)
    shrinkage = float(ledoit_wolf_shrinkage(rows))
    ways["canonical variates"] = lambda weights: baselines.canonical(rows, train.labels, classes, shrinkage, weights)[0]
    scores = evaluation.scores(model.objective, unseen).astype(np.float64)
    probability = np.maximum(np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)), LEAST)
    taken = np.eye(classes)[scores.argmax(axis=1)]
    for name, of, positive in ((CONFUSIONS, taken, True), (POSTERIORS, probability, False)):
        ways[name] = functools.partial(_factorised, of, test.labels, classes, positive, rank)
    ways["raw pixels"] = means(train.array(evaluation.EXAMPLE_SIDE).reshape(len(train), -1))
    of_held_back = dict.fromkeys(OF_CONFUSIONS, test.labels)
    again = {name: _resampled(way, of_held_back.get(name, train.labels)) for name, way in ways.items()}
    if refits:
        again[LEARNED] = _learned_again(model, args, features[0], train.labels)
    vectors = {LEARNED: model.objective.class_vectors(), **{name: way(None) for name, way in ways.items()}}
    return Examined(model.metadata, accuracy, counts / counts.sum(axis=1, keepdims=True), vectors, again)


def _encoded(model: modelfile.Model, pictures) -> np.ndarray:
    """f(x) of the pictures, in order."""
    transform = data.eval_transform(model)
    loader = Loader(pictures, transform, Sequential(len(pictures), transform.pictures(data.EVAL_BATCH)))
    return evaluation.encode(model.net, loader)


def _factorised(given, labels, classes, positive, rank, weights):
    """`baselines.factors` of what the pictures of each class were taken for, `given` (n, classes)."""
    weights = np.ones(len(labels)) if weights is None else weights
    joint = np.zeros((classes, classes))
    np.add.at(joint, labels, given * weights[:, None])
    return baselines.factors(baselines.pmi(joint, positive), rank)


def _resampled(way: Callable, labels: np.ndarray) -> Again:
    return lambda rng: way(confidence.drawn_again(labels, rng))


def _learned_again(model: modelfile.Model, args, features: np.ndarray, labels: np.ndarray) -> Again:
    """The class vectors of a training of head and vectors on frozen features of pictures drawn again."""
    metadata = model.metadata
    setting = len(metadata["classes"]), metadata["objective"], True
    agreement = metadata.get("stability") or {}
    decay = agreement.get("decay", sgd.decays(args.weight_decay, *setting)[0])
    options = sgd.options(args, *setting, decay)

    def again(rng):
        chosen = np.repeat(np.arange(len(labels)), confidence.drawn_again(labels, rng))
        training = stability.Training(metadata, np.arange(setting[0]), options, True, args)
        return training(features[chosen], labels[chosen], int(rng.integers(1 << 16)))[1].class_vectors()

    return again
