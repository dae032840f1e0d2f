"""The two branches, image and sentence, that meet in one space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet import autograd
from mxnet.gluon import Block, HybridBlock, nn, rnn

from common import backbones, devices
from common.backbones import modelfile
from common.backbones.preprocessing import Preprocessing
from common.backbones.sentences import SentenceEncoder
from common.files import outside
from common.files.errors import UserError, reading
from common.text.vocabulary import Vocabulary, tokenise, treebank
from examples.vse import pretrained, recurrent

KIND = "vse"
REMEDY = "it is no model of this example: give the model.params of a run"
FIELDS = {  # what a model is built from
    "dim_image": outside.whole, "dim": outside.whole, "bidirectional": bool,
    "encoder": lambda found: found in ("lstm", "gru", "bow", pretrained.NAME),
    "measure": lambda found: found in ("cosine", "order"), "vocabulary": dict,
}  # fmt: skip
OF_WORDS = {"dim_word": outside.whole}
OF_VECTORS = {  # what it has instead with a pretrained encoder
    "dim_sentence": outside.whole, "encoder_digest": str, "finetune_text": bool,
}  # fmt: skip
ENCODERS = {"lstm": rnn.LSTM, "gru": rnn.GRU}
TOKENISERS = {  # the second for the models of 2014: captions already cut up; the third for those of VSE++
    "words": tokenise, "split": str.split, "vsepp": lambda text: ["<start>", *treebank(text)],
}  # fmt: skip


class Normalise(HybridBlock):
    """What becomes of a branch's rows.

    Parameters
    ----------
    use_abs : bool
        Take their absolute values, as the order measure does (Vendrov et al. 2016, section 4.2).
    unit : bool
        Bring them to length one.
    """

    def __init__(self, use_abs: bool, unit: bool = True):
        super().__init__()
        self.use_abs, self.unit = use_abs, unit

    def hybrid_forward(self, F, x):
        x = F.L2Normalization(x, eps=1e-8) if self.unit else x
        return F.abs(x) if self.use_abs else x


class ImageBranch(HybridBlock):
    """One linear layer on image features: (n, dim_image) -> (n, dim)."""

    def __init__(self, dim_image: int, dim: int, use_abs: bool, unit: bool = True):
        super().__init__()
        with self.name_scope():
            self.linear = nn.Dense(dim, in_units=dim_image, weight_initializer=mx.init.Xavier())
            self.normalise = Normalise(use_abs, unit)

    def hybrid_forward(self, F, x):
        return self.normalise(self.linear(x))


class SentenceBranch(Block):
    """Sentences -> (n, dim): the last state of a recurrent network, or the sum of the words.

    Parameters
    ----------
    vocabulary_size, dim_word, dim : int
    encoder : {"lstm", "gru", "bow"}
        ``bow`` sums the word vectors.
    bidirectional : bool
        The mean of the last states of both directions.
    use_abs : bool
        See `Normalise`.
    """

    def __init__(self, vocabulary_size: int, dim_word: int, dim: int, encoder: str, bidirectional: bool, use_abs: bool):
        super().__init__()
        if encoder == "bow" and dim_word != dim:
            raise UserError(f"--encoder bow sums word vectors: --dim_word {dim_word} must equal --dim {dim}")
        self.encoder, self.bidirectional, self.dim = encoder, bidirectional, dim
        self.passes: list[recurrent.Pass] = []  # of this step, on a CPU, whose gradients are to be computed
        with self.name_scope():
            self.words = nn.Embedding(vocabulary_size, dim_word, weight_initializer=mx.init.Uniform(0.1))
            if encoder != "bow":
                uniform = mx.init.Uniform(dim**-0.5)
                self.rnn = ENCODERS[encoder](
                    dim, layout="TNC", input_size=dim_word, bidirectional=bidirectional,
                    i2h_weight_initializer=uniform, h2h_weight_initializer=uniform,
                )  # fmt: skip
            self.normalise = Normalise(use_abs)

    def forward(self, words: np.ndarray, ctx):
        """Word numbers (length, n), on the host, negative after a sentence's end -> (n, dim) on `ctx`."""
        words = words[: (words >= 0).sum(axis=0).max()]  # a device's part may be shorter than the batch
        different = np.unique(words[words >= 0])
        indices = np.where(words >= 0, np.searchsorted(different, words), -1)
        vectors = self.words(devices.put(different, ctx, np.int32))
        if self.encoder == "bow":
            mask = devices.put((indices >= 0)[:, :, None], ctx, np.float32)
            return self.normalise((self._rows(vectors, np.maximum(indices, 0)) * mask).sum(axis=0))
        read = self.fused if ctx.device_type == "gpu" else self.shared
        return self.normalise(read(vectors, indices))

    def shared(self, vectors, indices):
        """The state (n, dim) after the last word, each different beginning read once, see `recurrent`."""
        state = self._last(vectors, indices, "l0")
        return (state + self._last(vectors, reverse(indices), "r0")) / 2 if self.bidirectional else state

    def _last(self, vectors, indices, direction: str):
        names = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")
        parameters = (getattr(self.rnn, f"{direction}_{name}").data(vectors.context) for name in names)
        one = recurrent.Pass(self.encoder, vectors, indices, *parameters)
        if autograd.is_recording():
            self.passes.append(one)
        return one.state

    def backward(self) -> None:
        """After ``backward`` of the loss: through the recurrence on to its parameters and the words."""
        heads = [one.heads() for one in self.passes]
        self.passes = []
        if heads:
            autograd.backward(*(sum(lists, []) for lists in zip(*heads)))

    def fused(self, vectors, indices):
        """The same by Gluon's operator, which is cuDNN's on a GPU, sentences of one length at a time."""
        lengths, found = (indices >= 0).sum(axis=0), []
        for length in np.unique(lengths):
            states = self.rnn(self._rows(vectors, indices[:length, lengths == length]))
            last = states[-1, :, : self.dim]
            found.append((last + states[0, :, self.dim :]) / 2 if self.bidirectional else last)
        back = np.argsort(np.argsort(lengths, kind="stable"), kind="stable")
        return mx.nd.take(mx.nd.concat(*found, dim=0), devices.put(back, vectors.context))

    @staticmethod
    def _rows(vectors, indices):
        return mx.nd.take(vectors, devices.put(indices, vectors.context, np.int32))


