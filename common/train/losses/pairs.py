"""Losses of pairs and triplets within a batch."""

from __future__ import annotations

from common.train import pairs as pairing
from common.train.losses.base import Loss, PairLoss, both, logsumexp, mean_of, softplus


class ContrastiveLoss(PairLoss):
    r"""Positives are pulled together, negatives pushed beyond a margin (Hadsell et al. 2006, equation 4).

    With the Euclidean distances `D`, each mean over the pairs whose term is not zero,

    .. math:: \ell = \overline{[D_{ap} - m_p]_+^q} + \overline{[m_n - D_{an}]_+^q}.

    The paper has :math:`q = 2`, no margin of the positives, and the half of both. The default is :math:`q = 1`, as of
    pytorch-metric-learning: on unit vectors, where at first nearly all distances lie between the half of the margin and
    the margin, squares draw positives together harder than they push negatives apart, and all embeddings with them.

    Parameters
    ----------
    margin : float
        :math:`m_n`, a distance.
    pos_margin : float
        :math:`m_p`, a distance.
    power : int
        :math:`q`.

    References
    ----------
    R. Hadsell, S. Chopra, Y. LeCun: Dimensionality Reduction by Learning an Invariant Mapping. CVPR 2006, section 2.1.
    """

    measure = staticmethod(pairing.distances)

    def __init__(self, margin: float = 1.0, pos_margin: float = 0.0, power: int = 1):
        super().__init__()
        self.margin, self.pos_margin, self.power = margin, pos_margin, power

    def compare(self, F, measured, positive, negative):
        near = F.relu(measured - self.pos_margin) ** self.power * positive
        far = F.relu(self.margin - measured) ** self.power * negative
        return mean_of(F, near, near > 0) + mean_of(F, far, far > 0)


class TripletLoss(Loss):
    r"""A negative has to be farther from the anchor than a positive, by a margin (Schroff et al. 2015, section 3.1).

    With the squared Euclidean distances, the mean over the triplets whose term is not zero,

    .. math:: \ell = \overline{[D_{ap}^2 - D_{an}^2 + \alpha]_+}.

    A triplet whose rows are not of one class, and of another, counts for nothing: so a miner passes over an anchor.

    Parameters
    ----------
    margin : float
        :math:`\alpha`, a squared distance.

    References
    ----------
    F. Schroff, D. Kalenichenko, J. Philbin: FaceNet: A Unified Embedding for Face Recognition and Clustering.
    CVPR 2015, sections 3.1 and 3.2.
    """

    def __init__(self, margin: float = 0.2):
        super().__init__()
        self.margin = margin

    def of_pairs(self, F, embeddings, labels, pairs, references, reference_labels):
        """The loss, shape (1,), of triplets, or of all that masks (positive, negative) make: (n, m, m) numbers."""
        squared = pairing.squared_distances(F, embeddings, references)
        if len(pairs) == 2:
            difference = F.broadcast_sub(squared.expand_dims(2), squared.expand_dims(1))
            valid = F.broadcast_mul(pairs[0].expand_dims(2), pairs[1].expand_dims(1))
        else:
            anchors, positives, negatives = pairs
            positive, negative = pairing.relations(F, labels, reference_labels)
            rows = F.take(squared, anchors)
            difference = F.pick(rows, positives, axis=1) - F.pick(rows, negatives, axis=1)
            valid = F.pick(F.take(positive, anchors), positives, axis=1)
            valid = valid * F.pick(F.take(negative, anchors), negatives, axis=1)
        hinge = F.relu(difference + self.margin) * valid
        return mean_of(F, hinge, hinge > 0)


