"""A resumed run has its own flags; what is given beside them must agree, or may change and is then kept."""

import json
import os
import subprocess
import sys

import pytest

from common import cli, resume
from common.files.errors import UserError
from common.files.paths import REPO
from common.run import Run

PROGRAMS = {
    "embedding_learning": "embedding_learning/train.py", "vse": "vse/train.py", "im2vec": "im2vec/train.py",
    "visual_semantic": "visual_semantic/train.py", "transfer": "transfer/train.py",
}  # fmt: skip
FLAGS = {
    "data": cli.data("glyphs", ["glyphs", "emoji"]),
    "network": cli.network("conv4"),
    "optimisation": [
        ("--lr", cli.rate, 0.1, "learning rate"),
        ("--epochs", cli.positive_int, 20, "epochs"),
        ("--steps", cli.float_list, [12, 14], "where the rate changes"),
        ("--files", cli.many(cli.FILE), [], "files"),
        ("--pretrained", cli.switch, False, "start from those"),
        cli.NO_PLOTS,
        ("--keep-all", cli.on_off, True, "keep every checkpoint"),
    ],
    "run": cli.run("toy"),
    "devices": cli.DEVICES,
}


def parser():
    return cli.parser("A program.", FLAGS)


def parse(*argv, free=None):
    return resume.parse_args(parser(), [str(part) for part in argv], "toy", free)


def begin(folder, *argv):
    return Run.start(parse("--run-dir", folder, *argv), "toy")


def kept(folder):
    return json.loads((folder / "args.json").read_text())


def test_without_resume_nothing_is_read(tmp_path):
    begin(tmp_path / "run", "--lr", "0.5")
    assert parse("--run-dir", tmp_path / "run").lr == 0.1


def test_a_bare_resume_has_all_flags_of_the_run(tmp_path):
    begin(tmp_path / "my run", "--lr", "0.5", "--dataset", "emoji", "--steps", "3,4.5", "--pretrained", "--gpus=")
    (tmp_path / "elsewhere").mkdir()
    args = parse("--resume", "--run-dir", tmp_path / "my run")
    assert (args.lr, args.dataset, args.steps, args.pretrained) == (0.5, "emoji", [3, 4.5], True)
    assert args.resume and args.epochs == 20
    again = Run.start(args, "toy")
    assert again.resumed and "changes" not in kept(again.folder)


def test_the_newest_run_of_the_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "REPO", tmp_path)
    for rate in ("0.5", "0.6"):
        Run.start(parse("--lr", rate), "toy")
    args = parse("--resume")
    assert args.lr == 0.6 and args.run_dir == str(tmp_path / "runs" / "toy" / "glyphs-2")
    with pytest.raises(UserError, match="no run of emoji under .* to resume"):
        parse("--resume", "--dataset", "emoji")


@pytest.mark.parametrize(("given", "message"), [
    (["--lr", "0.2"], r"^--lr 0.2: the run in .*run was begun with --lr 0.5; leave it out to resume, or start another"),
    (["--seed", "7"], "--seed 7: .* begun with --seed 123"),
    (["--dataset", "emoji"], "--dataset emoji: .* begun with --dataset glyphs"),
    (["--num-cpus", "2"], "--num-cpus 2: .* begun with --num-cpus 1"),
    (["--gpus", "0"], "--gpus 0: .* begun without it"),
    (["--data-path", "x"], "--data-path x: .* begun without it"),
    (["--steps", "3"], "--steps 3.0: .* begun with --steps 3.0,4.0"),
    (["--pretrained"], "--pretrained: .* begun without --pretrained"),
])  # fmt: skip
def test_a_flag_that_disagrees_is_one_line(tmp_path, given, message):
    begin(tmp_path / "run", "--lr", "0.5", "--steps", "3,4")
    before = kept(tmp_path / "run")
    with pytest.raises(UserError, match=message):
        parse("--resume", "--run-dir", tmp_path / "run", *given)
    assert kept(tmp_path / "run") == before


def test_a_flag_that_agrees_may_be_given(tmp_path):
    begin(tmp_path / "run", "--lr", "0.5")
    assert parse("--resume", "--run-dir", tmp_path / "run", "--lr", "5e-1", "--seed", "123").lr == 0.5


