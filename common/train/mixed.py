"""Mixed precision: a network computes in 16 bits; its parameters, losses and updates stay in 32.

MXNet's `amp` lowers the graph of one network here, by its lists of operators. `amp.init` would replace operators for
the whole process: losses, evaluation and what is exported would be lowered too, and a bfloat16 array that NumPy is
given comes out as other numbers.

References
----------
P. Micikevicius et al.: Mixed Precision Training. ICLR 2018.
"""

from __future__ import annotations

import json

import mxnet as mx
from mxnet.contrib import amp
from mxnet.gluon import Block, HybridBlock, Trainer

from common import devices
from common.backbones import training_form

DATA = "lowered_data"  # the name of a lowered network's input


class LossScale:
    """The factor of the loss by which small gradients stay above nought in 16 bits.

    A step whose gradients are not finite is left out, and the next one has half the factor; after `GROWTH` steps
    without such a one it doubles. MXNet's own scaler halves a step later, and so leaves out two.

    Attributes
    ----------
    value : float
        The factor of the next step, a power of two.
    since : int
        Steps since it changed.
    skipped : int
        Steps that were left out, in the whole training.
    """

    START, LARGEST, GROWTH = 2.0**16, 2.0**24, 2000

    def __init__(self):
        self.value, self.since, self.skipped = self.START, 0, 0

    def update(self, finite: bool) -> None:
        """Take in a step, whose gradients were all `finite` or not."""
        if not finite:
            self.value, self.since, self.skipped = self.value / 2, 0, self.skipped + 1
            return
        self.since += 1
        if self.since == self.GROWTH:
            self.value, self.since = min(2 * self.value, self.LARGEST), 0


def start(wanted: bool, trainer: Trainer, net: Block, backbone: HybridBlock) -> None:
    """For ``--amp``: from now on `backbone` computes in 16 bits, and the losses of `trainer` are scaled.

    Parameters
    ----------
    wanted : bool
        Otherwise all stays as it is.
    trainer : gluon.Trainer
        Of `common.train.optimizer`.
    net : gluon.Block
        Hybridized; has `backbone` in it, or is it.
    backbone : gluon.HybridBlock
        Takes one array, and gives one in float32 as before.
    """
    stop(net)
    if not wanted:
        return
    contexts = next(iter(backbone.collect_params().values())).list_ctx()
    # Batch norm and ReLU in one would stay in 32 bits, with conversions around them.
    training_form.write(backbone, False, (training_form.NormReLU, training_form.ReLU))
    lower(backbone, devices.half(contexts), contexts[0].device_type == "cpu")
    _forget_graphs(net)
    trainer.loss_scale = LossScale()


def stop(net: Block) -> None:
    """Let what `start` lowered in `net` compute in float32 again."""

    def restore(block):
        if vars(block).pop("hybrid_forward", None):
            lowered.append(block)

    lowered: list = []
    net.apply(restore)
    if lowered:
        _forget_graphs(net)


def lower(block: HybridBlock, dtype: str, on_cpu: bool) -> None:
    """Trace the graph of `block` with 16 bits in it.

    Parameters
    ----------
    block : gluon.HybridBlock
        Hybridized.
    dtype : {"float16", "bfloat16"}
    on_cpu : bool
        Keep convolutions in groups, depthwise ones above all, in float32: oneDNN's bfloat16 ones are slow.
    """
    if not block._active:
        raise ValueError("a network is lowered as a graph: hybridize it before")
    original = block.hybrid_forward

    def hybrid_forward(F, x, **parameters):
        symbol = original(F, F.var(DATA), **parameters)
        kept = _depthwise(symbol) if on_cpu else []
        lowered = amp.convert_symbol(symbol, dtype, data_names=[DATA], excluded_sym_names=kept)
        return F.amp_cast(lowered(**{DATA: x}), dtype="float32")

    block.hybrid_forward = hybrid_forward


def _depthwise(symbol: mx.sym.Symbol) -> list[str]:
    """The names of the convolutions in groups."""
    nodes = json.loads(symbol.tojson())["nodes"]
    return [node["name"] for node in nodes if int(node.get("attrs", {}).get("num_group", 1)) > 1]


def _forget_graphs(net: Block) -> None:
    """Have every block trace its graph anew."""
    net.apply(lambda block: block._clear_cached_op() if isinstance(block, HybridBlock) else None)
