"""VGG, ResNet50, MobileNet, Xception and InceptionV3 as Keras's applications have them, to the last rounding.

They differ from the zoo's networks of the same names: batch norm's epsilon and missing scale, biases, padding, and
averages that leave out the padding. Each layer carries its Keras name in `keras`, or None where Keras numbers its
layers (``conv2d_7``): those are registered here in the order in which Keras makes them. `common.backbones.convert`
fills them.
"""

from __future__ import annotations

from collections.abc import Sequence

from mxnet.gluon import HybridBlock, nn
from mxnet.gluon.contrib.nn import HybridConcurrent
from mxnet.gluon.model_zoo import vision

from common.backbones.architectures.efficientnet_lite import ReLU6


class Network(HybridBlock):
    """`features`, which end in global pooling, and `output`, the classifier.

    Parameters
    ----------
    *layers : HybridBlock
    classes : int
    """

    def __init__(self, *layers: HybridBlock, classes: int = 1000):
        super().__init__()
        with self.name_scope():
            self.features = sequence(*layers, nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = named(nn.Dense(classes), "predictions")

    def hybrid_forward(self, F, x):
        """(n, 3, H, W) -> logits (n, classes)."""
        return self.output(self.features(x))


def named(layer: HybridBlock, keras: str | None) -> HybridBlock:
    """Give a layer its name in Keras.

    Parameters
    ----------
    layer : HybridBlock
    keras : str or None
        Kept as its attribute `keras`; None where Keras numbers the layer.

    Returns
    -------
    HybridBlock
        `layer`.
    """
    layer.keras = keras
    return layer


def sequence(*layers: HybridBlock) -> nn.HybridSequential:
    """`layers`, one after the other."""
    block = nn.HybridSequential()
    block.add(*layers)
    return block


def branches(*parts: HybridBlock) -> HybridConcurrent:
    """`parts`, side by side, their channels put together."""
    block = HybridConcurrent(axis=1)
    block.add(*parts)
    return block


def conv(filters: int, kernel, stride: int = 1, same: bool = True, name: str | None = None, bias: bool = False):
    """A convolution.

    Parameters
    ----------
    filters : int
    kernel : int or (int, int)
        Height and width.
    stride : int
    same : bool
        Padding that keeps the size; with stride 1 and odd kernels it is TensorFlow's.
    name : str, optional
        Of the layer in Keras.
    bias : bool
    """
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    pad = tuple(k // 2 for k in kernel) if same else 0
    return named(nn.Conv2D(filters, kernel, stride, pad, use_bias=bias), name)


def norm(name: str | None = None, scale: bool = True, epsilon: float = 1e-3) -> nn.BatchNorm:
    """Batch norm with Keras's usual epsilon.

    Parameters
    ----------
    name : str, optional
        Of the layer in Keras.
    scale : bool
        With a learned scale.
    epsilon : float
    """
    return named(nn.BatchNorm(scale=scale, epsilon=epsilon, momentum=0.99), name)


def unit(filters: int, kernel, stride: int = 1, same: bool = True, name: str | None = None) -> nn.HybridSequential:
    """Convolution, batch norm without scale, ReLU: the unit of the Inception networks.

    Parameters
    ----------
    filters, kernel, stride, same, name
        See `conv`.
    """
    after = name and f"{name}_bn"
    return sequence(conv(filters, kernel, stride, same, name), norm(after, scale=False), nn.Activation("relu"))


def mean3() -> nn.AvgPool2D:
    """The mean of 3 x 3 pixels, without those outside of the picture."""
    return nn.AvgPool2D(3, 1, 1, count_include_pad=False)


class Sum(HybridBlock):
    """``shortcut(x) + body(x)``, with x itself where there is no shortcut, then ReLU where `active`.

    Parameters
    ----------
    body : HybridBlock
    shortcut : HybridBlock, optional
    active : bool
    """

    def __init__(self, body: HybridBlock, shortcut: HybridBlock | None = None, active: bool = False):
        super().__init__()
        self.active = active
        with self.name_scope():
            self.shortcut, self.body = shortcut, body

    def hybrid_forward(self, F, x):
        """(n, channels, h, w) -> maps of the shape that `body` gives."""
        total = self.body(x) + (x if self.shortcut is None else self.shortcut(x))
        return F.relu(total) if self.active else total


def vgg(depth: int) -> HybridBlock:
    """VGG16 or VGG19 (Simonyan and Zisserman 2014): the zoo's, with Keras's names."""
    net = vision.get_model(f"vgg{depth}")
    block, number = 1, 0
    for layer in net.features:
        if isinstance(layer, nn.Conv2D):
            number += 1
            layer.keras = f"block{block}_conv{number}"
        elif isinstance(layer, nn.MaxPool2D):
            block, number = block + 1, 0
    dense = [layer for layer in net.features if isinstance(layer, nn.Dense)]
    dense[0].keras, dense[1].keras, net.output.keras = "fc1", "fc2", "predictions"
    return net


def resnet50() -> HybridBlock:
    """ResNet50 (He et al. 2015): strides in the first 1x1 convolution, and biases."""

    def conv_norm(name, filters, kernel, stride=1):
        return [conv(filters, kernel, stride, name=f"{name}_conv", bias=True), norm(f"{name}_bn", epsilon=1.001e-5)]

    layers = [*conv_norm("conv1", 64, 7, 2), nn.Activation("relu"), nn.MaxPool2D(3, 2, 1)]
    for stage, (repeats, filters) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 2):
        for i in range(repeats):
            name = f"conv{stage}_block{i + 1}"
            stride = 2 if i == 0 and stage > 2 else 1
            shortcut = None if i else sequence(*conv_norm(f"{name}_0", 4 * filters, 1, stride))
            body = sequence(
                *conv_norm(f"{name}_1", filters, 1, stride), nn.Activation("relu"),
                *conv_norm(f"{name}_2", filters, 3), nn.Activation("relu"), *conv_norm(f"{name}_3", 4 * filters, 1),
            )  # fmt: skip
            layers.append(Sum(body, shortcut, active=True))
    return Network(*layers)


def mobilenet() -> HybridBlock:
    """MobileNet (Howard et al. 2017). Runs rotated by 180 degrees, for EfficientNet-Lite's reason.

    Equal to Keras at sides that are multiples of 32; where a layer has an odd side, Keras drops a row instead.
    """
    layers = [conv(32, 3, 2, name="conv1"), norm("conv1_bn"), ReLU6()]
    before = 32
    pairs = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for i, (filters, stride) in enumerate(pairs, 1):
        deep = named(nn.Conv2D(before, 3, stride, 1, groups=before, use_bias=False, in_channels=before), f"conv_dw_{i}")
        layers += [deep, norm(f"conv_dw_{i}_bn"), ReLU6()]
        layers += [conv(filters, 1, name=f"conv_pw_{i}"), norm(f"conv_pw_{i}_bn"), ReLU6()]
        before = filters
    net = Network(*layers)
    net.output.keras = "conv_preds"
    net.rotated = True
    return net


class Separable(HybridBlock):
    """A depthwise 3x3 convolution, then a 1x1 one: one layer in Keras, with two kernels.

    Parameters
    ----------
    before, filters : int
        Channels of the input and of the output.
    name : str
        Of the layer in Keras.
    """

    def __init__(self, before: int, filters: int, name: str):
        super().__init__()
        self.keras = name
        with self.name_scope():
            self.deep = nn.Conv2D(before, 3, 1, 1, groups=before, use_bias=False, in_channels=before)
            self.point = nn.Conv2D(filters, 1, use_bias=False, in_channels=before)

    def hybrid_forward(self, F, x):
        """(n, before, h, w) -> (n, filters, h, w)."""
        return self.point(self.deep(x))


def same_pool(size: int) -> nn.MaxPool2D:
    """3 x 3 maxima at stride 2 with TensorFlow's "same" padding, for maps of `size` pixels."""
    return nn.MaxPool2D(3, 2, 1) if size % 2 else nn.MaxPool2D(3, 2, 0, ceil_mode=True)


def xception(size: int | None = None) -> HybridBlock:
    """Xception (Chollet 2016), for pictures of `size` pixels (299): its pooling depends on whether a side is odd."""

    def separables(block: int, filters: Sequence[int], before: int, first_active: bool, last_active: bool = False):
        layers = [nn.Activation("relu")] if first_active else []
        for i, count in enumerate(filters, 1):
            name = f"block{block}_sepconv{i}"
            layers += [Separable(before, count, name), norm(f"{name}_bn")]
            layers += [nn.Activation("relu")] if i < len(filters) or last_active else []
            before = count
        return layers

    size = ((size or 299) - 3) // 2 - 1  # after two convolutions without padding
    layers = [conv(32, 3, 2, False, "block1_conv1"), norm("block1_conv1_bn"), nn.Activation("relu")]
    layers += [conv(64, 3, 1, False, "block1_conv2"), norm("block1_conv2_bn"), nn.Activation("relu")]

    def shrinking(block, filters, before, size, first_active=True):
        shortcut = sequence(conv(filters[-1], 1, 2), norm())
        return Sum(sequence(*separables(block, filters, before, first_active), same_pool(size)), shortcut)

    before = 64
    for block, filters in ((2, 128), (3, 256), (4, 728)):
        layers.append(shrinking(block, (filters, filters), before, size, block > 2))
        before, size = filters, (size + 1) // 2
    layers += [Sum(sequence(*separables(block, (728, 728, 728), 728, True))) for block in range(5, 13)]
    layers.append(shrinking(13, (728, 1024), 728, size))
    layers += separables(14, (1536, 2048), 1024, False, True)
    return Network(*layers)


def inception_v3() -> HybridBlock:
    """InceptionV3 (Szegedy et al. 2015)."""

    def chain(*units):
        return sequence(*(unit(*u) for u in units))

    def a(pool):
        pooled = sequence(mean3(), unit(pool, 1))
        return branches(unit(64, 1), chain((48, 1), (64, 5)), chain((64, 1), (96, 3), (96, 3)), pooled)

    def b(n):
        seven = chain((n, 1), (n, (1, 7)), (192, (7, 1)))
        double = chain((n, 1), (n, (7, 1)), (n, (1, 7)), (n, (7, 1)), (192, (1, 7)))
        return branches(unit(192, 1), seven, double, sequence(mean3(), unit(192, 1)))

    def c():
        def ends():
            return branches(unit(384, (1, 3)), unit(384, (3, 1)))

        three, double = sequence(unit(384, 1), ends()), sequence(unit(448, 1), unit(384, 3), ends())
        return branches(unit(320, 1), three, double, sequence(mean3(), unit(192, 1)))

    shrink_a = branches(unit(384, 3, 2, False), chain((64, 1), (96, 3), (96, 3, 2, False)), nn.MaxPool2D(3, 2))
    mixed = [a(32), a(64), a(64), shrink_a, b(128), b(160), b(160), b(192)]
    seven = chain((192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, False))
    mixed += [branches(chain((192, 1), (320, 3, 2, False)), seven, nn.MaxPool2D(3, 2)), c(), c()]
    return Network(*inception_stem(), *mixed)


def inception_stem() -> list[HybridBlock]:
    """What InceptionV3 and InceptionResNetV2 begin with: 299 pixels to 35."""
    return [
        unit(32, 3, 2, False), unit(32, 3, 1, False), unit(64, 3), nn.MaxPool2D(3, 2),
        unit(80, 1), unit(192, 3, 1, False), nn.MaxPool2D(3, 2),
    ]  # fmt: skip
