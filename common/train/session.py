"""The books of a training: what was done, logged, evaluated and kept. The loop and its step stay in the example."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import mxnet as mx
import numpy as np
from mxnet import gluon
from tqdm import tqdm

from common.files.errors import UserError
from common.run import Run, duration
from common.train import mixed, workers
from common.train.checkpoint import Checkpoints, agreed

AHEAD = 4  # batches that the host may be ahead of the devices: each of them holds memory


class Session:
    """One training of a run, which goes on where an earlier process stopped.

    ::

        session = Session(run, blocks={"net": net}, trainers={"trainer": trainer}, best="recall@1")
        for epoch in session.epochs(20):
            for batch in session.batches(loader, epoch):
                ...                                   # forward, loss, backward, step
                session.add(loss=losses)
            session.close_epoch(evaluate(), save=save_best)

    Parameters
    ----------
    run : Run
        Where everything is written. If it was opened to be resumed, training goes on after its newest checkpoint.
    blocks, trainers : mappings
        All that a checkpoint holds, see `common.train.checkpoint.Checkpoints`.
    best : str, optional
        Which of the metrics decides on the best epoch; larger is better. None: the last epoch is the result.
    patience : int
        Stop after so many epochs without a better one; 0 never does.
    log_interval : int
        Batches between log lines, and between waits for all losses; 0 waits and logs after each epoch only.
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
    """

    def __init__(
        self,
        run: Run,
        *,
        blocks: Mapping[str, gluon.Block],
        trainers: Mapping[str, gluon.Trainer],
        best: str | None = None,
        patience: int = 0,
        log_interval: int = 20,
        checkpoint_batches: int = 0,
        keep_all: bool = False,
        seed: int = 0,
        rank: int = 0,
        unit: str = "epoch",
        rate: str = "lr",
    ):
        self.run, self.blocks, self.trainers = run, blocks, trainers
        self.monitor, self.patience, self.log_interval = best, patience, log_interval
        self.checkpoint_batches, self.seed, self.rank, self.unit, self.rate = checkpoint_batches, seed, rank, unit, rate
        self._store = workers.between_machines(trainers.values())
        self._checkpoints = Checkpoints(run.checkpoints, blocks, trainers, keep_all)
        self._state = {"epoch": 0, "batch": 0, "best": None, "best_figures": {}, "since_best": 0, "figures": {}}
        self._losses: _Losses | None = None  # of the epoch that is open
        self._seconds = 0.0
        self._pace = _Pace()

    @property
    def metrics(self) -> dict:
        """The metrics of the best epoch and its number as ``epoch``; without `best`, those of the last epoch."""
        return self._state["best_figures"] if self.monitor else self._state["figures"]

    def epochs(self, count: int) -> Iterator[int]:
        """The numbers, from 0 on, of the epochs that are still to be done; after them no block computes in 16 bits.

        Parameters
        ----------
        count : int
            Epochs in all, those before a resume included.

        Raises
        ------
        UserError
            The metric that decides on the best epoch was never a number.
        """
        self._resume()
        self._pace = _Pace(count)
        for trainer in self.trainers.values():
            sent, received = workers.traffic(trainer)
            if sent:
                self.run.log(f"a step sends {_size(sent)} of gradients and receives {_size(received)}, each worker")
        for epoch in range(self._state["epoch"], count):
            if self.patience and self._state["since_best"] >= self.patience:
                self.run.log(f"stopped early: {self.monitor} did not improve in {self.patience} evaluations")
                break
            yield epoch
        for block in self.blocks.values():
            mixed.stop(block)
        if self.monitor and self._state["best"] is None and self.monitor in self._state["figures"]:
            raise UserError(
                f"{self.monitor} was a number after no {self.unit}: there is no best model: mend the data or the flags"
            )

    def _resume(self) -> None:
        if not self.run.resumed:
            return
        name = agreed(self._checkpoints.newest(self.run.log), self.trainers)
        found = self._checkpoints.load(name) if name else None
        self._state.update(found or {})
        epoch, batch = self._state["epoch"], self._state["batch"]
        self.run.rewind(epoch, batch)
        where = f"after {self.unit} {epoch}, batch {batch}" if found else "from the start: no checkpoint yet"
        self.run.log(f"resumed {where}")

    def batches(self, loader, epoch: int) -> Iterator:
        """The batches of `epoch` that are still to be done, each with its own random numbers.

        Parameters
        ----------
        loader
            Has ``epoch(number, start)``, the batches of an epoch from number `start` on, and a length, the batches of
            an epoch; see `common.data.loader.Loader`.
        epoch : int

        Raises
        ------
        UserError
            A loss or a parameter is not finite: names the batch; nothing is saved after it.
        """
        began, first, total = time.time(), self._state["batch"], len(loader)
        self._pace.begin(epoch, first, total)
        self._losses = losses = _Losses(self, epoch, first, self._state.pop("losses", None))
        bar = tqdm(
            loader.epoch(epoch, first),
            total=total,
            initial=first,
            desc=f"{self.unit} {epoch + 1} of {self._pace.count}",
            leave=False,
            disable=not sys.stderr.isatty(),
        )
        for number, batch in enumerate(bar, first):
            seed_everything(self.seed, epoch, number, self.rank)
            yield batch
            done = number + 1
            self._pace.step(done)
            if self.log_interval and done % self.log_interval == 0:
                losses.log()
            if self.checkpoint_batches and done % self.checkpoint_batches == 0 and done < total:
                losses.read()
                self._check(epoch, done)
                self._checkpoints.save({**self._state, "epoch": epoch, "batch": done, "losses": losses.totals})
        losses.read()
        self._check(epoch, total)
        self._seconds = time.time() - began
        self._pace.step(total)
        seed_everything(self.seed, epoch, total, self.rank)  # for the evaluation

    def add(self, **losses) -> None:
        """Note the losses of a batch, NDArrays or lists of one a device; a step never waits for its own result."""
        self._losses.add(losses)

    def close_epoch(self, metrics: Mapping[str, float] | None = None, save: Callable[[dict], None] | None = None):
        """Log the epoch, keep a checkpoint, and note whether it is the best so far.

        Parameters
        ----------
        metrics : mapping of str to float, optional
            What the evaluation after the epoch gave. Of several workers the first one's count, so that all go on alike.
        save : callable (metrics), optional
            Runs where the epoch is the best so far; without `best`, after each.
        """
        metrics, losses, state = workers.of_first(self._store, metrics or {}), self._losses, self._state
        train, epoch = {**losses.of_epoch(), **self._scales()}, losses.epoch + 1
        value = metrics.get(self.monitor)
        improved = value is not None and math.isfinite(value) and (state["best"] is None or value > state["best"])
        state.update(epoch=epoch, batch=0, figures=metrics, since_best=0 if improved else state["since_best"] + 1)
        if improved:
            state.update(best=value, best_figures=dict(metrics, epoch=epoch))
        if save and (improved or not self.monitor):
            save(metrics)
        seconds = {"seconds": round(self._seconds, 3), "batches": self._pace.total}
        self.run.metrics(epoch=epoch, batch=0, **seconds, **train, **metrics)
        star, left = " *" if improved else "", self._pace.close()
        self.run.log(f"{self.unit} {epoch}: {_line({**train, **metrics})}, {self._seconds:.1f} s{left}{star}")
        self._checkpoints.save(state, best=improved)

    def _scales(self) -> dict:
        """Of mixed precision: the factor of the loss, and the steps that were left out so far."""
        scales = [getattr(trainer, "loss_scale", None) for trainer in self.trainers.values()]
        return {"loss_scale": scales[0].value, "skipped_steps": scales[0].skipped} if any(scales) else {}

    def _check(self, epoch: int, batch: int) -> None:
        """End the run if a parameter on any device is not finite: a loss shows that only a step later."""
        for name, block in self.blocks.items():
            # On the host: MXNet's own `multi_all_finite` ends the process where oneDNN keeps weights in its own order.
            arrays = (array for p in block.collect_params().values() for array in p.list_data())
            if not all(np.isfinite(array.asnumpy()).all() for array in arrays):
                self.diverged(f"a parameter of {name} is not finite", epoch, batch)

    def diverged(self, what: str, epoch: int, batch: int) -> None:
        """Let the flag of the learning rate change at the next ``--resume``, and raise.

        Parameters
        ----------
        what : str
            What is not finite.
        epoch, batch : int
            Where that was seen: epochs done, and batches done in this one.

        Raises
        ------
        UserError
            Always.
        """
        self.run.may_change(self.rate)
        raise UserError(
            f"{what} at {self.unit} {epoch + 1}, batch {batch}: the last checkpoint is kept; continue with --resume and"
            f" a lower --{self.rate.replace('_', '-')}"
        )


def seed_everything(seed: int, epoch: int, batch: int, rank: int) -> None:
    """Seed the devices' random numbers for one batch, from its place in the run alone.

    Parameters
    ----------
    seed, epoch, batch, rank : int
    """
    mixed = seed
    for part in (epoch, batch, rank):  # a small multiplicative hash: neighbours get unrelated streams
        mixed = (mixed * 0x9E3779B1 + part + 0x7F4A7C15) & 0x7FFFFFFF
    mx.random.seed(mixed)


class _Pace:
    """How fast this process goes through `count` epochs: the time that is left, from the mean of what it did so far.

    A batch's time, an evaluation's and that between two epochs, a checkpoint's, are measured apart; what was not
    measured yet is left out.
    """

    def __init__(self, count: int = 0):
        self.count, self.total = count, 0  # epochs in all, batches of an epoch
        self._epoch = self._done = 0  # epochs and batches that are behind
        self._batches, self._evaluations, self._between = [0.0, 0], [0.0, 0], [0.0, 0]  # seconds and how many
        self._at = 0.0

    def begin(self, epoch: int, first: int, total: int) -> None:
        self._epoch, self._done, self.total = epoch, first, total
        self._add(self._between, 1 if self._evaluations[1] else 0)

    def step(self, done: int) -> None:
        self._add(self._batches, done - self._done)
        self._done = done

    def close(self) -> str:
        """Note the end of an epoch; the time that is left."""
        self._add(self._evaluations, 1)
        self._epoch, self._done = self._epoch + 1, 0
        return self.left()

    def left(self) -> str:
        """``", 3 min 20 s left"``; empty at the end, and while nothing is known."""
        epochs = self.count - self._epoch
        if epochs <= 0 or not self._batches[1]:
            return ""
        batches = epochs * self.total - self._done
        to_come = (self._batches, batches), (self._evaluations, epochs), (self._between, epochs)
        seconds = sum(number * spent / done for (spent, done), number in to_come if done)
        return f", {duration(seconds)} left"

    def _add(self, to: list, number: int) -> None:
        """Count what took the time since the last look."""
        before, self._at = self._at, time.monotonic()
        if number:
            to[0] += self._at - before
            to[1] += number


class _Losses:
    """An epoch's losses, kept on the devices until they are read together.

    `totals` holds sum and count by name since the last log line and in the epoch: a checkpoint keeps them, so that a
    resumed run writes the same lines.
    """

    def __init__(self, session: Session, epoch: int, first: int, totals: dict | None):
        self.session, self.epoch, self.done = session, epoch, first
        self.totals: dict[str, dict] = totals or {"line": {}, "epoch": {}}
        self._pending: list[dict] = []

    def add(self, losses: dict) -> None:
        """Keep the newest; block on those of `AHEAD` batches ago, to bound the batches in the engine's queue."""
        self._pending.append(losses)
        for value in self._pending[-1 - AHEAD].values() if len(self._pending) > AHEAD else ():
            for array in _arrays(value):
                array.wait_to_read()

    def read(self) -> None:
        """Wait for the pending losses and add them up; one that is not finite ends the run."""
        for losses in self._pending:
            for name, value in losses.items():
                arrays = _arrays(value)
                mean = sum(float(array.mean().asscalar()) for array in arrays) / len(arrays)
                if not math.isfinite(mean):
                    self.session.diverged(f"{name} is {mean}", self.epoch, self.done)
                for total in self.totals.values():
                    before, count = total.get(name, (0.0, 0))
                    total[name] = [before + mean, count + 1]
            self.done += 1
        self._pending = []

    def log(self) -> None:
        """Write the means since the last log line; apart from the end of an epoch, the loop synchronises only here."""
        self.read()
        means = _means(self.totals["line"])
        self.totals["line"] = {}
        self.session.run.metrics(epoch=self.epoch, batch=self.done, **means)
        left = self.session._pace.left()
        self.session.run.log(f"{self.session.unit} {self.epoch + 1}, batch {self.done}: {_line(means)}{left}")

    def of_epoch(self) -> dict:
        """The epoch's means."""
        self.read()
        return _means(self.totals["epoch"])


def _arrays(value) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _means(total: dict) -> dict:
    return {name: value / count for name, (value, count) in total.items()}


def _line(metrics: dict) -> str:
    return ", ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in metrics.items())


def _size(count: int) -> str:
    return f"{count / 1e6:.3g} MB" if count >= 1e6 else f"{count / 1e3:.3g} kB"
