"""The ranking losses between pictures and sentences. Called with ``(images, sentences)``: row i of both is a pair."""

from __future__ import annotations

import math

import mxnet as mx
from mxnet.gluon import HybridBlock

MAX_SCALE = 100.0  # of the scores in `SoftmaxLoss`, as in the paper


def scores(F, images, sentences, measure: str):
    """How well each image (row) and each sentence (column) fit: (n, d) and (n, d) -> (n, n)."""
    if measure == "order":
        violation = F.relu(F.broadcast_sub(F.expand_dims(sentences, 0), F.expand_dims(images, 1)))
        return -F.sqrt(F.sum(F.square(violation), axis=2) + 1e-12)
    return F.dot(images, sentences, transpose_b=True)


def diagonal(F, images):
    """The identity (n, n), for as many rows as `images` has."""
    number = F.contrib.arange_like(images, axis=0)
    return F.broadcast_equal(F.expand_dims(number, 1), F.expand_dims(number, 0))


class RankingLoss(HybridBlock):
    r"""Hinges over the negatives of a batch, both directions (Kiros et al. 2014, equation 2).

    With scores :math:`s_{ij}` of image i and sentence j, those of pairs on the diagonal,

    .. math:: \sum_i \sum_{j \ne i} [\alpha - s_{ii} + s_{ij}]_+ + [\alpha - s_{ii} + s_{ji}]_+ .

    Parameters
    ----------
    margin : float
        :math:`\alpha`.
    hardest : bool
        The greatest hinge of each row and column instead of their sum (VSE++, Faghri et al. 2018, equation 6).
    measure : {"cosine", "order"}
        ``order``: the score is minus the length of ``max(0, sentence - image)``.
    """

    def __init__(self, margin: float = 0.2, hardest: bool = False, measure: str = "cosine"):
        super().__init__()
        self.margin, self.hardest, self.measure = margin, hardest, measure

    def hybrid_forward(self, F, images, sentences):
        """The loss of n pairs, unit vectors (n, d) and (n, d) -> (1,)."""
        scored, same = scores(F, images, sentences, self.measure), diagonal(F, images)
        positives, others = F.sum(scored * same, axis=1), 1 - same
        by_image = F.relu(self.margin + F.broadcast_sub(scored, F.expand_dims(positives, 1))) * others
        by_sentence = F.relu(self.margin + F.broadcast_sub(scored, F.expand_dims(positives, 0))) * others
        if self.hardest:
            return F.sum(F.max(by_image, axis=1)) + F.sum(F.max(by_sentence, axis=0))
        return F.sum(by_image + by_sentence)


class SoftmaxLoss(HybridBlock):
    r"""The symmetric softmax of CLIP with its learned temperature (Radford et al. 2021, figure 3).

    With scores :math:`s_{ij}` of image i and sentence j, those of pairs on the diagonal,

    .. math:: -\frac{1}{2} \sum_i \log \frac{e^{s_{ii} / \tau}}{\sum_j e^{s_{ij} / \tau}}
              + \log \frac{e^{s_{ii} / \tau}}{\sum_j e^{s_{ji} / \tau}} .

    What is learned is :math:`\log 1 / \tau`; :math:`1 / \tau` is at most 100.

    Parameters
    ----------
    temperature : float
        :math:`\tau` at the start.
    measure : {"cosine", "order"}
        See `RankingLoss`.

    References
    ----------
    A. Radford et al.: Learning Transferable Visual Models From Natural Language Supervision. ICML 2021.
    """

    def __init__(self, temperature: float = 0.07, measure: str = "cosine"):
        super().__init__()
        self.measure = measure
        with self.name_scope():
            start = mx.init.Constant(-math.log(temperature))
            self.log_scale = self.params.get("log_scale", shape=(1,), init=start, wd_mult=0)

    def hybrid_forward(self, F, images, sentences, log_scale):
        """The loss of n pairs, unit vectors (n, d) and (n, d) -> (1,)."""
        scale = F.exp(F.minimum(log_scale, math.log(MAX_SCALE)))
        scaled, same = F.broadcast_mul(scores(F, images, sentences, self.measure), scale), diagonal(F, images)
        return -F.sum((F.log_softmax(scaled, axis=1) + F.log_softmax(scaled, axis=0)) * same) / 2

    @property
    def temperature(self) -> float:
        """The present one."""
        return max(math.exp(-float(self.log_scale.data(self.log_scale.list_ctx()[0]).asscalar())), 1 / MAX_SCALE)
