"""Layers in the form for training are the plain ones. EfficientNet-Lite's: test_efficientnet_lite.py."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from common import backbones, devices
from common.backbones import training_form
from common.train import mixed, optimizer
from examples.im2vec.model import ResNet20


def conv4():
    return backbones.create("conv4", size=32)


def zoo():
    """One of the zoos, whose layers know of no quick form."""
    return backbones.create("cifar_resnet20_v1")


def one_step(create, written, frozen):
    """Features before and after a step's statistics, all gradients, all parameters, and the operators of a network."""
    net = create()
    net.initialize()
    rng = np.random.default_rng(0)
    for key, p in net._collect_params_with_prefix().items():
        if key.startswith("body"):
            low, high = (0.5, 1.5) if key.endswith(("gamma", "var")) else (-0.5, 0.5)
            p.set_data(mx.nd.array(rng.uniform(low, high, p.shape) / np.sqrt(np.prod(p.shape[1:]))))
    for key, p in net.collect_params().items():
        if frozen and key.endswith(("gamma", "beta")):
            p.grad_req = "null"
    if frozen:
        net.apply(lambda block: block._kwargs.update(use_global_stats=True) if hasattr(block, "gamma") else None)
    net.hybridize(static_alloc=True, static_shape=True)
    if written:
        training_form.speed_up_training(net)
    pictures = mx.nd.array(rng.integers(0, 256, (4, 32, 32, 3)), dtype="uint8")
    before = net(pictures).asnumpy()
    weights = mx.nd.array(rng.normal(size=before.shape))
    with autograd.record():
        loss = (net(pictures) * weights).sum()
    loss.backward()
    parameters = net._collect_params_with_prefix()
    gradients = {key: p.grad().asnumpy() for key, p in parameters.items() if p.grad_req != "null"}
    values = {key: p.data().asnumpy() for key, p in parameters.items()}
    return before, net(pictures).asnumpy(), gradients, values, net(mx.sym.var("data")).tojson()


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("create", [conv4, ResNet20, zoo])
def test_written_for_training_a_network_is_the_same(create, frozen):
    plain, written = (one_step(create, how, frozen) for how in (False, True))
    assert "BatchNormWithReLU" in written[4] and "BatchNormWithReLU" not in plain[4]
    for ours, expected in zip(written[:2], plain[:2]):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    largest = max(np.linalg.norm(gradient) for gradient in plain[2].values())
    for key, expected in plain[2].items():  # a bias before a batch norm has no gradient but rounding
        assert np.linalg.norm(written[2][key] - expected) < 1e-4 * max(np.linalg.norm(expected), 1e-2 * largest), key
    for key, expected in plain[3].items():
        np.testing.assert_allclose(written[3][key], expected, rtol=1e-4, atol=1e-6, err_msg=key)


def test_what_is_not_trained_stays_plain():
    net = conv4()
    net.initialize()
    net.collect_params().setattr("grad_req", "null")
    net.speed_up_training()
    assert "BatchNormWithReLU" not in net(mx.sym.var("data")).tojson()


def test_in_mixed_precision_batch_norm_and_relu_stay_apart(monkeypatch):
    """MXNet's list of operators keeps the one for both in 32 bits, with conversions around it: slower than two."""
    monkeypatch.setattr(devices, "has_bfloat16", lambda: True)
    net = conv4()
    net.initialize()
    net.hybridize()
    net.speed_up_training()
    trainer = optimizer.trainer([(net.collect_params(), "sgd", {"learning_rate": 0.1})])
    for wanted, found in ((False, True), (True, False)):
        mixed.start(wanted, trainer, net, net)
        assert ("BatchNormWithReLU" in net(mx.sym.var("data")).tojson()) == found
