"""Where features are taken from, and how maps become a vector: against NumPy."""

import mxnet as mx
import numpy as np
import pytest

from common import backbones
from common.backbones import modelfile
from common.files.errors import UserError

X = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)


def made(name, **options):
    """A network with the same random values whatever is taken of it."""
    mx.random.seed(0)
    net = backbones.create(name, **options)
    net.initialize(mx.init.Xavier())
    return net


@pytest.mark.parametrize("pooling", ["avg", "max", "gem"])
def test_maps_are_pooled_as_the_formula_says(pooling):
    net = made("squeezenet1.1", size=64, pooling=pooling)
    maps = net.feature_maps(mx.nd.array(X, dtype="uint8")).asnumpy().reshape(2, 512, -1).astype(np.float64)
    expected = {"avg": maps.mean(2), "max": maps.max(2), "gem": (np.maximum(maps, 1e-6) ** 3).mean(2) ** (1 / 3)}
    found = net(mx.nd.array(X, dtype="uint8")).asnumpy()
    np.testing.assert_allclose(found, expected[pooling], rtol=1e-4, atol=1e-6)


def test_a_vision_transformer_pools_its_patches_without_the_class_token():
    x, name = mx.nd.array(X[:, :56, :56], dtype="uint8"), "vit_small_patch14_dinov2"
    net = made(name, size=56, pooling="max")
    tokens = net.body(net.normalize(x)).asnumpy()
    np.testing.assert_allclose(net(x).asnumpy(), tokens[:, 1:].max(axis=1), rtol=1e-5)
    net = made(name, size=56, pooling="cls", layer=-3)  # the last block and the norm are not run
    assert len(net.body) == 12
    np.testing.assert_array_equal(net(x).asnumpy(), net.body(net.normalize(x)).asnumpy()[:, 0])


def test_layers_are_counted_from_either_end_through_dense_ones():
    whole = made("vgg11", size=64)
    layers = len(whole.body) + len(whole.pool) - 1  # its end flattens once more
    assert made("vgg11", size=64, layer=layers).width == 4096
    maps = made("vgg11", size=64, layer=-layers)
    assert maps.width == 64 and not maps.fixed_size  # the first convolution, its maps' mean
    for layer in (layers + 9, -layers - 9):
        with pytest.raises(UserError, match=r"--layer .*: the network has layers 1 to \d+, or -\d+ to -1"):
            made("vgg11", size=64, layer=layer)


def test_what_a_network_has_not_is_one_line():
    with pytest.raises(UserError, match="--pooling cls is the class token of a vision transformer"):
        made("squeezenet1.1", size=64, pooling="cls")
    with pytest.raises(UserError, match="--layer: this network is no sequence of layers"):
        made("resnet18_v1b", size=64, layer=3)


def test_what_is_kept_of_a_network_knows_what_was_taken():
    """The parameters are the same, and the features are not."""
    nets = [made("squeezenet1.1", size=64, pooling=pooling) for pooling in (None, "avg", "max")]
    assert len({modelfile.digest(net, "") for net in nets}) == 3
