"""What every miner has in common."""

from __future__ import annotations

from mxnet.gluon import HybridBlock
from mxnet.ndarray import NDArray


class Miner(HybridBlock):
    """Chooses which embeddings of a device's part of a batch a loss compares: ``pairs = miner(embeddings, labels)``.

    Parameters of `__call__`:

    - `embeddings`, (n, d): unit vectors; float16 is computed with as float32;
    - `labels`, (n,) int32: the class of each;
    - `references`, (m, d), and `reference_labels`, (m,): what they are compared with, where that is more than each
      other, see `common.train.memory`. The first n are the embeddings; a label below 0 is an empty place.

    The result is triplets or masks. Triplets are three arrays of one length, (p,) int32 each: anchors (rows of
    `embeddings`), positives (of the anchor's class, another row) and negatives (of another class), rows of what the
    embeddings are compared with. Masks are two, (n, m) of 0 and 1: which pairs count as positive, which as negative.
    Every loss of pairs takes both. A subclass implements ``choose(self, F, embeddings, labels, references,
    reference_labels)``, with operators of `F` alone, and gives the embeddings no gradient. Random numbers come from
    MXNet's generators, which the training seeds for each batch.
    """

    def forward(self, embeddings, labels, references=None, reference_labels=None):
        """The pairs, see the class.

        Parameters
        ----------
        embeddings : (n, d) NDArray or Symbol
        labels : (n,) NDArray or Symbol
        references : (m, d) NDArray or Symbol, optional
        reference_labels : (m,) NDArray or Symbol, optional
        """
        if isinstance(embeddings, NDArray):
            embeddings = embeddings.astype("float32", copy=False)
        among = () if references is None else (references, reference_labels)
        return super().forward(embeddings, labels, *among)

    def hybrid_forward(self, F, embeddings, labels, references=None, reference_labels=None):
        """`choose`, with the embeddings themselves in the place of references that are not given."""
        if references is None:
            references, reference_labels = embeddings, labels
        return self.choose(F, embeddings, labels, references, reference_labels)

    def choose(self, F, embeddings, labels, references, reference_labels):
        """The pairs, see the class.

        Parameters
        ----------
        F : module
            `mxnet.nd` or `mxnet.sym`.
        embeddings : (n, d)
        labels : (n,)
        references : (m, d)
        reference_labels : (m,)
        """
        raise NotImplementedError


def slots(F, count_like, batch_k: int):
    """The anchor and the positive of each of ``batch_k - 1`` triplets of every embedding.

    A batch holds the images of a class side by side, as `common.data.samplers.ClassBalanced` gives.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    count_like : (n * (batch_k - 1),)
        Of that length; its values do not matter.
    batch_k : int

    Returns
    -------
    anchors, positives : arrays of that length, float32
        Rows, as whole numbers.
    """
    number = F.contrib.arange_like(count_like.astype("float32"), axis=0)
    anchors = F.floor(number / (batch_k - 1))
    slot = number - anchors * (batch_k - 1)
    first = F.floor(anchors / batch_k) * batch_k  # row of the anchor's class
    offset = anchors - first + 1 + slot
    return anchors, first + offset - F.floor(offset / batch_k) * batch_k
