"""Triplets: a negative for each positive pair, by its similarity or by chance."""

from __future__ import annotations

from common.train import pairs as pairing
from common.train.miners.base import Miner, slots


class SemihardMiner(Miner):
    """For each positive pair the nearest negative that is farther from the anchor than the positive.

    Where none is farther, the farthest negative. A batch holds the images of a class side by side; with references the
    positives are of the batch, and the negatives of all.

    Parameters
    ----------
    batch_k : int
        Images per class.

    References
    ----------
    F. Schroff, D. Kalenichenko, J. Philbin: FaceNet: A Unified Embedding for Face Recognition and Clustering.
    CVPR 2015, section 3.2.
    """

    def __init__(self, batch_k: int):
        super().__init__()
        self.batch_k = batch_k

    def choose(self, F, embeddings, labels, references, reference_labels):
        """Anchors, positives and negatives, (n * (batch_k - 1),) int32 each."""
        _, negative = pairing.relations(F, labels, reference_labels)
        cosines = F.BlockGrad(pairing.cosines(F, embeddings, references))
        anchors, positives = slots(F, F.tile(labels, self.batch_k - 1), self.batch_k)
        rows, negative = F.take(cosines, anchors), F.take(negative, anchors)
        farther = negative * F.broadcast_lesser(rows, F.pick(rows, positives, axis=1, keepdims=True))
        nearest = F.argmax(F.where(farther, rows, -2 * F.ones_like(rows)), axis=1)
        farthest = F.argmin(F.where(negative, rows, 2 * F.ones_like(rows)), axis=1)
        negatives = F.where(F.max(farther, axis=1), nearest, farthest)
        return tuple(x.astype("int32") for x in (anchors, positives, negatives))


class BatchHardMiner(Miner):
    """For each anchor its farthest positive and its nearest negative.

    References
    ----------
    A. Hermans, L. Beyer, B. Leibe: In Defense of the Triplet Loss for Person Re-Identification. arXiv 1703.07737,
    section 2.
    """

    def choose(self, F, embeddings, labels, references, reference_labels):
        """Anchors, positives and negatives, (n,) int32 each."""
        positive, negative = pairing.relations(F, labels, reference_labels)
        cosines = F.BlockGrad(pairing.cosines(F, embeddings, references))
        anchors = F.contrib.arange_like(labels.astype("float32"), axis=0)
        positives = F.argmin(F.where(positive, cosines, 2 * F.ones_like(cosines)), axis=1)
        negatives = F.argmax(F.where(negative, cosines, -2 * F.ones_like(cosines)), axis=1)
        return tuple(x.astype("int32") for x in (anchors, positives, negatives))


class UniformMiner(Miner):
    """For each positive pair a negative by chance, all alike.

    A batch holds the images of a class side by side; with references the positives are of the batch, and the negatives
    of all.

    Parameters
    ----------
    batch_k : int
        Images per class.
    """

    def __init__(self, batch_k: int):
        super().__init__()
        self.batch_k = batch_k

    def choose(self, F, embeddings, labels, references, reference_labels):
        """Anchors, positives and negatives, (n * (batch_k - 1),) int32 each."""
        _, negative = pairing.relations(F, labels, reference_labels)
        some = F.max(negative, axis=1, keepdims=True)
        weights = F.broadcast_add(negative, 1 - some)  # any row where there is no negative: a draw needs a sum of one
        weights = F.broadcast_div(weights, F.sum(weights, axis=1, keepdims=True))
        negatives = F.sample_multinomial(weights, shape=(self.batch_k - 1,)).reshape(-1)
        anchors, positives = slots(F, negatives, self.batch_k)
        return tuple(x.astype("int32") for x in (anchors, positives, negatives))
