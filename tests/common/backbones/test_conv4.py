"""The four-convolution network against a slow one in SciPy."""

import mxnet as mx
import numpy as np
import pytest
from scipy.signal import correlate2d

from common import backbones
from common.backbones.architectures.conv4 import Conv4

CHANNELS = (3, 32, 64, 128, 128)


@pytest.fixture(scope="module")
def net():
    mx.random.seed(0)
    net = Conv4()
    net.initialize(mx.init.Normal(0.1))
    rng = np.random.default_rng(0)
    for name, parameter in net.collect_params().items():  # statistics as after a training
        if name.endswith(("running_mean", "beta", "bias")):
            parameter.set_data(mx.nd.array(rng.normal(size=parameter.shape) * 0.1))
        elif name.endswith(("running_var", "gamma")):
            parameter.set_data(mx.nd.array(rng.uniform(0.5, 1.5, parameter.shape)))
    return net


def slow(net, x):
    """One picture (3, H, W): correlation, batch norm in evaluation, ReLU, the largest of 2 x 2."""
    values = {name: p.data().asnumpy().astype(np.float64) for name, p in net._collect_params_with_prefix().items()}
    for block in range(4):
        conv, norm = f"features.{4 * block}", f"features.{4 * block + 1}"
        weight = values[f"{conv}.weight"]
        maps = np.stack([sum(correlate2d(c, k, "same") for c, k in zip(x, kernel)) for kernel in weight])
        shift, scale = values[f"{norm}.running_mean"], np.sqrt(values[f"{norm}.running_var"] + 1e-5)
        maps = ((maps.T + values[f"{conv}.bias"] - shift) / scale * values[f"{norm}.gamma"] + values[f"{norm}.beta"]).T
        maps = np.maximum(maps, 0)
        n, h, w = maps.shape
        x = maps[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2).max(axis=(2, 4))
    return x.reshape(-1)


@pytest.mark.parametrize("size", [16, 20])
def test_features_equal_a_slow_network(net, size):
    x = np.random.default_rng(size).normal(size=(2, 3, size, size)).astype(np.float32)
    ours = net(mx.nd.array(x)).asnumpy()
    np.testing.assert_allclose(ours, [slow(net, picture) for picture in x], rtol=1e-4, atol=1e-4)


def test_its_numbers_are_those_of_the_paper(net):
    kernels = sum(9 * a * b + b for a, b in zip(CHANNELS, CHANNELS[1:]))
    norms = sum(4 * b for b in CHANNELS[1:])
    assert sum(int(np.prod(p.shape)) for p in net.collect_params().values()) == kernels + norms


@pytest.mark.parametrize(("size", "width"), [(28, 128), (32, 512), (64, 2048), (84, 3200)])
def test_its_width_follows_the_pictures(size, width):
    backbone = backbones.create("conv4", size=size)
    assert backbone.width == width == 128 * (size // 16) ** 2 and backbone.fixed_size
