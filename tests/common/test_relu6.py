import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn

from common.networks.relu6 import ReLU6, clipped


def network():
    net = nn.HybridSequential()
    net.add(ReLU6())
    net.hybridize()
    return net


@pytest.mark.parametrize("clip", [False, True])
def test_values_and_gradients_are_the_definition(clip):
    values = np.linspace(-9.3, 15.1, 61).astype(np.float32)
    x, net = mx.nd.array(values), network()
    x.attach_grad()
    net[0].clip = clip
    with autograd.record():
        y = net(x)
    y.backward(mx.nd.arange(61))
    np.testing.assert_array_equal(y.asnumpy(), np.clip(values, 0, 6))
    np.testing.assert_array_equal(x.grad.asnumpy(), np.where((values > 0) & (values < 6), np.arange(61), 0))


def operators(net):
    return [node["op"] for node in json.loads(net(mx.sym.var("data")).tojson())["nodes"]]


def test_a_clip_is_traced_within_the_context_alone():
    net = network()
    assert "clip" not in operators(net)
    with clipped(net):
        assert operators(net) == ["null", "clip"]
    assert "clip" not in operators(net)
    net(mx.nd.ones(3))  # and what was traced inside is forgotten
    with clipped(net):
        net(mx.nd.ones(3))
    assert "clip" not in operators(net)
