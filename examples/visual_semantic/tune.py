#!/usr/bin/env python3
"""A small search over learning rate, weight decay and augmentation; prints a table and saves the best settings."""

import argparse
import itertools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume
from examples.visual_semantic import train

AUGMENTATION = {  # rotation in degrees, zoom, lighting
    "none": (0.0, 0.0, 0.0),
    "light": (5.0, 0.05, 0.1),
    "full": (10.0, 0.1, 0.2),
}


def augmentations(text):
    """``"none,full"`` -> ``["none", "full"]``."""
    names = text.split(",")
    wrong = [name for name in names if name not in AUGMENTATION]
    if wrong:
        raise argparse.ArgumentTypeError(f"{wrong[0]}: some of {','.join(AUGMENTATION)}")
    return names


AUGMENTATIONS = cli.Kind(augmentations, "LIST")
FLAGS = {
    "search": [
        ("--stage", cli.choice("1", "2a", "2b"), "2a", "which stage's settings to look for"),
        ("--lrs", cli.float_list, [3e-4, 1e-3, 3e-3], "learning rates"),
        ("--wds", cli.float_list, [1e-4, 1e-2], "weight decays"),
        ("--augmentations", AUGMENTATIONS, ["full"], f"of {', '.join(AUGMENTATION)}; stage 2a has none, it reads once"),
        ("--most", cli.non_negative_int, 0, "so many, drawn; 0: all"),
    ],
    **train.FLAGS,
}


def parse_args(argv=None):
    return resume.parse_args(cli.parser(__doc__, FLAGS), argv, "visual_semantic-tune")


def main(args):
    import mxnet as mx

    from common import devices
    from common.data.samplers import fitting
    from common.files.disk import write_json
    from common.run import Run
    from examples.visual_semantic import data, network
    from examples.visual_semantic.stage import Stage, Unrecorded

    args.stages = [args.stage]
    contexts, kvstore = devices.contexts(args.gpus, args.num_cpus), mx.kv.create("local")
    splits = data.load(args)
    args.batch_size = fitting(args.batch_size, len(splits.train), len(contexts))
    run = Run.start(args, "visual_semantic-tune")
    net, eval_transform = network.build(args, splits, contexts)
    start = {name: p.data(contexts[0]).copy() for name, p in net._collect_params_with_prefix().items()}
    metadata = net.metadata
    frozen = args.backbone_lr == 0
    reader = data.Reader(net.backbone, eval_transform, contexts[0], args.num_workers, frozen)
    scores = {}
    for trial in trials(args):
        set_flags(args, trial)
        net.metadata = dict(metadata)
        for name, parameter in net._collect_params_with_prefix().items():
            parameter.set_data(start[name])
        materials = args.stage, args, net, splits, reader, contexts, kvstore
        stage = Stage(*materials, open_session=lambda *_: Unrecorded(args.seed))
        metrics = train.TRAIN[args.stage](args, net, stage)
        scores[trial] = metrics["score"]
        run.metrics(**named(trial), **metrics)
        run.log(f"{shown(trial)}: accuracy {metrics['accuracy']:.4f}")
    best = max(scores, key=scores.get)
    flags = {f"--lr-{args.stage}": best[0], "--wd": best[1]}
    flags.update(zip(("--rotation", "--zoom", "--lighting"), AUGMENTATION[best[2]]) if args.stage != "2a" else ())
    run.log(table(scores))
    run.log("best: " + " ".join(f"{flag} {value:g}" for flag, value in flags.items()))
    write_json(run.folder / "best.json", {"score": scores[best], "flags": flags})
    run.finish({"score": scores[best], **named(best)})


def trials(args):
    """The combinations to try: (learning rate, weight decay, augmentation)."""
    import numpy as np

    kinds = args.augmentations if args.stage != "2a" and args.backbone_lr else ["none"]
    every = list(itertools.product(args.lrs, args.wds, kinds))
    if not 0 < args.most < len(every):
        return every
    return [every[i] for i in sorted(np.random.default_rng(args.seed).permutation(len(every))[: args.most])]


def set_flags(args, trial):
    """Put a combination into the flags of train.py."""
    lr, args.wd, kind = trial
    setattr(args, f"lr_{args.stage}", lr)
    args.rotation, args.zoom, args.lighting = AUGMENTATION[kind]


def named(trial):
    return dict(zip(("lr", "wd", "augmentation"), trial))


def shown(trial):
    return f"lr {trial[0]:g}, wd {trial[1]:g}, augmentation {trial[2]}"


def table(rows):
    """All combinations, the best first; the score is the accuracy, and the loss where that is the same."""
    from common.show import tables

    ordered = sorted(rows.items(), key=lambda row: -row[1])
    return tables.table({shown(trial): {"accuracy": score} for trial, score in ordered}, form=".4f")


if __name__ == "__main__":
    cli.launch(main, parse_args)
