"""Name -> feature extractor: networks of MXNet's model zoo, of gluoncv and of the suite, cut before the classifier."""

from __future__ import annotations

import dataclasses
import functools
import re

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock, Parameter, nn
from mxnet.gluon.model_zoo import vision

from common.backbones import convert, pretrained
from common.backbones.architectures import conv4, efficientnet_lite, inception_resnet_v2, keras_applications
from common.backbones.preprocessing import IMAGENET, Preprocessing
from common.backbones.pretrained import KERAS, PACKAGED
from common.files import outside
from common.files.errors import UserError, near

ZOO = (
    [f"resnet{n}_v{v}" for v in (1, 2) for n in (18, 34, 50, 101, 152)]
    + [f"vgg{n}{bn}" for bn in ("", "_bn") for n in (11, 13, 16, 19)]
    + ["alexnet", "inceptionv3", "squeezenet1.0", "squeezenet1.1"]
    + [f"densenet{n}" for n in (121, 161, 169, 201)]
    + [f"mobilenet{v}{width}" for v in ("", "v2_") for width in ("1.0", "0.75", "0.5", "0.25")]
)
OTHER_TASKS = re.compile(  # what gluoncv's list has besides classification of ImageNet's and CIFAR's pictures
    "yolo|ssd|rcnn|fcn|psp|deeplab|pose|center|kinetics|sthsth|hmdb|ucf|siam|icnet|danet|alpha|monodepth"
    "|fastscnn|custom|int8|hrnet.*_s$|_gn$"  # _gn: its group norm cannot be hybridized
)
KERAS_NETWORKS = {
    "keras-vgg16": functools.partial(keras_applications.vgg, 16),
    "keras-vgg19": functools.partial(keras_applications.vgg, 19),
    "keras-resnet50": keras_applications.resnet50,
    "keras-mobilenet": keras_applications.mobilenet,
    "keras-xception": keras_applications.xception,
    "keras-inceptionv3": keras_applications.inception_v3,
    "keras-inceptionresnetv2": inception_resnet_v2.create,
}
INPUT_SIZES = {
    "conv4": 32, "inceptionv3": 299, "xception": 299, "xception71": 299, "resnest101": 256, "resnest200": 320,
    "resnest269": 416, "nasnet_6_4032": 331, "nasnet_7_1920": 331,
    **{name: size for name, (_, _, size) in efficientnet_lite.VARIANTS.items()},
}  # fmt: skip


class Normalize(HybridBlock):
    """(n, H, W, 3) RGB of 0..255 -> (n, 3, H, W), ``(x - mean) * scale`` in the network's channel order.

    Done by a batch norm with fixed statistics, which is twice as fast as the arithmetic written out.

    Parameters
    ----------
    preprocessing : common.backbones.preprocessing.Preprocessing
    turned : bool
        Turn the pictures by 180 degrees, for networks that want them so.
    """

    EPSILON = 1e-5  # the least that batch norm takes; made up for in the variance

    def __init__(self, preprocessing: Preprocessing, turned: bool = False):
        super().__init__()
        self.bgr, self.turned = preprocessing.bgr, turned
        with self.name_scope():
            self.shift = nn.BatchNorm(
                in_channels=3, center=False, scale=False, use_global_stats=True, epsilon=self.EPSILON,
                running_mean_initializer=mx.init.Constant(np.array(preprocessing.mean)),
                running_variance_initializer=mx.init.Constant(np.array(preprocessing.scale) ** -2.0 - self.EPSILON),
            )  # fmt: skip

    def hybrid_forward(self, F, x):
        if self.turned or self.bgr:  # turning by 180 degrees is reading the row of all pixels backwards
            steps = (1, -1 if self.turned else 1, -1 if self.bgr else 1)
            pixels = F.slice(F.reshape(x, (0, -1, 3)), begin=(None,) * 3, end=(None,) * 3, step=steps)
            x = F.reshape_like(pixels, x)
        return self.shift(F.transpose(F.cast(x, "float32"), (0, 3, 1, 2)))


class GlobalMean(HybridBlock):
    """(n, channels, h, w) -> (n, channels): global pooling, in float32 also where the network is INT8."""

    def hybrid_forward(self, F, x):
        return F.mean(F.reshape(x, (0, 0, -1)), axis=2)