class VectorBranch(Block):
    """One linear layer on the vectors of a pretrained encoder, with the interface of `SentenceBranch`."""

    def __init__(self, dim_sentence: int, dim: int, use_abs: bool):
        super().__init__()
        with self.name_scope():
            self.branch = ImageBranch(dim_sentence, dim, use_abs)

    def forward(self, vectors: np.ndarray, ctx):
        """Vectors as columns (dim_sentence, n), on the host -> (n, dim) on `ctx`."""
        return self.branch(devices.put(np.ascontiguousarray(vectors.T), ctx, np.float32))

    def backward(self) -> None:
        """Nothing: ``backward`` of the loss did it."""


class TunedBranch(VectorBranch):
    """A pretrained encoder that is trained too, and one linear layer on its vectors."""

    def __init__(self, encoder: SentenceEncoder, dim: int, use_abs: bool):
        super().__init__(encoder.dim, dim, use_abs)
        self.encoder = encoder

    def forward(self, pieces: np.ndarray, ctx):
        """Numbers of word pieces (length, n), on the host, negative after a sentence's end -> (n, dim) on `ctx`."""
        lengths = (pieces >= 0).sum(axis=0)
        rows = np.ascontiguousarray(np.maximum(pieces[: lengths.max()], 0).T)
        return self.branch(self.encoder(devices.put(rows, ctx, np.int32), devices.put(lengths, ctx, np.float32)))


def reverse(indices: np.ndarray) -> np.ndarray:
    """Each sentence read from its end: (length, n) -> (length, n), negative after the end as before."""
    steps = (indices >= 0).sum(axis=0) - 1 - np.arange(len(indices))[:, None]
    return np.where(steps >= 0, np.take_along_axis(indices, np.maximum(steps, 0), axis=0), -1)


def lengths(metadata: dict) -> dict[str, bool]:
    """``use_abs`` and ``no_imgnorm`` of a model, also of one of before they were there."""
    use_abs = metadata.get("use_abs", metadata["measure"] == "order")
    return {"use_abs": use_abs, "no_imgnorm": metadata.get("no_imgnorm", False)}


class VSE(Block):
    """Both branches.

    Parameters
    ----------
    metadata : dict
        ``dim_image``, ``dim``, ``dim_word`` (``dim_sentence`` where the encoder is pretrained), ``encoder``,
        ``bidirectional``, ``measure``; and what `save` is to keep. ``use_abs`` (default: for ``order``) and
        ``no_imgnorm`` are as VSE++ has them.
    vocabulary : common.text.vocabulary.Vocabulary
    backbone : common.backbones.Backbone, optional
        Trained too: pictures go in instead of features.
    encoder : pretrained.Encoder, optional
        Reads the sentences; it is no part of the model, unless it is trained.
    """

    def __init__(self, metadata: dict, vocabulary: Vocabulary, backbone=None, encoder=None):
        super().__init__()
        self.metadata = metadata = {**metadata, **lengths(metadata)}
        self.vocabulary, self.encoder = vocabulary, encoder
        self.tokenise = TOKENISERS[metadata.get("tokens", "words")]
        with self.name_scope():
            self.backbone = backbone
            use_abs, dim = metadata["use_abs"], metadata["dim"]
            self.images = ImageBranch(metadata["dim_image"], dim, use_abs, unit=not metadata["no_imgnorm"])
            if encoder and encoder.trained:
                self.sentences = TunedBranch(encoder.net, dim, use_abs)
            elif encoder:
                self.sentences = VectorBranch(metadata["dim_sentence"], dim, use_abs)
            else:
                self.sentences = SentenceBranch(
                    len(vocabulary), metadata["dim_word"], dim, metadata["encoder"], metadata["bidirectional"], use_abs,
                )  # fmt: skip

    def forward(self, images, words: np.ndarray):
        """Features (n, dim_image) or pictures (n, H, W, 3), and columns of sentences -> two of (n, dim)."""
        features = self.backbone(images) if self.backbone is not None else images
        return self.images(features), self.sentences(words, images.context)

    def backward(self, losses: list, trainer) -> None:
        """The gradients of all parameters of `trainer` from losses recorded on one or several devices."""
        trainer.backward(losses)
        self.sentences.backward()

    @property
    def ctx(self):
        """The device that encodes."""
        return self.images.linear.weight.list_ctx()[0]

    def encode_images(self, features: np.ndarray, batch_size: int = 1024) -> np.ndarray:
        """(n, dim_image) -> (n, dim) float32."""
        if features.shape[1] != self.metadata["dim_image"]:
            raise UserError(f"the model takes {self.metadata['dim_image']} numbers an image, not {features.shape[1]}")
        parts = [
            self.images(devices.put(features[i : i + batch_size], self.ctx, np.float32)).asnumpy()
            for i in range(0, len(features), batch_size)
        ]
        return np.concatenate(parts)

    def encode_sentences(self, texts: Sequence[str], batch_size: int = 256) -> np.ndarray:
        """Sentences -> (m, dim) float32, computed in groups of equal length that begin alike."""
        result = np.empty((len(texts), self.metadata["dim"]), np.float32)
        if self.encoder:
            vectors = self.encoder(texts)
            for start in range(0, len(texts), batch_size):
                chosen = slice(start, start + batch_size)
                rows = devices.put(vectors[chosen], self.ctx, np.float32)
                result[chosen] = self.sentences.branch(rows).asnumpy()
            return result
        encoded = [self.vocabulary.encode(self.tokenise(text)) for text in texts]
        lengths = np.array([len(sentence) for sentence in encoded])
        for length in np.unique(lengths):
            members = np.flatnonzero(lengths == length)
            members = members[np.lexsort(np.stack([encoded[i] for i in members], axis=1)[::-1])]
            for start in range(0, len(members), batch_size):
                chosen = members[start : start + batch_size]
                words = np.stack([encoded[i] for i in chosen], axis=1)
                result[chosen] = self.sentences(words, self.ctx).asnumpy()
        return result

    def knows(self, text: str) -> bool:
        """Whether the model can tell `text` from any other: it learned one of its words, or reads whole sentences."""
        words = self.tokenise(text)
        return bool(words) if self.encoder else any(word in self.vocabulary.numbers for word in words)


def clip_global_norm(gradients: list, max_norm: float) -> None:
    """Scale the gradients in place so that their joint norm is at most `max_norm`; the host waits for nothing."""
    squares = mx.nd.add_n(*(_square_sum(gradient.reshape((1, -1))) for gradient in gradients))
    factor = mx.nd.minimum(max_norm / mx.nd.sqrt(squares + 1e-12), 1.0)
    for gradient in gradients:
        mx.nd.broadcast_mul(gradient, factor.reshape((1,) * gradient.ndim), out=gradient)


def _square_sum(row):
    """By oneDNN: on a CPU twice as fast as `mxnet.nd.multi_sum_sq`, 15 times as fast as `mxnet.nd.norm`."""
    return mx.nd.FullyConnected(row, row, num_hidden=1, no_bias=True)


def save(net: VSE, path, **more) -> None:
    """Write a model file, see `common.backbones.modelfile`.

    Parameters
    ----------
    net : VSE
    path : path
        Of the file, ``.params``.
    **more
        What the metadata has besides the network's own and its dictionary: ``metrics``.
    """
    metadata = {**net.metadata, "vocabulary": net.vocabulary.to_dict(), **more}
    if net.backbone is not None:
        metadata["preprocessing"] = net.backbone.preprocessing.to_dict()
    modelfile.save(path, KIND, modelfile.values(net), metadata)


def load(path, ctx=None) -> VSE:
    """The model that `save` wrote, or one of 2014's code (``.npz``, see `kiros2014`) or VSE++'s (``.tar``, `vsepp`).

    Raises
    ------
    UserError
        There is no such file, or it is no such model.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no model {path}: give the model.params of a run, an .npz of 2014 or a .pth.tar of VSE++")
    if path.suffix == ".npz":
        from examples.vse import kiros2014

        return kiros2014.load(path, ctx)
    if path.suffix in (".tar", ".pth"):
        from examples.vse import vsepp

        return vsepp.load(path, ctx)
    file = modelfile.load(path, KIND, FIELDS, REMEDY)
    with reading(file.described_in, REMEDY):
        outside.check_fields(lengths(file.metadata), {"use_abs": bool, "no_imgnorm": bool})
        file.metadata.setdefault("finetune_text", False)  # in models of before
        outside.check_fields(file.metadata, OF_VECTORS if file.metadata["encoder"] == pretrained.NAME else OF_WORDS)
        vocabulary = Vocabulary(**file.metadata.pop("vocabulary"))
        return build(file.metadata, vocabulary, file.parameters, ctx)


def build(metadata: dict, vocabulary: Vocabulary, parameters: dict, ctx=None) -> VSE:
    """A network with these values, ready to encode.

    Parameters
    ----------
    metadata : dict
        See `VSE`; with ``preprocessing``, ``model`` and ``image_size`` where a backbone was trained too.
    vocabulary : common.text.vocabulary.Vocabulary
    parameters : dict of str to NDArray
        By structural name.
    ctx : mx.Context, optional

    Raises
    ------
    ValueError
        They are not the network's, or have other shapes than the metadata gives.
    UserError
        The pretrained encoder of its sentences is not the one that is here.
    """
    backbone = encoder = None
    ctx = ctx or mx.cpu()
    if metadata["encoder"] == pretrained.NAME:
        encoder = pretrained.of_model(metadata["encoder_digest"], ctx, metadata["finetune_text"])
    if metadata.get("preprocessing"):
        modelfile.check_network(metadata["model"])
        preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
        backbone = backbones.create(metadata["model"], size=metadata["image_size"], preprocessing=preprocessing)
    net = VSE(metadata, vocabulary, backbone, encoder)
    modelfile.fill(net, parameters, ctx)
    net.hybridize(static_alloc=True)
    return net
