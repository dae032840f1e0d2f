"""The training loop: epochs, logging, evaluation, checkpoints, early stop. The step itself stays in the example."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping

import mxnet as mx
import numpy as np
from mxnet import gluon
from tqdm import tqdm

from common.files.errors import UserError
from common.run import Run
from common.train.checkpoint import Checkpoints, agreed

AHEAD = 4  # steps that the host may be ahead of the devices: each holds a batch


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
    minimise: bool = False,
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
        Which of the figures decides on the best epoch; larger is better unless `minimise`.
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
    diverged = _Diverged(run, unit, rate)
    checkpoints = Checkpoints(run.checkpoints, blocks, trainers, keep_all)
    state = {"epoch": 0, "batch": 0, "best": None, "best_figures": {}, "since_best": 0, "figures": {}}
    if run.resumed:
        name = agreed(checkpoints.newest(run.log), trainers)
        found = checkpoints.load(name) if name else None
        state.update(found or {})
        run.rewind(state["epoch"], state["batch"])
        place = (
            f"after {unit} {state['epoch']}, batch {state['batch']}" if found else "from the start: no checkpoint yet"
        )
        run.log(f"resumed {place}")
    for epoch in range(state["epoch"], epochs):
        if patience and state["since_best"] >= patience:
            run.log(f"stopped early: {monitor} did not improve in {patience} evaluations")
            break
        if start_epoch:
            start_epoch(epoch)
        began, first = time.time(), state["batch"]
        losses = _Losses(run, epoch, first, state.pop("losses", None), unit, diverged)
        bar = tqdm(
            batches(epoch, first),
            total=batches_per_epoch,
            initial=first,
            desc=f"{unit} {epoch + 1}",
            leave=False,
            disable=not sys.stderr.isatty(),
        )
        for number, batch in enumerate(bar, first):
            seed_everything(seed, epoch, number, rank)
            losses.pending.append(step(batch))
            losses.follow()
            done = number + 1
            if log_interval and done % log_interval == 0:
                losses.log()
            if checkpoint_batches and done % checkpoint_batches == 0 and done < batches_per_epoch:
                losses.read()
                diverged.check(blocks, epoch, done)
                checkpoints.save({**state, "epoch": epoch, "batch": done, "losses": losses.totals})
        train = losses.of_epoch()
        diverged.check(blocks, epoch, batches_per_epoch)
        seconds = time.time() - began
        seed_everything(seed, epoch, batches_per_epoch, rank)
        figures = evaluate(epoch) if evaluate else {}
        improved = _improved(figures.get(monitor), state["best"], minimise)
        state.update(epoch=epoch + 1, batch=0, figures=figures, since_best=0 if improved else state["since_best"] + 1)
        if improved:
            state.update(best=figures[monitor], best_figures=dict(figures, epoch=epoch + 1))
            if on_best:
                on_best(figures)
        run.metrics(epoch=epoch + 1, batch=0, seconds=round(seconds, 3), **train, **figures)
        run.log(f"{unit} {epoch + 1}: {_line({**train, **figures})}, {seconds:.1f} s{' *' if improved else ''}")
        checkpoints.save(state, best=improved)
    if monitor and state["best"] is None and monitor in state["figures"]:
        raise UserError(f"{monitor} was a number after no {unit}: there is no best model: mend the data or the flags")
    return state["best_figures"] if monitor else state["figures"]


def seed_everything(seed: int, epoch: int, batch: int, rank: int) -> None:
    """Seed the devices' random numbers for one batch, from its place in the run alone."""
    mixed = seed
    for part in (epoch, batch, rank):  # a small multiplicative hash: neighbours get unrelated streams
        mixed = (mixed * 0x9E3779B1 + part + 0x7F4A7C15) & 0x7FFFFFFF
    mx.random.seed(mixed)


class _Losses:
    """An epoch's losses, kept on the devices until they are read together.

    `totals` holds sum and count by name since the last log line and in the epoch: a checkpoint keeps them, so that a
    resumed run writes the same lines.
    """

    def __init__(self, run: Run, epoch: int, first: int, totals: dict | None, unit: str, diverged: _Diverged):
        self.run, self.epoch, self.done, self.unit, self.diverged = run, epoch, first, unit, diverged
        self.totals: dict[str, dict] = totals or {"line": {}, "epoch": {}}
        self.pending: list[dict] = []

    def read(self) -> None:
        """Wait for the pending losses and add them up; one that is not finite ends the run."""
        for losses in self.pending:
            for name, value in losses.items():
                parts = value if isinstance(value, (list, tuple)) else [value]
                mean = sum(float(part.mean().asscalar()) for part in parts) / len(parts)
                if not math.isfinite(mean):
                    self.diverged.end(f"{name} is {mean}", self.epoch, self.done)
                for total in self.totals.values():
                    before, count = total.get(name, (0.0, 0))
                    total[name] = [before + mean, count + 1]
            self.done += 1
        self.pending = []

    def follow(self) -> None:
        """Wait for the step `AHEAD` before the newest: what is asked of the devices and not done yet stays little."""
        for value in self.pending[-1 - AHEAD].values() if len(self.pending) > AHEAD else ():
            for part in value if isinstance(value, (list, tuple)) else [value]:
                part.wait_to_read()

    def log(self) -> None:
        """Write the means since the last log line."""
        self.read()
        means = _means(self.totals["line"])
        self.totals["line"] = {}
        self.run.metrics(epoch=self.epoch, batch=self.done, **means)
        self.run.log(f"{self.unit} {self.epoch + 1}, batch {self.done}: {_line(means)}")

    def of_epoch(self) -> dict:
        """The epoch's means."""
        self.read()
        return _means(self.totals["epoch"])


class _Diverged:
    """The end of a training whose numbers are not finite any more: the flag to lower is named, and may then change."""

    def __init__(self, run: Run, unit: str, rate: str):
        self.run, self.unit, self.rate = run, unit, rate

    def check(self, blocks: Mapping[str, gluon.Block], epoch: int, batch: int) -> None:
        """End the run if a parameter on any device is not finite: a loss shows that only a step later."""
        for name, block in blocks.items():
            # On the host: MXNet's own `multi_all_finite` ends the process where oneDNN keeps weights in its own order.
            arrays = (array for p in block.collect_params().values() for array in p.list_data())
            if not all(np.isfinite(array.asnumpy()).all() for array in arrays):
                self.end(f"a parameter of {name} is not finite", epoch, batch)

    def end(self, what: str, epoch: int, batch: int) -> None:
        """Let the flag change, and raise."""
        self.run.may_change(self.rate)
        raise UserError(
            f"{what} at {self.unit} {epoch + 1}, batch {batch}: the last checkpoint is kept; continue with --resume and"
            f" a lower --{self.rate.replace('_', '-')}"
        )


def _means(total: dict) -> dict:
    return {name: value / count for name, (value, count) in total.items()}


def _improved(value, best, minimise: bool) -> bool:
    return value is not None and math.isfinite(value) and (best is None or (value < best if minimise else value > best))


def _line(figures: dict) -> str:
    return ", ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
