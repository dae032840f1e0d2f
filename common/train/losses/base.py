"""What every loss on embeddings has in common."""

from __future__ import annotations

from mxnet.gluon import HybridBlock
from mxnet.ndarray import NDArray

from common.train.pairs import cosines, masks


class Loss(HybridBlock):
    """A loss on the embeddings of one device's part of a batch, called as ``loss(embeddings, labels, pairs)``.

    Parameters of `__call__`:

    - `embeddings`, (n, d): what the network gives, unit vectors unless the loss says otherwise; float16 is computed
      with as float32;
    - `labels`, (n,) int32: the class of each, ``0 .. classes - 1``;
    - `pairs`: what a miner of `common.train.miners` gives, or None where `uses_pairs` is False;
    - `references`, (m, d), and `reference_labels`, (m,): what the embeddings are compared with, where that is more than
      each other, see `common.train.memory`. The first n are the embeddings.

    The result is an array of shape (1,), the mean over what the loss counts, or (n,), a number for each embedding. A
    subclass implements ``of_pairs(self, F, embeddings, labels, pairs, references, reference_labels)``, or where it uses
    none ``hybrid_forward(self, F, embeddings, labels)``, with operators of `F` alone: so it can be hybridized, and no
    step waits for the device.

    A parameter that is learned (a boundary, a proxy for each class) is made in the constructor, within
    ``self.name_scope()``, as ``self.NAME = self.params.get("NAME", ...)``, and the method takes it as the argument
    ``NAME``. ``loss.collect_params()`` has them all: give them a group of their own, see
    `common.train.optimizer.trainer`, and hand the loss to the checkpoints beside the network.

    Attributes
    ----------
    uses_pairs : bool
        False for losses that compare embeddings with something they hold, such as a vector for each class. Called with
        some pairs, they leave them aside.
    """

    uses_pairs = True

    def forward(self, embeddings, labels, pairs=None, references=None, reference_labels=None):
        """The loss, see the class; `pairs` and references reach `hybrid_forward` where `uses_pairs` says so.

        Parameters
        ----------
        embeddings : (n, d) NDArray or Symbol
        labels : (n,) NDArray or Symbol
        pairs : sequence of NDArray or Symbol, optional
        references : (m, d) NDArray or Symbol, optional
        reference_labels : (m,) NDArray or Symbol, optional

        Raises
        ------
        ValueError
            The loss uses pairs, and none are given.
        """
        if isinstance(embeddings, NDArray):
            embeddings = embeddings.astype("float32", copy=False)
        if not self.uses_pairs:
            return super().forward(embeddings, labels)
        if pairs is None:
            raise ValueError(f"{type(self).__name__} needs the pairs that a miner gives")
        among = () if references is None else (references, reference_labels)
        return super().forward(embeddings, labels, pairs, *among)

    def hybrid_forward(self, F, embeddings, labels, pairs, references=None, reference_labels=None, **learned):
        """`of_pairs`, with the embeddings themselves in the place of references that are not given."""
        if references is None:
            references, reference_labels = embeddings, labels
        return self.of_pairs(F, embeddings, labels, pairs, references, reference_labels, **learned)

    def of_pairs(self, F, embeddings, labels, pairs, references, reference_labels):
        """The loss, shape (1,) or (n,), of triplets or of masks (positive, negative).

        Parameters
        ----------
        F : module
            `mxnet.nd` or `mxnet.sym`.
        embeddings : (n, d)
        labels : (n,)
        pairs : sequence of arrays
        references : (m, d)
        reference_labels : (m,)
        """
        raise NotImplementedError


class PairLoss(Loss):
    """A loss of chosen positive and negative pairs: a subclass implements `compare`."""

    measure = staticmethod(cosines)

    def of_pairs(self, F, embeddings, labels, pairs, references, reference_labels):
        """The loss, shape (1,), of `pairs`: triplets, or masks (positive, negative)."""
        positive, negative = masks(F, pairs, labels, reference_labels)
        return self.compare(F, self.measure(F, embeddings, references), positive, negative)

    def compare(self, F, measured, positive, negative):
        """The loss, shape (1,).

        Parameters
        ----------
        F : module
            `mxnet.nd` or `mxnet.sym`.
        measured : (n, m)
            Of every embedding and every reference: the cosine, or what `measure` is.
        positive, negative : (n, m) of 0 and 1
            Which of them count.
        """
        raise NotImplementedError


def distance(F, a, b):
    """Euclidean distance of the rows of two arrays. Its gradient is finite where they coincide.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    a, b : (p, d) NDArray or Symbol

    Returns
    -------
    (p,) NDArray or Symbol
    """
    return F.sqrt(F.sum(F.square(a - b), axis=1) + 1e-8)


def softplus(F, x):
    """``log(1 + exp(x))``.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    x : array
    """
    return F.Activation(x, act_type="softrelu")


def logsumexp(F, x, mask, plus_one: bool = False):
    """``log(sum(exp(x)))`` over what a mask marks in each row.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    x, mask : (n, m)
    plus_one : bool
        ``log(1 + sum(exp(x)))``.

    Returns
    -------
    (n, 1)
        0, without a gradient, where a row marks nothing.
    """
    some = F.max(mask, axis=1, keepdims=True)
    marked = F.where(mask, x, -1e30 * F.ones_like(x))  # the exponential of the others is 0, and so is its gradient
    top = F.max(marked, axis=1, keepdims=True) * some
    top = F.BlockGrad(F.relu(top) if plus_one else top)
    total = F.sum(F.exp(F.broadcast_sub(marked, top)), axis=1, keepdims=True)
    return F.log(total + (F.exp(-top) if plus_one else 1 - some)) + top


def mean_of(F, values, counted):
    """The mean of the values that are counted, shape (1,); 0 where none is.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    values : array
    counted : array of 0 and 1
        Of the same shape.
    """
    number = F.sum(counted)
    return F.sum(values * counted) / F.maximum(number, F.ones_like(number))


def both(F, positive, negative):
    """Which rows of two masks have a positive and a negative: (n, 1) of 0 and 1.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    positive, negative : (n, m) of 0 and 1
    """
    return F.max(positive, axis=1, keepdims=True) * F.max(negative, axis=1, keepdims=True)
