"""The books of a training: what is logged, kept and repeated. The network is one line; the batches are numbers."""

import argparse
import json
import re

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from common.files.errors import UserError
from common.run import Run
from common.train import optimizer
from common.train import session as session_module
from common.train.checkpoint import Checkpoints
from common.train.session import Session, seed_everything

PER_EPOCH = 7
TENTHS = [0.0, 0.1, 0.2]


class Stop(Exception):
    """The process ends here."""


class Training:
    """Least squares by Adam, with noise from the devices' generator as mining and dropout have it."""

    def __init__(self, folder, resume=False, stop_at=None, poison=None, scores=None, **options):
        mx.random.seed(0)
        self.net = gluon.nn.Dense(1, in_units=3)
        self.net.initialize(mx.init.Xavier())
        self.updater = optimizer.trainer([(self.net.collect_params(), "adam", {"learning_rate": 0.05})])
        self.run = Run(folder, argparse.Namespace(), resume)
        self.stop_at, self.poison, self.scores, self.options = stop_at, poison, scores, options
        self.seen, self.best = [], []

    def __len__(self):
        return PER_EPOCH

    def epoch(self, epoch, start):
        """The loader is the training itself."""
        for number in range(start, PER_EPOCH):
            if (epoch, number) == self.stop_at:
                raise Stop
            rng = np.random.default_rng([epoch, number])
            yield epoch, number, mx.nd.array(rng.normal(size=(4, 3)))

    def step(self, batch):
        epoch, number, x = batch
        self.seen.append((epoch, number))
        with autograd.record():
            losses = [((self.net(part) - mx.nd.random.normal(shape=(1,))) ** 2).mean() for part in (x[:2], x[2:])]
            if (epoch, number) == self.poison:
                losses[1] = losses[1] * float("nan")
        autograd.backward(losses)
        self.updater.step(4)
        return {"loss": losses, "size": mx.nd.array([float(number)])}

    def fit(self, epochs=3):
        """The metrics of the best epoch, or without scores of the last."""
        session = Session(
            self.run, blocks={"net": self.net}, trainers={"trainer": self.updater},
            **{"best": "score" if self.scores else None, "log_interval": 3, "seed": 1, **self.options},
        )  # fmt: skip
        for epoch in session.epochs(epochs):
            for batch in session.batches(self, epoch):
                session.add(**self.step(batch))
            session.close_epoch({"score": (self.scores or TENTHS)[epoch]}, save=self.best.append)
        return session.metrics

    def weights(self):
        return self.net.weight.data().asnumpy()

    def rows(self):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in self.run.history()]


def test_rows_of_log_intervals_and_of_epochs(tmp_path):
    training = Training(tmp_path / "run", scores=[0.1, 0.2])
    training.fit(2)
    rows = training.rows()
    assert [(row["epoch"], row["batch"]) for row in rows] == [(0, 3), (0, 6), (1, 0), (1, 3), (1, 6), (2, 0)]
    assert [row["size"] for row in rows] == [1, 4, 3, 1, 4, 3]  # means of 0..2, 3..5 and of the epoch's 0..6
    assert [row.get("score") for row in rows] == [None, None, 0.1, None, None, 0.2]
    assert all(np.isfinite(row["loss"]) and row["loss"] > 0 for row in rows)
    assert all(row["seconds"] >= 0 for row in training.run.history() if row["batch"] == 0)


@pytest.mark.parametrize("every", [2, 3, 4])
def test_checkpoints_inside_an_epoch_do_not_change_the_rows(tmp_path, every):
    plain = Training(tmp_path / "plain")
    saving = Training(tmp_path / "saving", checkpoint_batches=every)
    for training in (plain, saving):
        training.fit(2)
    assert saving.rows() == plain.rows()


@pytest.mark.parametrize("stop_at", [(0, 0), (0, 1), (0, 5), (1, 0), (1, 3), (2, 6)])
def test_resumed_in_the_middle_equals_the_undisturbed(tmp_path, stop_at):
    scores = [0.1, 0.3, 0.2]
    whole = Training(tmp_path / "whole", scores=scores)
    best = whole.fit()
    folder = tmp_path / "stopped"
    stopped = Training(folder, stop_at=stop_at, scores=scores, checkpoint_batches=2)
    with pytest.raises(Stop):
        stopped.fit()
    again = Training(folder, resume=True, scores=scores, checkpoint_batches=2)
    again.net.initialize(mx.init.Zero(), force_reinit=True)
    if stop_at <= (0, 2):  # before the first checkpoint: from the start, which is the same
        again.net.weight.set_data(Training(tmp_path / "fresh").net.weight.data())
    assert again.fit() == best == {"score": 0.3, "epoch": 2}
    np.testing.assert_array_equal(again.weights(), whole.weights())
    assert again.rows() == whole.rows()
    begun = max(number for number in (0, 2, 4, 6) if number <= stop_at[1])
    assert again.seen[0] == (stop_at[0], begun)


