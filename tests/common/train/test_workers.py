"""What workers on one kvstore agree on and send, compressed too, beside the same in NumPy."""

import json
import os
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon

from common import devices
from common.backbones.features import encode
from common.data.features import FeatureSet
from common.data.samplers import Sequential
from common.files.paths import REPO
from common.train import optimizer, workers

THRESHOLD, STEPS, SIZE = 0.5, 6, 20
WORKER = f"""
import json, sys, common, mxnet as mx, numpy as np
from common import devices
from common.train import optimizer, workers

store = devices.kvstore("dist_sync", {THRESHOLD})
rank, said = store.rank, {{}}
said["of_first"] = workers.of_first(store, {{"a": 0.1 + rank, "b": 7 + rank, "c": float("nan")}})
said["smallest"] = [workers.smallest(store, (5 - rank, 70_000 + rank)), None]
said["steps"] = []
for number in range(2):  # Trainers with keys of their own
    p = mx.gluon.Parameter("p%d" % number, shape=({SIZE},))
    p.initialize(mx.init.Constant(rank + number))
    trainer = optimizer.trainer([([p], "sgd", {{"learning_rate": 1.0}})], store)
    for step in range({STEPS}):
        p.grad()[:] = mx.nd.array(np.random.default_rng([number, rank, step]).normal(0, 0.4, {SIZE}))
        p.data()._fresh_grad = True
        trainer.step(1)
        said["steps"].append(p.data().asnumpy().tolist())
said["smallest"][1] = workers.smallest(store, (3 + rank, 9 - rank))  # also with what is left of gradients
block = mx.gluon.nn.BatchNorm(in_channels=3)
block.initialize()
block.running_mean.set_data(mx.nd.array([rank, 1e-7, 1]))
workers.follow_first(store, block)
said["followed"] = block.running_mean.data().asnumpy().tolist()
sys.stdout.write(json.dumps(said) + "\\n")
"""


def two_bits(gradients):
    """Of one worker's gradients (steps, n): what it sends, by two bits and a residual."""
    left, sent = np.zeros(gradients.shape[1], np.float32), []
    for gradient in gradients.astype(np.float32):
        left += gradient
        now = np.where(left >= THRESHOLD, THRESHOLD, np.where(left <= -THRESHOLD, -THRESHOLD, 0)).astype(np.float32)
        left -= now
        sent.append(now)
    return np.array(sent)


@pytest.mark.slow
def test_two_workers_and_two_servers_with_compressed_gradients(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "common.launch", "-n", "2", "-s", "2", "--", sys.executable, "worker.py"]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    expected = []
    for number in range(2):
        value = np.full(SIZE, number, np.float32)  # the first worker's start
        of_workers = [
            np.array([np.random.default_rng([number, rank, step]).normal(0, 0.4, SIZE) for step in range(STEPS)])
            for rank in range(2)
        ]
        for step in sum(map(two_bits, of_workers)):
            value = value - step
            expected.append(value)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for said in map(json.loads, lines):
        assert said["of_first"]["a"] == 0.1 and said["of_first"]["b"] == 7 and np.isnan(said["of_first"]["c"])
        assert said["smallest"] == [[4, 70_001], [3, 9]]
        np.testing.assert_allclose(said["steps"], expected, atol=1e-6)
        np.testing.assert_array_equal(np.array(said["followed"], np.float32), np.array([0, 1e-7, 1], np.float32))


def test_one_worker_decides_alone():
    figures, block = {"recall@1": 0.5}, gluon.nn.Dense(2, in_units=2)
    block.initialize()
    before = block.weight.data().asnumpy()
    assert workers.of_first(None, figures) == figures and workers.smallest(None, (3, 4)) == (3, 4)
    workers.follow_first(None, block)
    assert np.array_equal(block.weight.data().asnumpy(), before)


class Store(mx.kv.KVStore):
    """A distributed store as Trainers see it before the first step."""

    type, num_workers, rank = "dist_sync", 2, 0

    def __init__(self):
        self.handle = None

    def __del__(self):
        """There is nothing to free."""


@pytest.mark.parametrize("count", [2, 4, 6])
def test_parts_of_an_evaluation_are_what_one_worker_reads(count, monkeypatch):
    """Bit for bit: whole batches, the last one filled up, batch norms with the first worker's statistics."""
    rows, sampler = np.random.default_rng(0).normal(size=(37, 9)).astype(np.float32), Sequential(37, 8)
    loader = FeatureSet(rows, np.zeros(37, np.int64)).sampled(sampler)
    nets = []
    for rank in range(count):
        mx.random.seed(0)
        nets.append(gluon.nn.HybridSequential())
        nets[-1].add(gluon.nn.Dense(7, in_units=9), gluon.nn.BatchNorm(in_channels=7))
        nets[-1].initialize(mx.init.Xavier())
        nets[-1][1].running_mean.set_data(mx.nd.full(7, 0.1 + rank))
        nets[-1].hybridize(static_alloc=True, static_shape=True)
    alone = encode(nets[0], loader.epoch())
    sent, found = [], []
    for rank, net in enumerate(nets):
        store = Store()
        store.num_workers, store.rank = count, rank
        shared = workers.SharedEvaluation(store, net)
        asked, encoded = [], shared.rows

        def total(mine, sent=sent):
            sent.append(mine)
            return sent[0] if mine.ndim == 1 else mine  # the first worker's statistics; the rows of this one alone

        monkeypatch.setattr(shared, "total", total)
        monkeypatch.setattr(shared, "rows", lambda read, *of, asked=asked, encoded=encoded: encoded(
            lambda *part: asked.append(part) or read(*part), *of))  # fmt: skip
        found.append(shared.encode(net, loader))
        start, stop = asked[0]
        assert stop - start <= (37 if count > 5 else 8 * -(-5 // count)) and start % 8 == 0
        assert net[1].running_mean.data().asnumpy()[0] == np.float32(0.1 + rank)  # its own again
        shared.end()
        asked.clear()
        shared.encode(net, loader)
        assert asked == [(0, 37)]
    if count > 5:  # than batches: each reads all
        assert not sent
        np.testing.assert_array_equal(found[0], alone)
    else:
        np.testing.assert_array_equal(sum(found), alone)
        assert all((statistics == 0).all() for statistics in sent[2::2])


@pytest.mark.parametrize("compressed", [False, True])
def test_the_bytes_of_a_step_are_those_of_the_parameters_that_learn(compressed, monkeypatch):
    store, net = Store(), gluon.nn.HybridSequential()
    net.add(gluon.nn.Conv2D(8, 3, in_channels=3), gluon.nn.BatchNorm(in_channels=8), gluon.nn.Dense(5, in_units=8))
    net.initialize()
    net[2].bias.grad_req = "null"
    monkeypatch.setattr(devices, "threshold", lambda store: 0.5 if compressed else None)
    trainer = optimizer.trainer([(net.collect_params(), "sgd", {})], store)
    sizes = [8 * 3 * 9, 8, 8, 8, 5 * 8]
    sent = sum(4 * -(-n // 16) for n in sizes) if compressed else 4 * sum(sizes)
    assert workers.traffic(trainer) == (sent, 4 * sum(sizes))
    assert workers.between_machines([trainer]) is store and workers.reserve(store) == len(sizes)
    local = optimizer.trainer([(net.collect_params(), "sgd", {})], "device")
    assert workers.traffic(local) == (0, 0) and workers.between_machines([local]) is None
