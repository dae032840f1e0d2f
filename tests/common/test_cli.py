"""The command line that the examples share: defaults shown, errors in one line, exit statuses."""

import argparse
import errno
import importlib
import os
import signal
import subprocess
import sys
import time
import types

import pytest

from common import cli
from common.files.errors import UserError
from common.files.paths import REPO

SHARED = {
    "data": cli.data("glyphs", ["cub200", "glyphs"]),
    "network": cli.network("conv4"),
    "run": cli.run("embedding_learning"),
    "devices": cli.DEVICES,
}
OWN = {
    "loss": [
        ("--nu", cli.non_negative_float, 0.0, "weight, in %% of the loss"),
        ("--steps", cli.float_list, [12, 14], "epochs"),
        ("--own", cli.positive_int, 3, "default is three"),
        ("--kind -k --kinds", cli.choice("a", "b|c"), None, "of %(choices)s"),
        ("--names", cli.many(cli.NAME, "*"), [], "any number"),
        ("--keep", cli.on_off, True, "keeps them"),
        ("--flag", cli.switch, False, "turns it on"),
    ],
}


def shared(**more):
    return cli.parser("What it does.\n\nMore that --help leaves out.", {**SHARED, **more})


def refused(p, arguments, capsys):
    """The line that the parser ends with."""
    with pytest.raises(SystemExit) as ended:
        p.parse_args(arguments)
    line = capsys.readouterr().err
    assert ended.value.code == 2 and line.startswith("error: ") and line.count("\n") == 1 and "see --help" in line
    return line


def test_help_shows_headings_and_every_default_also_zero_and_empty():
    text = shared(**OWN).format_help()
    headings = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["options:", "data:", "network:", "run:", "devices:", "loss:"]
    text = " ".join(text.split())
    for shown in (
        "data set: cub200, glyphs (default: glyphs)", "random seed (default: 123)", "in % of the loss (default: 0.0)",
        "epochs (default: 12,14)", "empty means CPU (default: empty)", "default is three -", "turns it on",
        "of a, b|c",
    ):  # fmt: skip
        assert shown in text
    assert "What it does." in text and "More that" not in text
    assert text.endswith("turns it on")  # a switch has no default to show
    assert "/DATASET" in text  # where --data-path is by default


def test_shared_flags_of_every_example():
    assert vars(shared().parse_args([])) == {
        "dataset": "glyphs", "data_path": None, "columns": [], "model": "conv4", "params": None, "run_dir": None,
        "resume": False, "num_workers": 2, "gpus": [], "num_cpus": 1, "kvstore": "device", "engine": "auto",
        "seed": 123, "on_error": "stop", "class_depth": None, "gradient_compression": None, "min_per_class": 0,
        "tensorboard": False, "amp": False,
    }  # fmt: skip


def test_the_type_of_a_row_says_how_its_flag_is_read(capsys):
    p = shared(**OWN)
    given = p.parse_args(["-k", "b|c", "--names", "x", "y", "--no-keep", "--flag"])
    assert (given.kinds, given.names, given.keep, given.flag) == ("b|c", ["x", "y"], False, True)
    assert p.parse_args(["--names"]).names == [] and p.parse_args([]).keep is True
    assert "invalid choice: 'b'" in refused(p, ["--kind", "b"], capsys)


def test_positional_and_required_rows(capsys):
    rows = [("files", cli.many(cli.PATH), cli.REQUIRED, "which"), ("--output", cli.FILE, cli.REQUIRED, "where")]
    p = cli.parser("-", {"files": rows})
    args = p.parse_args(["a", "b", "--output", "c"])
    assert (args.files, args.output) == (["a", "b"], "c")
    assert "required: PATH" in refused(p, ["--output", "c"], capsys)
    assert "required: --output" in refused(p, ["a"], capsys)


def test_alternatives_exclude_each_other(capsys):
    rows = [("--copy", cli.switch, False, "copies"), ("--move", cli.switch, False, "moves")]
    p = cli.parser("-", {"what": [cli.Alternatives(rows, required=True)]})
    assert p.parse_args(["--move"]).move
    assert "--copy" in refused(p, ["--copy", "--move"], capsys)
    assert "--copy --move" in refused(p, [], capsys)
    assert cli.parser("-", {"what": [cli.Alternatives(rows)]}).parse_args([]).copy is False


