"""Name -> feature extractor: networks of MXNet's model zoo, of gluoncv and of the suite, cut before the classifier."""

from __future__ import annotations

import dataclasses
import functools
import re

import mxnet as mx
from mxnet.gluon import HybridBlock, nn
from mxnet.gluon.model_zoo import vision

from common import weights as pretrained
from common.errors import UserError, near
from common.networks import efficientnet_lite
from common.weights import IMAGENET, PACKAGED, Preprocessing

ZOO = (
    [f"resnet{n}_v{v}" for v in (1, 2) for n in (18, 34, 50, 101, 152)]
    + [f"vgg{n}{bn}" for bn in ("", "_bn") for n in (11, 13, 16, 19)]
    + ["alexnet", "inceptionv3", "squeezenet1.0", "squeezenet1.1"]
    + [f"densenet{n}" for n in (121, 161, 169, 201)]
    + [f"mobilenet{v}{width}" for v in ("", "v2_") for width in ("1.0", "0.75", "0.5", "0.25")]
)
LARGE_INPUT = {"inceptionv3": 299, "xception": 299, "xception71": 299}
TAIL = (nn.GlobalAvgPool2D, nn.AvgPool2D, nn.Flatten, nn.Dropout)


class Backbone(HybridBlock):
    """A network that gives a feature vector for a plain picture.

    Called with (n, H, W, 3) RGB of 0..255, uint8 or float, it gives (n, width) float32. The first layer normalises,
    as the parameters want it.

    Attributes
    ----------
    name : str
    width : int
        Numbers in a feature vector.
    input_size : int
        Side in pixels of the pictures the network was made for.
    preprocessing : common.weights.Preprocessing
    source : str
        Where the parameters came from.
    body : HybridBlock
        From normalised (n, 3, H, W) to feature maps (n, width, h, w), or to vectors where the network has layers
        between its maps and its classifier (VGG, AlexNet).
    classifier : HybridBlock or None
        From feature vectors (feature maps in SqueezeNet and MobileNetV2) to 1,000 logits.
    """

    def __init__(self, name: str, body, classifier, width: int, preprocessing: Preprocessing, source: str):
        super().__init__()
        self.name_, self.width, self.input_size = name, width, preprocessing.size
        self.preprocessing, self.source = preprocessing, source
        with self.name_scope():
            self.normalize = Normalize(preprocessing)
            self.body = body
            self.classifier = classifier

    def hybrid_forward(self, F, x):
        return flat(F, self.body(self.normalize(x)))

    def feature_maps(self, x):
        """What `body` gives for plain pictures `x`: (n, width, h, w) for networks that end in maps."""
        return self.body(self.normalize(x))

    def logits(self, x):
        """The 1,000 ImageNet logits for plain pictures `x`."""
        maps = self.feature_maps(x)
        on_maps = isinstance(self.classifier, nn.HybridSequential)
        return flat(mx.nd, self.classifier(maps if on_maps else flat(mx.nd, maps)))


class Normalize(HybridBlock):
    """(n, H, W, 3) RGB of 0..255 -> (n, 3, H, W) as the network wants it."""

    def __init__(self, preprocessing: Preprocessing):
        super().__init__()
        self.bgr = preprocessing.bgr
        self.mean, self.scale = preprocessing.mean, preprocessing.scale

    def hybrid_forward(self, F, x):
        x = F.transpose(F.cast(x, "float32"), (0, 3, 1, 2))
        if self.bgr:
            x = F.reverse(x, axis=1)
        if len(set(self.mean)) == len(set(self.scale)) == 1:
            return (x - self.mean[0]) * self.scale[0]
        channels = [(F.slice_axis(x, axis=1, begin=i, end=i + 1) - self.mean[i]) * self.scale[i] for i in range(3)]
        return F.concat(*channels, dim=1)


def flat(F, x):
    """Mean over the places of feature maps; vectors stay as they are. Any input gives (n, width)."""
    x = F.reshape(x, (0, 0, -1))
    return F.mean(x, axis=2)


