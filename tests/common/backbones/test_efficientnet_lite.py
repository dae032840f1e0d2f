"""EfficientNet-Lite: published sizes, TensorFlow's padding. Its logits against PyTorch's are in test_backbones.py."""

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn

from common import backbones
from common.backbones.architectures.efficientnet_lite import InvertedBottleneck, round_filters


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
