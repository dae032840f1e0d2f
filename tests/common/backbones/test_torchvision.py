"""torchvision's parameters in Gluon's networks: the same logits.

The expected logits were computed by networks of torchvision 0.29.1, filled with `values` in their state dict's order.
"""

import mxnet as mx
import numpy as np
import pytest

from common import backbones
from common.backbones.convert import torch
from common.files.errors import UserError

LOGITS = {
    "resnet18_v1b": [0.5478194, 0.800312, -0.07210362, 0.8122686],
    "resnet50_v1b": [0.735575, 1.786981, 1.008639, -0.3632525],
    "squeezenet1.0": [1.394818, 0.3390676, 2.00497, 1.714998],
    "densenet121": [0.9293623, 0.9827523, 1.132051, 1.065201],
}


def values(i, shape):
    v = np.random.RandomState(i).rand(*shape).astype("float32")
    return v + 0.5 if len(shape) == 1 else (v - 0.5) * 2 / np.sqrt(np.prod(shape[1:]))


@pytest.mark.parametrize("name", LOGITS)
def test_logits_equal_torchvisions(name):
    x = mx.nd.array(np.random.RandomState(999).rand(1, 3, 224, 224))
    net = backbones.network(name)
    net.initialize()
    net(x)  # decides the shapes
    shapes = [parameter.shape for parameter in net._collect_params_with_prefix().values()]
    arrays = {f"{i}.weight": values(i, shape) for i, shape in enumerate(shapes)}
    torch.fill_torchvision(net, {**arrays, "bn1.num_batches_tracked": np.array(7)})
    np.testing.assert_allclose(net(x)[0, :4].asnumpy(), LOGITS[name], rtol=1e-4, atol=1e-5)


def test_parameters_of_another_network_are_refused():
    with pytest.raises(UserError, match="the file has 1 arrays, and nothing for"):
        torch.fill_torchvision(backbones.network("resnet18_v1b"), {"conv1.weight": np.zeros((64, 3, 7, 7))})
