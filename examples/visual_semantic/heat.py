"""Where in a picture the classifier of stage 1 sees its class: class-activation maps (Zhou et al. 2016)."""

from __future__ import annotations

import mxnet as mx
import numpy as np

from common.files.errors import UserError


def class_activation(net, pictures: np.ndarray, classes: np.ndarray, ctx=None) -> np.ndarray:
    """How much more each place of a picture speaks for a class than for classes on average.

    M_c(x, y) = sum over k of w_kc f_k(x, y), less the mean of M over c: a softmax sees differences alone, and with many
    classes every M_c may be negative everywhere.

    Parameters
    ----------
    net : examples.visual_semantic.model.VisualSemanticNet
        Of stage 1 or 2a: its classifier is a dense layer on the means of the last maps.
    pictures : (n, S, S, 3) uint8
        As the network sees them.
    classes : (n,) int array
        Places in ``net.seen``, one for each picture.

    Returns
    -------
    (n, h, w) float32
        The mean over a picture plus the class's bias is the logit, less the means over classes of bias and logit.

    Raises
    ------
    UserError
        The network has dense layers between its maps and the classifier, so there is no such map.
    """
    maps = net.feature_maps(mx.nd.array(pictures, ctx=ctx, dtype="uint8")).asnumpy()
    dense = net.classifier[-1].weight
    weights = dense.data(dense.list_ctx()[0]).asnumpy()
    if maps.shape[1] != weights.shape[1]:
        raise UserError(f"{net.backbone.name_} has dense layers on its maps: heat maps need one that takes their means")
    return np.einsum("nkhw,nk->nhw", maps, weights[classes] - weights.mean(axis=0))


def heat(activation: np.ndarray) -> np.ndarray:
    """What speaks for the class, each map's own largest value at 1: what speaks against it is 0; (n, h, w)."""
    positive = np.maximum(activation, 0)
    return positive / np.maximum(positive.max(axis=(1, 2), keepdims=True), 1e-12)
