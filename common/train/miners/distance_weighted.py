"""Distance weighted sampling (Wu et al. 2017)."""

from __future__ import annotations

from common.train.miners.base import Miner, slots
from common.train.pairs import relations


class DistanceWeightedMiner(Miner):
    r"""Distance weighted sampling of negatives (Wu et al. 2017, section 4.2).

    On the unit sphere in `d` dimensions the distances of random pairs crowd around :math:`\sqrt 2`; their density is

    .. math:: q(D) \propto D^{d-2} \, (1 - D^2 / 4)^{(d-3)/2}.

    For an anchor, a negative at distance `D` is drawn with probability proportional to
    :math:`1 / q(\max(D, cutoff))`, so that all distances are seen equally often. Everything runs on the device
    that holds the embeddings: no loop over rows and no synchronisation.

    Parameters
    ----------
    embed_dim : int
        `d` above.
    batch_k : int
        Images per class. A batch holds the images of a class side by side, as
        `common.data.samplers.ClassBalanced` gives.
    cutoff : float
        Smaller distances count as this one: very near negatives would have weights of huge variance.
    nonzero_loss_cutoff : float
        Negatives farther than this give no loss and are not drawn. An anchor with none nearer draws among all its
        negatives with equal probability.

    References
    ----------
    C.-Y. Wu, R. Manmatha, A. Smola, P. Krahenbuhl: Sampling Matters in Deep Embedding Learning. ICCV 2017.
    """

    def __init__(self, embed_dim: int, batch_k: int, cutoff: float = 0.5, nonzero_loss_cutoff: float = 1.4):
        super().__init__()
        self.embed_dim = embed_dim
        self.batch_k, self.cutoff, self.nonzero_loss_cutoff = batch_k, cutoff, nonzero_loss_cutoff

    def choose(self, F, embeddings, labels, references, reference_labels):
        """Draw `batch_k` - 1 negatives for each anchor, one with each of its positives.

        Parameters
        ----------
        embeddings : (n, d) unit vectors
        labels : (n,) class of each
        references, reference_labels : (m, d) and (m,)
            What negatives are drawn from.

        Returns
        -------
        anchors, positives, negatives : (n * (batch_k - 1),) int32 each
            Rows of `embeddings`; negatives of `references`.
        """
        weights = self.weights(F, F.BlockGrad(embeddings), labels, F.BlockGrad(references), reference_labels)
        negatives = F.sample_multinomial(weights, shape=(self.batch_k - 1,)).reshape(-1)
        anchors, positives = slots(F, negatives, self.batch_k)
        return anchors.astype("int32"), positives.astype("int32"), negatives.astype("int32")

    def weights(self, F, embeddings, labels, references, reference_labels):
        """The probability of each embedding (column) to be drawn as the negative of each anchor (row).

        Parameters
        ----------
        F : module
            `mxnet.nd` or `mxnet.sym`.
        embeddings : (n, d) unit vectors
        labels : (n,) class of each
        references, reference_labels : (m, d) and (m,)
            What is drawn from.

        Returns
        -------
        (n, m)
            Rows sum to one.
        """
        d = float(self.embed_dim)
        squared = 2 - 2 * F.dot(embeddings, references, transpose_b=True)
        distance = F.sqrt(F.clip(squared, self.cutoff**2, 4.0))
        beyond = distance >= self.nonzero_loss_cutoff
        # Antipodal points would give log(0); they lie beyond any useful cutoff.
        height = F.clip(1 - 0.25 * distance * distance, 1e-6, 1.0)
        log_weights = (2.0 - d) * F.log(distance) - (d - 3) / 2 * F.log(height)
        _, other = relations(F, labels, reference_labels)
        near = other * (1 - beyond)
        # Softmax over the allowed negatives; -1e30 stays finite where no negative is allowed.
        scores = F.where(near, log_weights, F.ones_like(near) * -1e30)
        weights = F.softmax(scores, axis=1) * near
        has_near = F.sum(near, axis=1, keepdims=True) > 0
        uniform = F.broadcast_div(other, F.maximum(F.sum(other, axis=1, keepdims=True), F.ones_like(has_near)))
        weights = F.where(F.broadcast_mul(has_near, F.ones_like(near)), weights, uniform)
        # sample_multinomial can return an index out of range for a row that sums to less than one.
        return F.broadcast_div(weights, F.maximum(F.sum(weights, axis=1, keepdims=True), 1e-12 * F.ones_like(has_near)))
