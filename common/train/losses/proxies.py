"""Losses that compare each embedding with vectors learned for the classes: weights, proxies, centres."""

from __future__ import annotations

import math

import mxnet as mx
import numpy as np

from common.train.losses.base import Loss, logsumexp, mean_of

START = 8.0  # length of class vectors that start where their classes lie: the longer, the slower they turn


class ClassLoss(Loss):
    """A loss of the cosines of embeddings with class vectors, whose length counts for nothing.

    A subclass implements ``compare(self, F, cosines, labels)``. Give `weight` a learning rate of its own: the papers
    have a hundred times the network's.

    Parameters
    ----------
    classes : int
        Number of training classes.
    embed_dim : int
    each : int
        Vectors a class.

    Attributes
    ----------
    weight : gluon.Parameter
        (classes * each, embed_dim); those of a class are one after another. Narrower embeddings are compared with
        as many of its first numbers, see `common.train.matryoshka`.
    """

    uses_pairs = False

    def __init__(self, classes: int, embed_dim: int, each: int = 1):
        super().__init__()
        self.classes, self.each = classes, each
        with self.name_scope():  # of about unit length, so that one rate serves all widths
            start = mx.init.Normal(1 / math.sqrt(embed_dim))
            self.weight = self.params.get("weight", shape=(classes * each, embed_dim), init=start)

    def start_at(self, embeddings, labels) -> None:
        """Let each class's vectors start at the mean of its embeddings, seen from the mean of all classes.

        The embeddings of a network that has not learned lie together, so that every loss here first drives all of them
        one way and all vectors the other. Adam, which moves a vector by its whole rate at each batch, has done so
        before most of many classes were met once, and what the network told apart is lost.

        Parameters
        ----------
        embeddings : (n, embed_dim) array
            Unit vectors.
        labels : (n,) int array
            Vectors of a class that is not there start at random, as all do otherwise.
        """
        random = self.weight.list_data()[0].asnumpy()
        sums = np.zeros((self.classes, random.shape[1]))
        np.add.at(sums, labels, embeddings)
        means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        found = np.bincount(labels, minlength=self.classes) > 0
        apart = (means - means[found].mean(axis=0)) * found[:, None]
        length = np.linalg.norm(apart, axis=1, keepdims=True)
        start = np.divide(apart, length, out=np.zeros_like(apart), where=length > 1e-6).repeat(self.each, axis=0)
        start = np.where(start.any(axis=1, keepdims=True), start, random)
        self.weight.set_data(mx.nd.array(START * start + random))  # plus random: centres of a class must differ

    def hybrid_forward(self, F, embeddings, labels, weight):
        """The loss, shape (1,)."""
        unit = F.L2Normalization(F.slice_like(weight, embeddings, axes=(1,)))
        cosines = F.FullyConnected(embeddings, unit, no_bias=True, num_hidden=self.classes * self.each)
        if self.each > 1:
            cosines = cosines.reshape((-1, self.classes, self.each))
        return self.compare(F, cosines, labels)

    def compare(self, F, cosines, labels):
        """The loss, shape (1,).

        Parameters
        ----------
        F : module
            `mxnet.nd` or `mxnet.sym`.
        cosines : (n, classes), or (n, classes, each)
        labels : (n,)
        """
        raise NotImplementedError

    def targets(self, F, labels):
        """The class of each embedding, as (n, classes) of 0 and 1.

        Parameters
        ----------
        F : module
            `mxnet.nd` or `mxnet.sym`.
        labels : (n,)
        """
        return F.one_hot(labels, depth=self.classes)


def cross_entropy(F, logits, labels):
    """The mean cross entropy, shape (1,).

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    logits : (n, classes)
    labels : (n,)
    """
    return -F.mean(F.pick(F.log_softmax(logits, axis=1), labels, axis=1))


class NormalisedSoftmaxLoss(ClassLoss):
    r"""Softmax of the cosines with class weights (Zhai and Wu 2019, section 3).

    .. math:: \ell = -\log \frac{e^{x \cdot w_y / \sigma}}{\sum_c e^{x \cdot w_c / \sigma}}

    Parameters
    ----------
    classes, embed_dim : int
    temperature : float
        :math:`\sigma`.

    References
    ----------
    A. Zhai, H.-Y. Wu: Classification is a Strong Baseline for Deep Metric Learning. BMVC 2019.
    """

    def __init__(self, classes: int, embed_dim: int, temperature: float = 0.05):
        super().__init__(classes, embed_dim)
        self.temperature = temperature

    def compare(self, F, cosines, labels):
        return cross_entropy(F, cosines / self.temperature, labels)


