"""A network cut before its classifier, with the normalisation of pictures as its first layer."""

from __future__ import annotations

import dataclasses
import functools

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock, Parameter, nn

from common.backbones import training_form
from common.backbones.preprocessing import Preprocessing


class Normalize(HybridBlock):
    """(n, H, W, 3) RGB of 0..255 -> (n, 3, H, W), ``(x - mean) * scale`` in the network's channel order.

    Done by a batch norm with fixed statistics, which is twice as fast as the arithmetic written out.

    Parameters
    ----------
    preprocessing : common.backbones.preprocessing.Preprocessing
    rotated : bool
        Rotate the pictures by 180 degrees, for networks that reproduce TensorFlow's asymmetric "same" padding (see
        `common.backbones.architectures.efficientnet_lite`).
    """

    EPSILON = 1e-5  # the smallest that MXNet's batch norm takes; subtracted from the variance

    def __init__(self, preprocessing: Preprocessing, rotated: bool = False):
        super().__init__()
        self.bgr, self.rotated = preprocessing.bgr, rotated
        with self.name_scope():
            self.shift = nn.BatchNorm(
                in_channels=3, center=False, scale=False, use_global_stats=True, epsilon=self.EPSILON,
                running_mean_initializer=mx.init.Constant(np.array(preprocessing.mean)),
                running_variance_initializer=mx.init.Constant(np.array(preprocessing.scale) ** -2.0 - self.EPSILON),
            )  # fmt: skip

    def hybrid_forward(self, F, x):
        """(n, H, W, 3) -> (n, 3, H, W) float32."""
        if self.rotated or self.bgr:  # a rotation by 180 degrees reverses the sequence of all pixels
            steps = (1, -1 if self.rotated else 1, -1 if self.bgr else 1)
            pixels = F.slice(F.reshape(x, (0, -1, 3)), begin=(None,) * 3, end=(None,) * 3, step=steps)
            x = F.reshape_like(pixels, x)
        return self.shift(F.transpose(F.cast(x, "float32"), (0, 3, 1, 2)))


class GlobalMean(HybridBlock):
    """(n, channels, h, w) -> (n, channels): global pooling, in float32 also where the network is INT8."""

    def hybrid_forward(self, F, x):
        """(n, channels, h, w) -> (n, channels)."""
        return F.mean(F.reshape(x, (0, 0, -1)), axis=2)


