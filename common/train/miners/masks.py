"""Masks: which of all pairs count."""

from __future__ import annotations

from common.train import pairs as pairing
from common.train.miners.base import Miner


class AllPairsMiner(Miner):
    """All positive pairs and all negative pairs."""

    def choose(self, F, embeddings, labels, references, reference_labels):
        """The masks, (n, m) each."""
        return pairing.relations(F, labels, reference_labels)


class MultiSimilarityMiner(Miner):
    r"""Pairs that are harder than the anchor's hardest of the other kind, but for a margin.

    A negative counts where :math:`S_{an} > \min_p S_{ap} - \epsilon`, a positive where
    :math:`S_{ap} < \max_n S_{an} + \epsilon`, with the cosines `S`.

    Parameters
    ----------
    epsilon : float

    References
    ----------
    X. Wang, X. Han, W. Huang, D. Dong, M. R. Scott: Multi-Similarity Loss with General Pair Weighting for Deep Metric
    Learning. CVPR 2019, section 4.1, equations 11 and 12.
    """

    def __init__(self, epsilon: float = 0.1):
        super().__init__()
        self.epsilon = epsilon

    def choose(self, F, embeddings, labels, references, reference_labels):
        """The masks, (n, m) each; empty in the row of an anchor that lacks one of the kinds."""
        positive, negative = pairing.relations(F, labels, reference_labels)
        cosines = F.BlockGrad(pairing.cosines(F, embeddings, references))
        farthest = F.min(F.where(positive, cosines, 9 * F.ones_like(cosines)), axis=1, keepdims=True)
        nearest = F.max(F.where(negative, cosines, -9 * F.ones_like(cosines)), axis=1, keepdims=True)
        return (
            positive * F.broadcast_lesser(cosines - self.epsilon, nearest),
            negative * F.broadcast_greater(cosines + self.epsilon, farthest),
        )