class Backbone(HybridBlock):
    """A network that gives a feature vector for a plain picture.

    Called with (n, H, W, 3) RGB of 0..255, uint8 or float, it gives (n, width) float32. The first layer normalises,
    as the parameters want it.

    Attributes
    ----------
    name_ : str
    width : int
        Numbers in a feature vector.
    input_size : int
        Side in pixels of the pictures the network was made for.
    fixed_size : bool
        Whether it takes pictures of one size only: its vectors come from dense layers on maps (VGG, AlexNet, conv4).
    preprocessing : common.backbones.preprocessing.Preprocessing
    source : str
        Where the parameters came from.
    normalize, body, pool : HybridBlock
        From pictures to normalised (n, 3, H, W), on to feature maps (n, channels, h, w), on to vectors (n, width).
    classifier : HybridBlock or None
        From feature vectors (SqueezeNet: from feature maps) to logits; None when it was not asked for.
    """

    def __init__(self, name: str, cut: Cut, preprocessing: Preprocessing, source: str):
        super().__init__()
        self.name_, self.preprocessing, self.source = name, preprocessing, source
        self.input_size, self.turned, self.fixed_size = preprocessing.size, cut.turned, cut.fixed_size
        self._on_maps = cut.on_maps
        with self.name_scope():
            self.normalize = Normalize(preprocessing, cut.turned)
            self.body = cut.body
            self.pool = cut.pool
            self.classifier = cut.classifier
        self.width = 0  # set by `_infer`

    def hybrid_forward(self, F, x):
        return self.pool(self.body(self.normalize(x)))

    def feature_maps(self, x):
        """The last feature maps for plain pictures `x`: (n, channels, h, w), with h and w running as in the picture."""
        maps = self.body(self.normalize(x))
        return mx.nd.reverse(maps, axis=(2, 3)) if self.turned else maps

    def logits(self, x):
        """The logits of the classes it was trained on, for plain pictures `x`: needs ``create(classifier=True)``."""
        maps = self.body(self.normalize(x))
        return self.classifier(maps if self._on_maps else self.pool(maps))

    def early_late(self, share: float = 0.2) -> tuple[list[Parameter], list[Parameter]]:
        """Parameters of the early layers, and of the last block: for fine-tuning it alone or faster.

        The last block is the fewest last layers of `body` and `pool` that hold `share` of all weights: SqueezeNet's
        last fire module, a ResNet's last stage, EfficientNet-Lite's last bottleneck and its head.
        """
        layers = [list(child.collect_params().values()) for part in (self.body, self.pool) for child in _children(part)]
        sizes = [sum(int(np.prod(p.shape)) for p in layer) for layer in layers]
        first = len(layers)
        while sum(sizes[first:]) < share * sum(sizes):
            first -= 1
        return [p for layer in layers[:first] for p in layer], [p for layer in layers[first:] for p in layer]

    def freeze_batch_norm(self) -> None:
        """Keep every batch norm as it is, scales and statistics; call it before `hybridize`.

        For fine-tuning: the statistics of small or class-balanced batches are not those of the pictures at large.
        """

        def freeze(block):
            if isinstance(block, nn.BatchNorm):
                block._kwargs["use_global_stats"] = True
                block.gamma.grad_req = block.beta.grad_req = "null"

        self.apply(freeze)

    def _infer(self, side: int) -> None:
        """Set `width`, and the shapes of all parameters, for pictures of `side` pixels, without running anything."""
        data = mx.sym.var("data")
        maps = self.body(self.normalize(data))
        features = self.pool(maps)
        outputs = [features]
        if self.classifier is not None:
            outputs.append(self.classifier(maps if self._on_maps else features))
        symbol = mx.sym.Group(outputs)
        arguments, shapes, states = symbol.infer_shape(data=(1, side, side, 3))
        self.width = shapes[0][1]
        parameters = self.collect_params()
        names = symbol.list_arguments() + symbol.list_auxiliary_states()
        for name, shape in zip(names, arguments + states):
            if name in parameters:
                parameters[name].shape = shape