def test_a_finished_run_resumed_has_its_metrics_and_trains_no_more(tmp_path):
    assert Training(tmp_path).fit(2) == {"score": 0.1}
    again = Training(tmp_path, resume=True)
    assert again.fit(2) == {"score": 0.1} and again.seen == []
    assert again.fit(3) == {"score": 0.2} and [b for b in again.seen if b[0] < 2] == []


def test_a_loss_that_is_not_finite_names_its_batch_and_keeps_the_last_checkpoint(tmp_path):
    training = Training(tmp_path, poison=(1, 4))
    with pytest.raises(UserError, match=r"^loss is nan at epoch 2, batch 4: the last checkpoint is .* lower --lr$"):
        training.fit()
    assert [(row["epoch"], row["batch"]) for row in training.rows()] == [(0, 3), (0, 6), (1, 0), (1, 3)]
    again = Training(tmp_path, resume=True)
    again.fit()
    assert again.seen[0] == (1, 0) and np.isfinite(again.weights()).all()
    whole = Training(tmp_path / "whole")
    whole.fit()
    np.testing.assert_array_equal(again.weights(), whole.weights())


def test_the_flag_that_the_program_has_is_named_and_may_change(tmp_path):
    training = Training(tmp_path, poison=(1, 4), rate="lr_2a")
    with pytest.raises(UserError, match=r"continue with --resume and a lower --lr-2a$"):
        training.fit()
    assert json.loads((tmp_path / "args.json").read_text())["free"] == ["lr_2a"]


@pytest.mark.parametrize("every", [0, 5])
def test_parameters_that_are_not_finite_are_never_saved(tmp_path, every):
    """The loss of the step that spoils them is a number still."""
    training = Training(tmp_path, checkpoint_batches=every)
    stay, number = training.step, 2 * PER_EPOCH - (PER_EPOCH - 5 if every else 0)

    def step(batch):
        losses = stay(batch)
        if len(training.seen) == number:
            training.net.weight.set_data(mx.nd.array([[1, float("inf"), 0]]))
        return losses

    training.step = step
    where = "batch 5" if every else f"batch {PER_EPOCH}"
    with pytest.raises(UserError, match=f"^a parameter of net is not finite at epoch 2, {where}: .* lower --lr$"):
        training.fit()
    newest = Checkpoints(training.run.checkpoints, {}, {}).names()[-1]
    assert newest == "epoch-0001-batch-000000"
    again = Training(tmp_path, resume=True)
    again.fit()
    assert np.isfinite(again.weights()).all()


def test_a_metric_that_is_not_finite_is_never_the_best(tmp_path):
    nan = float("nan")
    training = Training(tmp_path / "some", scores=[nan, 0.2, float("inf"), 0.1])
    assert training.fit(4) == {"score": 0.2, "epoch": 2}
    assert training.best == [{"score": 0.2}]
    training = Training(tmp_path / "none", scores=[nan, nan])
    with pytest.raises(UserError, match="score was a number after no epoch: there is no best model"):
        training.fit(2)
    assert training.best == []


def test_nothing_is_saved_after_a_loss_that_is_not_finite(tmp_path):
    """Also where a checkpoint is due before the next log line."""
    training = Training(tmp_path, poison=(0, 3), checkpoint_batches=2, log_interval=100)
    with pytest.raises(UserError, match="epoch 1, batch 3"):
        training.fit()
    assert Checkpoints(training.run.checkpoints, {}, {}).names() == ["epoch-0000-batch-000002"]


