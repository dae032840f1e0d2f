"""What every miner has in common."""

from __future__ import annotations

from mxnet.gluon import HybridBlock


class Miner(HybridBlock):
    """Chooses which embeddings of a device's part of a batch a loss compares: ``pairs = miner(embeddings, labels)``.

    Parameters of `__call__`:

    - `embeddings`, (n, d) float32: unit vectors;
    - `labels`, (n,) int32: the class of each.

    The result is three arrays of one length, (p,) int32 each, of rows of `embeddings`: anchors, positives (of the
    anchor's class, another row), negatives (of another class). A subclass implements
    ``hybrid_forward(self, F, embeddings, labels)``, with operators of `F` alone, and gives the embeddings no gradient.
    Random numbers come from MXNet's generators, which the training seeds for each batch.
    """
