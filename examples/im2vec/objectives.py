"""Losses that learn a vector for each class. Each holds the vectors and is called with ``(f, labels)``.

As in word2vec, but the context is a picture x with its vector f = f(x), not of unit length, and the word is its class
y. All three map (n, dim) and (n,) to (n,), the loss of each picture, and run on the device without a host
synchronisation.
"""

from __future__ import annotations

from collections.abc import Sequence

import mxnet as mx
import numpy as np

from common.files.errors import UserError
from common.train.losses import Loss

NAMES = ("negative", "softmax", "hierarchical")


class Objective(Loss):
    """The vectors v_c, one row a class.

    Initialised to zero, as the output vectors of word2vec.c: all differences between classes then come from pictures.
    Random initial values would dominate where a class has few pictures.

    Parameters
    ----------
    classes, dim : int

    Attributes
    ----------
    terms : int
        How many terms a picture's loss sums.
    """

    uses_pairs = False
    terms = 1

    def __init__(self, classes: int, dim: int):
        super().__init__()
        with self.name_scope():
            self.v = self.params.get("v", shape=(classes, dim), init=mx.init.Zero())

    def class_vectors(self) -> np.ndarray:
        """The learned vector of each class: (classes, dim) float32."""
        return self.v.data(self.v.list_ctx()[0]).asnumpy()


class NegativeSampling(Objective):
    r"""Tell the picture's class from `k` drawn ones (Mikolov et al. 2013b, equation 4).

    .. math:: \ell = -\log\sigma(f \cdot v_y) - \sum_{i=1}^k [c_i \ne y] \log\sigma(-f \cdot v_{c_i}),
              \qquad c_i \sim q, \quad q_c \propto n_c^{power}

    with :math:`n_c` the number of training pictures of class c. As in word2vec.c a draw that hits y is skipped.

    Parameters
    ----------
    counts : (classes,) int
        :math:`n_c`.
    dim : int
    k : int
        Negatives a picture; 5 to 20 in the paper for small data, 2 to 5 for large.
    power : float
        Of the counts; 3/4 in the paper.

    References
    ----------
    T. Mikolov, I. Sutskever, K. Chen, G. Corrado, J. Dean: Distributed Representations of Words and Phrases and their
    Compositionality. NeurIPS 2013.
    """

    def __init__(self, counts: Sequence[int], dim: int, k: int = 10, power: float = 0.75):
        super().__init__(len(counts), dim)
        self.k, self.terms = k, 1 + k
        weights = np.asarray(counts, np.float64) ** power
        with self.name_scope():
            self.q = self.params.get_constant("q", (weights / weights.sum())[None])

    def hybrid_forward(self, F, f, labels, v, q):
        return self.loss(F, f, labels, self.draw(F, labels, q), v)

    def draw(self, F, labels, q):
        """`k` classes for each picture, by q: (n, k) int32."""
        rows = F.take(q, F.zeros_like(labels))  # the one row of q, once for each picture
        return F.sample_multinomial(rows, shape=(self.k,))

    def loss(self, F, f, labels, negatives, v):
        """The loss of each picture for given negatives: (n,)."""
        positive = F.sum(f * F.take(v, labels), axis=1)
        negative = F.sum(F.broadcast_mul(F.expand_dims(f, 1), F.take(v, negatives)), axis=2)
        counted = F.broadcast_not_equal(negatives, F.expand_dims(labels, 1)).astype("float32")
        # -log sigma(x) = softrelu(-x)
        return F.Activation(-positive, "softrelu") + F.sum(counted * F.Activation(negative, "softrelu"), axis=1)

    def scores(self, f):
        """Log-probability of each class up to a constant of the picture: (n, classes).

        The objective is smallest where f . v_c = log p(c|x) - log(k q_c) (Levy and Goldberg 2014), hence the term
        log q_c.
        """
        return mx.nd.dot(f, self.v.data(f.context), transpose_b=True) + mx.nd.log(self.q.data(f.context))


