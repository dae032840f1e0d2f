"""BERT's encoder (Devlin et al. 2019), of the size that a state dict's arrays have."""

from __future__ import annotations

from mxnet.gluon import HybridBlock, nn

EPSILON = 1e-12  # of its layer norms


class Bert(HybridBlock):
    """Numbers of word pieces (n, length) and the lengths of the sentences (n,) -> a vector of each (n, length, dim).

    Every sentence is of the first segment, whose vector is part of `position_embedding`.

    Parameters
    ----------
    pieces : int
        Of the vocabulary.
    dim : int
    hidden : int
        Units between the two dense layers of a layer.
    layers : int
    heads : int
        Of the attention.
    positions : int
        Pieces of the longest sentence.

    References
    ----------
    J. Devlin, M.-W. Chang, K. Lee, K. Toutanova: BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding. NAACL 2019.
    """

    def __init__(
        self, pieces: int = 30522, dim: int = 384, hidden: int = 1536, layers: int = 6, heads: int = 12,
        positions: int = 512,
    ):  # fmt: skip
        super().__init__()
        with self.name_scope():
            self.word_embedding = nn.Embedding(pieces, dim)
            self.position_embedding = nn.Embedding(positions, dim)
            self.norm = nn.LayerNorm(in_channels=dim, epsilon=EPSILON)
            self.layers = nn.HybridSequential()
            for _ in range(layers):
                self.layers.add(Layer(dim, hidden, heads))

    def hybrid_forward(self, F, pieces, lengths):
        place = F.cast(F.contrib.arange_like(pieces, axis=1), "float32")
        x = F.broadcast_add(self.word_embedding(pieces), F.expand_dims(self.position_embedding(place), 0))
        x = self.norm(x)
        padding = F.broadcast_greater_equal(F.expand_dims(place, 0), F.expand_dims(F.cast(lengths, "float32"), 1))
        mask = F.expand_dims(padding * -1e30, 1)  # nobody attends to what comes after a sentence's end
        for layer in self.layers:
            x = layer(x, mask)
        return x


class Layer(HybridBlock):
    """Attention of every piece to all pieces of its sentence, then two dense layers, each with a residual and a norm.

    Parameters
    ----------
    dim, hidden, heads : int
        See `Bert`.
    """

    def __init__(self, dim: int, hidden: int, heads: int):
        super().__init__()
        self._heads, self._scale = heads, (dim // heads) ** -0.5
        with self.name_scope():
            self.query, self.key, self.value, self.project = (
                nn.Dense(dim, flatten=False, in_units=dim) for _ in range(4)
            )
            self.attended = nn.LayerNorm(in_channels=dim, epsilon=EPSILON)
            self.widen = nn.Dense(hidden, flatten=False, in_units=dim)
            self.narrow = nn.Dense(dim, flatten=False, in_units=hidden)
            self.norm = nn.LayerNorm(in_channels=dim, epsilon=EPSILON)

    def hybrid_forward(self, F, x, mask):
        """Pieces (n, length, dim), what is added to the scores (n, 1, length) -> (n, length, dim)."""
        query, key, value = (self._split(F, part(x)) for part in (self.query, self.key, self.value))
        scores = F.broadcast_add(
            F.batch_dot(query, key, transpose_b=True) * self._scale, F.repeat(mask, self._heads, axis=0)
        )
        mixed = F.batch_dot(F.softmax(scores), value)
        mixed = F.reshape(F.transpose(F.reshape(mixed, (-4, -1, self._heads, 0, 0)), (0, 2, 1, 3)), (0, 0, -3))
        x = self.attended(x + self.project(mixed))
        return self.norm(x + self.narrow(F.LeakyReLU(self.widen(x), act_type="gelu")))

    def _split(self, F, x):
        """(n, length, dim) -> (n * heads, length, dim / heads)."""
        x = F.reshape(x, (0, 0, -4, self._heads, -1))
        return F.reshape(F.transpose(x, (0, 2, 1, 3)), (-3, 0, 0))
