"""Fine-tuning over several devices and workers: the same training, only shared out."""

import json
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from common.files.paths import REPO
from examples.transfer import data, model, train

SCRIPT = REPO / "examples" / "transfer" / "train.py"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Red, green and blue pictures, eight of each, with noise."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        (root / name).mkdir()
        for i in range(8):
            picture = rng.integers(0, 120, (20, 30, 3))
            picture[..., channel] += 100
            Image.fromarray(picture.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def flags(pictures, folder, *more):
    return [
        "--data-path", str(pictures), "--model", "conv4", "--weights", "None", "--folds", "1", "--test-share", "0.25",
        "--batch-size", "5", "--run-dir", str(folder), "--fine-tune", "--epochs", "1", "--lr", "1e-3", *more,
    ]  # fmt: skip


def trained(folder):
    return {name: array.asnumpy() for name, array in model.load(folder / "model.params").parameters.items()}


def loss(folder):
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows]


def test_a_batch_is_made_divisible_and_its_loss_stays_the_mean(pictures, tmp_path):
    args = train.parse_args(flags(pictures, tmp_path))
    found = data.pictures(args)
    image_set, chosen = found.image_set, found.train
    plain = list(data.Batches(image_set, chosen[:8], [32], args).epoch(0))
    assert [len(labels) for _, labels, _ in plain] == [5, 3] and all((weights == 1).all() for *_, weights in plain)
    for count in (2, 3, 4):
        for filled, whole in zip(data.Batches(image_set, chosen[:8], [32], args, count).epoch(0), plain):
            n, losses = len(whole[1]), np.arange(1.0, 13)
            assert len(filled[1]) % count == 0 and len(filled[1]) - n < count
            assert all((a[:n] == b).all() and (a[n:] == b[-1]).all() for a, b in zip(filled[:2], whole[:2]))
            assert (losses[: len(filled[1])] * filled[2].ravel()).mean() == pytest.approx(losses[:n].mean())


@pytest.mark.slow
def test_several_devices_train_as_one(pictures, tmp_path):
    """Eighteen pictures in batches of five: none divides by two, and the last leaves one of four devices idle."""
    for count in (1, 2, 4):
        train.main(train.parse_args(flags(pictures, tmp_path / str(count), "--num-cpus", str(count))))
    one = trained(tmp_path / "1")
    for count in (2, 4):
        several = trained(tmp_path / str(count))
        assert one.keys() == several.keys()
        for name, array in one.items():
            np.testing.assert_allclose(several[name], array, rtol=1e-3, atol=2e-5, err_msg=name)
        np.testing.assert_allclose(loss(tmp_path / str(count)), loss(tmp_path / "1"), rtol=1e-4)
    devices = list((tmp_path / "4" / "checkpoints").glob("*/net-*.params"))
    assert len(devices) == 4


@pytest.mark.slow
def test_workers_share_the_pictures_out(pictures, tmp_path):
    """Two workers of three pictures a step take the steps of one worker with six."""
    launch = [sys.executable, "-m", "common.launch", "-n", "2", "-s", "1", "--", sys.executable, str(SCRIPT)]
    shared = flags(pictures, tmp_path / "run", "--kvstore", "dist_sync", "--batch-size", "3")
    done = subprocess.run([*launch, *shared], cwd=REPO, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, other = ({p.name: mx.nd.load(str(p)) for p in folder.glob("checkpoints/*/net-0.params")}
                  for folder in (tmp_path / "run", tmp_path / "run" / "worker-1"))  # fmt: skip
    for name, array in one["net-0.params"].items():
        assert (array == other["net-0.params"][name]).asnumpy().all(), name
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["accuracy"] > 0.5
    assert not (tmp_path / "run" / "worker-1" / "metrics.json").exists()
    train.main(train.parse_args(flags(pictures, tmp_path / "alone", "--batch-size", "6")))
    for name, array in trained(tmp_path / "alone").items():
        np.testing.assert_allclose(trained(tmp_path / "run")[name], array, rtol=1e-3, atol=2e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "servers"), [(2, 2)])
def test_workers_share_the_head_out(tmp_path, workers, servers):
    """Every batch is the same whoever takes which part; the last one of an epoch, of one picture, all take."""
    rng, labels = np.random.default_rng(0), np.arange(82) % 3
    np.save(tmp_path / "f_data.npy", (np.eye(3)[labels] + rng.normal(0, 1, (82, 3))).astype(np.float32))
    np.save(tmp_path / "f_labels.npy", labels)
    shared = ["--features", tmp_path / "f_data.npy", "--classifier", "gluon", "--folds", "1"]
    launch = [sys.executable, "-m", "common.launch", "-n", workers, "-s", servers, "--", sys.executable, SCRIPT]
    both = [*launch, *shared, "--kvstore", "dist_sync", "--run-dir", tmp_path / "both"]
    done = subprocess.run(list(map(str, both)), cwd=REPO, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    train.main(train.parse_args([*map(str, shared), "--run-dir", str(tmp_path / "one")]))
    assert json.loads((tmp_path / "one" / "metrics.json").read_text())["train_pictures"] == 65  # a batch, and one more
    one, ours = (model.load(tmp_path / name / "model.params") for name in ("one", "both"))
    assert np.abs(one.weight).max() > 0.1
    np.testing.assert_allclose(ours.weight, one.weight, atol=1e-4)
    np.testing.assert_allclose(ours.bias, one.bias, atol=1e-4)


@pytest.mark.parametrize(("given", "message"), [
    (["--kvstore", "dist_async", "--classifier", "gluon"], "--kvstore dist_async shares out --fine-tune"),
    (["--weights", "a", "--params", "b"], "--weights a and --params b: give one of them"),
    (["--params", "b", "--weights", "imagenet"], "--params b and --weights imagenet: give one of them"),
    (["--kvstore", "dist_sync"], "--kvstore dist_sync shares out --fine-tune"),
])  # fmt: skip
def test_flags_that_do_not_go_together(given, message, capsys):
    with pytest.raises(SystemExit) as ended:
        train.parse_args(["--dataset", "glyphs", *given])
    shown = capsys.readouterr().err
    assert ended.value.code == 2 and message in shown and shown.count("\n") == 1


def test_params_is_another_name_of_weights(tmp_path):
    file = tmp_path / "x.params"
    file.touch()
    for given in (["--params", str(file)], ["--weights", str(file)], ["--params", str(file), "--weights", str(file)]):
        assert train.parse_args(["--dataset", "glyphs", *given]).weights == str(file)