def test_one_flag_of_two_names_is_given_one_value(capsys):
    p = cli.parser("-", {"network": [("--weights --params", cli.WEIGHTS, "imagenet", "of the network")]})
    assert p.parse_args([]).weights == "imagenet" and p.parse_args(["--params", "a"]).weights == "a"
    assert p.parse_args(["--weights", "a", "--weights", "b"]).weights == "b"
    assert "--weights a and --params b: give one" in refused(p, ["--weights", "a", "--params", "b"], capsys)


def test_a_table_for_a_readme():
    assert cli.table(OWN).splitlines() == [
        "| flag | default | meaning |", "| --- | --- | --- |", "| **loss** | | |",
        "| `--nu` | `0.0` | weight, in % of the loss |", "| `--steps` | `12,14` | epochs |",
        "| `--own` |  | default is three |", "| `--kind`, `-k`, `--kinds` |  | of a, b\\|c |",
        "| `--names` | empty | any number |", "| `--keep`, `--no-keep` | `True` | keeps them |",
        "| `--flag` |  | turns it on |",
    ]  # fmt: skip


@pytest.mark.parametrize(("arguments", "text"), [
    (["--gpus", "0,x"], "argument --gpus: '0,x' is not whole numbers with commas between, such as 0,2,5"),
    (["--num-cpus", "0"], "argument --num-cpus: '0' is not a whole number from 1 to 64"),
    (["--num-cpus", "two"], "argument --num-cpus: 'two' is not a whole number from 1 to 64"),
    (["--seed", "-1"], "argument --seed: '-1' is not a whole number from 0 to 2147483647"),
    (["--num-workers", "1000000"], "argument --num-workers: '1000000' is not a whole number from 0 to 256"),
    (["--kvstore", "devise"], "--kvstore"),
    (["--dataset", "birds"], "--dataset"),
    (["--num-cpu", "2"], "unrecognized arguments: --num-cpu 2"),  # no abbreviations: a new flag would break them
    (["stray"], "stray"),
])  # fmt: skip
def test_wrong_flags_are_one_line_and_status_2(arguments, text, capsys):
    assert text in refused(shared(), arguments, capsys)


def test_lists():
    assert cli.int_list("0,2,5") == [0, 2, 5] and cli.int_list("7") == [7]
    assert cli.int_list("") == cli.float_list("") == []
    assert cli.float_list("12, 14.5,") == [12, 14.5]
    assert shared().parse_args(["--gpus="]).gpus == []


@pytest.mark.parametrize(("kind", "good", "bad"), [
    (cli.positive_int, {"1": 1, "70": 70}, ["0", "-3", "1.5", "", "1000000000000"]),
    (cli.non_negative_int, {"0": 0, "12": 12}, ["-1", "x", "9" * 5000]),
    (cli.positive_float, {"1e-4": 1e-4, "2": 2.0}, ["0", "-1", "inf", "nan", "1e300"]),
    (cli.non_negative_float, {"0": 0.0, "0.5": 0.5}, ["-0.1", "inf", "nan", "1e300"]),
    (cli.whole(8, 64), {"8": 8, "64": 64}, ["7", "65", "", "8.0"]),
    (cli.pixels, {"8": 8, "224": 224}, ["1", "1000000"]),
    (cli.width, {"1": 1, "4096": 4096}, ["0", "1000000000000"]),
    (cli.float_list, {"1,-2.5": [1.0, -2.5]}, ["nan", "1,inf", "1e300", "a"]),
    (cli.int_list, {"0,1": [0, 1]}, ["-1", "1.5", "10000000000"]),
    (cli.stem, {"model": "model", "a b.c": "a b.c"}, ["a/b", "", "..", "a\\b", "a\0", "a" * 201, "../x"]),
    (cli.one_of(("adam", "sgd")), {"adam": "adam", "SGD": "sgd"}, ["", "adams"]),
    (cli.unit_float, {"0": 0.0, "1": 1.0, "0.3": 0.3}, ["1.01", "-0.1", "nan"]),
])  # fmt: skip
def test_numbers_keep_their_range(kind, good, bad):
    for text, value in good.items():
        assert kind(text) == value
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="is not |is none of"):
            kind(text)


BAD_VALUES = [  # each was a traceback, a hang or gigabytes of memory
    ("embedding_learning", "--lr", "1e300"), ("embedding_learning", "--embed-dim", "1000000000000"),
    ("embedding_learning", "--image-size", "1"), ("embedding_learning", "--image-size", "1000000"),
    ("embedding_learning", "--optimizer", "adams"), ("embedding_learning", "--save-model-prefix", "a/b"),
    ("embedding_learning", "--epoch-batches", "1000000000"), ("embedding_learning", "--steps", "nan"),
    ("im2vec", "--image-size", "1"), ("im2vec", "--negatives", "100000000"), ("im2vec", "--embed-dim", "1000000000000"),
    ("im2vec", "--weight-decay", "1e300"), ("vse", "--dim", "1000000000000"), ("vse", "--lrate", "1e300"),
    ("vse", "--batch_size", "1000000000"), ("vse", "--image-size", "1000000"), ("visual_semantic", "--lr-1", "1e300"),
    ("visual_semantic", "--hidden", "1000000000000"), ("visual_semantic", "--image-size", "1"),
    ("visual_semantic", "--seed", "1000000000000"), ("transfer", "--lr", "1e300"), ("transfer", "--epochs", "1e9"),
]  # fmt: skip


@pytest.mark.parametrize(("example", "flag", "value"), BAD_VALUES)
def test_values_beyond_reason_are_refused_at_once(example, flag, value, capsys):
    """Before the heavy imports: the parser alone says it."""
    train = importlib.import_module(f"examples.{example}.train")
    shown = refused(types.SimpleNamespace(parse_args=train.parse_args), [flag, value], capsys)
    assert flag in shown and value in shown


def ends_with(main):
    with pytest.raises(SystemExit) as ended:
        cli.launch(main, lambda: None)
    return ended.value.code


def test_a_users_error_is_one_line_and_status_2(capsys):
    def main(args):
        print("so far so good")
        raise UserError("row 7 of labels.csv has no class: name one")

    assert ends_with(main) == 2
    shown = capsys.readouterr()
    assert shown.err == "error: row 7 of labels.csv has no class: name one\n"
    assert shown.out == "so far so good\n"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_disk_is_one_line_whoever_writes(capsys, code):
    def main(args):
        raise OSError(code, os.strerror(code), "some/file")

    assert ends_with(main) == 2
    assert capsys.readouterr().err == (
        f"error: cannot write some/file: {os.strerror(code)}; free some space or give another place\n"
    )
    with pytest.raises(FileNotFoundError):
        cli.launch(lambda args: os.stat("no such file"), lambda: None)


def test_main_gets_the_arguments_and_other_errors_keep_their_traceback():
    seen = []
    cli.launch(seen.append, lambda: "arguments")
    assert seen == ["arguments"]
    with pytest.raises(ZeroDivisionError):
        cli.launch(lambda args: 1 / 0, lambda: None)


@pytest.mark.parametrize("flags, said", [
    ("argparse.Namespace(resume=False)", "stopped; a run with checkpoints continues with --resume\n"),
    ("argparse.Namespace(output='a.npy')", "stopped\n"),
])  # fmt: skip
def test_interrupt_ends_with_130(tmp_path, flags, said):
    script = tmp_path / "script.py"
    script.write_text(
        "import argparse, time\nfrom common import cli\n"
        "def main(args):\n    print('started', flush=True)\n    time.sleep(60)\n"
        f"cli.launch(main, lambda: {flags})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    process = subprocess.Popen(
        [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip
    assert process.stdout.readline() == "started\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=20)
    assert process.returncode == 130
    assert shown == said


def test_nothing_slow_is_imported():
    """--help and wrong flags answer at once: MXNet alone takes 2.6 s."""
    code = "import sys, common.cli; print([m for m in ('mxnet', 'faiss', 'cv2', 'PIL') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True).stdout == "[]\n"
