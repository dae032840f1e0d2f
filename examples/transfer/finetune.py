"""What fine-tuning starts from: a network of which only the last block moves, and a head that knows the classes."""

from __future__ import annotations

import mxnet as mx
from mxnet import gluon


def last_block(net) -> list[gluon.Parameter]:
    """The parameters of the last block of `net`; all others are frozen, and batch norms stay as they were pretrained.

    Parameters
    ----------
    net : common.backbones.Backbone
    """
    net.freeze_batch_norm()  # not record(train_mode=False): through oneDNN's pooling that gives wrong gradients
    early, late = net.early_late()
    for parameter in [*early, *net.normalize.collect_params().values()]:
        parameter.grad_req = "null"
    return late


def dense(classifier, seed: int, ctx) -> gluon.nn.Dense:
    """A dense layer that gives the scores of a classifier for plain features.

    So the block's first steps do not follow a random head (Kumar et al. 2022: Fine-Tuning can Distort Pretrained
    Features and Underperform Out-of-Distribution).

    Parameters
    ----------
    classifier : examples.transfer.model.Classifier
        For k-NN, which has no weights, the layer is random.
    seed : int
    ctx : mx.Context or list
    """
    mx.random.seed(seed)
    width = len(classifier.mean)
    head = gluon.nn.Dense(len(classifier.classes), in_units=width)
    head.initialize(mx.init.Xavier(), ctx=ctx)
    if classifier.kind != "knn":
        weight = classifier.weight / classifier.scale
        head.weight.set_data(mx.nd.array(weight))
        head.bias.set_data(mx.nd.array(classifier.bias - weight @ classifier.mean))
    return head
