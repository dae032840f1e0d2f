"""The embedding network: a backbone, one dense layer, and the unit sphere."""

from __future__ import annotations

from pathlib import Path

import mxnet as mx
from mxnet.gluon import HybridBlock, nn

from common import backbones
from common.backbones.preprocessing import Preprocessing
from common.files import outside
from common.files.disk import atomic, save_arrays, write_json
from common.files.errors import UserError, reading

CARD = "give another --params, a model that train.py wrote"
FIELDS = {"model": str, "embed_dim": outside.whole, "crop": outside.whole}


class EmbeddingNet(HybridBlock):
    """Pictures (n, H, W, 3), 0..255 -> unit vectors (n, embed_dim).

    Parameters
    ----------
    backbone : common.backbones.Backbone
    embed_dim : int
    """

    def __init__(self, backbone, embed_dim: int):
        super().__init__()
        self.embed_dim = embed_dim
        with self.name_scope():
            self.backbone = backbone
            self.dense = nn.Dense(embed_dim, in_units=backbone.width)

    def hybrid_forward(self, F, x):
        return F.L2Normalization(self.dense(self.backbone(x)))

    def embed(self, features):
        """Backbone features (n, width) -> unit vectors: the head alone."""
        return mx.nd.L2Normalization(self.dense(features))


def create(name: str, embed_dim: int, weights: str | None, ctx, size: int) -> EmbeddingNet:
    """A network to be trained.

    Parameters
    ----------
    name : str
        The backbone, see `common.backbones.list_backbones`.
    embed_dim : int
    weights : str or None
        None: random. ``"imagenet"`` or a file of the backbone's parameters: the dense layer is random. A file that
        `save` wrote: training goes on from it, dense layer included.
    ctx : mx.Context or list
    size : int
        Side in pixels of the pictures it will see.

    Raises
    ------
    UserError
        The weights cannot be had or belong to another network.
    """
    if weights and weights != "imagenet" and _card(Path(weights)):
        net, card = load(weights, ctx)
        if (card["model"], card["embed_dim"]) != (name, embed_dim):
            raise UserError(
                f"--params {weights} holds --model {card['model']} --embed-dim {card['embed_dim']}:"
                f" give these two flags, or other parameters for {name}"
            )
        net.backbone.source = f"file {Path(weights).name}"
        return net
    backbone = backbones.create(name, weights, ctx, size=size)
    net = EmbeddingNet(backbone, embed_dim)
    (net.dense if weights else net).initialize(mx.init.Xavier(magnitude=2), ctx=ctx)
    return net


def _card(path: Path) -> dict | None:
    """What `save` wrote beside its parameters; None if there is nothing of the kind."""
    file = path.with_suffix(".json")
    card = outside.read_json(file, CARD) if file.is_file() else {}
    return card if "embed_dim" in card else None


def save(net: EmbeddingNet, path, **card) -> None:
    """Write the parameters to `path` (``.params``) and, beside it (``.json``), what is needed to build the network."""
    path = Path(path)
    backbone = net.backbone
    with atomic(path) as beside:
        save_arrays(beside, {name: p._reduce() for name, p in net._collect_params_with_prefix().items()})
    write_json(
        path.with_suffix(".json"),
        {
            "model": backbone.name_,
            "embed_dim": net.embed_dim,
            **backbone.preprocessing.to_dict(),
            **card,
        },
    )


def load(path, ctx=None) -> tuple[EmbeddingNet, dict]:
    """The network that `save` wrote, and its card.

    Raises
    ------
    UserError
        A file is missing or does not belong to such a network.
    """
    path = Path(path)
    card_path = path.with_suffix(".json")
    if not path.is_file() or not card_path.is_file():
        raise UserError(f"{path}: no model there (a .params file and its .json); train.py writes one")
    card = outside.read_json(card_path, CARD)
    with reading(card_path, CARD):
        outside.check_fields(card, FIELDS)
        preprocessing = Preprocessing.from_dict(card)
        if card["model"] not in backbones.list_backbones():
            raise ValueError(f"no network is called {card['model'][:40]!r}")
        backbone = backbones.create(card["model"], size=card["crop"], preprocessing=preprocessing)
        net = EmbeddingNet(backbone, card["embed_dim"])
    outside.load_parameters(net, path, f"give another --params, one that fits {card_path.name}", ctx)
    net.hybridize(static_alloc=True, static_shape=True)
    return net, card
