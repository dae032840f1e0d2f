"""Layers that can be written `quick`: in the operators that oneDNN trains fastest.

A network is read, exported and quantised in the plain form of its layers. Each of them that has another one has an
attribute `quick`, False at first; parameters are the same in both, and numbers but for rounding.
"""

from __future__ import annotations

import mxnet as mx
from mxnet.gluon import Block, nn

from common import devices

LANES = 16  # numbers in a vector of the processor


def speed_up_training(block: Block) -> None:
    """Write the layers in the form that oneDNN trains fastest, where they have one; call it after `hybridize`.

    The process also keeps what memory it frees from then on. On a GPU, and where nothing is trained, all stays as it
    is.

    Parameters
    ----------
    block : gluon.Block
        With a context.
    """
    parameters = block.collect_params().values()
    trained = any(p.grad_req != "null" for p in parameters)
    on_cpu = all(ctx.device_type == "cpu" for p in parameters for ctx in p.list_ctx())
    quick = trained and on_cpu and mx.runtime.Features().is_enabled("MKLDNN")
    if quick:
        block.apply(_pair)
    write(block, quick)
    if trained and on_cpu:
        devices.keep_freed_memory()


def write(block: Block, quick: bool, kinds: type | tuple[type, ...] = Block) -> None:
    """Write layers in their quick or in their plain form.

    Parameters
    ----------
    block : gluon.Block
    quick : bool
    kinds : type or tuple of types
        Layers of other ones stay as they are.
    """
    def visit(layer):
        if hasattr(layer, "quick") and isinstance(layer, kinds):
            layer.quick = quick

    block.apply(visit)


def _pair(block: Block) -> None:
    """Have the batch norms of a sequence that a ReLU follows be layers with a quick form, of which the zoos know none.

    Of whole vectors of the processor: of others oneDNN has no fast kernel.
    """
    layers = list(block._children.values()) if isinstance(block, nn.HybridSequential) else []
    for norm, following in zip(layers, layers[1:]):
        if type(norm) is not nn.BatchNorm or type(following) is not nn.Activation or following._act_type != "relu":
            continue
        if norm._kwargs["axis"] == 1 and norm.gamma.shape[0] % LANES == 0:
            norm.__class__, following.__class__ = NormReLU, ReLU


class NormReLU(nn.BatchNorm):
    """The batch norm before a `ReLU`; `quick`, both in one, which goes over the maps once instead of twice.

    Then MXNet's engine is not told that the backward pass writes the running statistics. What reads them has to wait
    for what that pass gives: another pass does, since it needs the weights that the gradients change.
    """

    quick = False

    def hybrid_forward(self, F, x, gamma, beta, running_mean, running_var):
        """`x` normalised, and cut at 0 where it is quick."""
        if not self.quick:
            return super().hybrid_forward(F, x, gamma, beta, running_mean, running_var)
        kwargs = {name: value for name, value in self._kwargs.items() if name != "axis"}
        return F.contrib.BatchNormWithReLU(x, gamma, beta, running_mean, running_var, **kwargs)


class ReLU(nn.Activation):
    """max(x, 0); `quick`, the `NormReLU` before it has done it."""

    quick = False

    def __init__(self, **kwargs):
        super().__init__("relu", **kwargs)

    def hybrid_forward(self, F, x):
        """`x` cut at 0."""
        return x if self.quick else super().hybrid_forward(F, x)
