"""SE-ResNet (Hu et al. 2018) as timm has it, which strides in the 3 x 3 convolution; gluoncv's has no such weights."""

from __future__ import annotations

from mxnet.gluon import HybridBlock, nn


class SqueezeExcite(HybridBlock):
    """Each channel times what two layers make of the means of all (section 3).

    Parameters
    ----------
    channels, hidden : int
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        with self.name_scope():
            self.fc1 = nn.Conv2D(hidden, 1, in_channels=channels)
            self.fc2 = nn.Conv2D(channels, 1, in_channels=hidden)

    def hybrid_forward(self, F, x):
        """(n, channels, h, w) -> the same shape."""
        means = F.mean(x, axis=(2, 3), keepdims=True)
        return F.broadcast_mul(x, F.sigmoid(self.fc2(F.relu(self.fc1(means)))))


class Bottleneck(HybridBlock):
    """1 x 1, 3 x 3 and 1 x 1 convolution, squeeze and excitation, added to the input.

    Parameters
    ----------
    before, filters : int
        Channels that come in, and of the 3 x 3 convolution; four times as many go out.
    stride : int
    """

    def __init__(self, before: int, filters: int, stride: int):
        super().__init__()
        after = 4 * filters
        with self.name_scope():
            self.body = nn.HybridSequential()
            self.body.add(
                nn.Conv2D(filters, 1, use_bias=False, in_channels=before), nn.BatchNorm(in_channels=filters),
                nn.Activation("relu"),
                nn.Conv2D(filters, 3, stride, 1, use_bias=False, in_channels=filters),
                nn.BatchNorm(in_channels=filters), nn.Activation("relu"),
                nn.Conv2D(after, 1, use_bias=False, in_channels=filters), nn.BatchNorm(in_channels=after),
            )  # fmt: skip
            self.se = SqueezeExcite(after, after // 16)
            self.shortcut = None
            if before != after:
                self.shortcut = nn.HybridSequential()
                self.shortcut.add(
                    nn.Conv2D(after, 1, stride, use_bias=False, in_channels=before), nn.BatchNorm(in_channels=after)
                )

    def hybrid_forward(self, F, x):
        """(n, before, h, w) -> (n, 4 * filters, h / stride, w / stride)."""
        return F.relu(self.se(self.body(x)) + (self.shortcut(x) if self.shortcut else x))


class SEResNet(HybridBlock):
    """SE-ResNet, as `features` and `output` (classifier).

    Parameters
    ----------
    depths : sequence of int
        Bottlenecks of each stage.
    classes : int
    """

    def __init__(self, depths, classes: int = 1000):
        super().__init__()
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="features_")
            self.features.add(
                nn.Conv2D(64, 7, 2, 3, use_bias=False, in_channels=3), nn.BatchNorm(in_channels=64),
                nn.Activation("relu"), nn.MaxPool2D(3, 2, 1),
            )  # fmt: skip
            channels = 64
            for number, depth in enumerate(depths):
                stage, filters = nn.HybridSequential(), 64 << number
                for i in range(depth):
                    stage.add(Bottleneck(channels, filters, 2 if number and not i else 1))
                    channels = 4 * filters
                self.features.add(stage)
            self.features.add(nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes, in_units=channels)

    def hybrid_forward(self, F, x):
        """(n, 3, H, W) -> logits (n, classes)."""
        return self.output(self.features(x))
