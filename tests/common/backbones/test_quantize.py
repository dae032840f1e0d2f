"""INT8 in MXNet, on weights that were rounded by what the layers see."""

import mxnet as mx
import numpy as np
from mxnet.gluon import nn

from common.backbones.quantize import LEVELS, quantize


def network(with_bias: bool):
    """A convolution of bytes, moved by its bias or by a batch norm."""
    mx.random.seed(3)
    net = nn.HybridSequential()
    net.add(nn.HybridLambda(lambda F, x: F.transpose(F.Cast(x, "float32"), axes=(0, 3, 1, 2))))
    net.add(nn.Conv2D(16, 3, padding=1, in_channels=3, use_bias=with_bias, weight_initializer=mx.init.Normal(1)))
    if not with_bias:
        net.add(nn.BatchNorm(in_channels=16))
    net.initialize()
    return net


def test_what_rounding_moves_in_the_mean_is_put_back_and_the_network_is_left_as_it_was():
    rng = np.random.default_rng(0)
    pictures = np.clip(rng.normal(200, 15, (24, 16, 16, 3)), 0, 255).astype(np.uint8)
    for with_bias in (True, False):
        net = network(with_bias)
        kept = {name: p.data().asnumpy() for name, p in net.collect_params().items()}
        exact = net(mx.nd.array(pictures, dtype="uint8")).asnumpy()
        found = quantize(net, pictures)(mx.nd.array(pictures, dtype="uint8")).asnumpy()
        for name, parameter in net.collect_params().items():
            np.testing.assert_array_equal(parameter.data().asnumpy(), kept[name])
        weight = next(value for name, value in kept.items() if name.endswith("weight"))
        steps = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / LEVELS
        nearest = np.clip(np.round(weight / steps), -127, 127) * steps
        moved = (nearest - weight).sum(axis=(1, 2, 3)) * pictures.mean()
        inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
        left = (found - exact)[inside].mean(axis=(0, 2, 3))
        assert np.sqrt(np.mean(left**2)) < 0.5 * np.sqrt(np.mean(moved**2))