def _children(block: HybridBlock) -> list[HybridBlock]:
    return list(block._children.values()) or [block]


@dataclasses.dataclass
class Cut:
    """A network in three parts, see `Backbone`."""

    body: HybridBlock
    pool: HybridBlock
    classifier: HybridBlock | None
    on_maps: bool = False
    fixed_size: bool = False
    turned: bool = False


def cut(net: HybridBlock) -> Cut:
    """Cut `net` into feature maps, pooling and classifier. The fixed pooling of some becomes global pooling."""
    parts = _cut_sequential(net) if isinstance(getattr(net, "features", None), nn.HybridSequential) else _cut_heads(net)
    parts.turned = getattr(net, "turned", False)
    return parts


def _sequential(*layers) -> nn.HybridSequential:
    block = nn.HybridSequential()
    block.add(*layers)
    return block


def _cut_sequential(net) -> Cut:
    """For networks that keep their layers in `features` and their classifier in `output`."""
    layers = list(net.features)
    ends = (nn.GlobalAvgPool2D, nn.AvgPool2D, nn.Flatten, nn.Dense)
    start = next((i for i, layer in enumerate(layers) if isinstance(layer, ends)), len(layers))
    body, tail = layers[:start], [_global(layer) for layer in layers[start:]]
    while tail and isinstance(tail[-1], nn.Dropout):
        tail.pop()
    while isinstance(body[-1], nn.Dropout):
        body.pop()
    fixed = bool(tail) and not isinstance(tail[0], nn.GlobalAvgPool2D)
    classifier, on_maps = getattr(net, "output", None), False
    if isinstance(classifier, nn.HybridSequential):
        head = [_global(layer) for layer in classifier]
        on_maps = any(isinstance(layer, nn.GlobalAvgPool2D) for layer in head)
        classifier = _sequential(*(head if on_maps else [_as_maps(), *head]))
    pools_only = all(isinstance(layer, (nn.GlobalAvgPool2D, nn.Flatten)) for layer in tail) and not fixed
    pool = GlobalMean() if pools_only else _sequential(*tail, nn.Flatten())
    return Cut(_sequential(*body), pool, classifier, on_maps, fixed)


def _cut_heads(net) -> Cut:
    """For networks that are no sequence: their last layers are replaced where they stand."""
    same = functools.partial(nn.HybridLambda, "identity")
    classifier = next((getattr(net, name) for name in ("fc", "output", "classifier") if name in net._children), None)
    pool = GlobalMean()
    if "out_aux" in net._children:  # NASNet: pooling and classifier at the end of one sequence, and a second classifier
        classifier = list(net.out)[-1]
        _replace(net, "out", _sequential(nn.Activation("relu")))
        object.__setattr__(net, "out_aux", None)
        del net._children["out_aux"]
    elif "global_avg_pool" in net._children:  # DLA: pools each level by itself
        pool = nn.Flatten()
    elif "mpool2" in net._children:  # residual attention: flattens at the end, whatever comes
        _replace(net, "mpool2", _sequential(*list(net.mpool2)[:-1], nn.GlobalAvgPool2D()))
        classifier, pool = _sequential(_as_maps(), classifier, nn.Flatten()), nn.Flatten()
    elif "head" in net._children:  # GoogLeNet
        _replace(net, "head", same())
    for name in ("avgpool", "avg", "flat", "drop", "dropout", "fc", "output", "classifier"):
        if name in net._children:
            _replace(net, name, same())
    return Cut(net, pool, classifier)


def _global(layer):
    return nn.GlobalAvgPool2D() if isinstance(layer, nn.AvgPool2D) else layer


def _as_maps():
    """(n, channels) -> (n, channels, 1, 1), for classifiers that are convolutions."""
    return nn.HybridLambda(lambda F, x: F.reshape(x, (0, -1, 1, 1)))


def _replace(net, name: str, block) -> None:
    """Put `block` in the place of the child `name`, which Gluon only allows for a block of the same class."""
    object.__setattr__(net, name, block)
    net._children[name] = block


@functools.cache
def _gluoncv_names() -> tuple[str, ...]:
    from gluoncv.model_zoo import get_model_list

    return tuple(name for name in get_model_list() if not OTHER_TASKS.search(name))


