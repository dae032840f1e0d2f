"""Checkpoints: exact, verified, pruned; and a training that is killed again and again."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from common import cli
from common.files.errors import UserError
from common.files.paths import REPO
from common.train import checkpoint, optimizer
from common.train.checkpoint import Checkpoints, agreed, fill, verify

SCRIPT = Path(__file__).with_name("killed_training.py")


def small(contexts):
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(5, in_units=4), gluon.nn.BatchNorm(in_channels=5), gluon.nn.Dense(1, in_units=5))
    net.initialize(mx.init.Xavier(), ctx=contexts)
    head, tail = list(net[0].collect_params().values()), list(net[1:].collect_params().values())
    updater = optimizer.trainer([(head, "adam", {"learning_rate": 0.1}), (tail, "sgd", {"momentum": 0.9})])
    return net, updater


def train(net, updater, contexts, steps):
    rng = np.random.default_rng(5)
    for _ in range(steps):
        with autograd.record():
            losses = [net(mx.nd.array(rng.normal(size=(6, 4)), ctx=c)).square().sum() for c in contexts]
        autograd.backward(losses)
        updater.step(6 * len(contexts))


def values(net):
    return [a.asnumpy() for p in net.collect_params().values() for a in p.list_data()]


@pytest.mark.parametrize("devices", [1, 3])
def test_restores_every_device_and_the_optimizers(tmp_path, devices):
    contexts = [mx.cpu(i) for i in range(devices)]
    net, updater = small(contexts)
    train(net, updater, contexts, 3)
    Checkpoints(tmp_path, {"net": net}, {"t": updater}).save({"epoch": 1, "batch": 0})
    train(net, updater, contexts, 4)

    again, again_updater = small(contexts)
    state = Checkpoints(tmp_path, {"net": again}, {"t": again_updater}).load()
    assert state == {"epoch": 1, "batch": 0}
    train(again, again_updater, contexts, 4)
    for a, b in zip(values(net), values(again)):
        np.testing.assert_array_equal(a, b)
    if devices == 3:  # batch-norm statistics differ between devices: each has its own
        statistics = [a.asnumpy() for a in net[1].running_mean.list_data()]
        assert not np.array_equal(statistics[0], statistics[1])


@pytest.mark.parametrize("name", cli.OPTIMIZERS)
def test_every_optimizer_goes_on_with_the_same_bits(tmp_path, name):
    def begun():
        mx.random.seed(0)
        net = gluon.nn.Dense(3, in_units=4)
        net.initialize(mx.init.Xavier())
        return net, optimizer.trainer([(net.collect_params(), name, {"learning_rate": 0.01, "wd": 1e-4})])

    def go_on(net, updater):
        mx.random.seed(1)  # of sgld's own noise
        train(net, updater, [mx.cpu()], 3)

    net, updater = begun()
    go_on(net, updater)
    Checkpoints(tmp_path, {"net": net}, {"t": updater}).save({"epoch": 1, "batch": 0})
    go_on(net, updater)
    again, again_updater = begun()
    Checkpoints(tmp_path, {"net": again}, {"t": again_updater}).load()
    go_on(again, again_updater)
    for a, b in zip(values(net), values(again)):
        np.testing.assert_array_equal(a, b)


def test_damaged_newest_is_reported_and_the_one_before_used(tmp_path):
    net, updater = small([mx.cpu()])
    checkpoints = Checkpoints(tmp_path, {"net": net}, {"t": updater})
    train(net, updater, [mx.cpu()], 1)
    checkpoints.save({"epoch": 1, "batch": 0})
    kept = values(net)
    train(net, updater, [mx.cpu()], 1)
    newest = checkpoints.save({"epoch": 2, "batch": 0})
    data = bytearray((newest / "net-0.params").read_bytes())
    data[-1] ^= 1
    (newest / "net-0.params").write_bytes(data)
    messages = []
    assert checkpoints.load(log=messages.append)["epoch"] == 1
    assert "net-0.params does not match" in messages[0]
    for a, b in zip(values(net), kept):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UserError, match="cannot be used: net-0.params does not match"):
        checkpoints.load(newest.name)  # no other in the place of one that was named
    (newest / "manifest.json").unlink()
    assert verify(newest) == "no readable manifest.json"
    assert checkpoints.newest(messages.append) == "epoch-0001-batch-000000"


@pytest.mark.parametrize("keep_all", [False, True])
def test_best_and_last_two_are_kept(tmp_path, keep_all):
    net, updater = small([mx.cpu()])
    checkpoints = Checkpoints(tmp_path, {"net": net}, {"t": updater}, keep_all)
    for epoch in range(1, 6):
        checkpoints.save({"epoch": epoch, "batch": 0}, best=epoch == 2)
    numbers = [int(name[6:10]) for name in checkpoints.names()]
    assert numbers == ([1, 2, 3, 4, 5] if keep_all else [2, 4, 5])
    assert checkpoints.best().startswith("epoch-0002")


def test_the_best_survives_a_kill_right_after_it_was_written(tmp_path, monkeypatch):
    """Its name is part of the checkpoint: there is no moment in which one is new and the other old."""
    net, updater = small([mx.cpu()])
    checkpoints = Checkpoints(tmp_path, {"net": net}, {"t": updater})
    checkpoints.save({"epoch": 1, "batch": 0}, best=True)

    def killed(path):
        if path == checkpoints.folder:  # flushed once, after the rename
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "flush", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save({"epoch": 2, "batch": 0}, best=True)
    again = Checkpoints(tmp_path, {"net": net}, {"t": updater})
    again.load()
    for epoch in range(3, 7):
        again.save({"epoch": epoch, "batch": 0})
    assert again.best() == "epoch-0002-batch-000000"
    assert [int(name[6:10]) for name in again.names()] == [2, 5, 6]


@pytest.mark.parametrize("text", ["[]", "null", '{"na', '{"name": 3}', "{}"])
def test_a_run_of_old_has_one_file_for_the_best_which_may_be_broken(tmp_path, text):
    net, updater = small([mx.cpu()])
    checkpoints = Checkpoints(tmp_path, {"net": net}, {"t": updater})
    for epoch in (1, 2, 3):
        place = checkpoints.save({"epoch": epoch, "batch": 0})
        sums = json.loads((place / "manifest.json").read_text())
        del sums["best.json"]
        (place / "best.json").unlink()
        (place / "manifest.json").write_text(json.dumps(sums))
    (tmp_path / "best.json").write_text('{"name": "epoch-0002-batch-000000"}')
    assert Checkpoints(tmp_path, {}, {}).best() == "epoch-0002-batch-000000"
    (tmp_path / "best.json").write_text(text)
    again = Checkpoints(tmp_path, {"net": net}, {"t": updater})
    assert again.best() is None and again.load()["epoch"] == 3
    again.save({"epoch": 4, "batch": 0}, best=True)
    assert again.best() == "epoch-0004-batch-000000"


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"state.json": ', '{"state.json": null}', "\xff"])
def test_a_broken_manifest_is_damage(tmp_path, text):
    net, updater = small([mx.cpu()])
    checkpoints = Checkpoints(tmp_path, {"net": net}, {"t": updater})
    checkpoints.save({"epoch": 1, "batch": 0})
    newest = checkpoints.save({"epoch": 2, "batch": 0})
    (newest / "manifest.json").write_bytes(text.encode("latin-1"))
    assert verify(newest)
    messages = []
    assert Checkpoints(tmp_path, {"net": net}, {"t": updater}).load(log=messages.append)["epoch"] == 1
    assert len(messages) == 1 and "is damaged" in messages[0]


def test_what_lies_after_a_resume_is_of_before_it_and_goes(tmp_path):
    net, updater = small([mx.cpu()])
    checkpoints = Checkpoints(tmp_path, {"net": net}, {"t": updater})
    for epoch in (1, 2, 3):
        place = checkpoints.save({"epoch": epoch, "batch": 0})
    (place / "state.json").write_text("{")
    assert checkpoints.load(log=lambda _: None)["epoch"] == 2
    checkpoints.save({"epoch": 2, "batch": 5})
    assert checkpoints.names() == ["epoch-0002-batch-000000", "epoch-0002-batch-000005"]


def test_a_network_that_does_not_fit_is_one_line(tmp_path):
    net, updater = small([mx.cpu()])
    Checkpoints(tmp_path, {"net": net}, {"t": updater}).save({"epoch": 1, "batch": 0})
    before = values(net)
    wider = gluon.nn.HybridSequential()
    wider.add(gluon.nn.Dense(6, in_units=4), gluon.nn.BatchNorm(in_channels=6), gluon.nn.Dense(1, in_units=6))
    more = gluon.nn.HybridSequential()
    more.add(*net, gluon.nn.Dense(2, in_units=1))
    for other, message in (
        (wider, r"has net.0.weight \(5, 4\), and here it is \(6, 4\): other code or flags wrote it; start another"),
        (more, r"has net.3.weight absent, and here it is \(2, 1\)"), (net[0], "has net.weight absent"),
    ):  # fmt: skip
        other.initialize()
        with pytest.raises(UserError, match=message) as error:
            Checkpoints(tmp_path, {"net": other}, {}).load()
        assert "\n" not in str(error.value)
    for a, b in zip(values(net), before):
        np.testing.assert_array_equal(a, b)
    two, _ = small([mx.cpu(0), mx.cpu(1)])
    with pytest.raises(UserError, match="holds net of 1 devices, here are 2"):
        Checkpoints(tmp_path, {"net": two}, {}).load()
    with pytest.raises(UserError, match="is not as it should be"):
        Checkpoints(tmp_path, {"net": net}, {"other": updater}).load()


def full_disk(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["fsync", "mkdir", "mxnet"])
def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(tmp_path, monkeypatch, where):
    net, updater = small([mx.cpu()])
    checkpoints = Checkpoints(tmp_path, {"net": net}, {"t": updater})
    checkpoints.save({"epoch": 1, "batch": 0})
    with monkeypatch.context() as patch:
        if where == "mxnet":
            patch.setattr(mx.nd, "save", lambda *_: (_ for _ in ()).throw(mx.MXNetError("Check failed\n  no space")))
        else:
            patch.setattr({"fsync": os, "mkdir": Path}[where], where, full_disk)
        with pytest.raises(UserError, match="cannot write .*epoch-0002-batch-000000: .* the checkpoint before it") as e:
            checkpoints.save({"epoch": 2, "batch": 0})
    assert "\n" not in str(e.value)
    assert os.listdir(tmp_path) == ["epoch-0001-batch-000000"]
    assert checkpoints.load()["epoch"] == 1
    checkpoints.save({"epoch": 2, "batch": 0})
    assert checkpoints.newest() == "epoch-0002-batch-000000"


AGREE = """
import sys, common, mxnet as mx
from common.train import optimizer
from common.train.checkpoint import agreed
store = mx.kv.create("dist_sync")
parameter = mx.gluon.Parameter("p", shape=(2,))
parameter.initialize()
updater = optimizer.trainer([([parameter], "sgd", {})], store)
names = sys.argv[1 + store.rank]
sys.stdout.write(f"{agreed(names if names != '-' else None, {'t': updater})}\\n")
parameter.grad()[:] = 1
updater.allreduce_grads()  # the parameters' own keys are as they were
sys.stdout.write(f"{parameter.grad().asnumpy().tolist()}\\n")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second", "expected"), [
    ("epoch-0001-batch-000000", "epoch-0000-batch-000150", "epoch-0000-batch-000150"),
    ("epoch-0012-batch-000003", "-", "None"),
])  # fmt: skip
def test_workers_resume_from_the_oldest_of_their_newest(tmp_path, first, second, expected):
    (tmp_path / "agree.py").write_text(AGREE)
    command = [sys.executable, "-m", "common.launch", "-n", "2", "-s", "1", "--", sys.executable]
    done = subprocess.run(
        [*command, str(tmp_path / "agree.py"), first, second], cwd=REPO, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted([expected, expected, "[2.0, 2.0]", "[2.0, 2.0]"])


def test_one_worker_resumes_from_its_newest():
    for kvstore in ("device", mx.kv.create("local")):
        parameter = gluon.Parameter("p", shape=(2,))
        parameter.initialize()
        trainers = {"t": optimizer.trainer([([parameter], "sgd", {})], kvstore)}
        for name in ("epoch-0001-batch-000000", None):
            assert agreed(name, trainers) == name


def test_fill_reaches_every_device_of_a_block_in_training(tmp_path):
    contexts = [mx.cpu(0), mx.cpu(1)]
    (net, updater), (other, _) = small(contexts), small(contexts[:1])
    train(net, updater, contexts, 2)
    other.save_parameters(str(tmp_path / "best.params"))
    fill(net, tmp_path / "best.params")
    for ours, theirs in zip(net.collect_params().values(), other.collect_params().values()):
        for array in ours.list_data():
            np.testing.assert_array_equal(array.asnumpy(), theirs.data().asnumpy())


def test_nothing_is_pickled(tmp_path):
    net, updater = small([mx.cpu()])
    train(net, updater, [mx.cpu()], 1)
    place = Checkpoints(tmp_path, {"net": net}, {"t": updater}).save({"epoch": 1, "batch": 0})
    for file in place.iterdir():
        if file.suffix == ".json":
            json.loads(file.read_text())
        else:
            assert mx.nd.load(str(file))


def run(folder, *extra):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), *extra], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


@pytest.mark.slow
def test_killed_ten_times_ends_like_the_undisturbed_run(tmp_path):
    assert run(tmp_path / "whole").wait() == 0
    killed, rng = tmp_path / "killed", random.Random(0)
    log = killed / "log.txt"
    for kill in range(10):
        process = run(killed, *(["--resume"] if (killed / "args.json").exists() else []))
        had = len(log.read_text().splitlines()) if log.exists() else 0
        lines = had + rng.randint(1, 4)  # let it log so many lines, then a random moment more
        while process.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < lines):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05))
        assert process.poll() is None, f"ended before kill {kill + 1}"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert run(killed, "--resume").wait() == 0
    whole, resumed = (np.load(tmp_path / name / "parameters.npz") for name in ("whole", "killed"))
    assert sorted(whole.files) == sorted(resumed.files)
    for name in whole.files:
        np.testing.assert_array_equal(whole[name], resumed[name])
