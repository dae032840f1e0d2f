"""What a package holds that the model file does not: one graph for several views, and vectors of classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from mxnet.gluon import HybridBlock

from common import devices
from common.export import package
from examples.embedding_learning.model import EmbeddingNet

BATCH = 32  # pictures


class OfViews(HybridBlock):
    """Views (n, v, H, W, 3) of pictures -> unit vectors (n, embed_dim): the head sees the mean of their features.

    Parameters
    ----------
    net : EmbeddingNet
    seen : common.export.package.Input
    """

    def __init__(self, net: EmbeddingNet, seen: package.Input):
        super().__init__()
        self.features, self.dense = package.OfViews(net.backbone, seen), net.dense

    def hybrid_forward(self, F, x):
        return F.L2Normalization(self.dense(self.features(x)))


def class_vectors(net: HybridBlock, pictures: Mapping[str, Sequence], read: Callable) -> np.ndarray:
    """The mean of the vectors of each class's pictures, at length one: (classes, embed_dim) float32.

    Parameters
    ----------
    net : HybridBlock
        What is exported.
    pictures : mapping of str to sequence
        Class to its pictures.
    read : callable
        From some pictures to what `net` takes.
    """
    means = []
    for paths in pictures.values():
        parts = [net(devices.put(read(paths[i : i + BATCH]))).asnumpy() for i in range(0, len(paths), BATCH)]
        means.append(np.concatenate(parts).mean(axis=0))
    return np.stack([mean / np.linalg.norm(mean) for mean in means]).astype(np.float32)