class Backbone(HybridBlock):
    """A network that gives a feature vector for a plain picture.

    Called with (n, H, W, 3) RGB of 0..255, uint8 or float, it gives (n, width) float32. Its first layer does the
    normalisation that the parameters were trained with.

    Parameters
    ----------
    name : str
    parts : Cut
        The network, see `cut`.
    preprocessing : common.backbones.preprocessing.Preprocessing
    source : str
        Where the parameters came from.
    variant : str
        Where features are taken, see `common.backbones.pooling.choose`; "": at the network's end.

    Attributes
    ----------
    name_ : str
    width : int
        Numbers in a feature vector; 0 before `infer`.
    input_size : int
        Side in pixels of the pictures the network was made for.
    fixed_size : bool
        Whether it takes pictures of one size only: its vectors come from dense layers on maps (VGG, AlexNet, conv4), or
        it has a position for each patch (vision transformers).
    rotated : bool
        Its layers see the pictures rotated by 180 degrees, see `Normalize`.
    preprocessing : common.backbones.preprocessing.Preprocessing
    source, variant : str
        See above.
    taken : dict
        The choice that `variant` names, for `common.backbones.create`.
    normalize, body, pool : HybridBlock
        From pictures to normalised (n, 3, H, W), on to feature maps (n, channels, h, w), on to vectors (n, width). Of a
        vision transformer `body` gives tokens (n, tokens, width), and `pool` takes the class token.
    classifier : HybridBlock or None
        From feature vectors (SqueezeNet: from feature maps) to logits; None when it was not asked for.
    """

    def __init__(self, name: str, parts: Cut, preprocessing: Preprocessing, source: str, variant: str = ""):
        super().__init__()
        self.name_, self.preprocessing, self.source, self.variant = name, preprocessing, source, variant
        self.input_size, self.rotated, self.fixed_size = preprocessing.size, parts.rotated, parts.fixed_size
        self._on_maps, self._as_maps = parts.on_maps, parts.as_maps
        with self.name_scope():
            self.normalize = Normalize(preprocessing, parts.rotated)
            self.body = parts.body
            self.pool = parts.pool
            self.classifier = parts.classifier
        self.width, self.taken = 0, {}

    def hybrid_forward(self, F, x):
        """(n, H, W, 3) -> (n, width) float32."""
        return self.pool(self.body(self.normalize(x)))

    def feature_maps(self, x):
        """The last feature maps of plain pictures `x`: (n, channels, h, w), oriented as the pictures are."""
        maps = self.body(self.normalize(x))
        maps = self._as_maps(maps) if self._as_maps else maps
        return mx.nd.reverse(maps, axis=(2, 3)) if self.rotated else maps

    def logits(self, x):
        """The logits of plain pictures `x`, (n, classes) of the pretraining's classes.

        The network has to be made with its classifier, by ``create(classifier=True)``.
        """
        maps = self.body(self.normalize(x))
        return self.classifier(maps if self._on_maps else self.pool(maps))

    def early_late(self, fraction: float = 0.2) -> tuple[list[Parameter], list[Parameter]]:
        """Parameters of the early layers, and of the last block: for fine-tuning it alone or faster.

        The last block is the fewest last layers of `body` and `pool` that hold `fraction` of all weights: SqueezeNet's
        last fire module, a ResNet's last stage, EfficientNet-Lite's last bottleneck and its head.
        """
        layers = [list(child.collect_params().values()) for part in (self.body, self.pool) for child in _children(part)]
        sizes = [sum(int(np.prod(p.shape)) for p in layer) for layer in layers]
        first = len(layers)
        while sum(sizes[first:]) < fraction * sum(sizes):
            first -= 1
        return [p for layer in layers[:first] for p in layer], [p for layer in layers[first:] for p in layer]

    def freeze_batch_norm(self) -> None:
        """Keep scales and statistics of every batch norm as they are; call it before `hybridize`.

        For fine-tuning: the statistics of small or class-balanced batches are not those of the data set.
        """

        def freeze(block):
            if isinstance(block, nn.BatchNorm):
                block._kwargs["use_global_stats"] = True
                block.gamma.grad_req = block.beta.grad_req = "null"

        self.apply(freeze)

    def follow_batches(self, momentum: float = 0.9) -> None:
        """Let the running statistics of every batch norm follow the batches; call it before `hybridize`.

        For fine-tuning of all layers: Keras's networks have a momentum of 0.99, whose statistics are those of the
        weights of a hundred steps ago.

        Parameters
        ----------
        momentum : float
            What stays of a statistic in each step; 0.9 is MXNet's default and PyTorch's, who calls it 0.1.
        """

        def follow(block):
            if isinstance(block, nn.BatchNorm):
                block._kwargs["momentum"] = momentum

        self.apply(follow)

    def hybridize(self, active: bool = True, **options) -> None:
        """As `HybridBlock.hybridize`; takes `speed_up_training` back, so what is exported or quantised is as it was."""
        training_form.write(self, False)
        super().hybridize(active, **options)

    def speed_up_training(self) -> None:
        """See `common.backbones.training_form.speed_up_training`."""
        training_form.speed_up_training(self)

    def infer(self, side: int) -> None:
        """Set `width`, and the shapes of all parameters, for pictures of `side` pixels, without a forward pass.

        Raises
        ------
        mxnet.MXNetError
            Pictures of that size are smaller than a pooling window.
        """
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
    """A network in three parts, see `Backbone`.

    Attributes
    ----------
    body, pool : HybridBlock
    classifier : HybridBlock or None
    on_maps : bool
        The classifier takes the feature maps instead of the vectors.
    fixed_size, rotated : bool
    as_maps : HybridBlock or None
        Makes maps (n, channels, h, w) of what `body` gives, where it gives tokens.
    """

    body: HybridBlock
    pool: HybridBlock
    classifier: HybridBlock | None
    on_maps: bool = False
    fixed_size: bool = False
    rotated: bool = False
    as_maps: HybridBlock | None = None


def cut(net: HybridBlock) -> Cut:
    """Cut `net` into feature maps, pooling and classifier. The fixed pooling of some becomes global pooling."""
    parts = _cut_sequential(net) if isinstance(getattr(net, "features", None), nn.HybridSequential) else _cut_heads(net)
    parts.rotated, parts.as_maps = getattr(net, "rotated", False), getattr(net, "as_maps", None)
    return parts


def _sequential(*layers) -> nn.HybridSequential:
    block = nn.HybridSequential()
    block.add(*layers)
    return block


def _cut_sequential(net) -> Cut:
    """For networks that keep their layers in `features` and their classifier in `output`."""
    layers = list(net.features)
    ends = (nn.GlobalAvgPool2D, nn.AvgPool2D, nn.Flatten, nn.Dense)
    pools = (i for i, layer in enumerate(layers) if isinstance(layer, ends) or getattr(layer, "pools", False))
    start = next(pools, len(layers))
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
    """For networks that are no sequence: their last layers are replaced by the identity."""
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
    elif "mpool2" in net._children:  # residual attention: flattens at the end in any case
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
    """Replace the child `name` by `block`; setting the attribute would only take a block of the same class."""
    object.__setattr__(net, name, block)
    net._children[name] = block
