"""The networks as Keras has them: sizes as published, shapes at each size, blocks as their formulas.

That features equal Keras's own is tested where its recorded vectors or Keras itself is at hand.
"""

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn

from common import backbones
from common.backbones.architectures.keras_applications import Separable, Sum, branches, mean3, same_pool, sequence

PUBLISHED = {  # weights, moving statistics among them: keras.io/api/applications and summary() of each
    "keras-vgg16": 138_357_544,
    "keras-vgg19": 143_667_240,
    "keras-resnet50": 25_636_712,
    "keras-mobilenet": 4_253_864,
    "keras-xception": 22_910_480,
    "keras-inceptionv3": 23_851_784,
    "keras-inceptionresnetv2": 55_873_736,
}


def blocks(block):
    yield block
    for child in block._children.values():
        yield from blocks(child)


def counted(backbone):
    """All numbers but the scales that Gluon holds and Keras has not."""
    unused = {
        layer.gamma.name for layer in blocks(backbone) if isinstance(layer, nn.BatchNorm) and layer._kwargs["fix_gamma"]
    }
    own = {p.name for p in backbone.normalize.collect_params().values()}
    parameters = backbone.collect_params().values()
    return sum(int(np.prod(p.shape)) for p in parameters if p.name not in unused | own)


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_many_weights_as_published(name):
    assert counted(backbones.create(name, classifier=True)) == PUBLISHED[name]


@pytest.mark.parametrize(("name", "size", "maps"), [
    ("keras-vgg16", 224, (512, 7, 7)), ("keras-vgg19", 224, (512, 7, 7)), ("keras-resnet50", 224, (2048, 7, 7)),
    ("keras-mobilenet", 224, (1024, 7, 7)), ("keras-mobilenet", 160, (1024, 5, 5)),
    ("keras-xception", 299, (2048, 10, 10)), ("keras-xception", 150, (2048, 5, 5)),
    ("keras-inceptionv3", 299, (2048, 8, 8)), ("keras-inceptionv3", 75, (2048, 1, 1)),
    ("keras-inceptionresnetv2", 299, (1536, 8, 8)), ("keras-inceptionresnetv2", 139, (1536, 3, 3)),
])  # fmt: skip
def test_feature_maps_have_keras_shapes(name, size, maps):
    backbone = backbones.create(name, size=size)
    symbol = backbone.body(backbone.normalize(mx.sym.var("data")))
    _, (shape,), _ = symbol.infer_shape(data=(2, size, size, 3))
    assert shape == (2, *maps)


def test_every_layer_with_weights_has_its_name_in_keras():
    """Or None, where Keras numbers them: `common.backbones.convert` fills them by it."""
    for name in PUBLISHED:
        layers = list(blocks(backbones.network(name)))
        halves = {id(half) for layer in layers if isinstance(layer, Separable) for half in (layer.deep, layer.point)}
        for layer in layers:
            if isinstance(layer, (nn.Conv2D, nn.Dense, nn.BatchNorm)) and id(layer) not in halves:
                assert hasattr(layer, "keras"), (name, layer)


@pytest.mark.parametrize("size", [6, 7, 8, 9])
def test_same_pool_pads_as_tensorflow(size):
    x = np.random.default_rng(size).normal(size=(1, 2, size, size)).astype(np.float32)
    out = -(-size // 2)
    pad = max((out - 1) * 2 + 3 - size, 0)
    padded = np.pad(x, ((0, 0), (0, 0), *[(pad // 2, pad - pad // 2)] * 2), constant_values=-np.inf)
    expected = [[padded[:, :, i : i + 3, j : j + 3].max(axis=(2, 3)) for j in range(0, 2 * out, 2)]
                for i in range(0, 2 * out, 2)]  # fmt: skip
    np.testing.assert_array_equal(same_pool(size)(mx.nd.array(x)).asnumpy(), np.transpose(expected, (2, 3, 0, 1)))


def test_means_leave_out_the_padding():
    assert np.all(mean3()(mx.nd.ones((1, 1, 4, 5))).asnumpy() == 1)
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    means = mean3()(mx.nd.array(x)).asnumpy()[0, 0]
    assert means[0, 0] == np.mean([0, 1, 3, 4]) and means[1, 1] == 4 and means[2, 1] == np.mean([3, 4, 5, 6, 7, 8])


def test_separable_is_a_filter_a_channel_then_a_mixture():
    layer = Separable(2, 3, "block_sepconv1")
    layer.initialize(mx.init.Normal(1))
    x = mx.nd.random.normal(shape=(1, 2, 5, 5))
    deep, point = layer.deep.weight.data().asnumpy(), layer.point.weight.data().asnumpy()
    whole = point[:, :, 0, 0, None, None] * deep[:, 0]  # (3, 2, 3, 3): the two kernels as one
    joined = mx.nd.Convolution(x, mx.nd.array(whole), kernel=(3, 3), pad=(1, 1), num_filter=3, no_bias=True)
    np.testing.assert_allclose(layer(x).asnumpy(), joined.asnumpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("active", [False, True])
def test_sums_and_branches(active):
    double, negative = nn.HybridLambda(lambda F, x: 2 * x), nn.HybridLambda(lambda F, x: -x)
    x = mx.nd.array([[1.0, -2.0]])
    plain, shortcut = Sum(double, active=active)(x), Sum(double, negative, active)(x)
    assert plain.asnumpy().tolist() == [[3, 0 if active else -6]]
    assert shortcut.asnumpy().tolist() == [[1, 0 if active else -2]]
    assert branches(double, sequence(double, negative))(x).asnumpy().tolist() == [[2, -4, -2, 4]]
