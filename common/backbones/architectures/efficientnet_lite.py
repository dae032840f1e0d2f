"""EfficientNet-Lite 0, 1 and 2 (Google, 2020): EfficientNet (Tan and Le 2019) made for telephones.

Inverted bottlenecks without squeeze-and-excitation, ReLU6, stem and head the same in all three.

The weights were trained with TensorFlow's "same" padding. A convolution of kernel k and stride 2 there has k // 2 rows
of padding below the picture, and above it k // 2 for an odd number of rows but one fewer for an even number; Gluon pads
both sides alike. With the picture and each kernel rotated by 180 degrees, padding of k // 2 on both sides is
TensorFlow's at every size, without a padding layer (which INT8 could not fuse: a third of the speed). `Backbone`
rotates the picture, `convert` the kernels.
"""

from __future__ import annotations

import math

from mxnet.gluon import HybridBlock, nn

STAGES = (  # repeats, kernel, stride, expansion, filters: EfficientNet-B0, table 1 of the paper
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD, EPSILON = 32, 1280, 1e-3


class ReLU6(HybridBlock):
    """min(max(x, 0), 6)."""

    def hybrid_forward(self, F, x):
        """`x` clipped."""
        return F.clip(x, 0, 6)


def conv(block: nn.HybridSequential, filters: int, kernel: int, stride: int, channels: int, groups=1, active=True):
    """Append a convolution, its batch norm, and ReLU6 to a sequence.

    Parameters
    ----------
    block : nn.HybridSequential
    filters, kernel, stride : int
    channels : int
        Of the input.
    groups : int
    active : bool
        With ReLU6.
    """
    block.add(
        nn.Conv2D(filters, kernel, stride, kernel // 2, groups=groups, use_bias=False, in_channels=channels),
        nn.BatchNorm(epsilon=EPSILON, momentum=0.99, in_channels=filters),
    )
    if active:
        block.add(ReLU6())


class InvertedBottleneck(HybridBlock):
    """Expand by 1x1, filter each channel, project by 1x1; added to the input where the shapes agree.

    Section 3 of MobileNetV2 (Sandler et al. 2018).

    Parameters
    ----------
    channels, filters : int
        Of the input and of the output.
    kernel, stride : int
    expansion : int
        Factor of the channels in between.
    """

    def __init__(self, channels: int, filters: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        self.residual = stride == 1 and channels == filters
        inner = channels * expansion
        with self.name_scope():
            self.body = nn.HybridSequential()
            if expansion != 1:
                conv(self.body, inner, 1, 1, channels)
            conv(self.body, inner, kernel, stride, inner, groups=inner)
            conv(self.body, filters, 1, 1, inner, active=False)

    def hybrid_forward(self, F, x):
        """(n, channels, h, w) -> (n, filters, h / stride, w / stride)."""
        return self.body(x) + x if self.residual else self.body(x)


class EfficientNetLite(HybridBlock):
    """EfficientNet-Lite, as `features` (to 1,280 channels) and `output` (classifier).

    Takes pictures (n, 3, H, W) of any size, rotated by 180 degrees.

    Parameters
    ----------
    width, depth : float
        Multipliers of the filters (rounded to multiples of 8) and of the repeats (rounded up).
    classes : int
    """

    rotated = True

    def __init__(self, width: float, depth: float, classes: int = 1000):
        super().__init__()
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="features_")
            conv(self.features, STEM, 3, 2, 3)
            channels = STEM
            for number, (repeats, kernel, stride, expansion, filters) in enumerate(STAGES):
                filters = round_filters(filters * width)
                if number not in (0, len(STAGES) - 1):
                    repeats = math.ceil(repeats * depth)
                for i in range(repeats):
                    step = stride if i == 0 else 1
                    self.features.add(InvertedBottleneck(channels, filters, kernel, step, expansion))
                    channels = filters
            conv(self.features, HEAD, 1, 1, channels)
            self.features.add(nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes, in_units=HEAD)

    def hybrid_forward(self, F, x):
        """(n, 3, H, W) -> logits (n, classes)."""
        return self.output(self.features(x))


def round_filters(filters: float) -> int:
    """The multiple of 8 nearest to `filters`, but never below 90 % of it, as MobileNet and EfficientNet round them."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded
