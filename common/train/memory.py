"""Cross-batch memory (Wang et al. 2020)."""

from __future__ import annotations

import mxnet as mx
from mxnet import autograd
from mxnet.gluon import Block


class CrossBatchMemory(Block):
    """The embeddings of the last batches, to compare those of this batch with: many more negatives for nothing.

    ::

        references, reference_labels = memory(embeddings, labels)
        pairs = miner(embeddings, labels, references, reference_labels)
        value = loss(embeddings, labels, pairs, references, reference_labels)

    Embeddings move slowly once the learning has settled, so that old ones still serve. Each device has a memory of its
    own; hand the block to the checkpoints beside the network.

    Parameters
    ----------
    size : int
        Embeddings kept, the newest ones, beside those of the batch itself.
    embed_dim : int

    Attributes
    ----------
    embeddings : gluon.Parameter
        (size, embed_dim), the newest first; takes no gradient.
    labels : gluon.Parameter
        (size,); -1 where nothing was kept yet.

    References
    ----------
    X. Wang, H. Zhang, W. Huang, M. R. Scott: Cross-Batch Memory for Embedding Learning. CVPR 2020, section 3.3,
    algorithm 1.
    """

    def __init__(self, size: int, embed_dim: int):
        super().__init__()
        with self.name_scope():
            fixed = {"grad_req": "null", "differentiable": False}
            self.embeddings = self.params.get("embeddings", shape=(size, embed_dim), init=mx.init.Zero(), **fixed)
            self.labels = self.params.get("labels", shape=(size,), init=mx.init.Constant(-1), **fixed)

    def forward(self, embeddings, labels):
        """What to compare the batch with, itself first, and keep the batch; without gradients.

        Parameters
        ----------
        embeddings : (n, d) NDArray
        labels : (n,) NDArray

        Returns
        -------
        references : (n + size, d) NDArray
        reference_labels : (n + size,) NDArray
        """
        with autograd.pause():
            found = []
            for new, parameter in ((embeddings, self.embeddings), (labels, self.labels)):
                kept = parameter.data(new.context)
                every = mx.nd.concat(new.detach().astype("float32"), kept, dim=0)
                kept[:] = every[: len(kept)]
                found.append(every)
        return tuple(found)
