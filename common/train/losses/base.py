"""What every loss on embeddings has in common."""

from __future__ import annotations

import warnings

from mxnet.gluon import HybridBlock

warnings.filterwarnings("ignore", message="The .*-th input to HybridBlock is not used")  # labels, by some losses


class Loss(HybridBlock):
    """A loss on the embeddings of one device's part of a batch, called as ``loss(embeddings, labels, pairs)``.

    Parameters of `__call__`:

    - `embeddings`, (n, d) float32: what the network gives, unit vectors unless the loss says otherwise;
    - `labels`, (n,) int32: the class of each, ``0 .. classes - 1``;
    - `pairs`: what a miner of `common.train.miners` gives, or None where `uses_pairs` is False.

    The result is an array of shape (1,), the mean over what the loss counts, or (n,), a number for each embedding. A
    subclass implements ``hybrid_forward(self, F, embeddings, labels, pairs, ...)``, with operators of `F` alone: so it
    can be hybridized, and no step waits for the device.

    A parameter that is learned (a boundary, a proxy for each class) is made in the constructor, within
    ``self.name_scope()``, as ``self.NAME = self.params.get("NAME", ...)``, and `hybrid_forward` takes it as the
    argument ``NAME``. ``loss.collect_params()`` has them all: give them a group of their own, see
    `common.train.optimizer.trainer`, and hand the loss to the checkpoints beside the network.

    Attributes
    ----------
    uses_pairs : bool
        False for losses that compare embeddings with something they hold, such as a vector for each class. Their
        `hybrid_forward` takes no `pairs`; called with some, they leave them aside.
    """

    uses_pairs = True

    def forward(self, embeddings, labels, pairs=None):
        """The loss, see the class; `pairs` reaches `hybrid_forward` where `uses_pairs` says so.

        Parameters
        ----------
        embeddings : (n, d) NDArray or Symbol
        labels : (n,) NDArray or Symbol
        pairs : sequence of NDArray or Symbol, optional

        Raises
        ------
        ValueError
            The loss uses pairs, and none are given.
        """
        if not self.uses_pairs:
            return super().forward(embeddings, labels)
        if pairs is None:
            raise ValueError(f"{type(self).__name__} needs the pairs that a miner gives")
        return super().forward(embeddings, labels, pairs)


def distance(F, a, b):
    """Euclidean distance of the rows of two arrays. Its gradient is finite where they coincide.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    a, b : (p, d) NDArray or Symbol

    Returns
    -------
    (p,) NDArray or Symbol
    """
    return F.sqrt(F.sum(F.square(a - b), axis=1) + 1e-8)
