"""Flags of two programs here, and which of train.py go together. Imports nothing slow: wrong ones answer at once."""

from __future__ import annotations

import argparse

from common import cli
from common.backbones.preprocessing import INTERPOLATIONS


def _share(text: str) -> float | str:
    if text == "weights":
        return text
    try:
        share = float(text)
    except ValueError:
        share = 0
    if not 0.05 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0.05 to 1, nor weights")
    return share


def _colours(low: int) -> cli.Kind:
    """The type of a flag that takes a number of `low` to 255 for each of red, green and blue."""
    one = cli.number(float, lambda x: low <= x <= 255, f"a number from {low} to 255", "X")
    return cli.Kind(one.read, ("R", "G", "B"), nargs=3)


LAYER = cli.number(int, lambda n: n and abs(n) < 10**4, "a number of a layer", "N")
POOLING = cli.choice("avg", "max", "gem", "cls")
FILTER = cli.choice(*INTERPOLATIONS, "weights", metavar="NAME")
TAKEN_FROM = [  # what is taken of a network
    cli.IMAGE_SIZE,
    ("--layer", LAYER, None, "last layer of the network that is run, -1: of the end; default is all"),
    ("--pooling", POOLING, None, "makes a vector of maps: %(choices)s; default is the network's own way"),
]
SEEN_AS = [  # how a picture becomes what a network sees
    ("--interpolation", FILTER, "nearest", "resizes pictures: %(choices)s; weights: what these were trained with"),
    (*cli.RESIZE[:3], "side before the middle is cut out; default is that of what the network sees"),
    cli.KEEP_ASPECT,
    ("--crop-share", cli.Kind(_share, "X"), None,
     "share of the shorter side seen, as timm's crop_pct; weights: theirs"),
    cli.VIEWS,
    ("--mean", _colours(0), None, "means of 0..255 that your own weights were trained with"),
    ("--deviation", _colours(1), None, "deviations of 0..255 that your own weights were trained with"),
]  # fmt: skip


def check(parser: argparse.ArgumentParser, args: argparse.Namespace, fine_tuning: dict) -> None:
    """Refuse flags that do nothing, or contradict each other: one line, status 2.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    args : argparse.Namespace
    fine_tuning : dict of str to value
        What the flags of fine-tuning are where they are not given.
    """
    if bool(args.features) == bool(args.dataset):
        parser.error(
            "give --features FILE, or pictures: --data-path DIR with a folder for each class, or --dataset NAME"
        )
    for name in ("fine_tune", "image_size", "views", "columns", "class_depth", "min_per_class"):
        if args.features and getattr(args, name):
            parser.error(f"{_flag(name)} needs pictures, not --features")
    if args.amp and not args.fine_tune:
        parser.error("--amp goes with --fine-tune: leave it out")
    for name, default in fine_tuning.items():
        if not args.fine_tune and getattr(args, name) != default:
            parser.error(f"{_flag(name)} goes with --fine-tune")
    if args.freeze_batch_norm and args.fine_tune_layers == "last":
        parser.error(
            "--freeze-batch-norm goes with --fine-tune-layers all: the last block's batch norms are always kept"
        )
    if args.shrinkage is not None and args.classifier != "lda":
        parser.error(f"--shrinkage is of --classifier lda, not of {args.classifier}: leave it out")
    if args.balance and args.classifier == "knn":
        parser.error("--balance has no effect on the neighbours of --classifier knn: take another")
    if args.int8 and args.gpus:
        parser.error("--int8 runs on the CPU: leave out --gpus")
    shared = "_sync" in args.kvstore and args.classifier == "gluon"
    if args.kvstore.startswith("dist") and not (args.fine_tune or shared):
        parser.error(f"--kvstore {args.kvstore} shares out --fine-tune, and dist_sync the steps of --classifier gluon")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
