"""The embedding network: a backbone, one dense layer, and the unit sphere."""

from __future__ import annotations

from pathlib import Path

import mxnet as mx
from mxnet.gluon import HybridBlock, nn

from common import backbones
from common.backbones import modelfile
from common.backbones.preprocessing import Preprocessing
from common.files import outside
from common.files.errors import UserError, reading

KIND = "embedding_learning"
REMEDY = "give another --params, a model that train.py wrote"
FIELDS = {"model": str, "embed_dim": outside.whole, "crop": outside.whole, "preprocessing": dict}


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

    def put_head(self, weight, bias) -> None:
        """Replace the dense layer by one with these values.

        Parameters
        ----------
        weight : (embed_dim, width) array
        bias : (embed_dim,) array
        """
        ctx = self.dense.weight.list_ctx()
        self.embed_dim = len(weight)
        with self.name_scope():
            self.dense = nn.Dense(self.embed_dim, in_units=self.backbone.width)
        self.dense.initialize(ctx=ctx)
        self.dense.weight.set_data(mx.nd.array(weight))
        self.dense.bias.set_data(mx.nd.array(bias))


def weights(args) -> str | None:
    """Where the network starts by the flags: ``"imagenet"``, a file, or None for random values.

    Raises
    ------
    UserError
        A flag freezes what was not learned before.
    """
    found = args.params or ("imagenet" if args.use_pretrained else None)
    if not found and args.head != "margin":
        raise UserError(
            f"--head {args.head} is fitted to features of a network that has learned, and this one has not: add"
            " --use-pretrained or --params"
        )
    if not found and (args.backbone_lr == 0 or args.freeze_batch_norm):
        flag = "--backbone-lr 0" if args.backbone_lr == 0 else "--freeze-batch-norm"
        raise UserError(f"{flag} keeps what was learned before, and nothing was: add --use-pretrained or --params")
    return found


def is_frozen(args) -> bool:
    """Whether the backbone stays as it is by the flags: it then reads every picture once."""
    return args.backbone_lr == 0 or args.head != "margin"


def hold_back(backbone, weights: str | None, rate: float, freeze_batch_norm: bool = False) -> None:
    """Let a pretrained backbone move slowly, or not at all.

    Parameters
    ----------
    backbone : common.backbones.Backbone
    weights : str or None
        Where its values are from; without any, all of it learns at full rate.
    rate : float
        Factor of the learning rate of its convolutions; 0 freezes all of it.
    freeze_batch_norm : bool
        Keep its batch norms, scales and statistics, as they are.
    """
    if freeze_batch_norm:
        backbone.freeze_batch_norm()
    for name, parameter in backbone.collect_params().items() if weights else ():
        if rate == 0:
            parameter.grad_req = "null"
        elif "conv" in name:
            parameter.lr_mult = rate


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
    if weights and weights != "imagenet" and modelfile.is_model(weights, "embed_dim", REMEDY):
        net, metadata = load(weights, ctx)
        if (metadata["model"], metadata["embed_dim"]) != (name, embed_dim):
            raise UserError(
                f"--params {weights} holds --model {metadata['model']} --embed-dim {metadata['embed_dim']}:"
                f" give these two flags, or other parameters for {name}"
            )
        net.backbone.source = f"file {Path(weights).name}"
        return net
    backbone = backbones.create(name, weights, ctx, size=size)
    net = EmbeddingNet(backbone, embed_dim)
    (net.dense if weights else net).initialize(mx.init.Xavier(magnitude=2), ctx=ctx)
    return net


def save(net: EmbeddingNet, path, arrays=None, **metadata) -> None:
    """Write a model file, see `common.backbones.modelfile`.

    Parameters
    ----------
    net : EmbeddingNet
    path : path
        Of the file, ``.params``.
    arrays : mapping of str to array, optional
        What belongs to the model besides.
    **metadata
        What is kept besides the network's description: ``crop``, ``resize``, ``keep_aspect`` (what a picture goes
        through), ``dataset``, ``classes`` (how many), ``metrics``.
    """
    described = {
        "model": net.backbone.name_,
        "embed_dim": net.embed_dim,
        "preprocessing": net.backbone.preprocessing.to_dict(),
    }
    # The mean over devices, whose batch norms have statistics of their own.
    parameters = {name: p._reduce() for name, p in net._collect_params_with_prefix().items()}
    modelfile.save(path, KIND, parameters, {**described, **metadata}, arrays)


def load(path, ctx=None) -> tuple[EmbeddingNet, dict]:
    """The network that `save` wrote, hybridized, and its metadata.

    Raises
    ------
    UserError
        The file is missing, damaged or no such model.
    """
    file = modelfile.load(path, KIND, FIELDS, REMEDY)
    metadata = file.metadata
    with reading(file.described_in, REMEDY):
        modelfile.check_network(metadata["model"])
        preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
        backbone = backbones.create(metadata["model"], size=metadata["crop"], preprocessing=preprocessing)
        net = EmbeddingNet(backbone, metadata["embed_dim"])
    with reading(path, REMEDY):
        modelfile.fill(net, file.parameters, ctx or mx.cpu())
    net.hybridize(static_alloc=True, static_shape=True)
    return net, metadata
