"""Losses on embeddings. Each is called with ``(embeddings, labels, pairs)``, the pairs coming from `common.mining`."""

from __future__ import annotations

import mxnet as mx
from mxnet.gluon import HybridBlock


class MarginLoss(HybridBlock):
    r"""Margin based loss with a learned boundary per class (Wu et al. 2017, section 4.1).

    With :math:`D_{ap}, D_{an}` the Euclidean distances of an anchor to a positive and to a negative, the margin
    :math:`\alpha` and the boundary :math:`\beta` of the anchor's class,

    .. math:: \ell = \frac{1}{P} \Big(\sum [\alpha + D_{ap} - \beta]_+ + \sum [\alpha + \beta - D_{an}]_+
              + \nu \sum_c \beta_c \Big),

    where `P` counts the terms that are not zero (at least one).

    Parameters
    ----------
    margin : float
        :math:`\alpha`.
    nu : float
        :math:`\nu`, weight of the regularisation of the boundaries.
    classes : int
        Number of training classes.
    beta : float
        The boundary's initial value for every class.
    learn_beta : bool
        False keeps every boundary at `beta`.

    References
    ----------
    C.-Y. Wu, R. Manmatha, A. Smola, P. Krahenbuhl: Sampling Matters in Deep Embedding Learning. ICCV 2017.
    """

    def __init__(self, margin: float, nu: float, classes: int, beta: float = 1.2, learn_beta: bool = True):
        super().__init__()
        self.margin, self.nu, self.classes = margin, nu, classes
        with self.name_scope():
            self.beta = self.params.get(
                "beta", shape=(classes,), init=mx.init.Constant(beta), grad_req="write" if learn_beta else "null"
            )

    def hybrid_forward(self, F, embeddings, labels, anchors, positives, negatives, beta):
        """The loss, shape (1,).

        Parameters
        ----------
        embeddings : (n, d)
        labels : (n,) class of each, 0 .. classes - 1
        anchors, positives, negatives : (p,) rows of `embeddings`
        """
        anchor = F.take(embeddings, anchors)
        d_ap = distance(F, anchor, F.take(embeddings, positives))
        d_an = distance(F, anchor, F.take(embeddings, negatives))
        boundary = F.take(beta, F.take(labels, anchors))
        positive_loss = F.relu(d_ap - boundary + self.margin)
        negative_loss = F.relu(boundary - d_an + self.margin)
        active = F.sum(positive_loss > 0) + F.sum(negative_loss > 0)
        total = F.sum(positive_loss) + F.sum(negative_loss)
        if self.nu:
            total = total + self.nu * F.sum(beta)
        return total / F.maximum(active, F.ones_like(active))


def distance(F, a, b):
    """Euclidean distance of the rows of two (p, d) arrays: (p,). Its gradient is finite where they coincide."""
    return F.sqrt(F.sum(F.square(a - b), axis=1) + 1e-8)