@pytest.mark.parametrize(("scores", "patience", "epochs", "best"), [
    ([0.1, 0.3, 0.2, 0.3, 0.9], 2, 4, 2),  # as good as the best is not better
    ([0.1, 0.3, 0.2, 0.4, 0.3], 2, 5, 4),
    ([0.1, 0.3, 0.2, 0.2, 0.9], 0, 5, 5),
    ([-5.0, -6.0, -7.0, -3.0, -9.0], 1, 2, 1),
])  # fmt: skip
def test_patience_and_the_best(tmp_path, scores, patience, epochs, best):
    training = Training(tmp_path, scores=scores, patience=patience)
    assert training.fit(5) == {"score": scores[best - 1], "epoch": best}
    ended = [row["epoch"] for row in training.rows() if row["batch"] == 0]
    assert ended == list(range(1, epochs + 1))
    assert training.best[-1] == {"score": scores[best - 1]}
    checkpoints = Checkpoints(training.run.checkpoints, {"net": training.net}, {})
    assert checkpoints.best() == f"epoch-{best:04d}-batch-000000"
    stopped = "stopped early" in (tmp_path / "log.txt").read_text()
    assert stopped == (epochs < 5)


def test_patience_goes_on_counting_after_a_resume(tmp_path):
    scores = [0.5, 0.4, 0.3, 0.2, 0.1]
    with pytest.raises(Stop):
        Training(tmp_path, scores=scores, patience=3, stop_at=(2, 1)).fit(5)
    again = Training(tmp_path, resume=True, scores=scores, patience=3)
    assert again.fit(5) == {"score": 0.5, "epoch": 1}
    assert again.seen[-1] == (3, 6)


@pytest.mark.parametrize(("keep_all", "kept"), [(False, [1, 3, 4]), (True, [1, 2, 3, 4])])
def test_the_best_and_the_newest_checkpoints_are_kept(tmp_path, keep_all, kept):
    training = Training(tmp_path, scores=[0.9, 0.1, 0.2, 0.3], keep_all=keep_all)
    training.fit(4)
    names = Checkpoints(training.run.checkpoints, {}, {}).names()
    assert names == [f"epoch-{epoch:04d}-batch-000000" for epoch in kept]
    state = json.loads((training.run.checkpoints / names[0] / "state.json").read_text())
    assert state["best_figures"] == {"score": 0.9, "epoch": 1} and (state["epoch"], state["batch"]) == (1, 0)


def test_every_place_in_a_run_has_its_own_random_numbers():
    def draw(*place):
        seed_everything(*place)
        return tuple(mx.nd.random.uniform(shape=(4,)).asnumpy())

    places = [(s, e, b, r) for s in (1, 2) for e in (0, 1, 2) for b in (0, 1, 50) for r in (0, 1)]
    drawn = [draw(*place) for place in places]
    assert len(set(drawn)) == len(places)
    assert [draw(*place) for place in places] == drawn


def left(folder):
    """The seconds that each line of the log says are left; None where it says nothing."""
    found = []
    for line in (folder / "log.txt").read_text().splitlines():
        said = re.search(r", (?:(\d+) min )?([\d.]+) s left", line)
        found.append(60 * int(said[1] or 0) + float(said[2]) if said else None)
    return found


def test_the_time_left_is_that_of_the_batches_and_of_what_stands_between_epochs(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(session_module.time, "monotonic", lambda: now[0])
    training = Training(tmp_path, scores=TENTHS, checkpoint_batches=2)
    step, save = training.step, Checkpoints.save

    def slow_step(batch):
        now[0] += 10
        return step(batch)

    def slow_save(*args, **kwargs):
        now[0] += 100 * kwargs.get("best", False)
        return save(*args, **kwargs)

    monkeypatch.setattr(Checkpoints, "save", slow_save)
    training.step = slow_step
    training.fit(3)
    # Of 21 batches of 10 s 18, 15, 14 are left; then the checkpoint between two epochs is known too.
    assert left(tmp_path) == [180, 150, 140, 110 + 200, 80 + 200, 70 + 100, 40 + 100, 10 + 100, None]


def test_a_resumed_run_tells_the_time_of_what_is_left_for_it(tmp_path, monkeypatch):
    with pytest.raises(Stop):
        Training(tmp_path, stop_at=(1, 4), checkpoint_batches=2).fit(2)
    now = [0.0]
    monkeypatch.setattr(session_module.time, "monotonic", lambda: now[0])
    training = Training(tmp_path, resume=True, checkpoint_batches=2)
    step = training.step

    def slow_step(batch):
        now[0] += 100
        return step(batch)

    training.step = slow_step
    training.fit(2)
    assert left(tmp_path)[-2:] == [100, None]  # after batch 6 of 7


def test_without_a_terminal_there_is_no_bar(tmp_path, capsys):
    Training(tmp_path).fit(1)
    said = capsys.readouterr()
    assert said.err == "" and "\r" not in said.out
    assert len(said.out.splitlines()) == 3  # two intervals and the epoch
