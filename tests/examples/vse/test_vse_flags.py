"""What flags of train.py do, given on a command line."""

import numpy as np
import pytest

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
