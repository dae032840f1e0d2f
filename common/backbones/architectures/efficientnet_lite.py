"""EfficientNet-Lite 0, 1 and 2 (Google, 2020): EfficientNet (Tan and Le 2019) made for telephones.

Inverted bottlenecks without squeeze-and-excitation, ReLU6, stem and head the same in all three.

The weights were trained with TensorFlow's "same" padding. A convolution of kernel k and stride 2 there has k // 2 rows
of padding below the picture, and above it k // 2 for an odd number of rows but one fewer for an even number; Gluon pads
both sides alike. With the picture and each kernel rotated by 180 degrees, padding of k // 2 on both sides is
TensorFlow's at every size, without a padding layer (which INT8 could not fuse: a third of the speed). `Backbone`
rotates the picture, `convert` the kernels.

timm trained the same network again with k // 2 on both sides and a smaller epsilon, and names its parameters alike: of
these nothing is rotated.
"""

from __future__ import annotations

import math

from mxnet.gluon import HybridBlock, nn

from common.backbones.training_form import LANES

STAGES = (  # repeats, kernel, stride, expansion, filters: EfficientNet-B0, table 1 of the paper
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280
EPSILON, TIMM_EPSILON = 1e-3, 1e-5  # of the batch norms


class Conv(nn.Conv2D):
    """A convolution that can be written `quick`: in the form whose gradients oneDNN computes fastest.

    With channels in multiples of 16, one vector of the processor: oneDNN keeps maps of other widths (24 and 40
    channels) in blocks of 8, and its batch norm then goes back by a loop that is 70 times as slow, since what comes
    from the layers around it is in blocks of 16.

    And a depthwise kernel in parts of three columns: of wider ones, and on maps of fewer rows than the kernel has, the
    gradient of the weights is 10 to 40 times as slow.
    """

    quick = False

    def hybrid_forward(self, F, x, weight):
        """The convolution of `x`; quick, widened by zeros and cut again, or by columns, which changes no number."""
        kwargs = dict(self._kwargs)
        if self.quick and kwargs["num_group"] > 1 and kwargs["kernel"] == (5, 5):
            return self._by_columns(F, x, weight, kwargs)
        if not self.quick or kwargs["num_group"] > 1:
            return F.Convolution(x, weight, **kwargs)
        filters, inputs = (-count % LANES for count in (self._channels, self._in_channels))
        if inputs and self._in_channels > LANES:  # the picture's three are a case of their own to oneDNN
            # As (n, channels, h * w), of which no operator of oneDNN takes hold: its concat would end inside a block.
            rows = widen(F, F.reshape(x, (0, 0, -1)), inputs, axis=1)
            x = F.reshape_like(rows, x, lhs_begin=2, lhs_end=3, rhs_begin=2, rhs_end=4)
            weight = widen(F, weight, inputs, axis=1)
        if filters:
            weight = widen(F, weight, filters, axis=0)
        maps = F.Convolution(x, weight, **{**kwargs, "num_filter": self._channels + filters})
        return F.slice_axis(maps, axis=1, begin=0, end=self._channels) if filters else maps

    def _by_columns(self, F, x, weight, kwargs):
        """A 5x5 kernel's columns 1 to 3 on maps with two zero columns at the left, and 4 and 5 on such at the right."""
        depthwise = {"num_group": self._channels, "num_filter": self._channels, "no_bias": True}

        def grown(maps, corner):
            # A row and a column more, by a 2x2 kernel that is one at a corner: `pad` and `concat` of zeros know none of
            # oneDNN's layouts. MXNet may compute the gradient of this constant too, so the kernel is of a quick size.
            one = F.one_hot(F.full(shape=(self._channels,), val=corner), depth=4)
            one = F.reshape(one, (self._channels, 1, 2, 2))
            return F.Convolution(maps, one, kernel=(2, 2), pad=(1, 1), **depthwise)

        left, right = grown(grown(x, 0), 2), grown(grown(x, 1), 3)  # both with a zero row above and one below
        first, last = (F.slice_axis(weight, axis=3, begin=begin, end=end) for begin, end in ((0, 3), (3, 5)))
        last = F.concat(F.zeros_like(F.slice_axis(weight, axis=3, begin=0, end=1)), last, dim=3)
        kwargs = {**kwargs, "kernel": (5, 3), "pad": (1, 0)}
        return F.Convolution(left, first, **kwargs) + F.Convolution(right, last, **kwargs)


def widen(F, array, count: int, axis: int):
    """`array` with zeros behind it.

    Parameters
    ----------
    F : module
        `mxnet.ndarray` or `mxnet.symbol`.
    array : NDArray or Symbol
    count : int
        Of zeros, at most the array's length.
    axis : int
        Along which they follow.
    """
    zeros = F.zeros_like(F.slice_axis(array, axis=axis, begin=0, end=count))
    return F.concat(array, zeros, dim=axis)


class NormReLU6(nn.BatchNorm):
    """The batch norm before a ReLU6; `quick`, both in one.

    MXNet's `clip` knows none of oneDNN's layouts: each one costs reorderings to plain arrays and back, half of a
    training step. With operators that do: a batch norm followed by ReLU gives u = max(6 - x, 0), and min(max(x, 0), 6)
    is max(6 - u, 0), by a second one, whose factor and offset undo the running statistics that it takes.
    """

    quick = False

    def hybrid_forward(self, F, x, gamma, beta, running_mean, running_var):
        """`x` normalised, and clipped where it is quick."""
        if not self.quick:
            return super().hybrid_forward(F, x, gamma, beta, running_mean, running_var)
        norm = F.contrib.BatchNormWithReLU
        kwargs = {name: value for name, value in self._kwargs.items() if name not in ("axis", "fix_gamma")}
        u = norm(x, -gamma, 6 - beta, running_mean, running_var, fix_gamma=False, **kwargs)
        kwargs["use_global_stats"] = True
        gain, offset = F.BlockGrad(-F.sqrt(running_var + kwargs["eps"])), F.BlockGrad(6 - running_mean)
        return norm(u, gain, offset, running_mean, running_var, fix_gamma=False, **kwargs)


class ReLU6(HybridBlock):
    """min(max(x, 0), 6); `quick`, the batch norm before it has done it."""

    quick = False

    def hybrid_forward(self, F, x):
        """`x` clipped."""
        return x if self.quick else F.clip(x, 0, 6)


def conv(
    block: nn.HybridSequential, filters: int, kernel: int, stride: int, channels: int, groups=1, active=True,
    epsilon: float = EPSILON,
):  # fmt: skip
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
    epsilon : float
        Of the batch norm.
    """
    norm = NormReLU6 if active else nn.BatchNorm
    block.add(
        Conv(filters, kernel, stride, kernel // 2, groups=groups, use_bias=False, in_channels=channels),
        norm(epsilon=epsilon, momentum=0.99, in_channels=filters),
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
    epsilon : float
        Of the batch norms.
    """

    def __init__(
        self, channels: int, filters: int, kernel: int, stride: int, expansion: int, epsilon: float = EPSILON
    ):
        super().__init__()
        self.residual = stride == 1 and channels == filters
        inner = channels * expansion
        with self.name_scope():
            self.body = nn.HybridSequential()
            if expansion != 1:
                conv(self.body, inner, 1, 1, channels, epsilon=epsilon)
            conv(self.body, inner, kernel, stride, inner, groups=inner, epsilon=epsilon)
            conv(self.body, filters, 1, 1, inner, active=False, epsilon=epsilon)

    def hybrid_forward(self, F, x):
        """(n, channels, h, w) -> (n, filters, h / stride, w / stride)."""
        return self.body(x) + x if self.residual else self.body(x)


class EfficientNetLite(HybridBlock):
    """EfficientNet-Lite, as `features` (to 1,280 channels) and `output` (classifier).

    Takes pictures (n, 3, H, W) of any size, with TensorFlow's padding rotated by 180 degrees.

    Parameters
    ----------
    width, depth : float
        Multipliers of the filters (rounded to multiples of 8) and of the repeats (rounded up).
    tensorflow : bool
        Padding and epsilon as Google trained it; False: as timm did, whose padding is alike on both sides.
    classes : int
    """

    def __init__(self, width: float, depth: float, tensorflow: bool = True, classes: int = 1000):
        super().__init__()
        self.rotated, epsilon = tensorflow, EPSILON if tensorflow else TIMM_EPSILON
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="features_")
            conv(self.features, STEM, 3, 2, 3, epsilon=epsilon)
            channels = STEM
            for number, (repeats, kernel, stride, expansion, filters) in enumerate(STAGES):
                filters = round_filters(filters * width)
                if number not in (0, len(STAGES) - 1):
                    repeats = math.ceil(repeats * depth)
                for i in range(repeats):
                    step = stride if i == 0 else 1
                    self.features.add(InvertedBottleneck(channels, filters, kernel, step, expansion, epsilon))
                    channels = filters
            conv(self.features, HEAD, 1, 1, channels, epsilon=epsilon)
            self.features.add(nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes, in_units=HEAD)

    def hybrid_forward(self, F, x):
        """(n, 3, H, W) -> logits (n, classes)."""
        return self.output(self.features(x))


def round_filters(filters: float) -> int:
    """The multiple of 8 nearest to `filters`, but never below 90 % of it, as MobileNet and EfficientNet round them."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded
