"""EfficientNet-Lite: published sizes, TensorFlow's padding. Its logits against PyTorch's are in test_backbones.py."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn

from common import backbones, devices
from common.backbones import modelfile
from common.backbones.architectures.efficientnet_lite import Conv, InvertedBottleneck, round_filters
from common.train import optimizer


@pytest.mark.parametrize(("name", "published"), [
    ("efficientnet_lite0", 4_652_008), ("efficientnet_lite1", 5_416_680), ("efficientnet_lite2", 6_092_072),
])  # fmt: skip
def test_as_many_weights_as_published(name, published):
    """timm's table of results, tf_efficientnet_lite0 to 2: 4.65, 5.42 and 6.09 million."""
    parameters = backbones.network(name).collect_params()
    learned = [p for key, p in parameters.items() if not key.endswith(("running_mean", "running_var"))]
    assert sum(int(np.prod(p.shape)) for p in learned) == published


@pytest.mark.parametrize(("filters", "rounded"), [(17.6, 16), (26.4, 24), (35.2, 32), (44.0, 48), (3, 8), (12, 16)])
def test_filters_are_rounded_as_the_paper_does(filters, rounded):
    assert round_filters(filters) == rounded
    assert rounded % 8 == 0 and rounded >= 0.9 * filters


def tensorflow_same(x, kernel, stride):
    """A correlation (H, W) by `kernel` (k, k) with TensorFlow's "same" padding, written out."""
    size, k = len(x), len(kernel)
    out = -(-size // stride)
    pad = max((out - 1) * stride + k - size, 0)
    padded = np.pad(x, (pad // 2, pad - pad // 2))
    starts = range(0, out * stride, stride)
    return np.array([[(padded[i : i + k, j : j + k] * kernel).sum() for j in starts] for i in starts])


@pytest.mark.parametrize("size", [7, 8, 9, 10])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_running_rotated_pads_as_tensorflow(size, kernel, stride):
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(size, size)), rng.normal(size=(kernel, kernel))
    conv = nn.Conv2D(1, kernel, stride, kernel // 2, use_bias=False, in_channels=1)
    conv.initialize()
    conv.weight.set_data(mx.nd.array(weight[None, None, ::-1, ::-1].copy()))
    rotated = conv(mx.nd.array(x[None, None, ::-1, ::-1].copy())).asnumpy()[0, 0, ::-1, ::-1]
    np.testing.assert_allclose(rotated, tensorflow_same(x, weight, stride), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "filters", "stride", "residual"), [
    (8, 8, 1, True), (8, 16, 1, False), (8, 8, 2, False),
])  # fmt: skip
def test_a_bottleneck_adds_its_input_where_the_shapes_agree(channels, filters, stride, residual):
    block = InvertedBottleneck(channels, filters, 3, stride, 6)
    block.initialize(mx.init.Normal(0.1))
    x = mx.nd.random.normal(shape=(2, channels, 6, 6))
    expected = block.body(x) + x if residual else block.body(x)
    np.testing.assert_allclose(block(x).asnumpy(), expected.asnumpy(), rtol=1e-5, atol=1e-6)
    assert block(x).shape == (2, filters, 6 // stride, 6 // stride)


def test_the_first_bottleneck_does_not_expand():
    assert len(InvertedBottleneck(32, 16, 3, 1, 1).body) == 5 and len(InvertedBottleneck(16, 24, 3, 2, 6).body) == 8


def one_step(frozen, quick):
    """Features before and after a step's statistics, gradients and parameters of a network with values of all kinds."""
    rng = np.random.default_rng(0)
    net = backbones.create("efficientnet_lite0", size=75)  # odd maps, and 5 by 5 ones
    net.initialize()
    for key, value in modelfile.values(net).items():
        if key.endswith("weight"):
            value[:] = mx.nd.array(rng.normal(scale=np.sqrt(2 / np.prod(value.shape[1:])), size=value.shape))
        elif key.startswith("body"):
            lowest = 0.5 if key.endswith(("gamma", "var")) else -1
            value[:] = mx.nd.array(rng.uniform(lowest, 1.5, value.shape))
    if frozen:
        net.freeze_batch_norm()
    net.normalize.collect_params().setattr("grad_req", "null")
    net.hybridize(static_alloc=True, static_shape=True)
    if quick:
        net.speed_up_training()
    pictures = mx.nd.array(rng.integers(0, 256, (4, 75, 75, 3)), dtype="uint8")
    weights = mx.nd.array(rng.normal(size=(4, net.width)))
    before = net(pictures).asnumpy()
    with autograd.record():
        loss = (net(pictures) * weights).sum()
    loss.backward()
    parameters = net._collect_params_with_prefix()
    gradients = {key: p.grad().asnumpy() for key, p in parameters.items() if p.grad_req != "null"}
    return before, net(pictures).asnumpy(), gradients, {key: p.data().asnumpy() for key, p in parameters.items()}


# Rounding puts a value beside 0 or 6 on the other side now and then, which moves gradients by more than rounding; where
# batches give the statistics it is carried on.
@pytest.mark.parametrize("frozen, tolerance", [(True, 5e-3), (False, 1e-2)])
def test_written_for_training_it_is_the_same_network(frozen, tolerance):
    plain, quick = (one_step(frozen, quick) for quick in (False, True))
    for ours, expected in zip(quick[:2], plain[:2]):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert quick[2].keys() == plain[2].keys() and quick[3].keys() == plain[3].keys()
    largest = max(np.linalg.norm(gradient) for gradient in plain[2].values())
    for key, expected in plain[2].items():  # a bias before a batch norm has no gradient but rounding
        norm = max(np.linalg.norm(expected), 1e-2 * largest)
        assert np.linalg.norm(quick[2][key] - expected) < tolerance * norm, key
    for key, expected in plain[3].items():
        np.testing.assert_allclose(quick[3][key], expected, rtol=1e-4, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(3, 1), (4, 4), (5, 8), (9, 6), (7, 11)])
def test_a_wide_kernel_by_columns_is_the_same_convolution(shape, stride):
    """Of fewer rows than the kernel has, too; all are convolutions, as weights differ in each row and column."""
    conv = Conv(32, 5, stride, 2, groups=32, use_bias=False, in_channels=32)
    conv.initialize(mx.init.Normal(1))
    conv.hybridize(static_alloc=True, static_shape=True)
    x = mx.nd.random.normal(shape=(2, 32, *shape))
    x.attach_grad()
    found = []
    for conv.quick in (False, True):
        conv._clear_cached_op()
        with autograd.record():
            y = conv(x)
            loss = (y * y).sum()
        loss.backward()
        found.append([a.asnumpy() for a in (y, x.grad, conv.weight.grad())])
    operators = conv(mx.sym.var("x")).tojson()
    assert "(5, 3)" in operators and "(5, 5)" not in operators
    for plain, quick in zip(*found):
        np.testing.assert_allclose(quick, plain, rtol=0, atol=1e-5 * np.abs(plain).max())


def test_hybridize_takes_the_form_for_training_back():
    net = backbones.create("efficientnet_lite0", size=32)
    net.initialize()
    operators = []
    for prepare in (net.speed_up_training, net.hybridize, lambda: net.collect_params().setattr("grad_req", "null")):
        prepare()
        if prepare != net.hybridize:
            net.speed_up_training()
        operators.append("BatchNormWithReLU" in net(mx.sym.var("data")).tojson())
    assert operators == [True, False, False]


def test_steps_that_wait_for_nothing_end_where_steps_that_are_waited_for_do():
    """The quick batch norms read statistics that a backward pass writes unseen by MXNet's engine."""

    def trained(waiting):
        mx.random.seed(2)
        net = backbones.create("efficientnet_lite0", size=32)
        net.initialize(mx.init.Xavier(magnitude=2))
        net.follow_batches(0.3)
        net.normalize.collect_params().setattr("grad_req", "null")
        net.hybridize()
        net.speed_up_training()
        updater = optimizer.trainer([(net.collect_params(), "adamw", {"learning_rate": 1e-3})])
        rng = np.random.default_rng(0)
        for _ in range(12):
            pictures = devices.put(rng.integers(0, 256, (8, 32, 32, 3), np.uint8))
            with autograd.record():
                loss = (net(pictures) ** 2).mean()
            loss.backward()
            updater.step(1)
            if waiting:
                mx.nd.waitall()
        return [value.asnumpy() for value in modelfile.values(net).values()]

    for ours, expected in zip(trained(False), trained(True)):
        np.testing.assert_array_equal(ours, expected)
