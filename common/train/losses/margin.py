"""The margin loss (Wu et al. 2017)."""

from __future__ import annotations

import mxnet as mx

from common.train import pairs as pairing
from common.train.losses.base import Loss, distance


class MarginLoss(Loss):
    r"""Margin based loss with a learned boundary per class (Wu et al. 2017, section 4.1).

    With :math:`D_{ap}, D_{an}` the Euclidean distances of an anchor to a positive and to a negative, the margin
    :math:`\alpha` and the boundary :math:`\beta_a` of the anchor's class,

    .. math:: \ell = \frac{1}{P} \sum_{(a, p, n)} \Big([\alpha + D_{ap} - \beta_a]_+ + [\alpha + \beta_a - D_{an}]_+
              + \nu \beta_a \Big),

    where `P` counts the first two kinds of terms that are not zero; where there is none the loss is zero. The boundary
    of a class counts once for each triplet that its pictures anchor, as in the original example and in
    pytorch-metric-learning, so classes that are not in the batch are left alone.

    Parameters
    ----------
    classes : int
        Number of training classes.
    margin : float
        :math:`\alpha`, a distance.
    beta : float
        The boundary's initial value for every class, a distance.
    nu : float
        :math:`\nu`, weight of the regularisation of the boundaries.
    learn_beta : bool
        False keeps every boundary at `beta`.

    Attributes
    ----------
    beta : gluon.Parameter
        (classes,). Learned at a rate of its own: its gradients are of another size than a network's.

    References
    ----------
    C.-Y. Wu, R. Manmatha, A. Smola, P. Krahenbuhl: Sampling Matters in Deep Embedding Learning. ICCV 2017. The
    defaults are those of its section 5.
    """

    def __init__(
        self, classes: int, margin: float = 0.2, beta: float = 1.2, nu: float = 0.0, learn_beta: bool = True
    ):
        super().__init__()
        self.margin, self.nu, self.classes = margin, nu, classes
        with self.name_scope():
            self.beta = self.params.get(
                "beta", shape=(classes,), init=mx.init.Constant(beta), grad_req="write" if learn_beta else "null"
            )

    def of_pairs(self, F, embeddings, labels, pairs, references, reference_labels, beta):
        """The loss, shape (1,), of `pairs` (anchors, positives, negatives), (p,) rows of `embeddings` each.

        Or of masks (positive, negative): all triplets that they make.
        """
        if len(pairs) == 2:
            return self._of_masks(F, pairing.distances(F, embeddings, references), *pairs, F.take(beta, labels))
        anchors, positives, negatives = pairs
        anchor = F.take(embeddings, anchors)
        d_ap = distance(F, anchor, F.take(references, positives))
        d_an = distance(F, anchor, F.take(references, negatives))
        boundary = F.take(beta, F.take(labels, anchors))
        positive_loss = F.relu(d_ap - boundary + self.margin)
        negative_loss = F.relu(boundary - d_an + self.margin)
        active = F.sum(positive_loss > 0) + F.sum(negative_loss > 0)
        total = F.sum(positive_loss) + F.sum(negative_loss)
        if self.nu:
            total = total + self.nu * F.sum(boundary) * (active > 0)
        return total / F.maximum(active, F.ones_like(active))

    def _of_masks(self, F, d, positive, negative, boundary):
        """A pair is in as many triplets as its anchor has pairs of the other kind."""
        positives, negatives = (F.sum(mask, axis=1, keepdims=True) for mask in (positive, negative))
        positive_loss = F.relu(F.broadcast_sub(d, boundary.expand_dims(1)) + self.margin)
        negative_loss = F.relu(F.broadcast_sub(boundary.expand_dims(1), d) + self.margin)
        positive_counts, negative_counts = F.broadcast_mul(positive, negatives), F.broadcast_mul(negative, positives)
        active = F.sum((positive_loss > 0) * positive_counts) + F.sum((negative_loss > 0) * negative_counts)
        total = F.sum(positive_loss * positive_counts) + F.sum(negative_loss * negative_counts)
        if self.nu:
            total = total + self.nu * F.sum(boundary.expand_dims(1) * positives * negatives) * (active > 0)
        return total / F.maximum(active, F.ones_like(active))
