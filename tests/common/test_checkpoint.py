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

from common import optimizer
from common.checkpoint import Checkpoints, agreed, fill, verify
from common.errors import UserError
from common.paths import REPO

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


AGREE = """
import sys, common, mxnet as mx
from common import optimizer
from common.checkpoint import agreed
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
