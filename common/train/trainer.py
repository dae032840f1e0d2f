"""The training loop: epochs, logging, evaluation, checkpoints, early stop. The step itself stays in the example."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from mxnet import gluon

from common.run import Run
from common.train.session import AHEAD, Session, seed_everything  # noqa: F401


def fit(
    run: Run,
    *,
    epochs: int,
    batches: Callable[[int, int], Iterable],
    batches_per_epoch: int,
    step: Callable,
    blocks: Mapping[str, gluon.Block],
    trainers: Mapping[str, gluon.Trainer],
    evaluate: Callable[[int], dict] | None = None,
    start_epoch: Callable[[int], None] | None = None,
    on_best: Callable[[dict], None] | None = None,
    monitor: str | None = None,
    patience: int = 0,
    log_interval: int = 20,
    checkpoint_batches: int = 0,
    keep_all: bool = False,
    seed: int = 0,
    rank: int = 0,
    unit: str = "epoch",
    rate: str = "lr",
) -> dict:
    """Train, and return the figures of the best epoch (of the last one without `monitor`).

    Parameters
    ----------
    run : Run
        Where everything is written. If it was opened to be resumed, training goes on after its newest checkpoint.
    epochs : int
        Epochs in all, those before a resume included.
    batches : callable (epoch, first) -> iterable
        The batches of an epoch from number `first` on.
    batches_per_epoch : int
    step : callable (batch) -> dict of str to NDArray or list of NDArray
        One update of the parameters. Returns losses still on the devices: a step never waits for its result.
    blocks, trainers : mappings
        All that a checkpoint holds, see `common.train.checkpoint.Checkpoints`.
    evaluate : callable (epoch) -> dict of str to float, optional
        Runs after each epoch.
    start_epoch : callable (epoch), optional
        Sets learning rates and the like.
    on_best : callable (figures), optional
        Runs when `monitor` improved.
    monitor : str, optional
        Which of the figures decides on the best epoch; larger is better.
    patience : int
        Stop after so many evaluations without improvement; 0 never does.
    log_interval : int
        Batches between log lines, and between the loop's only waits for all that the devices were asked.
    checkpoint_batches : int
        Batches between checkpoints inside an epoch; 0 writes them only after each epoch.
    keep_all : bool
        Keep every checkpoint, not only the best and the newest two.
    seed, rank : int
        With the epoch and the batch number they determine every random number.
    unit : str
        What the log calls an epoch: an example may evaluate after every so many batches instead.
    rate : str
        The argument that holds the learning rate; its flag is named when the training diverges, and a resumed run may
        then change it.

    Raises
    ------
    UserError
        A loss or a parameter is not finite: names the batch; nothing is saved after it. Or `monitor` never was.
    """
    class Source:
        def __len__(self):
            return batches_per_epoch

        epoch = staticmethod(batches)

    session = Session(
        run, blocks=blocks, trainers=trainers, best=monitor, patience=patience, log_interval=log_interval,
        checkpoint_batches=checkpoint_batches, keep_all=keep_all, seed=seed, rank=rank, unit=unit, rate=rate,
    )  # fmt: skip
    for epoch in session.epochs(epochs):
        if start_epoch:
            start_epoch(epoch)
        for batch in session.batches(Source(), epoch):
            session.add(**step(batch))
        session.close_epoch(evaluate(epoch) if evaluate else {}, save=on_best)
    return session.metrics
