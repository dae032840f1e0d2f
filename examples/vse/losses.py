"""The ranking losses between pictures and sentences. Called with ``(images, sentences)``: row i of both is a pair."""

from __future__ import annotations

from mxnet.gluon import HybridBlock


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
        if self.measure == "order":
            violation = F.relu(F.broadcast_sub(F.expand_dims(sentences, 0), F.expand_dims(images, 1)))
            scores = -F.sqrt(F.sum(F.square(violation), axis=2) + 1e-12)
        else:
            scores = F.dot(images, sentences, transpose_b=True)
        number = F.contrib.arange_like(images, axis=0)
        same = F.broadcast_equal(F.expand_dims(number, 1), F.expand_dims(number, 0))
        positives, others = F.sum(scores * same, axis=1), 1 - same
        by_image = F.relu(self.margin + F.broadcast_sub(scores, F.expand_dims(positives, 1))) * others
        by_sentence = F.relu(self.margin + F.broadcast_sub(scores, F.expand_dims(positives, 0))) * others
        if self.hardest:
            return F.sum(F.max(by_image, axis=1)) + F.sum(F.max(by_sentence, axis=0))
        return F.sum(by_image + by_sentence)