class Conv4(HybridBlock):
    """Four 3x3 convolutions of 32, 64, 128 and 128 channels, each with batch norm, ReLU and 2x2 max pooling."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="features_")
            for channels, before in ((32, 3), (64, 32), (128, 64), (128, 128)):
                self.features.add(
                    nn.Conv2D(channels, 3, padding=1, in_channels=before),
                    nn.BatchNorm(in_channels=channels),
                    nn.Activation("relu"),
                    nn.MaxPool2D(2),
                )
            self.features.add(nn.Flatten())  # places matter for characters: no average over them
            self.output = None

    def hybrid_forward(self, F, x):
        return self.features(x)


@functools.cache
def _gluoncv_names() -> tuple[str, ...]:
    from gluoncv.model_zoo import get_model_list

    other_tasks = re.compile(
        "yolo|ssd|rcnn|fcn|psp|deeplab|pose|center|cifar|kinetics|sthsth|hmdb|ucf|siam|icnet|danet|alpha|monodepth"
        "|fastscnn|custom|int8|hrnet.*_s$"
    )
    return tuple(name for name in get_model_list() if not other_tasks.search(name))


def names() -> list[str]:
    """All networks, in alphabetical order."""
    return sorted({"conv4", *ZOO, *efficientnet_lite.VARIANTS, *_gluoncv_names()})


def network(name: str, size: int | None = None) -> HybridBlock:
    """The whole network called `name`, classifier included, without values.

    Raises
    ------
    UserError
        No such network; the message has the near names.
    """
    if name == "conv4":
        return Conv4()
    if name in efficientnet_lite.VARIANTS:
        return efficientnet_lite.create(name, size)
    if name in ZOO:
        return vision.get_model(name)
    if name not in _gluoncv_names():
        raise UserError(f"--model {name}: no such network{near(name, names())}")
    from gluoncv import model_zoo

    return model_zoo.get_model(name, pretrained=False)


def create(
    name: str,
    weights: str | None = None,
    ctx=None,
    classifier: bool = False,
    size: int | None = None,
    preprocessing: Preprocessing | None = None,
) -> Backbone:
    """A feature extractor.

    Parameters
    ----------
    name : str
        See `names`.
    weights : str or None
        ``"imagenet"``, a file (`common.weights.find`), or None: without values, for the caller to initialise.
    ctx : mx.Context or list
        Where the values go.
    classifier : bool
        Keep the classifier, for `Backbone.logits`.
    size : int, optional
        Side in pixels of the pictures it will see: EfficientNet-Lite pads as TensorFlow does for this size.
    preprocessing : Preprocessing, optional
        Instead of the one that belongs to the weights.
    """
    net = network(name, size)
    found = pretrained.find(name, weights) if weights else None
    if found:
        try:
            net.load_parameters(str(found.path), ctx=ctx or mx.cpu(), cast_dtype=True)
        except (AssertionError, mx.MXNetError, ValueError) as error:
            reason = str(error).splitlines()[0][:120]
            raise UserError(f"{found.path} does not fit --model {name}: {reason}") from error
    preprocessing = preprocessing or (found.preprocessing if found else _untrained(name))
    body, head = _cut(net)
    side = size or preprocessing.size
    source = found.source if found else "random"
    return Backbone(name, body, head if classifier else None, _width(body, (1, 3, side, side)), preprocessing, source)


def _untrained(name: str) -> Preprocessing:
    size = 32 if name == "conv4" else LARGE_INPUT.get(name, 224)
    base = PACKAGED.get(name, IMAGENET)
    return dataclasses.replace(base, size=base.size if name in PACKAGED else size)


def _cut(net: HybridBlock):
    """The part of `net` before its classifier, and the classifier."""
    if hasattr(net, "features"):
        layers = list(net.features)
        while layers and isinstance(layers[-1], TAIL) and not _needs_flat(layers):
            layers.pop()
        body = nn.HybridSequential(prefix="body_")
        body.add(*layers)
        return body, getattr(net, "output", None)
    for head in ("fc", "output", "head"):
        if hasattr(net, head):
            classifier = getattr(net, head)
            setattr(net, head, nn.HybridLambda("identity"))
            return net, classifier
    raise UserError(f"{type(net).__name__} has no classifier that can be cut off: choose another --model")


def _needs_flat(layers: list) -> bool:
    """Whether the flattening at the end is part of the features: no pooling stands before it."""
    return isinstance(layers[-1], nn.Flatten) and isinstance(layers[-2], nn.MaxPool2D)


def _width(body: HybridBlock, shape: tuple) -> int:
    """Channels that `body` gives, from the shapes alone."""
    symbol = body(mx.sym.var("data"))
    symbol = symbol[0] if isinstance(symbol, (list, tuple)) else symbol
    _, outputs, _ = symbol.infer_shape(data=shape)
    return outputs[0][1]


def input_size(name: str) -> int:
    """Side in pixels of the pictures a network was made for.

    Raises
    ------
    UserError
        No such network.
    """
    if name not in ZOO and name not in names():
        raise UserError(f"--model {name}: no such network{near(name, names())}")
    return _untrained(name).size


@functools.cache
def info(name: str) -> tuple[int, int]:
    """(width, input size in pixels) of a network, without running it."""
    backbone = create(name)
    return backbone.width, backbone.input_size
