"""Which of a network's layers features are taken from, and how its maps become a vector."""

from __future__ import annotations

from mxnet.gluon import HybridBlock, nn

from common.backbones.backbone import Cut, GlobalMean
from common.files.errors import UserError

POOLINGS = ("avg", "max", "gem", "cls")
POWER = 3.0  # of the generalised mean


class GlobalMax(HybridBlock):
    """(n, channels, h, w) -> (n, channels): the largest of each map."""

    def hybrid_forward(self, F, x):
        """(n, channels, h, w) -> (n, channels)."""
        return F.max(F.reshape(x, (0, 0, -1)), axis=2)


class GeneralisedMean(HybridBlock):
    r"""(n, channels, h, w) -> (n, channels): :math:`(\overline{x^3})^{1/3}` of each map, between mean and largest.

    Of what is above 0 (Radenovic et al. 2019: Fine-tuning CNN Image Retrieval with No Human Annotation, equation 3).
    """

    def hybrid_forward(self, F, x):
        """(n, channels, h, w) -> (n, channels)."""
        rows = F.clip(F.reshape(x, (0, 0, -1)), 1e-6, 1e6)
        return F.mean(rows**POWER, axis=2) ** (1 / POWER)


POOLS = {"avg": GlobalMean, "max": GlobalMax, "gem": GeneralisedMean}


def choose(parts: Cut, layer: int | None, pooling: str | None) -> str:
    """Have features taken elsewhere than at the network's end; the classifier, which does not fit then, goes.

    Parameters
    ----------
    parts : Cut
        Is changed.
    layer : int or None
        The last of the layers of body and pooling that are kept, from 1, or from -1 at the end.
    pooling : {"avg", "max", "gem", "cls", None}
        Of the maps, where a vision transformer's are its patches; ``cls`` is its class token.

    Returns
    -------
    str
        Names the choice among all; "" for the network as it is.

    Raises
    ------
    UserError
        It has no such layer, or no class token.
    """
    if layer is not None:
        _cut_after(parts, layer)
    if pooling == "cls" and not parts.as_maps:
        raise UserError("--pooling cls is the class token of a vision transformer, and this network is none: avg, gem")
    if pooling and pooling != "cls":
        of_maps = [parts.as_maps] if parts.as_maps else []
        parts.pool = _sequential(*of_maps, POOLS[pooling](), *_after_pooling(parts.pool))
        parts.fixed_size = parts.fixed_size and bool(parts.as_maps)
    if layer is None and pooling is None:
        return ""
    parts.classifier = None
    return f" layer {layer} pooling {pooling}"


def _cut_after(parts: Cut, layer: int) -> None:
    if not isinstance(parts.body, nn.HybridSequential):
        raise UserError("--layer: this network is no sequence of layers; --pooling alone can be chosen")
    dense = list(parts.pool)[:-1] if parts.fixed_size and not parts.as_maps else []  # its end flattens once more
    body = list(parts.body)
    count = len(body) + len(dense)
    last = layer + count + 1 if layer < 0 else layer
    if not 1 <= last <= count:
        raise UserError(f"--layer {layer}: the network has layers 1 to {count}, or -{count} to -1")
    parts.body = _sequential(*body[:last])
    if last > len(body):
        parts.pool = _sequential(*dense[: last - len(body)], nn.Flatten())
    elif not parts.as_maps:
        parts.pool, parts.fixed_size = GlobalMean(), False


def _after_pooling(pool) -> list:
    """What a network does to its pooled maps, such as ConvNeXt's norm."""
    layers = list(pool) if isinstance(pool, nn.HybridSequential) else []
    return layers[1:] if layers and isinstance(layers[0], nn.GlobalAvgPool2D) else []


def _sequential(*layers) -> nn.HybridSequential:
    block = nn.HybridSequential()
    block.add(*layers)
    return block
