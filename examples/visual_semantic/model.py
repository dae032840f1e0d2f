"""The network: a backbone, the classifier of stage 1, and the head that puts pictures among words."""

from __future__ import annotations

from collections.abc import Sequence

import mxnet as mx
import numpy as np
from mxnet.gluon import Block, HybridBlock, nn

from common import backbones
from common.backbones import modelfile
from common.backbones.preprocessing import Preprocessing
from common.files import outside
from common.files.errors import UserError, reading

KIND = "visual_semantic"
GIVEN = "features"  # the network of a model that was trained on given features
REMEDY = "give another --params, a model that train.py wrote"
KINDS = ("seen", "unseen")  # of classes
FIELDS = {
    "model": str, "preprocessing": dict, "crop": outside.whole, "seen": outside.texts, "unseen": outside.texts,
    "dim": outside.whole, "hidden": lambda value: outside.whole(value, 0),
    "dropout": lambda value: outside.number(value, 0, 1),
}  # fmt: skip


class Dense(nn.Dense):
    """A dense layer that drops a fraction of its inputs in training; its parameters are called as without dropout."""

    def __init__(self, dropout: float, *args, **options):
        super().__init__(*args, **options)
        self._dropped = dropout

    def hybrid_forward(self, F, x, weight, bias=None):
        return super().hybrid_forward(F, F.Dropout(x, p=self._dropped) if self._dropped else x, weight, bias)


class GivenFeatures(HybridBlock):
    """Stands in for a backbone where features are given: it gives the rows that it is called with.

    Parameters
    ----------
    width : int
        Numbers in a row.
    """

    def __init__(self, width: int):
        super().__init__()
        self.width, self.name_, self.source = width, GIVEN, "given"
        self.preprocessing = Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), size=1)  # of no picture

    def hybrid_forward(self, F, x):
        return F.identity(x)


class Encoder(HybridBlock):
    """Pictures (n, H, W, 3), 0..255 -> unit vectors (n, dim) among those of words: all that inference needs.

    Features are standardised by statistics of the training pictures, and the last layer has no bias: so the mean of the
    seen words is not added to every prediction, which would draw pictures of unseen classes to seen words (hubness).

    Parameters
    ----------
    backbone : common.backbones.Backbone
    dim : int
        Numbers in a word vector.
    hidden : int
        Units of a hidden layer in the head; 0: the head is linear, as in DeViSE.
    dropout : float
        On what goes into the head.
    """

    def __init__(self, backbone, dim: int, hidden: int = 0, dropout: float = 0.0):
        super().__init__()
        with self.name_scope():
            self.backbone = backbone
            self.head = nn.HybridSequential()
            self.head.add(_standard(backbone.width))
            if hidden:
                self.head.add(Dense(dropout, hidden, activation="relu", in_units=backbone.width))
            self.head.add(Dense(0 if hidden else dropout, dim, use_bias=False, in_units=hidden or backbone.width))

    def hybrid_forward(self, F, x):
        return self.unit(F, self.head(self.backbone(x)))

    def standardise(self, features: np.ndarray) -> None:
        """Take mean and spread of the training pictures' features (n, width) for the head's first layer."""
        self.head[0].running_mean.set_data(mx.nd.array(features.mean(axis=0)))
        self.head[0].running_var.set_data(mx.nd.array(features.var(axis=0)))

    @staticmethod
    def unit(F, rows):
        """Each row at length one, in operators that ONNX has."""
        return F.broadcast_div(rows, F.sqrt(F.sum(F.square(rows), axis=1, keepdims=True) + 1e-12))


class AfterMean(HybridBlock):
    """An `Encoder` that is given the mean of several views' features by another backbone, for `export.py`."""

    def __init__(self, backbone, encoder: Encoder):
        super().__init__()
        self.backbone, self.head = backbone, encoder.head

    def hybrid_forward(self, F, x):
        return Encoder.unit(F, self.head(self.backbone(x)))


