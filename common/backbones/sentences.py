"""A pretrained sentence encoder: any sentence as a vector of unit length, near to those of like meaning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock

from common.backbones.architectures.bert import Bert
from common.backbones.convert.torch import read_torch
from common.backbones.convert.values import fill
from common.files import outside
from common.files.errors import UserError, reading
from common.text.wordpiece import WordPiece

REMEDY = "a folder with config.json, tokenizer.json and model.safetensors is wanted: ./get_data.sh minilm gets one"
LONGEST = 256  # pieces that MiniLM reads
BATCH = 64  # sentences
_LAYERS = {  # Hugging Face's names of the layers, as patterns, and those of `Bert`
    r"embeddings\.word_embeddings": "word_embedding",
    r"embeddings\.position_embeddings": "position_embedding",
    r"embeddings\.LayerNorm": "norm",
    r"encoder\.layer\.(\d+)\.attention\.self\.(query|key|value)": r"layers.\1.\2",
    r"encoder\.layer\.(\d+)\.attention\.output\.dense": r"layers.\1.project",
    r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm": r"layers.\1.attended",
    r"encoder\.layer\.(\d+)\.intermediate\.dense": r"layers.\1.widen",
    r"encoder\.layer\.(\d+)\.output\.dense": r"layers.\1.narrow",
    r"encoder\.layer\.(\d+)\.output\.LayerNorm": r"layers.\1.norm",
}
_SIZES = {
    "pieces": "vocab_size", "dim": "hidden_size", "hidden": "intermediate_size", "layers": "num_hidden_layers",
    "heads": "num_attention_heads", "positions": "max_position_embeddings",
}  # fmt: skip


class SentenceEncoder(HybridBlock):
    """Word pieces (n, length) and lengths (n,) -> unit vectors (n, dim): the mean of the pieces' vectors.

    Parameters
    ----------
    bert : Bert
    tokens : WordPiece

    References
    ----------
    N. Reimers, I. Gurevych: Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks. EMNLP 2019.
    """

    def __init__(self, bert: Bert, tokens: WordPiece):
        super().__init__()
        self.tokens = tokens
        with self.name_scope():
            self.bert = bert

    @classmethod
    def load(cls, folder, ctx=None) -> SentenceEncoder:
        """The encoder in a folder as Hugging Face has it, hybridized.

        Parameters
        ----------
        folder : path
            Holds ``config.json``, ``tokenizer.json`` and ``model.safetensors``; or is that of ``./get_data.sh minilm``.
        ctx : mx.Context or list, optional

        Raises
        ------
        UserError
            A file is not there, is damaged, or of another kind of network.
        """
        folder = next(Path(folder).glob("*/model"), Path(folder))
        config, file = outside.read_json(folder / "config.json", REMEDY), folder / "model.safetensors"
        tokens = WordPiece.load(folder / "tokenizer.json")
        with reading(folder / "config.json", REMEDY):
            odd = [key for key in _SIZES.values() if not outside.whole(config.get(key))]
            if odd or config.get("hidden_act") != "gelu" or config["hidden_size"] % config["num_attention_heads"]:
                raise ValueError(f"{odd[0] if odd else 'hidden_act or hidden_size'} is not that of a BERT")
            if max(tokens.vocabulary.values()) >= config["vocab_size"]:
                raise ValueError(f"tokenizer.json has more than its {config['vocab_size']} pieces")
        arrays = _named(read_torch(file))
        net = cls(Bert(**{name: config[key] for name, key in _SIZES.items()}), tokens)
        try:
            fill(net.bert, arrays)
        except UserError as error:
            raise UserError(f"{file} is not as config.json has it ({str(error).split(';')[0]}): {REMEDY}") from error
        if ctx:
            net.collect_params().reset_ctx(ctx)
        net.hybridize(static_alloc=True)
        return net

    def hybrid_forward(self, F, pieces, lengths):
        vectors, count = self.bert(pieces, lengths), F.cast(lengths, "float32")
        total = F.sum(F.SequenceMask(vectors, count, use_sequence_length=True, axis=1), axis=1)
        return F.L2Normalization(F.broadcast_div(total, F.expand_dims(count, 1)))

    def encode(self, texts: Sequence[str], ctx=None) -> np.ndarray:
        """The unit vectors of sentences, (n, dim) float32, in their order.

        Only sentences of the same number of pieces share a batch, so that no padding is computed.

        Parameters
        ----------
        texts : sequence of str
            Their pieces beyond the 256th, or as many as the network has positions for, are left out.
        ctx : mx.Context, optional
        """
        numbers = self.numbers(texts)
        result = np.empty((len(texts), self.dim), np.float32)
        for length in sorted({len(of_one) for of_one in numbers}):
            same = [index for index, of_one in enumerate(numbers) if len(of_one) == length]
            for start in range(0, len(same), BATCH):
                chosen = same[start : start + BATCH]
                pieces = mx.nd.array([numbers[index] for index in chosen], ctx=ctx, dtype="int32")
                result[chosen] = self(pieces, mx.nd.full(len(chosen), length, ctx=ctx)).asnumpy()
        return result

    def numbers(self, texts: Sequence[str]) -> list[list[int]]:
        """The numbers of each text's pieces, as many as the network reads; see `encode`."""
        longest = min(LONGEST, self.bert.position_embedding.weight.shape[0])
        return [self.tokens.encode(text, longest) for text in texts]

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return self.bert.word_embedding.weight.shape[1]


def _named(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict's arrays by the names of `Bert`; those of other layers, such as the pooler's, are left out."""
    found = {}
    for name, array in arrays.items():
        layer, _, kind = name.removeprefix("bert.").rpartition(".")
        for pattern, ours in _LAYERS.items():
            matched = re.fullmatch(pattern, layer)
            if matched:
                kind = {"weight": "gamma", "bias": "beta"}[kind] if layer.endswith("LayerNorm") else kind
                found[f"{matched.expand(ours)}.{kind}"] = array
    segments = arrays.get("embeddings.token_type_embeddings.weight")
    if segments is not None and "position_embedding.weight" in found:
        found["position_embedding.weight"] = found["position_embedding.weight"] + segments[0]
    return found
