"""A run's folder: numbered, resumed, rewound, and readable after a kill."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from common import run as module
from common.errors import UserError
from common.run import Run, read_history


def arguments(**more):
    return argparse.Namespace(**{"run_dir": None, "dataset": "glyphs", "resume": False, "lr": 0.1, **more})


@pytest.fixture
def repo(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "REPO", tmp_path)
    return tmp_path


def test_folders_are_numbered_by_data_set(repo):
    parent = repo / "runs" / "vse"
    assert Run.start(arguments(), "vse").folder == parent / "glyphs-1"
    assert Run.start(arguments(), "vse").folder == parent / "glyphs-2"
    assert Run.start(arguments(dataset="glyphs-small"), "vse").folder == parent / "glyphs-small-1"
    (parent / "glyphs-9").mkdir()
    (parent / "glyphs-notes").mkdir()  # not a number: somebody's own
    assert Run.start(arguments(), "vse").folder == parent / "glyphs-10"
    assert Run.start(arguments(), "im2vec").folder == repo / "runs" / "im2vec" / "glyphs-1"


def test_resume_takes_the_newest_of_the_data_set(repo):
    with pytest.raises(UserError, match="no run of glyphs under .* to resume: give its --run-dir"):
        Run.start(arguments(resume=True), "vse")
    for _ in range(2):
        Run.start(arguments(), "vse")
    Run.start(arguments(dataset="emoji"), "vse")
    again = Run.start(arguments(resume=True), "vse")
    assert again.folder.name == "glyphs-2" and again.resumed


def test_a_named_folder_is_neither_overwritten_nor_resumed_by_chance(tmp_path):
    folder = tmp_path / "mine"
    with pytest.raises(UserError, match="mine holds no run to resume: leave out --resume"):
        Run.start(arguments(run_dir=str(folder), resume=True), "vse")
    assert not folder.exists()
    first = Run.start(arguments(run_dir=str(folder), lr=0.5), "vse")
    assert not first.resumed and first.checkpoints.is_dir() and first.plots.is_dir()
    with pytest.raises(UserError, match="mine holds a run already: --resume continues it"):
        Run.start(arguments(run_dir=str(folder)), "vse")
    Run.start(arguments(run_dir=str(folder), lr=0.7, resume=True), "vse")
    assert json.loads((folder / "args.json").read_text())["args"]["lr"] == 0.5  # what the run was begun with


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*/file/run: .*; give another --run-dir"):
        Run.start(arguments(run_dir=str(tmp_path / "file" / "run")), "vse")


def test_other_workers_write_inside_the_first_ones(tmp_path):
    first, third = (Run.start(arguments(run_dir=str(tmp_path / "run")), "vse", rank) for rank in (0, 2))
    assert first.folder == tmp_path / "run" and third.folder == tmp_path / "run" / "worker-2"


def test_arguments_are_kept_with_what_the_figures_depend_on(tmp_path):
    Run(tmp_path, arguments(data_path=Path("some/where"), steps=[1, 2]))
    kept = json.loads((tmp_path / "args.json").read_text())
    assert kept["args"]["data_path"] == "some/where" and kept["args"]["steps"] == [1, 2]
    assert set(kept["environment"]) == {"command", "python", "machine", "threads", "cores", "packages"}
    assert kept["environment"]["packages"]["mxnet"].startswith("1.9")
    assert kept["environment"]["threads"].isdigit()


def test_log_goes_to_the_terminal_and_the_file(tmp_path, capsys):
    run = Run(tmp_path, arguments())
    run.log("first")
    run.log("zweite Zeile: ä")
    assert capsys.readouterr().out == "first\nzweite Zeile: ä\n"
    lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["first", "zweite Zeile: ä"]


def test_metrics_keep_numpy_numbers_and_survive_a_line_cut_short(tmp_path):
    run = Run(tmp_path, arguments())
    run.metrics(epoch=0, batch=20, loss=np.float32(0.5), counts=np.arange(3))
    run.metrics(epoch=1, batch=0, **{"recall@1": 0.25})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 1, "batch": 20, "lo')  # killed in the middle of a line
    assert run.history() == [
        {"epoch": 0, "batch": 20, "loss": 0.5, "counts": [0, 1, 2]},
        {"epoch": 1, "batch": 0, "recall@1": 0.25},
    ]
    run.rewind(9, 0)
    run.metrics(epoch=1, batch=20, loss=1.0)
    assert [row["batch"] for row in run.history()] == [20, 0, 20]
    assert read_history(tmp_path / "nowhere") == []


@pytest.mark.parametrize(("epoch", "batch", "kept"), [
    (0, 0, []), (0, 20, [(0, 20)]), (0, 30, [(0, 20)]), (1, 0, [(0, 20), (0, 40), (1, 0)]),
    (1, 39, [(0, 20), (0, 40), (1, 0), (1, 20)]),
])  # fmt: skip
def test_rewind_forgets_what_a_resumed_run_writes_again(tmp_path, epoch, batch, kept):
    run = Run(tmp_path, arguments())
    for e, b in ((0, 20), (0, 40), (1, 0), (1, 20), (1, 40), (2, 0)):
        run.metrics(epoch=e, batch=b)
    run.rewind(epoch, batch)
    assert [(row["epoch"], row["batch"]) for row in run.history()] == kept


def test_final_figures_are_flat(tmp_path):
    run = Run(tmp_path, arguments())
    run.finish({"recall@1": np.float64(0.5), "map@r": 0.25, "ranks": np.int64(3)})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"recall@1": 0.5, "map@r": 0.25, "ranks": 3}
