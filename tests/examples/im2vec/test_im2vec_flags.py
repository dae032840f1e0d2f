"""What flags of train.py do, given on a command line."""

import numpy as np
import pytest

from examples.im2vec import train

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def cifar10(tmp_path):
    """A folder in CIFAR-10's binary layout: ten classes of eight pictures, each of a colour with noise."""
    folder, rng = tmp_path / "own-cifar10", np.random.default_rng(0)
    folder.mkdir()
    colours = rng.integers(40, 215, (10, 3))
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        rows = []
        for label in np.repeat(np.arange(10), 8):
            pixels = (colours[label][:, None, None] + rng.normal(0, 20, (3, 32, 32))).clip(0, 255).astype(np.uint8)
            rows.append(bytes([label]) + pixels.tobytes())
        (folder / name).write_bytes(b"".join(rows))
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n")
    return folder


def test_cifar10_dir_is_where_cifar10_is_read(cifar10, tmp_path, capsys):
    flags = [
        "--dataset", "cifar10", "--cifar10-dir", cifar10, "--classes", "cat", "ship", "--model", "conv4", "--epochs", 1,
        "--image-size", 16, "--embed-dim", 4, "--no-plots", "--run-dir", tmp_path / "run",
    ]  # fmt: skip
    train.main(train.parse_args([str(flag) for flag in flags]))
    assert (tmp_path / "run" / "model.params").is_file()
    assert "80 pictures of 2 classes, 16 held back" in capsys.readouterr().out
