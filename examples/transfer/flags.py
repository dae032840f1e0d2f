"""Which flags of train.py go together. Imports nothing slow: wrong ones answer at once."""

from __future__ import annotations

import argparse


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
