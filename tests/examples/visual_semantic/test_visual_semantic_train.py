"""The programs as their user meets them: split, train, resume, evaluate, tune."""

import hashlib
import importlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from common import cli
from common.data.features import FeatureSet
from common.data.sets import awa2
from common.files.errors import UserError
from common.files.paths import REPO
from common.run import Run
from examples.visual_semantic import data, model, search, train
from examples.visual_semantic.stage import Stage, Unrecorded
from tests.conftest import in_process, require_weights

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "visual_semantic"


def run(script, *arguments, **options):
    command = [sys.executable, str(EXAMPLE / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def here(script, *arguments):
    return in_process(f"visual_semantic/{script}", *arguments)


def test_help_lists_the_flags_and_their_defaults():
    shown = " ".join(run("train.py", "--help").stdout.split())
    for flag in ("--stages", "--lr-1", "--lr-2a", "--lr-2b", "--find-lr", "--loss", "--words", "--word-vectors",
                 "--unseen", "--split", "--rotation", "--zoom", "--lighting", "--no-mirror", "--resume"):  # fmt: skip
        assert f" {flag} " in shown
    args = train.parse_args([])
    assert (args.dataset, args.model, args.loss, args.word_vectors) == ("awa2", "squeezenet1.1", "cosine", "glove50")
    assert (args.stages, args.epochs_2a, args.epochs_2b) == (["1", "2a", "2b"], 5, 3)
    assert args.keep_all and not train.parse_args(["--no-keep-all"]).keep_all


@pytest.mark.parametrize(("script", "flags", "text"), [
    ("train", ["--data-path", "nowhere"], "./get_data.sh awa2"),
    ("train", ["--dataset", "folder"], "needs --data-path"),
    ("train", ["--stages", "2a,1"], "in this order"),
    ("train", ["--dataset", "folder", "--data-path", "PICTURES", "--unseen", "orang"], "did you mean orange"),
    ("train", ["--dataset", "folder", "--data-path", "PICTURES", "--backbone-lr", "0"], "add --use-pretrained"),
    ("train", ["--dataset", "folder", "--data-path", "PICTURES", "--words", "red"], "expected CLASS=WORD"),
    ("train", ["--dataset", "folder", "--data-path", "PICTURES", "--kvstore", "dist_async"], "a stage at a time"),
    ("evaluate", ["--params", "nothing.params"], "no model there"),
    ("split_awa2", ["--copy", "--data-path", "nowhere"], "./get_data.sh awa2"),
    ("split_awa2", ["--undo", "--data-path", "."], "nothing was split there"),
    ("tune", ["--augmentations", "fuller"], "some of none,light,full"),
])  # fmt: skip
def test_wrong_use_is_one_line_and_status_2(coloured, script, flags, text, tmp_path, capsys):
    flags = [str(coloured.pictures) if flag == "PICTURES" else flag for flag in flags]
    if script == "train":
        flags += ["--word-vectors", str(coloured.words), "--run-dir", str(tmp_path / "r")]
    program = importlib.import_module(f"examples.visual_semantic.{script}")
    with pytest.raises(SystemExit) as ended:
        cli.launch(program.main, lambda: program.parse_args(flags))
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and text in lines[0]
    assert not (tmp_path / "r").exists()


@pytest.fixture(scope="module")
def flags(coloured):
    """A training of a few seconds: coloured squares, 300-d words, pretrained SqueezeNet."""
    require_weights("squeezenet1.1")
    return [
        "--dataset", "folder", "--data-path", coloured.pictures, "--word-vectors", coloured.words, "--use-pretrained",
        "--unseen", "orange", "deep+sky", "--image-size", "64", "--resize", "64", "--batch-size", "14", "--seed", "5",
        "--epochs-1", "6", "--epochs-2a", "20", "--epochs-2b", "2", "--lr-2a", "3e-2",
    ]  # fmt: skip


def metadata(path):
    return json.loads(mx.nd.load(str(path))["meta:json"].asnumpy().tobytes())


def parameters(path):
    return {name: value for name, value in mx.nd.load(str(path)).items() if not name.startswith("meta:")}


@pytest.fixture(scope="module")
def trained(flags, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    done = run("train.py", *flags, "--run-dir", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_training_writes_its_stages_and_recognises(trained):
    figures = json.loads((trained / "metrics.json").read_text())
    assert figures["stage1_accuracy"] == 1 and figures["accuracy"] == 1
    assert figures["zero_shot"] >= 0.75  # orange from the blue of the sky
    for stage, epochs in (("1", 6), ("2a", 20), ("2b", 2)):
        stage_run = trained / f"stage{stage}"
        assert len(list((stage_run / "checkpoints").glob("epoch-*"))) == epochs  # every one is kept
        rows = [json.loads(line) for line in (stage_run / "metrics.jsonl").read_text().splitlines()]
        assert [row["epoch"] for row in rows if not row["batch"]] == list(range(1, epochs + 1))
        found = metadata(stage_run / "model.params")
        assert found["stage"] == stage and found["classifies"] == (stage != "2b") and found["dim"] == 300
        assert (trained / "plots" / f"stage{stage}.png").is_file()
    assert (trained / "report.html").read_text().count("<img") == 3
    assert metadata(trained / "model.params")["unseen"] == ["orange", "deep+sky"]


def test_stage_2a_leaves_the_backbone_and_2b_moves_it(trained):
    files = [parameters(trained / f"stage{name}" / "model.params") for name in ("1", "2a", "2b")]
    same = [[k for k in a if np.array_equal(a[k].asnumpy(), b[k].asnumpy())] for a, b in zip(files, files[1:])]
    backbone = {k for k in files[0] if ".body." in k}
    assert backbone <= set(same[0]) and not backbone & set(same[1])
    assert {k for k in files[0] if k.startswith("classifier")} <= set(same[0])
    assert "encoder.head.1.weight" not in same[0] + same[1]


@pytest.mark.slow
def test_two_workers_take_the_three_stages_in_one_go(coloured, tmp_path):
    """On features, of which each worker takes half a batch: the steps of one worker with all of it."""
    words = ["--word-vectors", coloured.words, "--unseen", "deep+sky", "orange", "--image-size", "64", "--resize", "64"]
    start = ["--params", coloured.params, "--backbone-lr", "0"]
    start += ["--epochs-1", "2", "--epochs-2a", "2", "--epochs-2b", "1"]
    shared = ["--dataset", "folder", "--data-path", coloured.pictures, *words, *start, "--no-plots"]
    launch = [sys.executable, "-m", "common.launch", "-n", "2", "-s", "1", "--", sys.executable, EXAMPLE / "train.py"]
    both = [*launch, *shared, "--batch-size", "4", "--run-dir", tmp_path / "both", "--kvstore", "dist_sync"]
    done = subprocess.run(list(map(str, both)), cwd=REPO, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    train.main(train.parse_args([*map(str, shared), "--batch-size", "8", "--run-dir", str(tmp_path / "one")]))
    one, ours, other = (parameters(tmp_path / name / "model.params") for name in ("one", "both", "both/worker-1"))
    assert one.keys() == ours.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_allclose(ours[name].asnumpy(), value.asnumpy(), rtol=1e-4, atol=1e-5, err_msg=name)
        assert np.array_equal(ours[name].asnumpy(), other[name].asnumpy()), name
    before = parameters(coloured.params)
    assert any(not np.array_equal(value.asnumpy(), before[name].asnumpy()) for name, value in one.items())
    figures = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("both", "both/worker-1")]
    assert figures[0] == figures[1]
    log = (tmp_path / "both" / "stage1" / "log.txt").read_text()
    size = sum(value.size for name, value in one.items() if name.startswith("classifier"))
    assert f"a step sends {4 * size / 1000:.3g} kB of gradients and receives {4 * size / 1000:.3g} kB" in log


@pytest.mark.slow
def test_stages_run_one_by_one_or_killed_give_the_same_model(trained, flags, tmp_path):
    folder = tmp_path / "run"
    first = here("train.py", *flags, "--stages", "1", "--run-dir", folder)
    assert first.returncode == 0, first.stderr
    again = here("train.py", *flags, "--run-dir", folder)
    assert again.returncode == 2 and "--resume" in again.stderr
    command = [sys.executable, str(EXAMPLE / "train.py"), *map(str, flags), "--run-dir", str(folder), "--resume"]
    command += ["--stages", "1,2a,2b"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        if (folder / "stage2a" / "checkpoints" / "epoch-0003-batch-000000").exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = run("train.py", "--run-dir", folder, "--resume")
    assert done.returncode == 0, done.stderr
    digests = [hashlib.sha256((place / "model.params").read_bytes()).hexdigest() for place in (trained, folder)]
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_fine_tuning_that_makes_it_worse_is_not_the_final_model(flags, tmp_path):
    few = ["--epochs-1", "2", "--epochs-2a", "8", "--epochs-2b", "1", "--lr-2b", "0.3", "--no-plots"]
    done = here("train.py", *flags, *few, "--run-dir", tmp_path / "best")
    assert done.returncode == 0, done.stderr
    of = {k: json.loads((tmp_path / "best" / f"stage{k}" / "metrics.json").read_text()) for k in ("2a", "2b")}
    assert of["2a"]["accuracy"] > of["2b"]["accuracy"]
    said = f"held-back pictures, {of['2a']['accuracy']:.4f} to {of['2b']['accuracy']:.4f}: model.params is the model of"
    assert said in done.stdout and said in (tmp_path / "best" / "log.txt").read_text()
    files = [parameters(tmp_path / "best" / place / "model.params") for place in ("", "stage2a")]
    assert all(np.array_equal(files[0][name].asnumpy(), files[1][name].asnumpy()) for name in files[0] | files[1])
    found = metadata(tmp_path / "best" / "model.params")
    assert found["stage"] == "2a" and found["classifies"]
    figures = json.loads((tmp_path / "best" / "metrics.json").read_text())
    assert figures["accuracy"] == of["2a"]["accuracy"] and figures["stage2b_accuracy"] == of["2b"]["accuracy"]
    done = here("train.py", *flags, *few, "--final", "last", "--run-dir", tmp_path / "last")
    assert done.returncode == 0 and metadata(tmp_path / "last" / "model.params")["stage"] == "2b"


@pytest.mark.slow
def test_evaluation_stands_beside_its_baselines(trained, coloured, tmp_path):
    done = run(
        "evaluate.py", "--params", trained / "model.params", "--data-path", coloured.pictures, "--seed", "5",
        "--output", tmp_path / "f.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "f.json").read_text())
    assert set(rows) == {"chance", "features", "ridge", "ConSE", "classifier", "trained", "trained and ConSE"}
    known = json.loads((trained / "metrics.json").read_text())
    assert rows["trained"]["zero_shot"] == known["zero_shot"] and rows["classifier"]["accuracy"] == 1
    other = here(
        "evaluate.py", "--params", trained / "model.params", "--data-path", coloured.pictures, "--unseen", "red", "blue"
    )
    assert other.returncode == 2 and "give the --split or --unseen of training" in other.stderr


@pytest.mark.slow
def test_the_range_test_draws_and_suggests(trained, flags, tmp_path):
    done = here(
        "train.py", *flags, "--find-lr", "--stages", "2a", "--params", trained / "stage1" / "model.params",
        "--run-dir", tmp_path / "find",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "find" / "lr_2a.json").read_text())
    assert 1e-5 < found["suggestion"] < 10 and f"{found['suggestion']:.2g}" in done.stdout
    assert Image.open(tmp_path / "find" / "plots" / "lr_2a.png").size[0] > 300


def test_a_stage_trains_without_a_run_folder(coloured):
    """As tune.py and the benchmarks train: what the backbone gives stands in for pictures, the best epoch is told."""
    args = train.parse_args(["--backbone-lr", "0", "--epochs-1", "3", "--epochs-2a", "3", "--batch-size", "12"])
    net, rng = model.load(coloured.params), np.random.default_rng(0)
    labels = np.repeat(np.arange(len(net.seen)), 6)
    rows = np.float32(rng.normal(0, 0.1, (len(labels), net.backbone.width)))
    rows[np.arange(len(labels)), labels] += 2
    known = FeatureSet(rows, labels)
    materials = args, net, data.Splits(known, known, known, net.seen, net.unseen), data.Reader(net.backbone, None)
    devices = [mx.cpu()], mx.kv.create("local")
    backbone = {name: value.data().asnumpy() for name, value in net.backbone.collect_params().items()}
    for name in ("1", "2a"):
        first, again = (
            train.TRAIN[name](args, net, Stage(name, *materials, *devices, open_session=lambda *_: Unrecorded(7)))
            for _ in range(2)
        )
        assert 1 <= first["epoch"] <= 3 and again["score"] >= first["score"] > 0.25  # it went on from where it was
    assert train.train_head(args, net, Stage("2a", *materials, *devices, evaluates=False)) == {}
    for name, value in net.backbone.collect_params().items():
        np.testing.assert_array_equal(value.data().asnumpy(), backbone[name])


def test_the_search_for_settings_saves_the_best(flags, tmp_path):
    done = run(
        "tune.py", *flags, "--lrs", "1e-6,3e-2", "--wds", "1e-4", "--epochs-2a", "5", "--draws", "1",
        "--run-dir", tmp_path / "t",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = list(map(json.loads, (tmp_path / "t" / "metrics.jsonl").read_text().splitlines()))
    rows = [row for row in rows if "lr" in row]
    best = json.loads((tmp_path / "t" / "best.json").read_text())
    first = max(rows, key=lambda row: (row["zero_shot"], row["accuracy"]))
    assert best["flags"] == {"--lr-2a": first["lr"], "--wd": 1e-4, "--epochs-2a": 5}
    assert [row["lr"] for row in rows] == [1e-6, 3e-2] and rows[1]["accuracy"] > rows[0]["accuracy"]
    held = next(line for line in done.stdout.splitlines() if "to choose by: " in line).split(": ")[-1].split(", ")
    assert len(held) == 2 and set(held) < {"blue", "green", "red", "yellow"}  # never orange or deep+sky


def test_emoji_are_laid_out_as_awa2_is(emoji_folder, coloured, tmp_path):
    words = tmp_path / "few.vec"
    names = ("elephant", "water", "buffalo", "cow", "dolphin", "tiger", "rabbit", "whale", "snail", "horse", "goat")
    names += ("pizza",)
    words.write_text("\n".join([f"{len(names)} 3", *(f"{n} {i} 1 {i * i}" for i, n in enumerate(names))]))
    done = run(
        "lay_out_emoji.py", "--data-path", emoji_folder, "--output", tmp_path / "e", "--word-vectors", words,
        "--unseen-share", "0.3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen, unseen = awa2.split_names(tmp_path / "e")
    assert len(seen) == 8 and len(unseen) == 3 and {"elephant", "water+buffalo", "cow", "dolphin"} <= set(seen)
    whole = awa2.load(tmp_path / "e")
    assert np.bincount(whole.labels).tolist() == [4] * 11  # four artists
    again = here("lay_out_emoji.py", "--data-path", emoji_folder, "--output", tmp_path / "e")
    assert again.returncode == 2 and "a new folder" in again.stderr


def test_the_shipped_model_is_small_and_knows_animals_by_their_words():
    from examples.visual_semantic import words

    assert search.SHIPPED.stat().st_size + search.SHIPPED.with_suffix(".json").stat().st_size < 3_000_000
    net = model.load(search.SHIPPED)
    assert {"elephant", "water+buffalo", "cow", "dolphin"} <= set(net.seen) and len(net.unseen) == 60
    queries = np.stack([words.query(net, name) for name in ("water buffalo", "cow", "elephant", "pizza")])  # no file
    nearness = queries @ queries.T
    assert nearness[0, 1] > nearness[0, 3] and nearness[1, 2] > nearness[2, 3]
    assert {"model", "crop", "resize", "word_vectors", "stage", "metrics", "licence"} <= set(net.metadata)


def test_a_resumed_run_may_choose_the_rates_of_stages_to_come(tmp_path):
    Run.start(train.parse_args(["--stages", "1", "--run-dir", str(tmp_path)]), "visual_semantic")
    (tmp_path / "stage1").mkdir()
    flags = ["--resume", "--run-dir", str(tmp_path)]
    args = train.parse_args([*flags, "--stages", "2a", "--lr-2a", "0.5"])
    assert (args.stages, args.lr_2a, args.lr_1) == (["2a"], 0.5, 1e-3)
    with pytest.raises(UserError, match="--lr-1 0.5: .* was begun with --lr-1 0.001"):
        train.parse_args([*flags, "--lr-1", "0.5"])
