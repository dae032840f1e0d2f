"""The loss, its miner and the memory that the flags ask for. Imports nothing slow: wrong flags answer at once."""

from __future__ import annotations

import argparse
import inspect

from common import cli
from common.files.errors import UserError, near

PAIR_LOSSES = {  # of what a miner chooses
    "margin": "MarginLoss",
    "contrastive": "ContrastiveLoss",
    "triplet": "TripletLoss",
    "multi-similarity": "MultiSimilarityLoss",
    "nt-xent": "NTXentLoss",
    "supcon": "SupConLoss",
    "circle": "CircleLoss",
    "lifted-structure": "LiftedStructureLoss",
    "fast-ap": "FastAPLoss",
    "smooth-ap": "SmoothAPLoss",
}
CLASS_LOSSES = {  # of vectors learned for the classes
    "proxy-nca++": "ProxyNCALoss",
    "proxy-anchor": "ProxyAnchorLoss",
    "soft-triple": "SoftTripleLoss",
    "softmax": "NormalisedSoftmaxLoss",
    "arcface": "ArcFaceLoss",
    "cosface": "CosFaceLoss",
    "sub-centre-arcface": "SubCentreArcFaceLoss",
}
LOSSES = {**PAIR_LOSSES, "n-pair": "NPairLoss", **CLASS_LOSSES}
MINERS = {
    "distance-weighted": "DistanceWeightedMiner",
    "semihard": "SemihardMiner",
    "batch-hard": "BatchHardMiner",
    "multi-similarity": "MultiSimilarityMiner",
    "uniform": "UniformMiner",
    "all": "AllPairsMiner",
}
USUAL_MINER = {"margin": "distance-weighted", "triplet": "semihard", "multi-similarity": "multi-similarity"}  # else all
OF_MARGIN = ("margin", "beta", "nu", "lr_beta")  # flags of the margin loss alone
OF_BATCH = (*PAIR_LOSSES, "n-pair", "proxy-anchor")  # losses in which one picture's value depends on the others
OF_CLASSES = ("lr_classes", "class_start")  # of losses that learn class vectors
MAY_BE_0 = ("base", "margin", "pos_margin", "tau")


def check(args, defaults) -> None:
    """Refuse flags that do nothing for the head or the loss, and widths that are none of its embeddings.

    Parameters
    ----------
    args : argparse.Namespace
    defaults : dict of str to value
        What the flags of loss and optimisation are where they are not given.

    Raises
    ------
    UserError
        Names the flag.
    """
    if args.head != "margin":
        for name in (name for name, default in defaults.items() if getattr(args, name) != default):
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} has no effect on --head {args.head}, which trains nothing: leave it out")
        if args.backbone_lr not in (0, 0.01):
            raise UserError(f"--backbone-lr has no effect on --head {args.head}, whose network is frozen: leave it out")
    if args.amp and (args.backbone_lr == 0 or args.head != "margin"):
        raise UserError("--amp is for a backbone that is trained, and this one is frozen: leave it out")
    names = (*OF_MARGIN, *OF_CLASSES, "miner", "memory")
    given = [name for name in names if getattr(args, name) != defaults[name]]
    for name in given:
        flag, loss = f"--{name.replace('_', '-')}", f"--loss {args.loss}"
        if name in OF_MARGIN and args.loss != "margin":
            raise UserError(f"{flag} is of --loss margin: leave it out; what {loss} has is set by --loss-options")
        if name in OF_CLASSES and args.loss not in CLASS_LOSSES:
            raise UserError(f"{flag} has no effect on {loss}, which learns no class vectors: leave it out")
        if name in ("miner", "memory") and args.loss not in PAIR_LOSSES:
            raise UserError(f"{flag} has no effect on {loss}, which needs no pairs: leave it out")
    if args.gather and args.loss not in OF_BATCH:
        raise UserError(
            f"--gather has no effect on --loss {args.loss}, which compares pictures with classes and not with each"
            " other: leave it out"
        )
    if args.gather and (args.kvstore == "dist_async" or args.gradient_compression):
        flag = "--gradient-compression" if args.gradient_compression else "--kvstore dist_async"
        why = "embeddings arrive as they are" if args.gradient_compression else "workers wait for each other"
        raise UserError(f"--gather needs that {why}, with {flag} they do not: leave one of the two out")
    widths = args.whiten
    if widths and (widths != sorted(set(widths)) or widths[0] < 2 or widths[-1] > args.embed_dim):
        given = ",".join(map(str, widths))
        raise UserError(f"--whiten {given}: give rising widths from 2 to --embed-dim {args.embed_dim}")
    widths = args.matryoshka
    if widths and (widths != sorted(set(widths)) or widths[0] < 2 or widths[-1] != args.embed_dim):
        raise UserError(
            f"--matryoshka {','.join(map(str, widths))}: give rising widths from 2 on, of which the last is --embed-dim"
            f" {args.embed_dim}"
        )


