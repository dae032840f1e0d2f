"""InceptionResNetV2's own parts; its weights, shapes and layers are counted in test_keras_applications.py."""

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn

from common.backbones.architectures import inception_resnet_v2
from common.backbones.architectures.inception_resnet_v2 import KINDS, ScaledSum, block


@pytest.mark.parametrize(
    ("scale", "active", "expected"), [(0.5, True, [2, 0]), (0.5, False, [2, -4]), (1.0, True, [3, 0])]
)
def test_scaled_sum_is_its_formula(scale, active, expected):
    double = nn.HybridLambda(lambda F, x: 2 * x)
    assert ScaledSum(double, scale, active)(mx.nd.array([1.0, -2.0])).asnumpy().tolist() == expected


@pytest.mark.parametrize(("kind", "parameters"), [
    # table of Szegedy et al. 2016, figures 16 to 19: kernels, and batch norm's three numbers a channel
    ("block35", 32 * 320 + 32 * 320 + 9 * 32 * 32 + 32 * 320 + 9 * 32 * 48 + 9 * 48 * 64 + 128 * 320 + 320),
    ("block17", 192 * 1088 + 128 * 1088 + 7 * 128 * 160 + 7 * 160 * 192 + 384 * 1088 + 1088),
    ("block8", 192 * 2080 + 192 * 2080 + 3 * 192 * 224 + 3 * 224 * 256 + 448 * 2080 + 2080),
])  # fmt: skip
def test_blocks_have_the_papers_kernels_and_keep_their_shape(kind, parameters):
    channels, scale, _ = KINDS[kind]
    made = block(kind, 1)
    made.initialize(mx.init.Xavier())
    x = mx.nd.random.uniform(shape=(1, channels, 5, 6))
    assert made(x).shape == x.shape
    kernels = [p for name, p in made.collect_params().items() if name.endswith(("weight", "bias"))]
    assert sum(int(np.prod(p.shape)) for p in kernels) == parameters
    np.testing.assert_allclose(
        made(x).asnumpy(), np.maximum((x + scale * made.body(x)).asnumpy(), 0), rtol=1e-4, atol=1e-5
    )


def test_the_last_block_is_not_scaled_and_has_no_relu():
    last, other = block("block8", 10, last=True), block("block8", 9)
    assert (last.scale, last.active) == (1.0, False) and (other.scale, other.active) == (0.2, True)


def test_it_repeats_ten_twenty_ten_times():
    sums = [layer for layer in inception_resnet_v2.create().features if isinstance(layer, ScaledSum)]
    assert [layer.scale for layer in sums] == [0.17] * 10 + [0.1] * 20 + [0.2] * 9 + [1.0]
