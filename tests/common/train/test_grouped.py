"""The optimizer of groups where a parameter server holds it. Its steps on devices are tested in test_optimizer.py."""

import os
import pickle
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest

from common.files.paths import REPO
from common.train.grouped import Grouped

ASYNC = """
import sys, common, mxnet as mx, numpy as np
from common.train import optimizer
store = mx.kv.create("dist_async")
made = []
for name in ("weight", "slow", "beta", "decayed"):
    p = mx.gluon.Parameter(name, shape=(2,), init="ones")
    p.initialize()
    made.append(p)
made[1].lr_mult = 0.1
groups = [
    (made[:2], "adam", {"learning_rate": 0.01}),
    (made[2:3], "sgd", {"learning_rate": 0.1, "momentum": 0.9}),
    (made[3:], "adamw", {"learning_rate": 0.01, "wd": 0.5}),
]
updater = optimizer.trainer(groups, store)
for factor in (1, 0.5, 0.5):
    updater.optimizer.scale_rates(factor)
    store._barrier()
    for _ in range(3):
        for p in made:
            p.grad()[:] = 2
            p.data()._fresh_grad = True
        updater.step(4)
    mx.nd.waitall()
    store._barrier()
for index, p in enumerate(made):
    store.pull(index, p.data())
sys.stdout.write(" ".join(str(x) for p in made for x in p.data().asnumpy()) + "\\n")
"""


@pytest.mark.slow
def test_servers_update_by_group_and_follow_the_schedule(tmp_path):
    """Two workers send the same gradient nine times each, so that their order does not matter."""
    (tmp_path / "worker.py").write_text(ASYNC)
    command = [sys.executable, "-m", "common.launch", "-n", "2", "-s", "1", "--", sys.executable, "worker.py"]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    adam, slow, sgd, adamw, m, v, speed = 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0
    for number in range(1, 19):
        factor, g = (1 if number <= 6 else 0.5), 2 / 4
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        step = factor * 0.01 * np.sqrt(1 - 0.999**number) / (1 - 0.9**number) * m / (np.sqrt(v) + 1e-8)
        adam, slow, adamw = adam - step, slow - 0.1 * step, adamw * (1 - factor * 0.01 * 0.5) - step
        speed = 0.9 * speed - factor * 0.1 * g
        sgd += speed
    for line in done.stdout.splitlines():
        np.testing.assert_allclose([float(x) for x in line.split()], np.repeat([adam, slow, sgd, adamw], 2), rtol=1e-4)
    assert len(done.stdout.splitlines()) == 2


@pytest.fixture
def server(monkeypatch):
    """This process as a server: what was unpickled last is in use."""
    monkeypatch.setattr(Grouped, "serving", None)


def grouped():
    weight, beta = mx.gluon.Parameter("weight", shape=(2,)), mx.gluon.Parameter("beta", shape=(3,))
    weight.lr_mult, beta.wd_mult = 0.01, 0.0
    adam, sgd = mx.optimizer.Adam(learning_rate=0.1, wd=0.5), mx.optimizer.SGD(learning_rate=1.0, momentum=0.9)
    return Grouped([([weight], adam), ([beta], sgd)])


def test_a_server_gets_the_parameters_own_factors(server):
    sent = pickle.loads(pickle.dumps(grouped(), 0))
    assert sent.optimizers[0]._get_lrs([0]) == pytest.approx([0.001]) and sent.optimizers[1]._get_lrs([1]) == [1.0]
    assert sent.optimizers[0]._get_wds([0]) == [0.5] and sent.optimizers[1]._get_wds([1]) == [0.0]


def test_new_rates_keep_moments_and_counts(server):
    here = grouped()
    first = pickle.loads(pickle.dumps(here, 0))
    weight, gradient = mx.nd.ones(2), mx.nd.ones(2)
    state = first.create_state_multi_precision(0, weight)
    first.update_multi_precision(0, weight, gradient, state)
    sent = []
    here.send = lambda optimizer: sent.append(pickle.loads(pickle.dumps(optimizer, 0)))
    for factor in (1, 0.5, 0.5):  # sent only when something changed
        here.scale_rates(factor)
    (second,) = sent
    assert second.optimizers[0].lr == pytest.approx(0.05)
    assert second.create_state_multi_precision(0, weight) is state and state[0].asnumpy().all()
    second.update_multi_precision(0, weight, gradient, state)
    assert second.optimizers[0]._index_update_count == {0: 2}


def test_devices_have_states_of_their_own():
    here, weight = grouped(), mx.nd.ones(2)
    first, second = (here.create_state_multi_precision(0, weight) for _ in range(2))
    assert first[0] is not second[0]
