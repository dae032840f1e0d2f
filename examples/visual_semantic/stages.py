"""The three stages of training: what each one trains, on what, by which loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from common import devices, metrics
from common.data.loader import Loader
from common.data.samplers import Shuffled
from common.train import optimizer, schedule
from examples.visual_semantic import data, losses

NAMES = ("1", "2a", "2b")


@dataclasses.dataclass(frozen=True)
class Stage:
    """What the loop needs, see `common.train.trainer.fit`; `update` is a step at whatever the learning rate is."""

    batches: Callable[[int, int], Iterable]
    batches_per_epoch: int
    update: Callable
    step: Callable
    updater: gluon.Trainer
    start_epoch: Callable[[int], None]
    evaluate: Callable[[int], dict]


def settings(args, name: str) -> tuple[float, int]:
    """Learning rate and number of epochs of a stage: ``--lr-2a``, ``--epochs-2a``, ..."""
    return getattr(args, f"lr_{name}"), getattr(args, f"epochs_{name}")


def frozen(args, name: str) -> bool:
    """Whether the backbone stays as it is: always in 2a, in the others with ``--backbone-lr 0``."""
    return name == "2a" or args.backbone_lr == 0


def prepare(name: str, args, net, parts: data.Parts, reader: data.Reader, contexts, kvstore) -> Stage:
    """Stage `name` of training `net`.

    Parameters
    ----------
    name : {"1", "2a", "2b"}
        1: backbone and classifier, by cross-entropy; 2a: the head alone, by ``--loss``, on features read once; 2b:
        backbone and head, by ``--loss``.
    args : argparse.Namespace
        Of train.py.
    reader : data.Reader
        Gives the frozen features.
    """
    lr, epochs = settings(args, name)
    still = frozen(args, name)
    if name != "1" and net.metadata.get("stage") not in ("2a", "2b"):
        net.encoder.standardise(reader.features(parts.train).features)
    train_set = reader.features(parts.train) if still else parts.train
    valid_set = reader.features(parts.valid) if still else parts.valid
    sampler = Shuffled(len(parts.train.labels), args.batch_size, args.seed, kvstore.rank, kvstore.num_workers)
    if still:
        batches = train_set.sampled(sampler).epoch
        forward = net.classifier if name == "1" else net.embed_features
    else:
        transform = data.train_transform(args, reader.transform)
        batches = Loader(train_set, transform, sampler, args.num_workers, args.seed, kvstore.rank).epoch
        forward = net.classify if name == "1" else net.embed
    if name == "1":
        loss = gluon.loss.SoftmaxCrossEntropyLoss()
        new, guess = net.classifier, np.asarray
    else:
        words = net.words[: len(net.seen)]
        loss = losses.create(args.loss, words, contexts, args.margin, args.temperature)
        new, guess = net.encoder.head, lambda vectors: vectors @ words.T

    # Two groups of parameters: the backbone's, which know something already, and the new layer's.
    options = {"wd": args.wd, "epsilon": 1e-7}
    groups = [(new.collect_params(), "adam", {"learning_rate": lr, **options})]
    if not still:
        pace = args.backbone_lr if args.use_pretrained or args.params else 1
        groups.append((net.backbone.collect_params(), "adam", {"learning_rate": lr * pace, **options}))
    # A store on this machine serves one Trainer, so each stage has its own.
    updater = optimizer.trainer(groups, kvstore if "dist" in kvstore.type else args.kvstore)
    place = {"epoch": 0}

    def update(batch):
        inputs, labels = devices.split(batch.images, contexts), devices.split(batch.labels, contexts)
        with autograd.record():
            values = [loss(forward(x), y) for x, y in zip(inputs, labels)]
        autograd.backward(values)
        updater.step(len(batch.labels) * kvstore.num_workers)
        return {"loss": values}

    def step(batch):
        done = place["epoch"] + batch.number / len(sampler)
        updater.optimizer.scale_rates(schedule.one_cycle(done / epochs))
        return update(batch)

    def evaluate(_):
        outputs, labels = reader.apply(forward, valid_set), valid_set.labels
        scores = guess(outputs)
        values = loss(mx.nd.array(outputs, ctx=contexts[0]), mx.nd.array(labels, ctx=contexts[0], dtype="int32"))
        valid_loss = float(values.mean().asscalar())
        accuracy = metrics.accuracy_at_k(scores, labels, (1,))["accuracy"]
        # The best epoch is the most accurate one; of several, the one with the lowest loss.
        figures = {"valid_loss": valid_loss, "accuracy": accuracy, "score": accuracy + 1e-6 / (1 + valid_loss)}
        if name != "1":
            figures["cosine"] = float(np.mean(scores[np.arange(len(scores)), labels]))
        return figures

    return Stage(batches, len(sampler), update, step, updater, lambda e: place.update(epoch=e), evaluate)