def names() -> list[str]:
    """All networks, in alphabetical order."""
    return sorted({"conv4", *ZOO, *efficientnet_lite.VARIANTS, *KERAS_NETWORKS, *_gluoncv_names()})


def _check(name: str) -> None:
    if name not in ZOO and name not in names():
        raise UserError(f"--model {name}: no such network{near(name, names())}")


def network(name: str, size: int | None = None) -> HybridBlock:
    """The whole network called `name`, classifier included, without values.

    `size` is the side of the pictures in pixels, which Xception as Keras has it needs to know.

    Raises
    ------
    UserError
        No such network; the message has the near names.
    """
    _check(name)
    if name == "conv4":
        return conv4.Conv4()
    if name in efficientnet_lite.VARIANTS:
        return efficientnet_lite.create(name)
    if name == "keras-xception":
        return keras_applications.xception(size)
    if name in KERAS_NETWORKS:
        return KERAS_NETWORKS[name]()
    if name in ZOO:
        return vision.get_model(name)
    from gluoncv import model_zoo

    more = {"pretrained_base": False} if name == "googlenet" else {}
    return model_zoo.get_model(name, pretrained=False, **more)


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
        ``"imagenet"``, a file (`pretrained.find`), or None: without values, for the caller to initialise.
    ctx : mx.Context or list
        Where the values go.
    classifier : bool
        Keep the classifier, for `Backbone.logits`.
    size : int, optional
        Side in pixels of the pictures it will see: decides the width of conv4 and the padding of keras-xception.
    preprocessing : Preprocessing, optional
        Instead of the one that belongs to the weights.

    Raises
    ------
    UserError
        No such network, or the weights cannot be had or do not fit.
    """
    net = network(name, size)
    found = pretrained.find(name, weights) if weights else None
    if found:
        _fill(net, name, found.path, ctx or mx.cpu(), classifier)
    preprocessing = preprocessing or (found.preprocessing if found else _untrained(name))
    if found and preprocessing.bgr:
        preprocessing = _rgb(net, preprocessing)
    parts = cut(net)
    if not classifier:
        parts.classifier = None
    backbone = Backbone(name, parts, preprocessing, found.source if found else "random")
    side = size or preprocessing.size
    try:
        backbone._infer(side)
    except mx.MXNetError as error:  # a pooling larger than what is left of the picture
        raise UserError(f"--image-size {side} is too small for --model {name}: the pictures are pooled away") from error
    if found:
        backbone.normalize.initialize(ctx=ctx or mx.cpu())
    return backbone


def _fill(net: HybridBlock, name: str, path, ctx, classifier: bool) -> None:
    """Values for `net` from a ``.params`` file or a foreign one, the classifier's only where it is wanted."""
    if path.suffix in convert.SUFFIXES:
        convert.load(net, name, path, classifier)
        for parameter in net.collect_params().values():
            if parameter._data is not None:
                parameter.reset_ctx(ctx)
        return
    outside.load_parameters(net, path, f"it does not fit --model {name}", ctx)


def _rgb(net: HybridBlock, preprocessing: Preprocessing) -> Preprocessing:
    """Make `net`, which takes blue first, take red first: turn its first kernel once instead of every picture."""
    first = next(p for p in net.collect_params().values() if p.shape is not None and len(p.shape) == 4)
    first.set_data(first.data(first.list_ctx()[0]).flip(axis=1))
    return dataclasses.replace(preprocessing, mean=preprocessing.mean[::-1], scale=preprocessing.scale[::-1], bgr=False)


def _untrained(name: str) -> Preprocessing:
    size = 32 if name.startswith("cifar_") else INPUT_SIZES.get(name, 224)
    if name in KERAS:
        return KERAS[name]
    return dataclasses.replace(PACKAGED.get(name, IMAGENET), size=size)


def input_size(name: str) -> int:
    """Side in pixels of the pictures a network was made for.

    Raises
    ------
    UserError
        No such network.
    """
    _check(name)
    return _untrained(name).size


@functools.cache
def info(name: str) -> tuple[int, int]:
    """(width, input size in pixels) of a network, from its shapes alone."""
    backbone = create(name)
    return backbone.width, backbone.input_size
