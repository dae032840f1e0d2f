"""The small network of few-shot learning (Vinyals et al. 2016), for pictures of 28 to 64 pixels."""

from __future__ import annotations

from mxnet.gluon import HybridBlock, nn

from common.backbones.training_form import NormReLU, ReLU


class Conv4(HybridBlock):
    """Four 3x3 convolutions of 32, 64, 128 and 128 channels, each with batch norm, ReLU and 2x2 max pooling."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="features_")
            for channels, before in ((32, 3), (64, 32), (128, 64), (128, 128)):
                self.features.add(
                    nn.Conv2D(channels, 3, padding=1, in_channels=before),
                    NormReLU(in_channels=channels),
                    ReLU(),
                    nn.MaxPool2D(2),
                )
            self.features.add(nn.Flatten())  # no global average: where a stroke lies tells characters apart

    def hybrid_forward(self, F, x):
        """(n, 3, H, W) -> (n, 128 * (H // 16) * (W // 16))."""
        return self.features(x)
