"""f(x): the network that gives a picture its vector."""

from __future__ import annotations

import mxnet as mx
from mxnet.gluon import HybridBlock, nn

from common import backbones
from common.backbones.preprocessing import Preprocessing
from common.backbones.training_form import NormReLU, ReLU
from common.files.errors import UserError

SMALL = "resnet20"  # the default network, from scratch; every other name is one of common.backbones
MAX_DEFAULT_DIM = 256  # numbers in a vector, where none are asked for
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10's training pictures, on 0..1


class Residual(HybridBlock):
    """Two 3x3 convolutions added to their input; a 1x1 convolution fits the input where the shape changes."""

    def __init__(self, channels: int, stride: int, in_channels: int):
        super().__init__()
        with self.name_scope():
            self.body = nn.HybridSequential(prefix="")
            self.body.add(
                nn.Conv2D(channels, 3, stride, 1, use_bias=False, in_channels=in_channels),
                NormReLU(in_channels=channels),
                ReLU(),
                nn.Conv2D(channels, 3, 1, 1, use_bias=False, in_channels=channels),
                nn.BatchNorm(in_channels=channels),
            )
            self.fit = None
            if stride != 1 or channels != in_channels:
                self.fit = nn.HybridSequential(prefix="fit_")
                self.fit.add(
                    nn.Conv2D(channels, 1, stride, use_bias=False, in_channels=in_channels),
                    nn.BatchNorm(in_channels=channels),
                )

    def hybrid_forward(self, F, x):
        # F.Activation, not F.relu: oneDNN runs it in its own memory layout, which saves a third of a training step
        return F.Activation(self.body(x) + (self.fit(x) if self.fit else x), "relu")


class ResNet20(HybridBlock):
    """The 20-layer residual network for 32x32 pictures (He et al. 2016, section 4.2): 0.27 million parameters.

    Takes (n, H, W, 3) pixels of 0..255 in any dtype and gives (n, 64) features. Unlike the paper's, its two
    shortcuts that change the shape are 1x1 convolutions (the paper's option B).

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun: Deep Residual Learning for Image Recognition. CVPR 2016.
    """

    width, input_size = 64, 32

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.mean = self.params.get_constant("mean", [[[[255 * value]] for value in MEAN]])
            self.std = self.params.get_constant("std", [[[[255 * value]] for value in STD]])
            self.body = nn.HybridSequential(prefix="")
            self.body.add(nn.Conv2D(16, 3, 1, 1, use_bias=False, in_channels=3))
            self.body.add(NormReLU(in_channels=16), ReLU())
            before = 16
            for channels in (16, 32, 64):
                for _ in range(3):
                    self.body.add(Residual(channels, 1 if channels == before else 2, before))
                    before = channels

    def hybrid_forward(self, F, x, mean, std):
        x = F.transpose(F.cast(x, "float32"), axes=(0, 3, 1, 2))
        return F.mean(self.body(F.broadcast_div(F.broadcast_sub(x, mean), std)), axis=(2, 3))


def head(width: int, dim: int, mean: bool = True, ctx=None) -> nn.HybridSequential:
    """Features (n, width) -> f(x) (n, dim), with values: see `Im2Vec`."""
    made = nn.HybridSequential(prefix="head_")
    with made.name_scope():
        standard = nn.BatchNorm(in_channels=width, beta_initializer="ones" if mean else "zeros")
        made.add(standard, nn.Dense(dim, use_bias=False, in_units=width))
    made.initialize(mx.init.Xavier(), ctx=ctx or mx.cpu())
    return made


class Im2Vec(HybridBlock):
    """A picture's vector f(x): a backbone, its features standardised over the batch, and a linear map.

    Parameters
    ----------
    backbone : HybridBlock
        Pixels (n, H, W, 3) in, (n, width) features out.
    width : int
        Of the features.
    dim : int
        Length of a picture's vector, and so of a class's.
    mean : bool
        Initialise the batch norm's beta to 1, so that E[f] != 0. Under negative sampling the v_c first learn the class
        prior along E[f]; with v_c = 0 and E[f] = 0 training stalls, for epochs where there are many classes. A softmax
        knows the prior from the start, and the mean would make its steps too large.
    ctx : mx.Context or list, optional
        Where the map's values are.
    """

    def __init__(self, backbone: HybridBlock, width: int, dim: int, mean: bool = True, ctx=None):
        super().__init__()
        with self.name_scope():
            self.backbone = backbone
            self.head = head(width, dim, mean, ctx)

    def hybrid_forward(self, F, x):
        return self.head(self.backbone(x))


def create(
    name: str,
    dim: int | None = None,
    size: int | None = None,
    weights=None,
    preprocessing: dict | None = None,
    ctx=None,
    mean: bool = True,
) -> Im2Vec:
    """f(x) on the network `name`, with values.

    Parameters
    ----------
    name : str
        ``resnet20``, or one of `common.backbones.list_backbones`.
    dim : int, optional
        Length of the vectors; None is the width of the features, at most `MAX_DEFAULT_DIM`. Kept as ``net.dim``.
    size : int, optional
        Side in pixels of the pictures it will see; None is what the network was made for. Kept as ``net.size``.
    weights : str or None
        ``"imagenet"`` or a file, see `common.backbones.create`; None draws the values.
    preprocessing : dict, optional
        Instead of the one that belongs to the weights: what `description` gave.
    ctx : mx.Context or list, optional
    mean : bool
        See `Im2Vec`.
    """
    ctx = ctx or mx.cpu()
    backbone = _backbone(name, weights, ctx, size, Preprocessing.from_dict(preprocessing) if preprocessing else None)
    if not weights:
        backbone.initialize(mx.init.MSRAPrelu(slope=0), ctx=ctx)
    dim = dim or min(backbone.width, MAX_DEFAULT_DIM)
    net = Im2Vec(backbone, backbone.width, dim, mean, ctx)
    net.size, net.dim = size or backbone.input_size, dim
    return net


def _backbone(name: str, weights, ctx, size: int | None, preprocessing: Preprocessing | None) -> HybridBlock:
    """The network `name`. A size that cannot go through it is one line."""
    if name == SMALL:
        return ResNet20()
    try:
        return backbones.create(name, weights, ctx=ctx, size=size, preprocessing=preprocessing)
    except mx.MXNetError as error:
        if not size:
            raise
        raise UserError(f"--image-size {size} is too small for {name}: give more, or leave it out") from error


def description(net: Im2Vec) -> dict | None:
    """The preprocessing inside a network of `common.backbones`, as plain data; None for ResNet-20, whose is fixed."""
    found = getattr(net.backbone, "preprocessing", None)
    return found.to_dict() if found else None
