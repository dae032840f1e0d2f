"""What a stage of training works with: batches, devices, optimizer, evaluation, and who keeps its books."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mxnet as mx
from mxnet import gluon

from common import devices
from common.data.loader import Batch, Loader
from common.data.samplers import Shuffled
from common.train import mixed, optimizer
from common.train.session import seed_everything
from common.train.workers import SharedEvaluation
from examples.visual_semantic import baselines, data, evaluation


class Unrecorded:
    """Stands in for a `common.train.session.Session` where no run folder keeps the books.

    Parameters
    ----------
    seed : int, optional
        With the epoch and the batch number it determines every random number; default: they are whatever comes next.

    Attributes
    ----------
    metrics : dict
        Of the epoch with the highest score, and its number as ``epoch``.
    """

    def __init__(self, seed: int | None = None):
        self.seed = seed
        self.metrics: dict = {}
        self._epochs_done = 0

    def epochs(self, count: int) -> Iterator[int]:
        """All of `count` epochs."""
        return iter(range(count))

    def batches(self, loader, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        for batch in loader.epoch(epoch):
            if self.seed is not None:
                seed_everything(self.seed, epoch, batch.number, rank=0)
            yield batch

    def add(self, **losses) -> None:
        """Losses are not kept."""

    def close_epoch(self, metrics: dict, save=None) -> None:
        """Keep the metrics if their score is the highest so far; nothing is saved."""
        self._epochs_done += 1
        if metrics and (not self.metrics or metrics["score"] > self.metrics["score"]):
            self.metrics = {**metrics, "epoch": self._epochs_done}


class _NoBatches:
    """The batches of an epoch without steps."""

    def __len__(self) -> int:
        return 0

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        return iter(())


class Stage:
    """What one stage of training works with.

    Parameters
    ----------
    name : {"1", "2a", "2b"}
    args : argparse.Namespace
        Of train.py.
    net : examples.visual_semantic.model.VisualSemanticNet
    splits : data.Splits
    reader : data.Reader
        Gives the features of a frozen backbone.
    contexts : list of mx.Context
    kvstore : mx.kv.KVStore
    open_session : callable (stage, trainer) -> Session
        Who keeps the books; default is `Unrecorded`.
    save : callable (metrics), optional
        Writes the model after the best epoch so far.
    evaluates : bool
        Whether an epoch ends with an evaluation on the held-back pictures, if these are not to be tested with.

    Attributes
    ----------
    is_frozen : bool
        Whether the backbone stays as it is: its features, read once, then stand in for the pictures.
    loader
        Has ``epoch(number, start)`` and a length, see `common.data.loader.Loader`.
    shared : common.train.workers.SharedEvaluation
    num_workers : int
        Processes over which each update is summed.
    """

    def __init__(
        self, name: str, args, net, splits, reader, contexts, kvstore, open_session: Callable | None = None,
        save: Callable | None = None, evaluates: bool = True,
    ):  # fmt: skip
        self.name, self.args, self.net, self.splits, self.reader = name, args, net, splits, reader
        self.contexts, self.kvstore, self.num_workers = contexts, kvstore, kvstore.num_workers
        self.save, self.evaluates = save, evaluates and not splits.is_tested
        self.open_session = open_session or (lambda stage, trainer: Unrecorded())
        self.shared = SharedEvaluation(kvstore, net)
        self.is_frozen = is_frozen(args, name)
        train_set, self.valid_set = splits.train, splits.valid
        if self.is_frozen:
            train_set, self.valid_set = reader.features(splits.train), reader.features(splits.valid)
        drawn = train_set.labels if args.balance else None
        places = None if self.is_frozen else train_set.places
        shared = args.seed, kvstore.rank, kvstore.num_workers
        sampler = Shuffled(len(train_set.labels), args.batch_size, *shared, drawn, places)
        if self.is_frozen:
            self.loader = train_set.sampled(sampler)
        else:
            transform = data.train_transform(args, reader.transform)
            self.loader = Loader(train_set, transform, sampler, args.num_workers, args.seed, kvstore.rank)

    def standardise(self) -> None:
        """Let a head that was not trained yet take the features less their mean, in standard deviations."""
        if self.net.metadata.get("stage") not in ("2a", "2b"):
            self.net.encoder.standardise(self.reader.features(self.splits.train).features)

    def adam(self, lr: float, layer: gluon.Block) -> gluon.Trainer:
        """Adam over a new layer and, unless it is frozen, the backbone, at ``--backbone-lr`` of the rate if trained.

        Parameters
        ----------
        lr : float
            Learning rate of `layer`.
        layer : gluon.Block
        """
        args, options = self.args, {"wd": self.args.wd, "epsilon": 1e-7}
        groups = [(layer.collect_params(), "adam", {"learning_rate": lr, **options})]
        if not self.is_frozen:
            factor = args.backbone_lr if args.use_pretrained or args.params else 1
            groups.append((self.net.backbone.collect_params(), "adam", {"learning_rate": lr * factor, **options}))
        # A local kvstore can be bound to one Trainer only, so each stage has its own.
        trainer = optimizer.trainer(groups, self.kvstore if "dist" in self.kvstore.type else args.kvstore)
        mixed.start(args.amp and not self.is_frozen, trainer, self.net, self.net.backbone)
        return trainer

    def solve(self, loss: gluon.Block) -> dict:
        """Give a linear head ESZSL's weights for the features of the training pictures; what its evaluation gives.

        Parameters
        ----------
        loss : callable (outputs, labels) -> losses
            For the evaluation alone.
        """
        head, train = self.net.encoder.head, self.reader.features(self.splits.train)
        session = self.session(self.adam(self.args.lr_2a, head))
        for epoch in session.epochs(1):
            list(session.batches(_NoBatches(), epoch))
            found = baselines.fit(
                "eszsl", self.reader.apply(head[0], train), train.labels, self.net.words[: len(self.net.seen)],
                self.args.seed,
            )  # fmt: skip
            head[-1].weight.set_data(mx.nd.array((found.weights / found.spread[:, None]).T))
            session.close_epoch(self.evaluate(self.net.embed_features, loss), save=self.save)
        return session.metrics

    def session(self, trainer: gluon.Trainer):
        """The `common.train.session.Session`, or what stands in for one, of training with `trainer`."""
        return self.open_session(self, trainer)

    def split(self, batch: Batch) -> tuple[list, list]:
        """Pictures (or features) and labels of a batch, an equal part for each device."""
        return devices.split(batch.images, self.contexts), devices.split(batch.labels, self.contexts)

    def evaluate(self, forward: Callable, loss: gluon.Block) -> dict:
        """Metrics on the held-back pictures, see `evaluation.validation`; none where the stage does not evaluate.

        Parameters
        ----------
        forward : callable (pictures or features) -> logits or embeddings
        loss : callable (outputs, labels) -> losses
        """
        if not self.evaluates:
            return {}
        words = None if self.name == "1" else self.net.words[: len(self.net.seen)]
        forward, head = self.net.halves(forward, self.reader.transform)
        outputs = self.reader.apply(forward, self.valid_set, head, self.shared)
        return evaluation.validation(outputs, self.valid_set.labels, loss, self.contexts[0], words)


def is_frozen(args, name: str) -> bool:
    """Whether the backbone stays as it is: always in 2a, in the others with ``--backbone-lr 0``."""
    return name == "2a" or args.backbone_lr == 0
