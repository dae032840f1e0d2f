"""A disk that is really full or read-only. Root can mount a small one; elsewhere these are skipped."""

import argparse
import os

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon

from common.files import disk as writer
from common.files.disk import atomic, save_arrays
from common.files.errors import UserError
from common.run import Run
from common.search.index import Index
from common.show import plots
from common.train import optimizer
from common.train.checkpoint import Checkpoints, verify
from tests.conftest import fill, remount, small_disk

SIZE = 1 << 20


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", SIZE) as place:
        yield place


def started(place, resume=False):
    args = argparse.Namespace(run_dir=str(place / "run"), dataset="glyphs", resume=resume)
    return Run.start(args, "toy")


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int32"])
def test_the_size_of_a_parameter_file_is_known(tmp_path, dtype):
    arrays = {"a": mx.nd.zeros((3, 4, 5), dtype=dtype), "naïve.b": mx.nd.ones(1, dtype=dtype)}
    save_arrays(tmp_path / "x.params", arrays)  # it would raise
    assert mx.nd.load(str(tmp_path / "x.params"))["a"].shape == (3, 4, 5)


def test_parameters_cut_short_without_a_word_are_noticed(disk):
    fill(disk, 4096 * 3)
    mx.nd.save(str(disk / "plain"), {"a": mx.nd.zeros(3100)})  # no error, and yet cut
    assert os.path.getsize(disk / "plain") < 4 * 3100
    (disk / "plain").unlink()
    for numbers in (3100, 500_000):
        with pytest.raises(UserError, match="cannot write .*x.params: .*; free"), atomic(disk / "x.params") as beside:
            save_arrays(beside, {"a": mx.nd.zeros(numbers)})
    assert os.listdir(disk) == ["filler"]


@pytest.mark.parametrize("left", [0, 4096, 4096 * 5, 4096 * 20])
def test_a_checkpoint_that_has_no_room_leaves_the_one_before(disk, left):
    net = gluon.nn.Dense(100, in_units=200)
    net.initialize()
    run = started(disk)
    trainers = {"t": optimizer.trainer([(net.collect_params(), "adam", {})])}
    checkpoints = Checkpoints(run.checkpoints, {"net": net}, trainers)
    checkpoints.save({"epoch": 1, "batch": 0}, best=True)
    fill(disk, left)
    with pytest.raises(UserError, match="epoch-0002-batch-000000: .* the checkpoint before it is kept") as error:
        checkpoints.save({"epoch": 2, "batch": 0}, best=True)
    assert "\n" not in str(error.value)
    assert os.listdir(run.checkpoints) == ["epoch-0001-batch-000000"]
    assert verify(run.checkpoints / "epoch-0001-batch-000000") == ""
    (disk / "filler").unlink()
    again = Checkpoints(started(disk, resume=True).checkpoints, {"net": net}, trainers)
    assert again.load()["epoch"] == 1
    again.save({"epoch": 2, "batch": 0})


WRITERS = {
    "text": lambda folder: writer.write_text(folder / "x", "x" * 9000),
    "array": lambda folder: writer.write_array(folder / "x.npy", np.zeros(1100)),
    "index": lambda folder: Index.build(np.eye(40)).save(folder / "x.index"),
    "picture": lambda folder: plots.base.write(plots.base.plt.figure(), folder / "x.png"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_says_a_full_disk_in_one_line(disk, name):
    fill(disk, 0 if name == "picture" else 4096)
    with pytest.raises(UserError, match="cannot write .*: (No space left on device|.* requested and .* written); free"):
        WRITERS[name](disk)
    assert os.listdir(disk) == ["filler"]


def test_a_log_that_has_no_room_is_one_line(disk):
    run = started(disk)
    fill(disk, 4096)
    for write, name in ((run.log, "log.txt"), (lambda text: run.metrics(text=text), "metrics.jsonl")):
        with pytest.raises(UserError, match=f"cannot write .*{name}: No space left on device"):
            write("x" * 9000)


def test_a_read_only_folder_is_one_line_also_on_resume(disk):
    started(disk)
    remount(disk, "ro")
    with pytest.raises(UserError, match="cannot write .*: Read-only file system; free some space or give another"):
        started(disk, resume=True)
    with pytest.raises(UserError, match="cannot write .*other/run: Read-only file system"):
        started(disk / "other")
