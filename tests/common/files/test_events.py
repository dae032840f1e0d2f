"""What ``--tensorboard`` writes, read by TensorBoard itself."""

import argparse
import sys

import pytest

from common.files.errors import UserError
from common.files.events import Events
from common.run import Run

ROWS = [  # two epochs of 25 batches, logged every 10
    {"epoch": 0, "batch": 10, "loss": 4.0},
    {"epoch": 0, "batch": 20, "loss": 3.0},
    {"epoch": 1, "batch": 0, "seconds": 2.5, "batches": 25, "loss": 3.25, "recall@1": 0.5},
    {"epoch": 1, "batch": 10, "loss": 2.0},
    {"epoch": 1, "batch": 20, "loss": 1.0},
    {"epoch": 2, "batch": 0, "seconds": 2.0, "batches": 25, "loss": 1.25, "recall@1": 0.75},
]
DRAWN = {
    "batch/loss": [(10, 4), (20, 3), (35, 2), (45, 1)],
    "epoch/loss": [(1, 3.25), (2, 1.25)],
    "epoch/recall@1": [(1, 0.5), (2, 0.75)],
    "epoch/seconds": [(1, 2.5), (2, 2.0)],
}


def drawn(folder):
    """What TensorBoard draws of a run: steps and values by tag, and the times of all."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = accumulator.EventAccumulator(str(folder))
    read.Reload()
    scalars = {tag: read.Scalars(tag) for tag in read.Tags()["scalars"]}
    times = [(tag, one.step, one.wall_time) for tag, of in scalars.items() for one in of]
    return {tag: [(one.step, one.value) for one in of] for tag, of in scalars.items()}, times


def open_run(folder, resume=False):
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    return Run(folder, argparse.Namespace(tensorboard=True), resume)


def test_rows_are_drawn_over_batches_and_epochs(tmp_path):
    run = open_run(tmp_path)
    assert not list(tmp_path.glob("events*"))  # a run without rows has no events
    for row in ROWS:
        run.metrics(**row)
    assert drawn(tmp_path)[0] == DRAWN


@pytest.mark.parametrize("torn", [False, True])
def test_a_resumed_run_draws_no_point_twice_and_keeps_the_times(tmp_path, torn):
    run = open_run(tmp_path)
    for row in ROWS[:5]:
        run.metrics(**row)
    before = drawn(tmp_path)[1]
    del run
    if torn:  # killed as it wrote
        (file,) = tmp_path.glob("events*")
        file.write_bytes(file.read_bytes()[:-9])
    again = open_run(tmp_path, resume=True)
    again.rewind(1, 10)
    for row in ROWS[4:]:
        again.metrics(**row)
    points, times = drawn(tmp_path)
    assert points == DRAWN and sum(path.stat().st_size > 0 for path in tmp_path.glob("events*")) == 1
    kept = [one for one in before if one[:2] != ("batch/loss", 45)]
    assert set(kept) < set(times)


def test_an_open_tensorboard_forgets_what_a_resumed_run_writes_again(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = open_run(tmp_path)
    for row in ROWS[:5]:
        run.metrics(**row)
    reader = accumulator.EventAccumulator(str(tmp_path))
    reader.Reload()
    del run
    again = open_run(tmp_path, resume=True)
    again.rewind(1, 0)
    again.metrics(epoch=1, batch=10, loss=7.0)
    reader.Reload()
    assert [(one.step, one.value) for one in reader.Scalars("batch/loss")] == [(10, 4), (20, 3), (35, 7)]


def test_a_run_that_had_no_events_gets_all_of_them_when_it_is_resumed(tmp_path):
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    run = Run(tmp_path, argparse.Namespace())
    for row in ROWS:
        run.metrics(**{name: value for name, value in row.items() if name != "batches"})  # as an older version
    del run
    open_run(tmp_path, resume=True).rewind(2, 0)
    points = drawn(tmp_path)[0]
    assert points.pop("batch/loss") == [(10, 4), (20, 3), (30, 2), (40, 1)]  # an epoch of 20 batches, for all it knows
    assert points == {tag: of for tag, of in DRAWN.items() if tag != "batch/loss"}


def test_without_the_package_one_line_names_it_and_no_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    with pytest.raises(UserError, match="--tensorboard needs the package tensorboard .pip install tensorboard."):
        Run(tmp_path / "run", argparse.Namespace(tensorboard=True))
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="needs the package tensorboard"):
        Events(tmp_path)
