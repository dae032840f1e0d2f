"""Losses between unit vectors of pictures and of their words, one vector a class.

Each is called with ``(embeddings, labels)`` and gives the loss of each picture: unit vectors (n, dim), the class of
each (n,) -> (n,).
"""

from __future__ import annotations

import mxnet as mx
import numpy as np

from common.train.losses import Loss


class WordLoss(Loss):
    """What the losses share: the word vectors of the classes, to which pictures are compared instead of to each other.

    Parameters
    ----------
    words : (classes, dim) array
        Unit vectors of the classes trained on; not learned.
    """

    uses_pairs = False

    def __init__(self, words: np.ndarray):
        super().__init__()
        with self.name_scope():
            self.words = self.params.get_constant("words", np.asarray(words, np.float32))

    @staticmethod
    def cosines(F, embeddings, words):
        """The cosine of each picture (row) with each word (column): (n, dim), (classes, dim) -> (n, classes)."""
        return F.dot(embeddings, words, transpose_b=True)


class CosineLoss(WordLoss):
    r"""One minus the cosine with the picture's own word: :math:`1 - \cos(v, t_y)`, in 0..2."""

    def hybrid_forward(self, F, embeddings, labels, words):
        return 1 - F.sum(embeddings * F.take(words, labels), axis=1)


class HingeRankLoss(WordLoss):
    r"""DeViSE's hinge ranking loss (Frome et al. 2013, equation 1).

    .. math:: \ell = \sum_{j \ne y} \big[\alpha - \cos(v, t_y) + \cos(v, t_j)\big]_+

    over the other classes. The picture's vector is of unit length here, so that the margin means the same for every
    picture.

    Parameters
    ----------
    words : (classes, dim) array
    margin : float
        :math:`\alpha`, a cosine; 0.1 in the paper.

    References
    ----------
    A. Frome, G. Corrado, J. Shlens, S. Bengio, J. Dean, M. Ranzato, T. Mikolov: DeViSE: A Deep Visual-Semantic
    Embedding Model. NIPS 2013.
    """

    def __init__(self, words: np.ndarray, margin: float = 0.1):
        super().__init__(words)
        self.margin = margin

    def hybrid_forward(self, F, embeddings, labels, words):
        cosines = self.cosines(F, embeddings, words)
        right = F.pick(cosines, labels, keepdims=True)
        violation = F.relu(self.margin + F.broadcast_sub(cosines, right))
        return F.sum(violation, axis=1) - self.margin  # the right class violates by exactly the margin


class SoftmaxLoss(WordLoss):
    r"""Cross-entropy over the cosines with all seen words: :math:`-\log \mathrm{softmax}(\cos(v, t_j) / \tau)_y`.

    Attracts to the picture's own word and repels from the others at once, as picture and text encoders are trained
    since (Radford et al. 2021, section 2.3).

    Parameters
    ----------
    words : (classes, dim) array
    temperature : float
        :math:`\tau`.
    """

    def __init__(self, words: np.ndarray, temperature: float = 0.1):
        super().__init__(words)
        self.temperature = temperature

    def hybrid_forward(self, F, embeddings, labels, words):
        return -F.pick(F.log_softmax(self.cosines(F, embeddings, words) / self.temperature), labels)


class SymmetricLoss(SoftmaxLoss):
    r"""The mean of `SoftmaxLoss` and of the same the other way: which of the batch's pictures is meant by the word.

    The other way is, with the pictures k of other classes,

    .. math:: -\log \frac{e^{\cos(v, t_y) / \tau}}{e^{\cos(v, t_y) / \tau} + \sum_k e^{\cos(v_k, t_y) / \tau}} .

    `SoftmaxLoss` alone compares the cosines of one picture with all words, never those of one word with all pictures,
    which a search by the word does.
    """

    def hybrid_forward(self, F, embeddings, labels, words):
        by_word = super().hybrid_forward(F, embeddings, labels, words)
        scores = F.dot(F.take(words, labels), embeddings, transpose_b=True) / self.temperature
        label, number = F.cast(labels, "float32"), F.contrib.arange_like(labels, axis=0)
        same, own = (F.broadcast_equal(F.expand_dims(x, 1), F.expand_dims(x, 0)) for x in (label, number))
        own = F.cast(own, "float32")
        others = F.where(same > own, F.ones_like(scores) * -1e30, scores)  # without the word's other pictures
        return (by_word - F.sum(F.log_softmax(others) * own, axis=1)) / 2


LOSSES = {"cosine": CosineLoss, "hinge": HingeRankLoss, "softmax": SoftmaxLoss, "symmetric": SymmetricLoss}


def create(name: str, words: np.ndarray, ctx=None, margin: float = 0.1, temperature: float = 0.1) -> WordLoss:
    """The loss called `name` over `words`, hybridized, on `ctx`.

    Parameters
    ----------
    name : {"cosine", "hinge", "softmax", "symmetric"}
    words : (classes, dim) array
    ctx : mx.Context or list, optional
        Default is the first CPU.
    margin : float
        For ``hinge``.
    temperature : float
        For ``softmax`` and ``symmetric``.
    """
    tempered = {"temperature": temperature}
    options = {"hinge": {"margin": margin}, "softmax": tempered, "symmetric": tempered}.get(name, {})
    loss = LOSSES[name](words, **options)
    loss.initialize(ctx=ctx or mx.cpu())
    loss.hybridize(static_alloc=True, static_shape=True)
    return loss
