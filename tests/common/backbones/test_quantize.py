"""INT8 in MXNet: the form that is quantised, and weights that were rounded by what the layers see."""

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn

from common import backbones, devices
from common.backbones import gptq
from common.backbones.backbone import Backbone, Cut
from common.backbones.int8_form import Form
from common.backbones.preprocessing import Preprocessing
from common.backbones.quantize import LEVELS, planes, quantize
from common.files.errors import UserError

PLAIN = Preprocessing(mean=(0, 0, 0), scale=(1, 1, 1))
COLOURED = Preprocessing(mean=(100, 120, 140), scale=(0.02, 0.03, 0.04))


def pictures(count=12, side=32, seed=0):
    """Smooth and noisy (count, side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    smooth = rng.integers(0, 256, (count, 4, 4, 3)).repeat(side // 4, 1).repeat(side // 4, 2)
    return np.clip(smooth + rng.normal(0, 25, smooth.shape), 0, 255).astype(np.uint8)


def ready(name: str) -> Backbone:
    """A network of random weights whose statistics are those of `pictures`."""
    mx.random.seed(1)
    net = backbones.create(name)
    net.initialize(mx.init.Xavier(magnitude=2))
    net.follow_batches(0.0)
    for _ in range(2):
        with mx.autograd.record():
            total = net(devices.put(pictures())).sum()
        total.backward()
    mx.nd.waitall()
    net.hybridize()
    return net


def convolution(preprocessing=PLAIN, padding=1, with_bias=True, weight=None, **options):
    """A network of one convolution, whose maps are its features."""
    mx.random.seed(3)
    body = nn.HybridSequential()
    body.add(nn.Conv2D(16, 3, padding=padding, in_channels=3, use_bias=with_bias,
                       weight_initializer=mx.init.Normal(1), bias_initializer=mx.init.Normal(1)))  # fmt: skip
    if not with_bias:
        body.add(nn.BatchNorm(in_channels=16, gamma_initializer=mx.init.Normal(1), beta_initializer="ones"))
    pool = nn.HybridLambda("identity")
    net = Backbone("one", Cut(body, pool, None, **options), preprocessing, "random")
    net.initialize()
    if weight is not None:
        body[0].weight.set_data(mx.nd.array(weight))
    return net


def read(net, x):
    return net(devices.put(x)).asnumpy()


def of_form(form, net, x):
    return form.block()(mx.nd.from_numpy(planes(x, net.rotated))).asnumpy()


@pytest.mark.parametrize("rotated", [False, True])
def test_planes_are_the_colours_turned_where_it_is_so(rotated):
    x = pictures(3, 8)[:, :, :4]
    found = planes(x, rotated)
    for number, picture in enumerate(x):
        for y in range(8):
            for column in range(4):
                seen = found[number, :, 7 - y, 3 - column] if rotated else found[number, :, y, column]
                np.testing.assert_array_equal(seen, [*picture[y, column], 255])


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_the_form_gives_what_the_network_gives_at_borders_too(padding, bgr, rotated, with_bias):
    preprocessing = Preprocessing(COLOURED.mean, COLOURED.scale, bgr=bgr)
    net = convolution(preprocessing, padding, with_bias, rotated=rotated)
    exact = read(net, pictures())
    np.testing.assert_allclose(of_form(Form(net), net, pictures()), exact, atol=2e-6 * np.abs(exact).max())


@pytest.mark.parametrize("name", ["efficientnet_lite0", "cifar_resnet20_v1", "cifar_resnet20_v2", "mobilenetv2_0.25"])
def test_the_form_of_a_whole_network_and_the_form_shifted_give_what_it_gives(name):
    net = ready(name)
    exact, form = read(net, pictures()), Form(net)
    np.testing.assert_allclose(of_form(form, net, pictures()), exact, atol=1e-3 * np.abs(exact).max())
    nodes = form.bottlenecks()
    assert len(nodes) == {"efficientnet_lite0": 16, "mobilenetv2_0.25": 17}.get(name, 0)
    if not nodes:
        return
    maps = form.block(*(node.output for node in nodes))(mx.nd.from_numpy(planes(pictures(), net.rotated)))
    least = {node.name: value.asnumpy().min(axis=(0, 2, 3)) for node, value in zip(nodes, maps)}
    form.shift(least)
    np.testing.assert_allclose(of_form(form, net, pictures()), exact, atol=1e-3 * np.abs(exact).max())
    moved = form.block(*(node.output for node in nodes))(mx.nd.from_numpy(planes(pictures(), net.rotated)))
    for value in moved:  # of one sign, and not further than is needed
        value = value.asnumpy()
        np.testing.assert_allclose(value.min(axis=(0, 2, 3)), 0, atol=1e-3 * value.max())


def test_pictures_go_into_the_first_convolution_as_bytes():
    net = convolution()
    symbol = quantize(net, pictures()).block(mx.sym.var("data", dtype="uint8"))
    assert "cast" not in symbol.tojson().lower()


def test_means_over_places_have_more_values_than_bytes():
    net = ready("cifar_resnet20_v1")
    found = read(quantize(net, pictures()), pictures(40, seed=5))
    assert len(np.unique(found)) > 1000


def test_what_rounding_moves_in_the_mean_is_put_back_and_the_network_is_left_as_it_was():
    rng = np.random.default_rng(0)
    x = np.clip(rng.normal(200, 15, (24, 16, 16, 3)), 0, 255).astype(np.uint8)
    for with_bias in (True, False):
        net = convolution(with_bias=with_bias, padding=0)
        kept = {name: p.data().asnumpy() for name, p in net.collect_params().items()}
        exact, found = read(net, x), read(quantize(net, x), x)
        for name, parameter in net.collect_params().items():
            np.testing.assert_array_equal(parameter.data().asnumpy(), kept[name])
        weight = net.body[0].weight.data().asnumpy()
        steps = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / LEVELS
        nearest = np.clip(np.round(weight / steps), -127, 127) * steps
        moved = (nearest - weight).sum(axis=(1, 2, 3)) * x.mean()
        if not with_bias:
            moved = moved * net.body[1].gamma.data().asnumpy()  # the batch norm's factor: its variance is one
        left = (found - exact).mean(axis=(0, 2, 3))
        assert np.sqrt(np.mean(left**2)) < 0.2 * np.sqrt(np.mean(moved**2))


def test_the_largest_weight_is_taken_for_what_mxnet_makes_of_it():
    """127.5 steps are stored as 127, -127.5 as -128, which was taken for -127: a step of it was missing in the mean."""
    rng = np.random.default_rng(1)
    x = rng.integers(150, 256, (16, 16, 16, 3)).astype(np.uint8)
    weight = rng.normal(0, 0.1, (16, 3, 3, 3)).astype(np.float32)
    weight[np.arange(16), 1, 1, 1] = np.repeat([1, -1], 8)
    net = convolution(weight=weight, padding=0)
    exact, found = read(net, x), read(quantize(net, x), x)
    half = 0.5 / LEVELS * x.mean()  # what half a step of one weight is worth in the mean
    left = (found - exact).mean(axis=(0, 2, 3))
    assert np.abs(left).max() < 0.3 * half


def test_what_a_quantiser_stores():
    weight = np.array([[[1.0, 0.5, -0.3]], [[-1.0, 0.5, 0.2]]])
    found = gptq.stored(weight, weight, 127.5) * 127.5
    np.testing.assert_allclose(found, [[[127, 64, -38]], [[-128, 64, 26]]], rtol=1e-6)
    np.testing.assert_allclose(gptq.stored(weight, weight, 127)[:, :, 0], [[1], [-1]], rtol=1e-6)


def test_a_network_that_begins_with_something_else_says_so():
    body = nn.HybridSequential()
    body.add(nn.MaxPool2D())
    net = Backbone("pools", Cut(body, nn.HybridLambda("identity"), None), PLAIN, "random")
    net.initialize()
    with pytest.raises(UserError, match="--int8: the first layer of pools is no convolution"):
        quantize(net, pictures())


def test_a_network_that_mxnet_cannot_read_in_8_bits_says_so():
    with pytest.raises(UserError, match="--int8: MXNet cannot read mobilenetv3_small in 8 bits"):
        quantize(ready("mobilenetv3_small"), pictures(4))