def options(args) -> dict:
    """What ``--loss-options`` sets, by name.

    Raises
    ------
    UserError
        The loss has no such parameter, or the value is none for it.
    """
    from common.train import losses

    takes = inspect.signature(getattr(losses, LOSSES[args.loss])).parameters.values()
    known = {p.name: p.default for p in takes if p.default is not p.empty and args.loss != "margin"}
    found = {}
    for text in args.loss_options:
        name, _, value = text.partition("=")
        if name not in known:
            has = f"has {', '.join(known)}" if known else "has --margin, --beta, --lr-beta and --nu"
            raise UserError(f"--loss-options {text}: --loss {args.loss} {has}{near(name, known)}")
        if name in found:
            raise UserError(f"--loss-options names {name} twice: give it once")
        kind = cli.non_negative_float if name in MAY_BE_0 else cli.positive_float
        try:
            found[name] = (cli.whole(1, 1000) if isinstance(known[name], int) else kind)(value)
        except argparse.ArgumentTypeError as error:
            raise UserError(f"--loss-options {name}: {error}") from None
    return found


def create(args, options: dict, classes: int, ctx) -> tuple:
    """The loss; the miner, None where the loss needs no pairs; the memory, None without ``--memory``.

    Parameters
    ----------
    args : argparse.Namespace
    options : dict
        What `options` gives.
    classes : int
        Number of training classes.
    ctx : mx.Context or list
    """
    from common.train import losses, matryoshka, miners
    from common.train.memory import CrossBatchMemory

    kind, miner, memory = getattr(losses, LOSSES[args.loss]), None, None
    if args.loss == "margin":
        loss = kind(classes, args.margin, args.beta, args.nu, learn_beta=args.lr_beta > 0)
    else:
        loss = kind(classes, args.embed_dim, **options) if args.loss in CLASS_LOSSES else kind(**options)
    if args.loss in PAIR_LOSSES:
        kind = getattr(miners, MINERS[args.miner or USUAL_MINER.get(args.loss, "all")])
        takes = inspect.signature(kind).parameters
        of_width = [
            kind(**{k: v for k, v in (("embed_dim", width), ("batch_k", args.batch_k)) if k in takes})
            for width in args.matryoshka or [args.embed_dim]
        ]
        miner = matryoshka.MatryoshkaMiner(of_width, args.matryoshka) if args.matryoshka else of_width[0]
        miner.hybridize(static_alloc=True, static_shape=True)
    if args.memory:
        memory = CrossBatchMemory(args.memory, args.embed_dim)
        memory.initialize(ctx=ctx)
    if args.matryoshka:
        loss = matryoshka.MatryoshkaLoss(loss, args.matryoshka)
    loss.initialize(ctx=ctx)
    loss.hybridize(static_alloc=True, static_shape=True)
    return loss, miner, memory


def gather(args, contexts, kvstore):
    """What makes one batch of all devices' and workers' embeddings; None without ``--gather``.

    Parameters
    ----------
    args : argparse.Namespace
    contexts : list of mx.Context
    kvstore : mx.kv.KVStore

    Raises
    ------
    UserError
        There is one device of one worker.
    """
    if not args.gather:
        return None
    if len(contexts) * kvstore.num_workers == 1:
        raise UserError(
            "--gather has no effect on one device of one worker, whose batch is one already: leave it out, or give"
            " several --gpus, --num-cpus or workers (--kvstore dist_sync)"
        )
    from common.train.gather import Gather

    return Gather(contexts, kvstore, len(contexts) * args.batch_size, args.embed_dim)


def place_classes(args, loss, read, ctx) -> None:
    """Let class vectors start where their classes lie, by a pass over the first epoch's batches (``--class-start``).

    The network sees them as in training: its batch norms take the statistics of the batch.

    Parameters
    ----------
    args : argparse.Namespace
    loss : common.train.losses.Loss
        Others than losses of class vectors are left alone.
    read : examples.embedding_learning.inputs.Inputs
    ctx : mx.Context
    """
    if args.loss not in CLASS_LOSSES or args.class_start == "random":
        return
    import numpy as np
    from mxnet import autograd

    from common import devices

    with autograd.train_mode():
        found = [(read.embed(devices.put(b.images, ctx)).asnumpy(), b.labels) for b in read.loader.epoch(0)]
    (loss.loss if args.matryoshka else loss).start_at(*map(np.concatenate, zip(*found)))


def groups(args, net, loss) -> list[tuple]:
    """The network's parameters and the loss's, each with their optimizer: see `common.train.optimizer.trainer`."""
    options = {"learning_rate": args.lr, "wd": args.wd}
    options.update({"adam": {"epsilon": 1e-7}, "sgd": {"momentum": 0.9}}.get(args.optimizer, {}))
    learned = (args.optimizer, {**options, "learning_rate": args.lr_classes, "wd": 0.0})
    if args.loss == "margin":
        learned = ("sgd", {"learning_rate": args.lr_beta, "momentum": 0.9})
    return [(net.collect_params(), args.optimizer, options), (loss.collect_params(), *learned)]


def class_vectors(args, loss) -> dict:
    """What a model file keeps of the loss: ``loss.weight``, the vectors of the classes, where there are such."""
    if args.loss not in CLASS_LOSSES:
        return {}
    return {"loss.weight": (loss.loss if args.matryoshka else loss).weight.list_data()[0]}
