"""A network with its classifier as one graph."""

from __future__ import annotations

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock, nn

from examples.transfer.model import PROBABILITIES, Classifier


class Classified(HybridBlock):
    """Pictures (n, H, W, 3) -> probabilities or scores (n, classes), and the network's features (n, width).

    The standardisation of the features is part of the dense layer's weights.

    Parameters
    ----------
    backbone : common.backbones.Backbone
        With values.
    classifier : Classifier
        Of a linear kind.
    """

    def __init__(self, backbone, classifier: Classifier):
        super().__init__()
        self._softmax = kind(classifier) == "probabilities"
        weight = classifier.weight.astype(np.float64) / classifier.scale
        bias = classifier.bias - weight @ classifier.mean
        with self.name_scope():
            self.backbone = backbone
            self.dense = nn.Dense(len(bias), in_units=weight.shape[1])
        self.dense.initialize(ctx=mx.cpu())
        self.dense.weight.set_data(mx.nd.array(weight, dtype="float32"))
        self.dense.bias.set_data(mx.nd.array(bias, dtype="float32"))

    def hybrid_forward(self, F, x):
        features = self.backbone(x)
        scores = self.dense(features)
        return F.softmax(scores, axis=1) if self._softmax else scores, features


def kind(classifier: Classifier) -> str:
    """What its outputs are, as `Classifier.probabilities` gives them."""
    return "probabilities" if classifier.kind in PROBABILITIES else "scores"
