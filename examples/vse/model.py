"""The two branches, image and sentence, that meet in one space; and the ranking losses between them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock, nn, rnn

from common.errors import UserError
from common.text import Vocabulary

FORMAT = "vse 1"
ENCODERS = {"lstm": rnn.LSTM, "gru": rnn.GRU}


class Finish(HybridBlock):
    """Rows to length one; for the order measure their absolute values (Vendrov et al. 2016, section 4.2)."""

    def __init__(self, measure: str):
        super().__init__()
        self.measure = measure

    def hybrid_forward(self, F, x):
        x = F.L2Normalization(x, eps=1e-8)
        return F.abs(x) if self.measure == "order" else x


class ImageBranch(HybridBlock):
    """One linear layer on image features: (n, dim_image) -> (n, dim)."""

    def __init__(self, dim_image: int, dim: int, measure: str):
        super().__init__()
        with self.name_scope():
            self.linear = nn.Dense(dim, in_units=dim_image, weight_initializer=mx.init.Xavier())
            self.finish = Finish(measure)

    def hybrid_forward(self, F, x):
        return self.finish(self.linear(x))


class SentenceBranch(HybridBlock):
    """Word numbers of sentences of one length, (words, n) -> (n, dim): the last state of a recurrent network.

    Parameters
    ----------
    vocabulary_size, dim_word, dim : int
    encoder : {"lstm", "gru", "bow"}
        ``bow`` sums the word vectors.
    bidirectional : bool
        The mean of the last states of both directions.
    """

    def __init__(self, vocabulary_size: int, dim_word: int, dim: int, encoder: str, bidirectional: bool, measure: str):
        super().__init__()
        if encoder == "bow" and dim_word != dim:
            raise UserError(f"--encoder bow sums word vectors: --dim_word {dim_word} must equal --dim {dim}")
        self.encoder, self.bidirectional, self.dim = encoder, bidirectional, dim
        with self.name_scope():
            self.words = nn.Embedding(vocabulary_size, dim_word, weight_initializer=mx.init.Uniform(0.1))
            if encoder != "bow":
                uniform = mx.init.Uniform(dim**-0.5)
                self.rnn = ENCODERS[encoder](
                    dim, layout="TNC", input_size=dim_word, bidirectional=bidirectional,
                    i2h_weight_initializer=uniform, h2h_weight_initializer=uniform,
                )  # fmt: skip
            self.finish = Finish(measure)

    def hybrid_forward(self, F, words):
        x = self.words(words)
        if self.encoder == "bow":
            return self.finish(F.sum(x, axis=0))
        states = self.rnn(x)
        last = F.squeeze(F.slice_axis(states, axis=0, begin=-1, end=None), axis=0)  # all are equally long
        if self.bidirectional:
            first = F.squeeze(F.slice_axis(states, axis=0, begin=0, end=1), axis=0)
            forward = F.slice_axis(last, axis=1, begin=0, end=self.dim)
            backward = F.slice_axis(first, axis=1, begin=self.dim, end=2 * self.dim)
            last = (forward + backward) / 2
        return self.finish(last)


class RankingLoss(HybridBlock):
    r"""Hinges over the negatives of a batch, both directions (Kiros et al. 2014, equation 2).

    With scores :math:`s_{ij}` of image i and sentence j, those of pairs on the diagonal,

    .. math:: \sum_i \sum_{j \ne i} [\alpha - s_{ii} + s_{ij}]_+ + [\alpha - s_{ii} + s_{ji}]_+ .

    Parameters
    ----------
    margin : float
        :math:`\alpha`.
    hardest : bool
        The greatest hinge of each row and column instead of their sum (VSE++, Faghri et al. 2018, equation 6).
    measure : {"cosine", "order"}
        ``order``: the score is minus the length of ``max(0, sentence - image)``.
    """

    def __init__(self, margin: float, hardest: bool = False, measure: str = "cosine"):
        super().__init__()
        self.margin, self.hardest, self.measure = margin, hardest, measure

    def hybrid_forward(self, F, images, sentences):
        """The loss of n pairs, (n, d) and (n, d) -> (1,)."""
        if self.measure == "order":
            above = F.relu(F.broadcast_sub(F.expand_dims(sentences, 0), F.expand_dims(images, 1)))
            scores = -F.sqrt(F.sum(F.square(above), axis=2) + 1e-12)
        else:
            scores = F.dot(images, sentences, transpose_b=True)
        number = F.contrib.arange_like(images, axis=0)
        same = F.broadcast_equal(F.expand_dims(number, 1), F.expand_dims(number, 0))
        pairs, others = F.sum(scores * same, axis=1), 1 - same
        by_image = F.relu(self.margin + F.broadcast_sub(scores, F.expand_dims(pairs, 1))) * others
        by_sentence = F.relu(self.margin + F.broadcast_sub(scores, F.expand_dims(pairs, 0))) * others
        if self.hardest:
            return F.sum(F.max(by_image, axis=1)) + F.sum(F.max(by_sentence, axis=0))
        return F.sum(by_image + by_sentence)


class VSE(HybridBlock):
    """Both branches.

    Parameters
    ----------
    about : dict
        ``dim_image``, ``dim``, ``dim_word``, ``encoder``, ``bidirectional``, ``measure``.
    vocabulary : common.text.Vocabulary
    """

    def __init__(self, about: dict, vocabulary: Vocabulary):
        super().__init__()
        self.about, self.vocabulary = about, vocabulary
        with self.name_scope():
            self.images = ImageBranch(about["dim_image"], about["dim"], about["measure"])
            self.sentences = SentenceBranch(
                len(vocabulary), about["dim_word"], about["dim"], about["encoder"], about["bidirectional"],
                about["measure"],
            )  # fmt: skip

    def hybrid_forward(self, F, features, words):
        return self.images(features), self.sentences(words)

    def encode_images(self, features: np.ndarray, batch_size: int = 1024) -> np.ndarray:
        """(n, dim_image) -> (n, dim) float32."""
        if features.shape[1] != self.about["dim_image"]:
            raise UserError(f"the model takes {self.about['dim_image']} numbers an image, not {features.shape[1]}")
        ctx = self.images.linear.weight.list_ctx()[0]
        parts = [
            self.images(mx.nd.array(features[i : i + batch_size], ctx=ctx)).asnumpy()
            for i in range(0, len(features), batch_size)
        ]
        return np.concatenate(parts)

    def encode_sentences(self, tokens: list[list[str]], batch_size: int = 512) -> np.ndarray:
        """Tokenised sentences -> (m, dim) float32, computed in groups of equal length."""
        ctx = self.images.linear.weight.list_ctx()[0]
        encoded = [self.vocabulary.encode(sentence) for sentence in tokens]
        lengths = np.array([len(sentence) for sentence in encoded])
        result = np.empty((len(tokens), self.about["dim"]), np.float32)
        for length in np.unique(lengths):
            members = np.flatnonzero(lengths == length)
            for start in range(0, len(members), batch_size):
                chosen = members[start : start + batch_size]
                words = np.stack([encoded[i] for i in chosen], axis=1)
                result[chosen] = self.sentences(mx.nd.array(words, ctx=ctx)).asnumpy()
        return result


def clip_global_norm(gradients: list, most: float) -> None:
    """Scale the gradients in place so that their joint norm is at most `most`; the host waits for nothing."""
    squares = mx.nd.multi_sum_sq(*gradients, num_arrays=len(gradients))
    factor = mx.nd.minimum(most / mx.nd.sqrt(squares.sum() + 1e-12), 1.0)
    for gradient in gradients:
        mx.nd.broadcast_mul(gradient, factor.reshape((1,) * gradient.ndim), out=gradient)


def save(net: VSE, path, **more) -> None:
    """Write parameters, settings and dictionary as one file of arrays, beside its place, then renamed."""
    path = Path(path)
    about = {"format": FORMAT, **net.about, "vocabulary": net.vocabulary.to_dict(), **more}
    arrays = {f"net:{k}": p.data(p.list_ctx()[0]) for k, p in net._collect_params_with_prefix().items()}
    text = json.dumps(about, ensure_ascii=False).encode()
    arrays["about"] = mx.nd.array(np.frombuffer(text, np.uint8), dtype="uint8")
    beside = path.with_name(f".{os.getpid()}-{path.name}")
    mx.nd.save(str(beside), arrays)
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


def load(path, ctx=None) -> VSE:
    """The model `save` wrote."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no model {path}: give the model.params of a run")
    try:
        arrays = mx.nd.load(str(path))
        about = json.loads(arrays["about"].asnumpy().tobytes())
    except (mx.MXNetError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no model of this example") from error
    if about.pop("format") != FORMAT:
        raise UserError(f"{path} was written by another version")
    net = VSE(about, Vocabulary(**about.pop("vocabulary")))
    net.initialize(ctx=ctx or mx.cpu())
    for name, parameter in net._collect_params_with_prefix().items():
        parameter.set_data(arrays[f"net:{name}"])
    return net
