"""Mixed precision: a lowered network beside the same in float32, and the loss scale beside its closed form."""

import copy

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon
from mxnet.gluon import nn

from common import devices
from common.files.errors import UserError
from common.train import mixed, optimizer
from common.train.checkpoint import Checkpoints

needs_bfloat16 = pytest.mark.skipif(not devices.has_bfloat16(), reason="a processor without AVX512-BF16")


def network():
    """A few of the layers that backbones have, with a seed of its own."""
    mx.random.seed(0)
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(16, 3, padding=1, in_channels=3), nn.BatchNorm(in_channels=16), nn.Activation("relu"),
        nn.Conv2D(16, 3, padding=1, groups=16, in_channels=16), nn.BatchNorm(in_channels=16),
        nn.HybridLambda(lambda F, x: F.clip(x, 0, 6)), nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(5, in_units=16),
    )  # fmt: skip
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def sgd(net):
    return optimizer.trainer([(net.collect_params(), "sgd", {"learning_rate": 0.1, "momentum": 0.9})])


def step(net, updater, number=0, poison=1.0):
    rng = np.random.default_rng(number)
    x, y = mx.nd.array(rng.normal(size=(12, 3, 16, 16))), mx.nd.array(rng.integers(0, 5, 12))
    with autograd.record():
        loss = gluon.loss.SoftmaxCrossEntropyLoss()(net(x), y) * poison
    updater.backward([loss])
    updater.step(len(x))
    return float(loss.mean().asscalar())


def values(net):
    return {name: p.data().asnumpy() for name, p in net._collect_params_with_prefix().items()}


@needs_bfloat16
def test_training_in_16_bits_follows_that_in_32():
    whole, lowered = network(), network()
    trainers = sgd(whole), sgd(lowered)
    mixed.start(True, trainers[1], lowered, lowered)
    losses = np.array([[step(*one, i) for one in zip((whole, lowered), trainers)] for i in range(8)])
    assert (losses[:, 0] != losses[:, 1]).any()
    np.testing.assert_allclose(losses[:, 1], losses[:, 0], rtol=0.01)
    for name, value in values(lowered).items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, values(whole)[name], atol=0.02)


@needs_bfloat16
def test_what_was_lowered_computes_in_32_again_after_stop():
    net, x = network(), mx.nd.random.normal(shape=(4, 3, 16, 16))
    before = net(x).asnumpy()
    mixed.start(True, sgd(net), net, net)
    lowered = net(x)
    assert lowered.dtype == np.float32
    assert 0 < np.abs(lowered.asnumpy() - before).max() < 0.02
    mixed.stop(net)
    np.testing.assert_array_equal(net(x).asnumpy(), before)


@pytest.mark.parametrize(("dtype", "on_cpu"), [("bfloat16", True), ("float16", False)])
def test_convolutions_are_lowered_and_parameters_are_not(dtype, on_cpu):
    net = network()
    mixed.lower(net, dtype, on_cpu)
    symbol = net(mx.sym.var("data"))
    _, (given,), _ = symbol.infer_type(data=np.float32)
    arguments, _, states = symbol.infer_type(data=np.float32)
    assert given == np.float32 and {*arguments, *states} == {np.float32}
    internals = symbol.get_internals()
    _, types, _ = internals.infer_type(data=np.float32)
    found = [np.dtype(t) for name, t in zip(internals.list_outputs(), types) if name.endswith("fwd_output")
             and ("conv" in name or "dense" in name)]  # fmt: skip
    low = np.dtype(dtype) if dtype == "float16" else np.dtype([("bfloat16", np.uint16)])
    assert found == [low, np.dtype(np.float32) if on_cpu else low, low]  # the second is in groups


@needs_bfloat16
def test_a_step_that_overflows_is_left_out_and_halves_the_scale():
    net = network()
    updater = sgd(net)
    mixed.start(True, updater, net, net)
    step(net, updater, 0)
    before, states = values(net), copy.deepcopy(updater.loss_scale)
    assert vars(states) == {"value": 65536.0, "since": 1, "skipped": 0}
    for number in (1, 2):  # the loss is finite, and its gradient times 65536, and times 32768, is not
        assert np.isfinite(step(net, updater, number, poison=1e35))
    assert vars(updater.loss_scale) == {"value": 16384.0, "since": 0, "skipped": 2}
    learned = [name for name in before if "running" not in name]
    for name in learned:
        np.testing.assert_array_equal(values(net)[name], before[name])
    step(net, updater, 3)
    assert any((values(net)[name] != before[name]).any() for name in learned)


def test_the_scale_doubles_after_so_many_steps_up_to_its_largest():
    scale = mixed.LossScale()
    scale.update(False)
    for _ in range(2000 * 12 + 1):
        scale.update(True)
    assert vars(scale) == {"value": 2.0**24, "since": 1, "skipped": 1}


@pytest.mark.parametrize("devices_", [1, 2])
def test_the_scale_does_not_change_the_step(devices_):
    contexts = [mx.cpu(i) for i in range(devices_)]
    found = []
    for scale in (None, mixed.LossScale()):
        weight = gluon.Parameter("weight", shape=(3,), init=mx.init.One())
        weight.initialize(ctx=contexts)
        updater = optimizer.trainer([([weight], "adam", {"learning_rate": 0.1})])
        updater.loss_scale = scale
        for number in range(3):
            with autograd.record():
                losses = [((weight.data(ctx) - number) ** 2).sum() for ctx in contexts]
            updater.backward(losses)
            updater.step(4 * devices_)
        found.append(weight.data(contexts[-1]).asnumpy())
    np.testing.assert_array_equal(*found)  # a power of two is taken off without rounding


@needs_bfloat16
def test_a_checkpoint_keeps_the_scale(tmp_path):
    runs = []
    for _ in range(2):
        net = network()
        updater = sgd(net)
        mixed.start(True, updater, net, net)
        runs.append((net, updater, Checkpoints(tmp_path, {"net": net}, {"trainer": updater})))
    net, updater, checkpoints = runs[0]
    step(net, updater, 0, poison=1e35)
    step(net, updater, 1)
    checkpoints.save({"epoch": 1, "batch": 0})
    other, resumed, again = runs[1]
    again.load()
    assert vars(resumed.loss_scale) == {"value": 32768.0, "since": 1, "skipped": 1}
    for run in runs:
        step(*run[:2], 2)
    for name, value in values(net).items():
        np.testing.assert_array_equal(values(other)[name], value)


def test_a_network_that_is_no_graph_is_not_lowered():
    with pytest.raises(ValueError, match="hybridize"):
        mixed.lower(nn.Dense(3, in_units=2), "float16", on_cpu=False)


def test_a_processor_without_bfloat16_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags : avx2 avx512f avx512_vnni\n")
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "cpuinfo")
    with pytest.raises(UserError, match="^--amp: this processor has no bfloat16 arithmetic"):
        devices.contexts([], 1, amp=True)
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "none")
    with pytest.raises(UserError, match="AVX512-BF16"):
        devices.half([mx.cpu()])
    assert devices.half([mx.gpu(0), mx.gpu(1)]) == "float16"


@pytest.mark.parametrize(("store", "compression", "flag"), [
    ("dist_async", None, "--kvstore dist_async"), ("dist_sync", 0.5, "--gradient-compression"),
])  # fmt: skip
def test_amp_refuses_what_cannot_leave_a_step_out(store, compression, flag, monkeypatch):
    monkeypatch.setenv("DMLC_ROLE", "worker")
    with pytest.raises(UserError, match=f"--amp .* leave out {flag}"):
        devices.kvstore(store, compression, amp=True)
