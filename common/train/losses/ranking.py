"""Losses that are the average precision of each embedding's ranking, made smooth."""

from __future__ import annotations

from common.train import pairs as pairing
from common.train.losses.base import PairLoss, mean_of


class FastAPLoss(PairLoss):
    r"""Average precision by histograms of the distances (Cakir et al. 2019).

    With :math:`h_j^+` the positives of an anchor in bin `j` of the squared distances, :math:`H_j^+` those in it and
    before it, and :math:`H_j` all, each spread over two bins linearly, the mean over the anchors with a positive of

    .. math:: \ell = 1 - \frac{1}{P} \sum_j \frac{H_j^+ h_j^+}{H_j}.

    Parameters
    ----------
    bins : int
        Between 0 and 4, the largest squared distance.

    References
    ----------
    F. Cakir, K. He, X. Xia, B. Kulis, S. Sclaroff: Deep Metric Learning to Rank. CVPR 2019.
    """

    measure = staticmethod(pairing.squared_distances)

    def __init__(self, bins: int = 10):
        super().__init__()
        self.bins = bins

    def compare(self, F, measured, positive, negative):
        width = 4 / self.bins
        centres = F.arange(self.bins + 1).reshape((1, 1, -1)) * width
        pulse = F.relu(1 - F.abs(F.broadcast_sub(measured.expand_dims(2), centres)) / width)  # (n, m, bins + 1)
        h_pos, h_neg = (F.sum(F.broadcast_mul(pulse, mask.expand_dims(2)), axis=1) for mask in (positive, negative))
        so_far_pos, so_far = F.cumsum(h_pos, axis=1), F.cumsum(h_pos + h_neg, axis=1)
        precision = h_pos * so_far_pos / F.where(so_far > 0, so_far, F.ones_like(so_far))
        number = F.sum(positive, axis=1)
        return mean_of(F, 1 - F.sum(precision, axis=1) / F.maximum(number, F.ones_like(number)), number > 0)


class SmoothAPLoss(PairLoss):
    r"""Average precision with a sigmoid in the place of each comparison (Brown et al. 2020, section 4).

    With the cosines `S`, the rank of `i` among a set is :math:`1 + \sum_j \sigma((S_{aj} - S_{ai}) / \tau)`, and

    .. math:: \ell = 1 - \frac{1}{P} \sum_p \frac{\text{rank of } p \text{ among the positives}}
              {\text{rank of } p \text{ among all}},

    the mean over the anchors with a positive. As in the authors' code an anchor is one of its own positives. Needs
    (n, m, m) numbers.

    Parameters
    ----------
    temperature : float
        :math:`\tau`.

    References
    ----------
    A. Brown, W. Xie, V. Kalogeiton, A. Zisserman: Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval.
    ECCV 2020.
    """

    def __init__(self, temperature: float = 0.01):
        super().__init__()
        self.temperature = temperature

    def of_pairs(self, F, embeddings, labels, pairs, references, reference_labels):
        positive, negative = pairing.masks(F, pairs, labels, reference_labels)
        some = F.max(positive, axis=1, keepdims=True)
        positive = F.broadcast_add(positive, pairing.itself(F, labels, reference_labels))
        cosines = pairing.cosines(F, embeddings, references)
        above = F.broadcast_sub(cosines.expand_dims(1), cosines.expand_dims(2))  # (n, i, j): how far j is above i
        above = F.broadcast_mul(F.sigmoid(above / self.temperature), 1 - _diagonal(F, reference_labels))
        among = (F.sum(F.broadcast_mul(above, mask.expand_dims(1)), axis=2) for mask in (positive, positive + negative))
        rank, rank_of_all = (1 + x for x in among)
        number = F.sum(positive, axis=1, keepdims=True)
        return mean_of(F, 1 - F.sum(rank / rank_of_all * positive, axis=1, keepdims=True) / number, some)


def _diagonal(F, labels):
    return pairing.itself(F, labels, labels).expand_dims(0)