def test_what_may_change_is_kept_in_the_run(tmp_path):
    folder = tmp_path / "run"
    begin(folder)
    for epochs, workers in ((30, 2), (40, 0)):
        flags = ["--epochs", epochs, "--num-workers", workers, "--no-keep-all"]
        Run.start(parse("--resume", "--run-dir", folder, *flags), "toy")
    found = kept(folder)
    assert (found["args"]["epochs"], found["args"]["num_workers"], found["args"]["keep_all"]) == (40, 0, False)
    changes = [{k: v for k, v in change.items() if k != "time"} for change in found["changes"]]
    assert changes == [{"epochs": [20, 30], "keep_all": [True, False]}, {"epochs": [30, 40], "num_workers": [2, 0]}]
    assert parse("--resume", "--run-dir", folder).epochs == 40


def test_pictures_are_drawn_by_the_call_that_does_not_leave_them_out(tmp_path):
    begin(tmp_path / "run", "--no-plots")
    args = parse("--resume", "--run-dir", tmp_path / "run")
    assert not args.no_plots
    Run.start(args, "toy")
    assert kept(tmp_path / "run")["changes"][0]["no_plots"] == [True, False]


def test_a_run_may_let_a_flag_change_once(tmp_path):
    """As it does when its loss diverged."""
    run = begin(tmp_path / "run")
    stage = Run(run.folder / "stage1", run.args, within=run)
    stage.may_change("lr")
    Run.start(parse("--resume", "--run-dir", run.folder, "--lr", "0.01"), "toy")
    assert kept(run.folder)["args"]["lr"] == 0.01
    with pytest.raises(UserError, match="begun with --lr 0.01"):
        parse("--resume", "--run-dir", run.folder, "--lr", "0.001")
    more = ["--resume", "--run-dir", run.folder, "--lr", "0.001"]
    assert parse(*more, free=lambda folder: ["lr"] if folder == run.folder else []).lr == 0.001


def test_places_are_the_same_from_every_folder(tmp_path, monkeypatch):
    for name in ("a b", "other"):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "x.txt").write_text("")
    monkeypatch.chdir(tmp_path / "a b")
    begin("run", "--data-path", "data", "--files", "x.txt", "missing.txt")
    monkeypatch.chdir(tmp_path / "other")
    args = parse("--resume", "--run-dir", "../a b/run")
    assert os.path.samefile(args.data_path, tmp_path / "a b" / "data")
    assert os.path.samefile(args.files[0], tmp_path / "a b" / "x.txt") and args.files[1] == "missing.txt"
    assert "changes" not in kept(Run.start(args, "toy").folder)
    given = ["--data-path", tmp_path / "other" / ".." / "a b" / "data"]
    assert parse("--resume", "--run-dir", "../a b/run", *given).data_path == str(given[1])
    with pytest.raises(UserError, match="--data-path data: .* begun with --data-path /.*/a b/data;"):
        parse("--resume", "--run-dir", "../a b/run", "--data-path", "data")


@pytest.mark.parametrize("text", ["", "[]", "null", '{"args": 3}', '{"args": {"lr": 0.', "\x00"])
def test_flags_that_cannot_be_read_are_one_line(tmp_path, text):
    (tmp_path / "args.json").write_text(text)
    with pytest.raises(UserError, match=r"args.json is not as it should be .*: the run cannot be resumed"):
        parse("--resume", "--run-dir", tmp_path)


def test_a_worker_with_a_machine_of_its_own_reads_its_part(tmp_path):
    Run.start(parse("--run-dir", tmp_path / "run", "--lr", "0.5"), "toy", rank=3)
    assert parse("--resume", "--run-dir", tmp_path / "run").lr == 0.5


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_refuses_at_once(program, tmp_path):
    """Before the heavy imports: with an interpreter that has none of the packages."""
    (tmp_path / "args.json").write_text(json.dumps({"program": program, "args": {"seed": 5, "epochs": 3}}))

    def error(*flags):
        command = [sys.executable, "-S", str(REPO / "examples" / PROGRAMS[program]), "--resume", *flags]
        done = subprocess.run([*command, "--run-dir", str(tmp_path)], capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    assert error("--seed", "6") == (
        f"error: --seed 6: the run in {tmp_path} was begun with --seed 5; leave it out to resume, or start another"
        " --run-dir\n"
    )
    (tmp_path / "args.json").write_text(json.dumps({"program": "other", "args": {}}))
    assert f"holds a run of other, not of {program}: give another --run-dir" in error()
