"""A run's folder: numbered, resumed, rewound, and readable after a kill."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common import resume
from common.data.imageset import Notes
from common.files.errors import UserError
from common.files.paths import REPO
from common.run import Run, duration, read_history


def arguments(**more):
    return argparse.Namespace(**{"run_dir": None, "dataset": "glyphs", "resume": False, "lr": 0.1, **more})


@pytest.fixture
def repo(monkeypatch, tmp_path):
    monkeypatch.setattr(resume, "REPO", tmp_path)
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
    Run.start(arguments(run_dir=str(folder), lr=0.5, resume=True), "vse")
    assert "changes" not in json.loads((folder / "args.json").read_text())
    Run.start(arguments(run_dir=str(folder), lr=0.7, resume=True), "vse")
    kept = json.loads((folder / "args.json").read_text())
    assert kept["args"]["lr"] == 0.7 and [change["lr"] for change in kept["changes"]] == [[0.5, 0.7]]


def test_another_programs_run_and_other_data_are_refused(tmp_path):
    flags = {"run_dir": str(tmp_path / "run")}
    first = Run.start(arguments(**flags), "vse", data={"pictures": 390, "classes": 10})
    flags["resume"] = True
    with pytest.raises(UserError, match=r"run holds a run of vse, not of im2vec: give another --run-dir"):
        Run.start(arguments(**flags), "im2vec")
    with pytest.raises(UserError, match=r"run was begun on 390 pictures, and there are 702 now"):
        Run.start(arguments(**flags), "vse", data={"pictures": 702, "classes": 10})
    Run.start(arguments(**flags), "vse", data={"pictures": 390, "classes": 10})
    named = {"run_dir": str(tmp_path / "named")}
    Run.start(arguments(**named), "vse", data={"classes": ["ox", "cat", "rat"]})
    with pytest.raises(UserError, match="named was begun on classes with 'cat' in the place of 'rat': resume it with"):
        Run.start(arguments(**named, resume=True), "vse", data={"classes": ["ox", "rat", "cat"]})
    kept = json.loads((first.folder / "args.json").read_text())
    for name in ("program", "data", "where"):  # a run of old says nothing of these
        del kept[name]
    (first.folder / "args.json").write_text(json.dumps(kept))
    Run.start(arguments(**flags), "im2vec", data={"pictures": 1})


OTHER = """
import argparse, sys
from common import cli
from common.run import Run
args = argparse.Namespace(run_dir=sys.argv[1], dataset="glyphs", resume=sys.argv[2] == "resume", lr=0.1)
cli.launch(lambda args: Run.start(args, "vse", int(sys.argv[3])).log("mine"), lambda: args)
"""


def other(folder, resume="resume", rank=0):
    command = [sys.executable, "-c", OTHER, str(folder), resume, str(rank)]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True)


@pytest.mark.parametrize("resume", ["resume", "new"])
def test_a_run_folder_has_one_writer(tmp_path, resume):
    first = Run.start(arguments(run_dir=str(tmp_path)), "vse")
    first.log("mine")
    (first.checkpoints / ".writing-1").mkdir()
    if resume == "new":  # it has the folder already, and nothing in it yet
        (tmp_path / "args.json").unlink()
    done = other(tmp_path, resume)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "is written by another process now: wait for its end, or give another --run-dir" in done.stderr
    assert (first.checkpoints / ".writing-1").is_dir() and len((tmp_path / "log.txt").read_text().splitlines()) == 1
    assert other(tmp_path, "new", rank=2).returncode == 0  # each worker writes a folder of its own


def test_the_lock_ends_with_the_run(tmp_path):
    run = Run.start(arguments(run_dir=str(tmp_path)), "vse")
    again = Run.start(arguments(run_dir=str(tmp_path), resume=True), "vse")  # this process has it
    del run
    assert other(tmp_path).returncode == 2
    del again
    assert other(tmp_path).returncode == 0


def test_a_folder_that_cannot_be_written_any_more_is_one_line(tmp_path, monkeypatch):
    run = Run.start(arguments(run_dir=str(tmp_path)), "vse")
    (tmp_path / "log.txt").mkdir()
    for write, name in ((lambda: run.log("x"), "log.txt"), (lambda: run.metrics(x=1), "metrics.jsonl")):
        (tmp_path / name).mkdir(exist_ok=True)
        with pytest.raises(UserError, match=f"cannot write .*{name}: Is a directory; free some space or give"):
            write()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*/file/run: .*; free some space or give another --run-dir"):
        Run.start(arguments(run_dir=str(tmp_path / "file" / "run")), "vse")


@pytest.mark.parametrize("resume", [True, False])
def test_a_name_that_is_too_long_is_one_line(tmp_path, resume):
    with pytest.raises(UserError, match="File name too long" if not resume else "holds no run to resume"):
        Run.start(arguments(run_dir=str(tmp_path / ("a" * 300)), resume=resume), "vse")


def test_other_workers_write_inside_the_first_ones(tmp_path):
    first, third = (Run.start(arguments(run_dir=str(tmp_path / "run")), "vse", rank) for rank in (0, 2))
    assert first.folder == tmp_path / "run" and third.folder == tmp_path / "run" / "worker-2"


def test_arguments_are_kept_with_what_the_figures_depend_on(tmp_path):
    Run(tmp_path, arguments(data_path=Path("some/where"), steps=[1, 2]))
    kept = json.loads((tmp_path / "args.json").read_text())
    assert kept["args"]["data_path"] == "some/where" and kept["args"]["steps"] == [1, 2]
    assert set(kept["environment"]) == {"version", "command", "python", "machine", "threads", "cores", "packages"}
    assert kept["environment"]["packages"]["mxnet"].startswith("1.9")
    assert kept["environment"]["threads"].isdigit()


def test_log_goes_to_the_terminal_and_the_file(tmp_path, capsys):
    run = Run(tmp_path, arguments())
    run.log("first")
    run.log("zweite Zeile: ä")
    assert capsys.readouterr().out == "first\nzweite Zeile: ä\n"
    lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["first", "zweite Zeile: ä"]


def test_what_was_said_before_there_was_a_run_is_in_its_log(tmp_path, capsys):
    notes = Notes()
    notes("3 pictures")
    assert capsys.readouterr().out == "3 pictures\n"  # at once: an error may follow
    Run.start(arguments(run_dir=tmp_path / "run"), "vse", notes=notes).log("more")
    assert capsys.readouterr().out == "more\n"
    lines = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["3 pictures", "more"]


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


def test_stages_are_counted_and_timed(tmp_path, capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("common.run.time.monotonic", lambda: now[0])
    run = Run.start(arguments(run_dir=str(tmp_path)), "vse", stages=["baselines", "training", "", "pictures"])
    for name, seconds in (("baselines", 12.34), ("training", 3725), ("pictures", 1)):
        run.stage(name)
        now[0] += seconds
    said = ["[1/3] baselines", "[2/3] training (baselines took 12 s)", "[3/3] pictures (training took 1 h 2 min)"]
    assert capsys.readouterr().out.splitlines() == said
    assert [line[20:] for line in (tmp_path / "log.txt").read_text().splitlines()] == said
    with pytest.raises(ValueError, match="not in list"):
        run.stage("evaluation")


@pytest.mark.parametrize(("seconds", "said"), [
    (0, "0 s"), (0.04, "0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 0 s"),
    (200, "3 min 20 s"), (3599.4, "59 min 59 s"), (3599.6, "1 h 0 min"), (7199, "2 h 0 min"), (7529, "2 h 5 min"),
])  # fmt: skip
def test_durations(seconds, said):
    assert duration(seconds) == said