class VisualSemanticNet(Block):
    """The encoder, the classifier that shares its backbone, and the words of the classes.

    Parameters
    ----------
    backbone : common.backbones.Backbone
    seen, unseen : sequence of str
        Class names; the classifier knows the seen ones, in this order.
    vectors : (classes, dim) array
        Word vectors of the seen classes, then of the unseen ones, as their file has them.
    hidden, dropout
        See `Encoder`; dropout is on what goes into the classifier too.
    space : tuple of (dim,) and (dim, dim) array, optional
        What is subtracted from a word vector, and what it is then multiplied by; default: it stays as it is.

    Attributes
    ----------
    encoder : Encoder
    classifier : HybridBlock
    class_names : list of str
        Seen, then unseen.
    words : (classes, dim) float32 array
        The embedded word of each class: unit vectors, in the order of `class_names`.
    metadata : dict
        Of the model file that it was read from; empty for a new network.
    """

    def __init__(self, backbone, seen, unseen, vectors: np.ndarray, hidden: int = 0, dropout: float = 0.0, space=None):
        super().__init__()
        self.seen, self.unseen = list(seen), list(unseen)
        self.class_names = self.seen + self.unseen
        self.dim, self.hidden, self.dropout = vectors.shape[1], hidden, dropout
        self.metadata: dict = {}
        with self.name_scope():
            self.encoder = Encoder(backbone, self.dim, hidden, dropout)
            self.classifier = nn.HybridSequential()
            self.classifier.add(Dense(dropout, len(self.seen), in_units=backbone.width))
            self.word_vectors = self.params.get_constant("word_vectors", np.asarray(vectors, np.float32))
            centre, turn = space or (np.zeros(self.dim), np.eye(self.dim))
            self.centre = self.params.get_constant("centre", np.asarray(centre, np.float32))
            self.turn = self.params.get_constant("turn", np.asarray(turn, np.float32))

    @property
    def backbone(self):
        """The encoder's, `common.backbones.Backbone`."""
        return self.encoder.backbone

    def forward(self, images):
        return self.encoder(images)

    def embed(self, images):
        """Pictures (n, H, W, 3) -> unit vectors (n, dim)."""
        return self.encoder(images)

    def classify(self, images):
        """Pictures (n, H, W, 3) -> logits of the seen classes (n, seen): stage 1.

        Raises
        ------
        UserError
            No stage 1 was run, or the backbone has moved on in stage 2b and the classifier has not.
        """
        return self.classify_features(self.backbone(images))

    def classify_features(self, features):
        """Backbone features (n, width) -> logits: the classifier alone, see `classify`."""
        if not self.metadata.get("classifies", True):
            raise UserError(f"a model of stage {self.metadata['stage']} without a classifier: take stage1/model.params")
        return self.classifier(features)

    def embed_features(self, features):
        """Backbone features (n, width) -> unit vectors (n, dim): the head alone."""
        return self.encoder.unit(mx.nd, self.encoder.head(features))

    def halves(self, forward, transform):
        """What reads pictures, and what follows where it is to see the mean of several views' features.

        Parameters
        ----------
        forward : callable
            `embed` or `classify`, or the backbone or a head alone.
        transform : common.data.transforms.Eval
            Of the pictures.

        Returns
        -------
        tuple of callable and (callable or None)
            `forward` and None where there is one view.
        """
        heads = {self.embed: self.embed_features, self.classify: self.classify_features}
        if forward not in heads or transform.count == 1:
            return forward, None
        return self.backbone, heads[forward]

    def feature_maps(self, images):
        """The last maps (n, channels, h, w); the classifier's dense layer weighs their means."""
        return self.backbone.feature_maps(images)

    def embed_words(self, vectors: np.ndarray) -> np.ndarray:
        """Word vectors (n, dim), as their file has them -> unit vectors among those of the pictures."""
        moved = (np.asarray(vectors, np.float32) - self._constant(self.centre)) @ self._constant(self.turn)
        return moved / np.maximum(np.linalg.norm(moved, axis=-1, keepdims=True), 1e-12)

    @property
    def words(self) -> np.ndarray:
        return self.embed_words(self._constant(self.word_vectors))

    @staticmethod
    def _constant(parameter) -> np.ndarray:
        return parameter.data(parameter.list_ctx()[0]).asnumpy().astype(np.float32)