class Softmax(Objective):
    r"""The full softmax: :math:`\ell = -\log \frac{\exp f \cdot v_y}{\sum_c \exp f \cdot v_c}`."""

    def hybrid_forward(self, F, f, labels, v):
        return -F.pick(F.log_softmax(F.dot(f, v, transpose_b=True)), labels)

    def scores(self, f):
        """f . v_c: (n, classes)."""
        return mx.nd.dot(f, self.v.data(f.context), transpose_b=True)


class HierarchicalSoftmax(Objective):
    r"""A softmax at each node of the class tree: first the group g of the class, then the class within it.

    .. math:: \ell = -\log \frac{\exp f \cdot u_{g(y)}}{\sum_g \exp f \cdot u_g}
              -\log \frac{\exp f \cdot v_y}{\sum_{c:\, g(c) = g(y)} \exp f \cdot v_c}

    Only sums of vectors along a path meet f, so the vector of a class is :math:`u_{g(c)} + v_c`.

    Parameters
    ----------
    groups : (classes,) int
        g(c), 0 .. number of groups - 1.
    dim : int

    References
    ----------
    F. Morin, Y. Bengio: Hierarchical Probabilistic Neural Network Language Model. AISTATS 2005 (on a binary tree).
    """

    def __init__(self, groups: Sequence[int], dim: int):
        super().__init__(len(groups), dim)
        self.groups = np.asarray(groups)
        same = self.groups[:, None] == self.groups[None]
        with self.name_scope():
            self.u = self.params.get("u", shape=(self.groups.max() + 1, dim), init=mx.init.Zero())
            self.g = self.params.get_constant("g", self.groups)
            self.beyond = self.params.get_constant("beyond", np.where(same, 0.0, -1e30))  # added to logits outside g(y)

    def hybrid_forward(self, F, f, labels, v, u, g, beyond):
        group = F.log_softmax(F.dot(f, u, transpose_b=True))
        within = F.log_softmax(F.dot(f, v, transpose_b=True) + F.take(beyond, labels))
        return -F.pick(group, F.take(g, labels)) - F.pick(within, labels)

    def class_vectors(self) -> np.ndarray:
        """u_g(c) + v_c: (classes, dim) float32."""
        return self.u.data(self.u.list_ctx()[0]).asnumpy()[self.groups] + super().class_vectors()

    def scores(self, f):
        """Log-probability of each class: (n, classes)."""
        group = mx.nd.log_softmax(mx.nd.dot(f, self.u.data(f.context), transpose_b=True))
        logits = mx.nd.dot(f, self.v.data(f.context), transpose_b=True)
        members = [np.flatnonzero(self.groups == g) for g in range(self.groups.max() + 1)]
        within = [mx.nd.log_softmax(mx.nd.take(logits, mx.nd.array(m, ctx=f.context), axis=1)) for m in members]
        back = mx.nd.array(np.argsort(np.concatenate(members)), ctx=f.context)
        return mx.nd.take(group, self.g.data(f.context), axis=1) + mx.nd.take(mx.nd.concat(*within), back, axis=1)


def create(name: str, counts: Sequence[int], dim: int, k: int = 10, groups: Sequence[int] | None = None) -> Objective:
    """The objective called `name`.

    Parameters
    ----------
    name : {"negative", "softmax", "hierarchical"}
    counts : (classes,) int
        Training pictures of each class.
    dim : int
        Length of the vectors.
    k : int
        Negatives a picture, for ``negative``.
    groups : (classes,) int, optional
        The group of each class, for ``hierarchical``.

    Raises
    ------
    UserError
        ``hierarchical`` without groups.
    """
    if name == "negative":
        return NegativeSampling(counts, dim, k)
    if name == "softmax":
        return Softmax(len(counts), dim)
    if groups is None:
        raise UserError("--objective hierarchical needs groups of classes, as cifar100 and emoji have them")
    return HierarchicalSoftmax(groups, dim)
