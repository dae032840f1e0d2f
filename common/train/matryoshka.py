"""Embeddings whose first numbers serve alone (Kusupati et al. 2022): a loss, and its miner, at several widths."""

from __future__ import annotations

from collections.abc import Sequence

from common.train.losses import Loss
from common.train.miners import Miner


def cut(F, embeddings, width: int):
    """The first numbers of embeddings, unit vectors again.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    embeddings : (n, d)
    width : int
        How many, at most `d`.

    Returns
    -------
    (n, width)
    """
    return F.L2Normalization(F.slice_axis(embeddings, axis=1, begin=0, end=width))


class MatryoshkaLoss(Loss):
    r"""The sum of a loss over the first :math:`m` numbers of the embeddings, for several `m` (Kusupati et al. 2022).

    .. math:: \ell = \sum_{m \in M} \ell\Big(\frac{x_{1:m}}{\lVert x_{1:m} \rVert}\Big),

    equation 1 of the paper with all weights 1. What the loss learns is one set for all widths: of class vectors the
    first `m` numbers, as in the paper's efficient variant (MRL-E), of the margin loss the same boundaries.

    Parameters
    ----------
    loss : Loss
    widths : sequence of int
        `M`.

    References
    ----------
    A. Kusupati, G. Bhatt, A. Rege, M. Wallingford, A. Sinha, V. Ramanujan, W. Howard-Snyder, K. Chen, S. Kakade,
    P. Jain, A. Farhadi: Matryoshka Representation Learning. NeurIPS 2022, section 3.
    """

    def __init__(self, loss: Loss, widths: Sequence[int]):
        super().__init__()
        self.loss, self.widths, self.uses_pairs = loss, tuple(widths), loss.uses_pairs

    def hybrid_forward(self, F, embeddings, labels, pairs=None, references=None, reference_labels=None):
        """The loss; `pairs` are those of every width, as `MatryoshkaMiner` gives them."""
        total = 0
        for width, chosen in zip(self.widths, pairs or [None] * len(self.widths)):
            among = () if references is None else (cut(F, references, width), reference_labels)
            total = total + self.loss(cut(F, embeddings, width), labels, chosen, *among)
        return total


class MatryoshkaMiner(Miner):
    """The pairs of every width: what is hard to tell apart by few numbers may be easy by more.

    Parameters
    ----------
    miners : sequence of Miner
        One for each width.
    widths : sequence of int
    """

    def __init__(self, miners: Sequence[Miner], widths: Sequence[int]):
        super().__init__()
        self.widths = tuple(widths)
        for miner in miners:
            self.register_child(miner)

    def choose(self, F, embeddings, labels, references, reference_labels):
        """A tuple of what each miner gives."""
        return tuple(
            miner(cut(F, embeddings, width), labels, cut(F, references, width), reference_labels)
            for miner, width in zip(self._children.values(), self.widths)
        )