class MultiSimilarityLoss(PairLoss):
    r"""Pairs weigh by their own similarity and that of the anchor's others (Wang et al. 2019, equation 15).

    With the cosines `S`, the mean over the anchors of

    .. math:: \ell = \frac{1}{\alpha} \log \Big(1 + \sum_p e^{-\alpha (S_{ap} - \lambda)}\Big)
              + \frac{1}{\beta} \log \Big(1 + \sum_n e^{\beta (S_{an} - \lambda)}\Big).

    The paper chooses the pairs by `common.train.miners.MultiSimilarityMiner` first.

    Parameters
    ----------
    alpha, beta : float
    base : float
        :math:`\lambda`, as in the authors' code; the paper names 1.

    References
    ----------
    X. Wang, X. Han, W. Huang, D. Dong, M. R. Scott: Multi-Similarity Loss with General Pair Weighting for Deep Metric
    Learning. CVPR 2019, section 4.
    """

    def __init__(self, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5):
        super().__init__()
        self.alpha, self.beta, self.base = alpha, beta, base

    def compare(self, F, measured, positive, negative):
        near = logsumexp(F, self.alpha * (self.base - measured), positive, plus_one=True) / self.alpha
        far = logsumexp(F, self.beta * (measured - self.base), negative, plus_one=True) / self.beta
        return F.mean(near + far)


class NTXentLoss(PairLoss):
    r"""Cross entropy of a positive among the anchor's negatives (Chen et al. 2020, equation 1; InfoNCE).

    With the cosines `S`, the mean over the positive pairs of anchors that have a negative of

    .. math:: \ell = -\log \frac{e^{S_{ap} / \tau}}{e^{S_{ap} / \tau} + \sum_n e^{S_{an} / \tau}}.

    Parameters
    ----------
    temperature : float
        :math:`\tau`, the paper's best (table 5); pytorch-metric-learning has 0.07.

    References
    ----------
    T. Chen, S. Kornblith, M. Norouzi, G. Hinton: A Simple Framework for Contrastive Learning of Visual Representations.
    ICML 2020, section 2.1.
    """

    def __init__(self, temperature: float = 0.1):
        super().__init__()
        self.temperature = temperature

    def compare(self, F, measured, positive, negative):
        logits = measured / self.temperature
        terms = softplus(F, F.broadcast_sub(logsumexp(F, logits, negative), logits))
        return mean_of(F, terms, F.broadcast_mul(positive, both(F, positive, negative)))


class SupConLoss(PairLoss):
    r"""Cross entropy of all positives among all others (Khosla et al. 2020, equation 2).

    With the cosines `S` and all of an anchor's pairs `A`, the mean over the anchors with a positive of

    .. math:: \ell = -\frac{1}{P} \sum_p \log \frac{e^{S_{ap} / \tau}}{\sum_{i \in A} e^{S_{ai} / \tau}}.

    Parameters
    ----------
    temperature : float
        :math:`\tau`.

    References
    ----------
    P. Khosla, P. Teterwak, C. Wang, A. Sarna, Y. Tian, P. Isola, A. Maschinot, C. Liu, D. Krishnan: Supervised
    Contrastive Learning. NeurIPS 2020, section 3.2.2; the temperature is that of section 4.
    """

    def __init__(self, temperature: float = 0.1):
        super().__init__()
        self.temperature = temperature

    def compare(self, F, measured, positive, negative):
        logits = measured / self.temperature
        terms = F.broadcast_sub(logsumexp(F, logits, positive + negative), logits) * positive
        number = F.sum(positive, axis=1)
        return mean_of(F, F.sum(terms, axis=1) / F.maximum(number, F.ones_like(number)), number > 0)


class CircleLoss(PairLoss):
    r"""Similarities weigh by how far they are from their optimum (Sun et al. 2020, section 3.2).

    With the cosines `S`, the mean over the anchors that have a positive and a negative of

    .. math:: \ell = \log \Big(1 + \sum_n e^{\gamma [S_{an} + m]_+ (S_{an} - m)}
              \sum_p e^{-\gamma [1 + m - S_{ap}]_+ (S_{ap} - 1 + m)}\Big),

    where the brackets, the weights, take no gradient.

    Parameters
    ----------
    margin : float
        `m`, as for fine-grained retrieval; faces and persons have 0.25.
    gamma : float
        Scale, as for fine-grained retrieval; faces have 256, persons 128.

    References
    ----------
    Y. Sun, C. Cheng, Y. Zhang, C. Zhang, L. Zheng, Z. Wang, Y. Wei: Circle Loss: A Unified Perspective of Pair
    Similarity Optimization. CVPR 2020, sections 3.2 and 4.1.
    """

    def __init__(self, margin: float = 0.4, gamma: float = 80.0):
        super().__init__()
        self.margin, self.gamma = margin, gamma

    def compare(self, F, measured, positive, negative):
        fixed = F.BlockGrad(measured)
        near = -self.gamma * F.relu(1 + self.margin - fixed) * (measured - (1 - self.margin))
        far = self.gamma * F.relu(fixed + self.margin) * (measured - self.margin)
        terms = softplus(F, logsumexp(F, near, positive) + logsumexp(F, far, negative))
        return mean_of(F, terms, both(F, positive, negative))


class LiftedStructureLoss(PairLoss):
    r"""All positives against all negatives of an anchor (Hermans et al. 2017, section 2; first Song et al. 2016).

    The generalised form. With the Euclidean distances `D`, times `s`, the mean over the anchors that have a positive
    and a negative of

    .. math:: \ell = \Big[\log \sum_p e^{s D_{ap}} + \log \sum_n e^{m - s D_{an}}\Big]_+.

    Parameters
    ----------
    margin : float
        `m`, a distance.
    scale : float
        `s`. The paper's embeddings are not of unit length; ours are vectors of the length `s`. With 1, as of
        pytorch-metric-learning, the exponentials of distances of at most 2 hardly tell hard pairs from easy ones.

    References
    ----------
    A. Hermans, L. Beyer, B. Leibe: In Defense of the Triplet Loss for Person Re-Identification. arXiv 1703.07737,
    section 2.
    H. O. Song, Y. Xiang, S. Jegelka, S. Savarese: Deep Metric Learning via Lifted Structured Feature Embedding.
    CVPR 2016.
    """

    measure = staticmethod(pairing.distances)

    def __init__(self, margin: float = 1.0, scale: float = 16.0):
        super().__init__()
        self.margin, self.scale = margin, scale

    def compare(self, F, measured, positive, negative):
        measured = self.scale * measured
        terms = F.relu(logsumexp(F, measured, positive) + logsumexp(F, self.margin - measured, negative))
        return mean_of(F, terms, both(F, positive, negative))


class NPairLoss(Loss):
    r"""Cross entropy of a positive among one picture of each other class (Sohn 2016, section 3.2).

    The first pictures of all classes in the batch are anchors, the second ones are compared with each of them; then
    the second are anchors for the third, and so on. With the inner products `S`, the mean over the anchors of

    .. math:: \ell = \log \Big(1 + \sum_{c \ne a} e^{s (S_{ac} - S_{ap})}\Big).

    Parameters
    ----------
    scale : float
        `s`. The paper's embeddings are not of unit length, and L2 regularisation (section 3.2.1) decides how long they
        become; ours are vectors of the length :math:`\sqrt s`.

    References
    ----------
    K. Sohn: Improved Deep Metric Learning with Multi-class N-pair Loss Objective. NIPS 2016, section 3.2.
    """

    uses_pairs = False

    def __init__(self, scale: float = 16.0):
        super().__init__()
        self.scale = scale

    def hybrid_forward(self, F, embeddings, labels):
        """The loss, shape (1,)."""
        positive, _ = pairing.relations(F, labels, labels)
        rows = F.contrib.arange_like(labels.astype("float32"), axis=0)
        before = F.broadcast_lesser(rows.expand_dims(0), rows.expand_dims(1))  # column before row
        turn = F.sum(positive * before, axis=1)  # 0 for a class's first picture
        compared = F.broadcast_equal(turn.expand_dims(0), turn.expand_dims(1) + 1)
        target = positive * compared
        logits = self.scale * pairing.cosines(F, embeddings, embeddings)
        terms = logsumexp(F, logits, compared) - F.sum(logits * target, axis=1, keepdims=True)
        return mean_of(F, terms, F.max(target, axis=1, keepdims=True))
