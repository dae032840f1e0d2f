"""Sentences by a pretrained encoder. Where it is not trained on, each one's vector is computed once and kept."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import ChainMap
from collections.abc import Iterator, Sequence

import numpy as np

from common import get_data
from common.backbones import modelfile
from common.backbones.feature_store import PART, FeatureStore
from common.backbones.sentences import SentenceEncoder
from common.files.errors import UserError
from common.files.paths import data_root
from common.text.vocabulary import tokenise
from examples.vse.data import Rows

NAME = "minilm"


class Encoder:
    """The sentence encoder of ``./get_data.sh minilm``: call it with texts for their unit vectors, (n, dim) float32.

    Parameters
    ----------
    contexts : list of mx.Context, optional
        Where it is; the first computes.
    trained : bool
        It is trained on, or filled from a model that was: no vector is kept.

    Attributes
    ----------
    net : common.backbones.sentences.SentenceEncoder
    dim : int
    digest : str
        SHA-256 of its parameters as they came, and word pieces: by it a model says which encoder it was trained on.
    trained : bool

    Raises
    ------
    UserError
        It is not there and cannot be had, or its files are damaged.
    """

    def __init__(self, contexts: Sequence | None = None, trained: bool = False):
        self.net, self.trained = SentenceEncoder.load(get_data.ensure(NAME), contexts), trained
        self._ctx = contexts[0] if contexts else None
        self.dim = self.net.dim
        self.digest = modelfile.digest(self.net, json.dumps(self.net.tokens.vocabulary, sort_keys=True))
        self._kept: dict[str, np.ndarray] = {}

    def keep(self, texts: Sequence[str]) -> None:
        """Have the vectors of `texts` at hand, from ``data/features`` or computed now and kept there."""
        if self.trained:
            return
        texts = [text for text in dict.fromkeys(texts) if text not in self._kept]

        def read(indices: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for start in range(0, len(indices), PART):
                part = np.arange(start, min(start + PART, len(indices)))
                yield self.net.encode([texts[i] for i in indices[part]], self._ctx), part

        store = FeatureStore(data_root() / "features" / f"{NAME}-{self.digest[:16]}", self.dim)
        keys = [hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32] for text in texts]
        self._kept.update(zip(texts, store.fetch(keys, read)))

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        vectors = ChainMap(self._kept, dict(zip(new, self.net.encode(new, self._ctx))))
        return np.array([vectors[text] for text in texts], np.float32).reshape(-1, self.dim)


@functools.cache
def encoder(ctx=None) -> Encoder:
    """The one `Encoder` of this process and device that is not trained on."""
    return Encoder([ctx] if ctx else None)


def of_model(digest: str, ctx=None, trained: bool = False) -> Encoder:
    """The encoder that a model was trained on.

    Parameters
    ----------
    digest : str
    ctx : mx.Context, optional
    trained : bool
        The model has parameters of its own for it.

    Raises
    ------
    UserError
        The one that is here is another.
    """
    found = Encoder([ctx] if ctx else None, trained=True) if trained else encoder(ctx)
    if found.digest != digest:
        raise UserError(
            f"the model was trained on the {NAME} of digest {digest[:12]}, and data/{NAME} holds that of"
            f" {found.digest[:12]}: put its files there, or train again"
        )
    return found


class Vectors:
    """Sentences as vectors, with the interface of `examples.vse.data.Sentences`.

    Parameters
    ----------
    texts : sequence of str
    encoder : Encoder

    Attributes
    ----------
    lengths : (m,) int
        Words in each, and one more as there.
    """

    def __init__(self, texts: Sequence[str], encoder: Encoder):
        self.lengths = word_counts(texts)
        self._vectors = encoder(texts)

    def batch(self, indices: np.ndarray) -> np.ndarray:
        """The vectors of some sentences as columns, (dim, n) float32."""
        return self._vectors[indices].T


class Pieces:
    """Sentences as numbers of word pieces, for an encoder that is trained on, with the interface of `Vectors`.

    Parameters
    ----------
    texts : sequence of str
    encoder : Encoder

    Attributes
    ----------
    lengths : (m,) int
        Words in each, and one more as there.
    """

    def __init__(self, texts: Sequence[str], encoder: Encoder):
        self.lengths = word_counts(texts)
        self._pieces = Rows(encoder.net.numbers(texts))

    def batch(self, indices: np.ndarray) -> np.ndarray:
        """The pieces of some sentences as columns, (length of the longest, n) int, -1 after a shorter one's end."""
        return self._pieces.batch(indices)


def word_counts(texts: Sequence[str]) -> np.ndarray:
    """Words in each text, and one more, as `examples.vse.data.Sentences` counts its end: (m,) int."""
    return np.array([len(tokenise(text)) + 1 for text in texts])
