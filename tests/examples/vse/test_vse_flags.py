"""What flags of train.py do, given on a command line."""

import mxnet as mx
import numpy as np
import pytest

from common.train.grouped import Grouped
from examples.vse import train


@pytest.fixture
def features(tmp_path):
    """Three pictures with five sentences each, as features."""
    rng = np.random.default_rng(0)
    for part in ("train", "dev", "test"):
        np.save(tmp_path / f"f8k_{part}_ims.npy", rng.normal(size=(3, 8)).astype(np.float32))
        (tmp_path / f"f8k_{part}_caps.txt").write_text("\n".join(f"w{i} w{i % 4}" for i in range(15)) + "\n")
    return tmp_path


def test_allow_same_image_fills_batches_from_few_pictures(features, tmp_path, capsys):
    flags = [
        "--data-path", features, "--dim", 4, "--dim_word", 4, "--batch_size", 15, "--max_epochs", 1, "--validFreq", 1,
        "--no-plots",
    ]  # fmt: skip

    def said(*more):
        train.main(train.parse_args([str(flag) for flag in (*flags, *more)]))
        return capsys.readouterr().out

    few = "batches of 3 sentences, as many as there are for them (--batch_size 15)"
    assert few in said("--run-dir", tmp_path / "one")  # three pictures, a sentence of each
    assert few not in said("--run-dir", tmp_path / "two", "--allow-same-image")


def test_lr_update_divides_the_rate_by_ten(features, tmp_path, monkeypatch):
    """Five updates an epoch, of one rate each; a run that is resumed goes on as one that was left alone."""
    update, rates = Grouped.update_multi_precision, []

    def seen(optimizer, index, *rest):
        if 0 in np.atleast_1d(index):
            rates.append(optimizer.learning_rate)
        update(optimizer, index, *rest)

    monkeypatch.setattr(Grouped, "update_multi_precision", seen)

    def run(name, *more):
        flags = ["--data-path", features, "--dim", 4, "--dim_word", 4, "--validFreq", 5, "--no-plots", "--lrate", 0.1]
        flags += ["--run-dir", tmp_path / name, "--lr-update", 2, *more]
        train.main(train.parse_args([str(flag) for flag in flags]))
        return mx.nd.load(str(sorted((tmp_path / name / "checkpoints").glob("epoch-*"))[-1] / "net-0.params"))

    whole = run("whole", "--max_epochs", 5)
    assert rates == pytest.approx(np.repeat([0.1, 0.1, 0.01, 0.01, 0.001], 5))
    run("cut", "--max_epochs", 3)
    cut = run("cut", "--max_epochs", 5, "--resume")
    for name, array in whole.items():
        np.testing.assert_array_equal(array.asnumpy(), cut[name].asnumpy(), err_msg=name)
