"""EfficientNet-Lite 0, 1 and 2 (Google, 2020): EfficientNet (Tan and Le 2019) made for telephones.

Inverted bottlenecks without squeeze-and-excitation, ReLU6, stem and head the same in all three. Padding is TensorFlow's
"same": where a stride of 2 meets an even size, the extra row and column lie at the bottom and at the right.
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
VARIANTS = {  # name: width, depth, input size in pixels
    "efficientnet_lite0": (1.0, 1.0, 224),
    "efficientnet_lite1": (1.0, 1.1, 240),
    "efficientnet_lite2": (1.1, 1.2, 260),
}
STEM, HEAD, EPSILON = 32, 1280, 1e-3


class SameConv(HybridBlock):
    """A convolution without bias, padded as TensorFlow's "same" pads an input of `size` pixels."""

    def __init__(self, filters: int, kernel: int, stride: int, size: int, channels: int, groups: int = 1):
        super().__init__()
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        before, after = total // 2, total - total // 2
        self.uneven = (0, 0, 0, 0, before, after, before, after) if before != after else None
        with self.name_scope():
            self.conv = nn.Conv2D(
                filters,
                kernel,
                stride,
                0 if self.uneven else before,
                groups=groups,
                use_bias=False,
                in_channels=channels,
            )

    def hybrid_forward(self, F, x):
        if self.uneven:
            x = F.pad(x, mode="constant", constant_value=0, pad_width=self.uneven)
        return self.conv(x)


class ReLU6(HybridBlock):
    """min(max(x, 0), 6)."""

    def hybrid_forward(self, F, x):
        return F.clip(x, 0, 6)


def _conv(block: nn.HybridSequential, filters, kernel, stride, size, channels, groups=1, active=True) -> None:
    block.add(SameConv(filters, kernel, stride, size, channels, groups))
    block.add(nn.BatchNorm(epsilon=EPSILON, momentum=0.99, in_channels=filters))
    if active:
        block.add(ReLU6())


class InvertedBottleneck(HybridBlock):
    """Expand by 1x1, filter each channel, project by 1x1; added to the input where the shapes agree."""

    def __init__(self, channels: int, filters: int, kernel: int, stride: int, expansion: int, size: int):
        super().__init__()
        self.residual = stride == 1 and channels == filters
        inner = channels * expansion
        with self.name_scope():
            self.body = nn.HybridSequential()
            if expansion != 1:
                _conv(self.body, inner, 1, 1, size, channels)
            _conv(self.body, inner, kernel, stride, size, inner, groups=inner)
            _conv(self.body, filters, 1, 1, math.ceil(size / stride), inner, active=False)

    def hybrid_forward(self, F, x):
        return self.body(x) + x if self.residual else self.body(x)


class EfficientNetLite(HybridBlock):
    """EfficientNet-Lite, as `features` (to 1,280 channels) and `output` (classifier).

    Parameters
    ----------
    width, depth : float
        Multipliers of the filters (rounded to multiples of 8) and of the repeats (rounded up).
    size : int
        Input size in pixels that the padding is computed for.
    classes : int
    """

    def __init__(self, width: float, depth: float, size: int, classes: int = 1000):
        super().__init__()
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="features_")
            _conv(self.features, STEM, 3, 2, size, 3)
            size, channels = math.ceil(size / 2), STEM
            for number, (repeats, kernel, stride, expansion, filters) in enumerate(STAGES):
                filters = _round8(filters * width)
                if number not in (0, len(STAGES) - 1):
                    repeats = math.ceil(repeats * depth)
                for i in range(repeats):
                    step = stride if i == 0 else 1
                    self.features.add(InvertedBottleneck(channels, filters, kernel, step, expansion, size))
                    size, channels = math.ceil(size / step), filters
            _conv(self.features, HEAD, 1, 1, size, channels)
            self.features.add(nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes, in_units=HEAD)

    def hybrid_forward(self, F, x):
        return self.output(self.features(x))


def _round8(filters: float) -> int:
    """The multiple of 8 nearest to `filters`, but never below 90 % of it."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def create(name: str, size: int | None = None) -> EfficientNetLite:
    """`name` is one of `VARIANTS`; `size` the input size, by default the variant's own."""
    width, depth, own = VARIANTS[name]
    return EfficientNetLite(width, depth, size or own)
