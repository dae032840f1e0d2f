"""InceptionResNetV2 (Szegedy et al. 2016), as Keras has it."""

from __future__ import annotations

from mxnet.gluon import HybridBlock, nn

from common.backbones.architectures.keras_applications import (
    Network,
    branches,
    conv,
    inception_stem,
    mean3,
    sequence,
    unit,
)


class ScaledSum(HybridBlock):
    """``x + scale * body(x)``, then ReLU where `active` (section 3.3 of the paper).

    Parameters
    ----------
    body : HybridBlock
    scale : float
    active : bool
    """

    def __init__(self, body: HybridBlock, scale: float, active: bool = True):
        super().__init__()
        self.scale, self.active = scale, active
        with self.name_scope():
            self.body = body

    def hybrid_forward(self, F, x):
        """(n, channels, h, w) -> the same shape."""
        total = x + self.scale * self.body(x)
        return F.relu(total) if self.active else total


def chain(*units) -> HybridBlock:
    """Units one after the other, each given as the arguments of `unit`."""
    return sequence(*(unit(*u) for u in units))


KINDS = {  # channels, scale of the sum, the branches' units
    "block35": (320, 0.17, [[(32, 1)], [(32, 1), (32, 3)], [(32, 1), (48, 3), (64, 3)]]),
    "block17": (1088, 0.1, [[(192, 1)], [(128, 1), (160, (1, 7)), (192, (7, 1))]]),
    "block8": (2080, 0.2, [[(192, 1)], [(192, 1), (224, (1, 3)), (256, (3, 1))]]),
}


def block(kind: str, number: int, last: bool = False) -> ScaledSum:
    """Inception branches, brought back to the number of channels by a 1x1 convolution and added to the input.

    Parameters
    ----------
    kind : str
        A key of `KINDS`.
    number : int
        Keras's number of it, from 1.
    last : bool
        The last of block8 is neither scaled nor followed by a ReLU.
    """
    channels, scale, parts = KINDS[kind]
    mixed = branches(*(chain(*part) for part in parts))
    up = conv(channels, 1, name=f"{kind}_{number}_conv", bias=True)
    return ScaledSum(sequence(mixed, up), 1.0 if last else scale, active=not last)


def create() -> Network:
    """The network, for pictures of 299 pixels; 1,536 features."""
    pooled = sequence(mean3(), unit(64, 1))
    layers = [
        *inception_stem(),
        branches(unit(96, 1), chain((48, 1), (64, 5)), chain((64, 1), (96, 3), (96, 3)), pooled),
        *(block("block35", i) for i in range(1, 11)),
        branches(unit(384, 3, 2, False), chain((256, 1), (256, 3), (384, 3, 2, False)), nn.MaxPool2D(3, 2)),
        *(block("block17", i) for i in range(1, 21)),
        branches(
            chain((256, 1), (384, 3, 2, False)), chain((256, 1), (288, 3, 2, False)),
            chain((256, 1), (288, 3), (320, 3, 2, False)), nn.MaxPool2D(3, 2),
        ),
        *(block("block8", i, last=i == 10) for i in range(1, 11)),
        unit(1536, 1, name="conv_7b"),
    ]  # fmt: skip
    return Network(*layers)