class ProxyNCALoss(ClassLoss):
    r"""ProxyNCA++: softmax of the squared distances to all proxies (Teh et al. 2020, section 3).

    With the Euclidean distances `D` of unit vectors,

    .. math:: \ell = -\log \frac{e^{-D_{xy}^2 / T}}{\sum_c e^{-D_{xc}^2 / T}}.

    Parameters
    ----------
    classes, embed_dim : int
    temperature : float
        `T`, a ninth.

    References
    ----------
    E. W. Teh, T. DeVries, G. W. Taylor: ProxyNCA++: Revisiting and Revitalizing Proxy Neighborhood Component Analysis.
    ECCV 2020.
    """

    def __init__(self, classes: int, embed_dim: int, temperature: float = 1 / 9):
        super().__init__(classes, embed_dim)
        self.temperature = temperature

    def compare(self, F, cosines, labels):
        return cross_entropy(F, 2 * (cosines - 1) / self.temperature, labels)


class ProxyAnchorLoss(ClassLoss):
    r"""Each proxy is an anchor for the whole batch (Kim et al. 2020, equation 4).

    With the cosines `S` of embeddings and proxies, the :math:`P^+` proxies of classes in the batch, and all `P`,

    .. math:: \ell = \frac{1}{|P^+|} \sum_{c \in P^+} \log \Big(1 + \sum_{x \in c} e^{-\alpha (S_{xc} - \delta)}\Big)
              + \frac{1}{|P|} \sum_{c \in P} \log \Big(1 + \sum_{x \notin c} e^{\alpha (S_{xc} + \delta)}\Big).

    Parameters
    ----------
    classes, embed_dim : int
    margin : float
        :math:`\delta`.
    alpha : float

    References
    ----------
    S. Kim, D. Kim, M. Cho, S. Kwak: Proxy Anchor Loss for Deep Metric Learning. CVPR 2020, section 3.2.
    """

    def __init__(self, classes: int, embed_dim: int, margin: float = 0.1, alpha: float = 32.0):
        super().__init__(classes, embed_dim)
        self.margin, self.alpha = margin, alpha

    def compare(self, F, cosines, labels):
        by_class, positive = F.transpose(cosines), F.transpose(self.targets(F, labels))
        near = logsumexp(F, -self.alpha * (by_class - self.margin), positive, plus_one=True)
        far = logsumexp(F, self.alpha * (by_class + self.margin), 1 - positive, plus_one=True)
        return mean_of(F, near, F.max(positive, axis=1, keepdims=True)) + F.mean(far)


class SoftTripleLoss(ClassLoss):
    r"""Several centres a class, softly the nearest of them, and few of them in the end (Qian et al. 2019, section 3).

    With the cosines :math:`S_{ck}` of an embedding and the centres `k` of a class `c`,

    .. math::

        S'_c = \sum_k \frac{e^{S_{ck} / \gamma}}{\sum_l e^{S_{cl} / \gamma}} S_{ck}, \quad
        \ell = -\log \frac{e^{\lambda (S'_y - \delta)}}{e^{\lambda (S'_y - \delta)} + \sum_{c \ne y} e^{\lambda S'_c}}
        + \tau \frac{\sum_c \sum_{k < l} \sqrt{2 - 2 w_{ck} \cdot w_{cl}}}{C K (K - 1)}.

    Parameters
    ----------
    classes, embed_dim : int
    centres : int
        `K`, of each class.
    scale : float
        :math:`\lambda`.
    gamma : float
        :math:`\gamma`.
    margin : float
        :math:`\delta`.
    tau : float
        :math:`\tau`, how strongly the centres of a class are drawn together.

    References
    ----------
    Q. Qian, L. Shang, B. Sun, J. Hu, H. Li, R. Jin: SoftTriple Loss: Deep Metric Learning Without Triplet Sampling.
    ICCV 2019; the values are those of section 4.
    """

    def __init__(
        self, classes: int, embed_dim: int, centres: int = 10, scale: float = 20.0, gamma: float = 0.1,
        margin: float = 0.01, tau: float = 0.2,
    ):  # fmt: skip
        super().__init__(classes, embed_dim, centres)
        self.scale, self.gamma, self.margin, self.tau = scale, gamma, margin, tau

    def hybrid_forward(self, F, embeddings, labels, weight):
        """The loss, shape (1,)."""
        loss = super().hybrid_forward(F, embeddings, labels, weight)
        if self.each == 1 or not self.tau:
            return loss
        weight = F.slice_like(weight, embeddings, axes=(1,))
        centres = F.L2Normalization(weight).reshape((self.classes, self.each, -1))
        inner = F.batch_dot(centres, centres, transpose_b=True)
        number = F.arange(self.each)
        above = F.broadcast_lesser(number.expand_dims(1), number.expand_dims(0)).expand_dims(0)
        apart = F.broadcast_mul(F.sqrt(F.relu(2 - 2 * inner) + 1e-5), above)
        return loss + self.tau * F.sum(apart) / (self.classes * self.each * (self.each - 1))

    def compare(self, F, cosines, labels):
        if self.each > 1:
            cosines = F.sum(F.softmax(cosines / self.gamma, axis=2) * cosines, axis=2)
        return cross_entropy(F, self.scale * (cosines - self.margin * self.targets(F, labels)), labels)


class CosFaceLoss(ClassLoss):
    r"""Softmax with a margin of the cosine (Wang et al. 2018, equation 4).

    .. math:: \ell = -\log \frac{e^{s (\cos\theta_y - m)}}{e^{s (\cos\theta_y - m)} + \sum_{c \ne y} e^{s \cos\theta_c}}

    Parameters
    ----------
    classes, embed_dim : int
    margin : float
        `m`, of the cosine.
    scale : float
        `s`.

    References
    ----------
    H. Wang, Y. Wang, Z. Zhou, X. Ji, D. Gong, J. Zhou, Z. Li, W. Liu: CosFace: Large Margin Cosine Loss for Deep Face
    Recognition. CVPR 2018, section 3.1.
    """

    def __init__(self, classes: int, embed_dim: int, margin: float = 0.35, scale: float = 64.0):
        super().__init__(classes, embed_dim)
        self.margin, self.scale = margin, scale

    def compare(self, F, cosines, labels):
        return cross_entropy(F, self.scale * (cosines - self.margin * self.targets(F, labels)), labels)


class ArcFaceLoss(ClassLoss):
    r"""Softmax with a margin of the angle (Deng et al. 2019, equation 3).

    .. math:: \ell = -\log \frac{e^{s \cos(\theta_y + m)}}{e^{s \cos(\theta_y + m)} + \sum_{c \ne y} e^{s \cos\theta_c}}

    Beyond :math:`\theta_y = \pi - m`, where the cosine would rise again, it is :math:`\cos\theta_y - m \sin m`, as in
    the authors' code.

    Parameters
    ----------
    classes, embed_dim : int
    margin : float
        `m`, in radians (28.6 degrees).
    scale : float
        `s`.

    References
    ----------
    J. Deng, J. Guo, N. Xue, S. Zafeiriou: ArcFace: Additive Angular Margin Loss for Deep Face Recognition. CVPR 2019,
    sections 2.1 and 3.1.
    """

    def __init__(self, classes: int, embed_dim: int, margin: float = 0.5, scale: float = 64.0):
        super().__init__(classes, embed_dim)
        self.margin, self.scale = margin, scale

    def compare(self, F, cosines, labels):
        target = self.targets(F, labels)
        own = F.clip(F.sum(cosines * target, axis=1, keepdims=True), -1 + 1e-6, 1 - 1e-6)  # a finite slope of the sine
        turned = own * math.cos(self.margin) - F.sqrt(1 - F.square(own)) * math.sin(self.margin)
        turned = F.where(own > math.cos(math.pi - self.margin), turned, own - self.margin * math.sin(self.margin))
        return cross_entropy(F, self.scale * (cosines + F.broadcast_mul(target, turned - own)), labels)


class SubCentreArcFaceLoss(ArcFaceLoss):
    r"""ArcFace with the nearest of several centres a class (Deng et al. 2020, section 3).

    A class whose pictures are of several kinds, or some of which are wrong, needs not lie in one place.

    Parameters
    ----------
    classes, embed_dim : int
    margin, scale : float
        As of `ArcFaceLoss`.
    centres : int
        `K`, of each class.

    References
    ----------
    J. Deng, J. Guo, T. Liu, M. Gong, S. Zafeiriou: Sub-center ArcFace: Boosting Face Recognition by Large-Scale Noisy
    Web Faces. ECCV 2020.
    """

    def __init__(self, classes: int, embed_dim: int, margin: float = 0.5, scale: float = 64.0, centres: int = 3):
        ClassLoss.__init__(self, classes, embed_dim, centres)
        self.margin, self.scale = margin, scale

    def compare(self, F, cosines, labels):
        return super().compare(F, F.max(cosines, axis=2) if self.each > 1 else cosines, labels)
