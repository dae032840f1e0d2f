"""ConvNeXt (Liu et al. 2022): a convolutional network with a transformer's blocks, norms and activation."""

from __future__ import annotations

import mxnet as mx
from mxnet.gluon import HybridBlock, nn

EPSILON = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of maps (n, channels, h, w).

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int):
        super().__init__(epsilon=EPSILON, in_channels=channels)

    def hybrid_forward(self, F, x, gamma, beta):
        """The maps, normalised at every place."""
        last = super().hybrid_forward(F, F.transpose(x, (0, 2, 3, 1)), gamma, beta)
        return F.transpose(last, (0, 3, 1, 2))


class Mlp(HybridBlock):
    """Two dense layers on the last axis, GELU between them.

    Parameters
    ----------
    channels, hidden : int
    quick : bool
        ``x * sigmoid(1.702 x)`` in the place of GELU, as OpenAI's CLIP has it.
    """

    def __init__(self, channels: int, hidden: int, quick: bool = False):
        super().__init__()
        self.quick_gelu = quick
        with self.name_scope():
            self.fc1 = nn.Dense(hidden, flatten=False, in_units=channels)
            self.fc2 = nn.Dense(channels, flatten=False, in_units=hidden)

    def hybrid_forward(self, F, x):
        """(..., channels) -> (..., channels)."""
        x = self.fc1(x)
        x = x * F.sigmoid(1.702 * x) if self.quick_gelu else F.LeakyReLU(x, act_type="gelu")
        return self.fc2(x)


class Block(HybridBlock):
    """7 x 7 depthwise, layer norm, an MLP of four times the width, LayerScale; added to the input (section 2.6).

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int):
        super().__init__()
        with self.name_scope():
            self.conv_dw = nn.Conv2D(channels, 7, padding=3, groups=channels, in_channels=channels)
            self.norm = nn.LayerNorm(epsilon=EPSILON, in_channels=channels)
            self.mlp = Mlp(channels, 4 * channels)
            self.gamma = self.params.get("gamma", shape=(channels,), init=mx.init.Constant(1e-6))

    def hybrid_forward(self, F, x, gamma):
        """(n, channels, h, w) -> the same shape."""
        rows = self.mlp(self.norm(F.transpose(self.conv_dw(x), (0, 2, 3, 1))))
        return x + F.transpose(F.broadcast_mul(rows, gamma), (0, 3, 1, 2))


class ConvNeXt(HybridBlock):
    """ConvNeXt, as `features` (the stem, four stages, pooling and a norm) and `output` (classifier).

    Parameters
    ----------
    depths : sequence of int
        Blocks of each stage.
    width : int
        Channels of the first stage; each further one has twice as many.
    classes : int
    """

    def __init__(self, depths, width: int, classes: int = 1000):
        super().__init__()
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="features_")
            stem = nn.HybridSequential()
            stem.add(nn.Conv2D(width, 4, 4, in_channels=3), ChannelNorm(width))
            self.features.add(stem)
            for number, depth in enumerate(depths):
                stage, channels = nn.HybridSequential(), width << number
                if number:
                    stage.add(ChannelNorm(channels // 2), nn.Conv2D(channels, 2, 2, in_channels=channels // 2))
                stage.add(*(Block(channels) for _ in range(depth)))
                self.features.add(stage)
            norm = nn.LayerNorm(epsilon=EPSILON, in_channels=channels)
            self.features.add(nn.GlobalAvgPool2D(), nn.Flatten(), norm)
            self.output = nn.Dense(classes, in_units=channels)

    def hybrid_forward(self, F, x):
        """(n, 3, H, W) -> logits (n, classes)."""
        return self.output(self.features(x))