def _standard(width: int):
    """A batch norm with fixed statistics and nothing to learn."""
    return nn.BatchNorm(in_channels=width, center=False, scale=False, use_global_stats=True, epsilon=1e-3)


def create(
    name: str,
    weights: str | None,
    seen: Sequence[str],
    unseen: Sequence[str],
    vectors: np.ndarray,
    ctx,
    size: int,
    hidden: int = 0,
    dropout: float = 0.0,
    space=None,
) -> VisualSemanticNet:
    """A network to be trained; classifier and head are random.

    Parameters
    ----------
    name : str
        The backbone, see `common.backbones.list_backbones`.
    weights : str or None
        ``"imagenet"``, a file of the backbone's parameters, or None: random.
    ctx : mx.Context or list
    size : int
        Side in pixels of the pictures it will see.
    seen, unseen, vectors, hidden, dropout, space
        See `VisualSemanticNet`.

    Raises
    ------
    UserError
        The weights cannot be had or belong to another network.
    """
    backbone = backbones.create(name, weights, ctx, size=size)
    if not weights:
        backbone.initialize(mx.init.Xavier(magnitude=2), ctx=ctx)
    return attach(backbone, seen, unseen, vectors, ctx, hidden, dropout, space)


def attach(backbone, seen, unseen, vectors, ctx, hidden=0, dropout=0.0, space=None) -> VisualSemanticNet:
    """A random classifier and head on a backbone that has values; see `VisualSemanticNet`."""
    net = VisualSemanticNet(backbone, seen, unseen, vectors, hidden, dropout, space)
    net.classifier.initialize(mx.init.Zero(), ctx=ctx)  # features may be large: all classes start out equal
    net.encoder.head.initialize(mx.init.Xavier(), ctx=ctx)
    for constant in (net.word_vectors, net.centre, net.turn):
        constant.initialize(ctx=ctx)
    return net


def save(net: VisualSemanticNet, path, dtype: str = "float32", **metadata) -> None:
    """Write a model file, see `common.backbones.modelfile`.

    Parameters
    ----------
    net : VisualSemanticNet
    path : path
        Of the file, ``.params``.
    dtype : {"float32", "float16"}
        Of the parameters in the file; ``float16`` halves it.
    **metadata
        What is kept besides the network's description: ``crop``, ``resize``, ``keep_aspect``, ``views`` (what a picture
        goes through), ``word_vectors`` (name of their file), ``words`` (class -> word where they differ),
        ``word_space``, ``dataset``, ``stage``, ``classifies``, ``is_frozen`` (the backbone is as it came), ``metrics``.
    """
    described = {
        "model": net.backbone.name_,
        "dim": net.dim,
        "hidden": net.hidden,
        "dropout": net.dropout,
        "seen": net.seen,
        "unseen": net.unseen,
        "preprocessing": net.backbone.preprocessing.to_dict(),
    }
    parameters = {name: value.astype(dtype) for name, value in modelfile.values(net).items()}
    modelfile.save(path, KIND, parameters, {**net.metadata, **described, **metadata})


def is_model(path) -> bool:
    """Whether a file is one that `save` wrote, and not the parameters of a backbone alone."""
    return modelfile.is_model(path, "seen", REMEDY)


def _read(path) -> modelfile.ModelFile:
    file = modelfile.load(path, KIND, FIELDS, REMEDY)
    metadata = file.metadata
    with reading(file.described_in, REMEDY):
        if "word_vectors" not in file.parameters:
            raise ValueError("its model has no 'word_vectors'")
        shape = (len(metadata["seen"]) + len(metadata["unseen"]), metadata["dim"])
        found = file.parameters["word_vectors"].shape
        if found != shape:  # before anything of that size is made
            raise ValueError(f"its classes and 'dim' give {shape}, its word vectors are {found}")
    return file


def _width(parameters) -> int:
    """How many numbers the classifier of a model's parameters takes."""
    weight = parameters.get("classifier.0.weight")
    if weight is None or weight.ndim != 2:
        raise ValueError("it has no classifier.0.weight")
    return weight.shape[1]


def restore(net: VisualSemanticNet, path) -> None:
    """Put the values that `save` wrote into `net`, on all its devices, and its metadata.

    Classes are matched by their names: the file may have them in another order.

    Raises
    ------
    UserError
        It is a model of another network, of other classes or of other word vectors.
    """
    file = _read(path)
    wanted = {"model": net.backbone.name_, "dim": net.dim, "hidden": net.hidden}
    other = [key for key, value in wanted.items() if file.metadata[key] != value]
    other += [f"set of {kind} classes" for kind in KINDS if set(file.metadata[kind]) != set(getattr(net, kind))]
    words = net.words
    if not other:
        with reading(path, REMEDY):
            modelfile.fill(net, _in_order_of(net, file))
        other = ["word vectors"] if not np.allclose(net.words, words, atol=1e-2) else []
    if other:
        raise UserError(f"{path} is a model with another {other[0]}: give the flags it was trained with, or start anew")
    net.metadata = {**file.metadata, "seen": net.seen, "unseen": net.unseen}


def _in_order_of(net: VisualSemanticNet, file: modelfile.ModelFile) -> dict:
    """The parameters of a model of the same classes, with a row a class where `net` has it."""
    names = [*file.metadata["seen"], *file.metadata["unseen"]]
    if names == net.class_names:
        return file.parameters
    places = mx.nd.array([names.index(name) for name in net.class_names], dtype="int32")
    known = places[: len(net.seen)]
    rows = {"word_vectors": places, "classifier.0.weight": known, "classifier.0.bias": known}

    def moved(key, value):  # what has not a row a class is left as it is: `modelfile.fill` says so
        return mx.nd.take(value, rows[key]) if key in rows and len(value) == len(rows[key]) else value

    return {key: moved(key, value) for key, value in file.parameters.items()}


def match_classes(net: VisualSemanticNet, splits, path, remedy: str = "give the --split or --unseen of training"):
    """A data set with its classes in the order that a model has them in, matched by their names.

    Parameters
    ----------
    net : VisualSemanticNet
    splits : examples.visual_semantic.data.Splits
    path : path
        Of the model, for the message.
    remedy : str
        The message's end.

    Returns
    -------
    examples.visual_semantic.data.Splits

    Raises
    ------
    UserError
        One of them has a class that the other has not, or that is unseen in one of them alone.
    """
    for kind in KINDS:
        there, known = getattr(splits, kind), getattr(net, kind)
        odd = sorted(set(there) ^ set(known))
        if odd:
            whose = "the data" if odd[0] in there else "the model"
            raise UserError(f"{path}: {odd[0]!r} is {kind} in {whose} only: {remedy}")
    return splits.ordered(net.seen, net.unseen)


def load(path, ctx=None, of_pictures: bool = True) -> VisualSemanticNet:
    """The network that `save` wrote, hybridized; its metadata is `net.metadata`.

    Parameters
    ----------
    path : path
    ctx : mx.Context, optional
    of_pictures : bool
        Refuse one that was trained on given features, and reads no pictures.

    Raises
    ------
    UserError
        The file is missing, damaged or no such model.
    """
    file = _read(path)
    metadata = file.metadata
    if metadata["model"] == GIVEN and of_pictures:
        raise UserError(f"{path} was trained on given features and reads no pictures: evaluate.py alone takes it")
    with reading(file.described_in, REMEDY):
        if metadata["model"] == GIVEN:
            backbone = GivenFeatures(_width(file.parameters))
        else:
            modelfile.check_network(metadata["model"])
            preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
            backbone = backbones.create(metadata["model"], size=metadata["crop"], preprocessing=preprocessing)
        blank = np.zeros(file.parameters["word_vectors"].shape, np.float32)
        net = VisualSemanticNet(
            backbone, metadata["seen"], metadata["unseen"], blank, metadata["hidden"], metadata["dropout"]
        )
    with reading(path, REMEDY):
        modelfile.fill(net, file.parameters, ctx or mx.cpu())
    net.metadata = metadata
    net.hybridize(static_alloc=True, static_shape=True)
    return net
