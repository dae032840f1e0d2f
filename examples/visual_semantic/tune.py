#!/usr/bin/env python3
"""A small search for settings by how classes are named that were held back; prints a table and saves the best ones."""

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
        ("--epochs", cli.int_list, [], "epochs of the stage; default is the one number of --epochs-2a, ..."),
        ("--augmentations", AUGMENTATIONS, ["full"], f"of {', '.join(AUGMENTATION)}; stage 2a has none, it reads once"),
        ("--most", cli.non_negative_int, 0, "so many, drawn; 0: all"),
        ("--draws", cli.positive_int, 3, "of a fifth of the seen classes, held back; xian has its own, once"),
    ],
    **train.FLAGS,
}


def parse_args(argv=None):
    return resume.parse_args(cli.parser(__doc__, FLAGS), argv, "visual_semantic-tune")


def main(args):
    import mxnet as mx
    import numpy as np

    from common import devices
    from common.data.samplers import fitting
    from common.files.disk import write_json
    from common.run import Run
    from examples.visual_semantic import data

    contexts, kvstore = devices.contexts(args.gpus, args.num_cpus), mx.kv.create("local")
    splits, batch_size = data.load(args), args.batch_size
    draws = classes_to_choose_by(args, splits)
    run = Run.start(args, "visual_semantic-tune")
    found = {trial: [] for trial in trials(args)}
    for number, held in enumerate(draws):
        run.log(f"to choose by: {', '.join(held)}")
        some = data.without_some_classes(splits, held, args.seed)
        args.batch_size = fitting(batch_size, len(some.train), len(contexts))
        for trial, metrics in tried(args, some, contexts, kvstore, list(found)):
            found[trial].append(metrics)
            run.metrics(**named(trial), draw=number, **metrics)
            run.log(f"{shown(trial)}: zero-shot {metrics['zero_shot']:.4f}, seen {metrics['accuracy']:.4f}")
    means = {
        trial: {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} for trial, rows in found.items()
    }
    best = max(means, key=lambda trial: (means[trial]["zero_shot"], means[trial]["accuracy"]))
    flags = {f"--lr-{args.stage}": best[0], "--wd": best[1], f"--epochs-{args.stage}": best[2]}
    flags.update(zip(("--rotation", "--zoom", "--lighting"), AUGMENTATION[best[3]]) if args.stage != "2a" else ())
    run.log(table(means))
    run.log("best: " + " ".join(f"{flag} {value:g}" for flag, value in flags.items()))
    run.log(f"for evaluate.py: --handicap {means[best]['handicap']:.4g}")
    write_json(run.folder / "best.json", {"flags": flags, **means[best]})
    run.finish({**named(best), **means[best]})


def classes_to_choose_by(args, splits):
    """The seen classes that are held back, each time: those that the data names, or `baselines.held_back`."""
    from common.files.errors import UserError
    from examples.visual_semantic import baselines, model

    if args.params and model.is_model(args.params):
        raise UserError(f"--params {args.params} knows the classes that are held back to choose by: --use-pretrained")
    if len(splits.seen) < baselines.FEWEST:
        raise UserError(f"{len(splits.seen)} seen classes: {baselines.FEWEST} are needed to hold some of them back")
    if splits.choose_by:
        return [splits.choose_by]
    drawn = baselines.held_back(len(splits.seen), args.seed, args.draws)
    return [[splits.seen[label] for label in labels] for labels in drawn]


def tried(args, splits, contexts, kvstore, every):
    """Each trial with its metrics on the classes that stand for unseen ones."""
    from examples.visual_semantic import data, network
    from examples.visual_semantic.stage import Stage, Unrecorded, is_frozen

    args.stages = ["2a", "2b"] if args.stage == "2b" else [args.stage]
    net, eval_transform = network.build(args, splits, contexts)
    reader = data.Reader(net.backbone, eval_transform, contexts[0], args.num_workers, is_frozen(args, args.stage))

    def run_stage(name):
        materials = name, args, net, splits, reader, contexts, kvstore
        train.TRAIN[name](args, net, Stage(*materials, lambda *_: Unrecorded(args.seed), evaluates=False))

    if args.stage == "2b":
        run_stage("2a")
        net.metadata = {**net.metadata, "stage": "2a"}
    start = {name: p.data(contexts[0]).copy() for name, p in net._collect_params_with_prefix().items()}
    metadata = net.metadata
    for trial in every:
        set_flags(args, trial)
        net.metadata = dict(metadata)
        for name, parameter in net._collect_params_with_prefix().items():
            parameter.set_data(start[name])
        if not reader.is_frozen:
            reader.forget()
        run_stage(args.stage)
        yield trial, judged(args.stage, net, splits, reader)


def judged(stage, net, splits, reader):
    """``zero_shot``, ``accuracy``, ``ausuc`` and the best ``handicap`` after a stage; after stage 1 those of ConSE."""
    import numpy as np

    from common import metrics
    from examples.visual_semantic import evaluation, protocol

    seen, parts, found = len(splits.seen), (splits.valid, splits.test), {}
    if stage == "1":
        classify = net.classifier if reader.is_frozen else net.classify
        forward, head = net.halves(classify, reader.transform)
        pictures = [reader.features(part) if reader.is_frozen else part for part in parts]
        logits = [reader.apply(forward, part, head) for part in pictures]
        vectors = [evaluation.conse(part, net.words[:seen]) for part in logits]
        found = metrics.accuracy_at_k(logits[0], splits.valid.labels, (1,))
    else:
        vectors = [reader.embed(net, part) for part in parts]
    labels = [part.labels for part in parts]
    of_words = evaluation.word_metrics(vectors[0], labels[0], vectors[1], labels[1], net.words, seen)
    cosines, is_seen = np.concatenate(vectors) @ net.words.T, np.arange(len(net.words)) < seen
    handicap = protocol.best_handicap(cosines, np.concatenate(labels), is_seen)
    return {name: of_words[name] for name in ("zero_shot", "accuracy", "ausuc")} | found | {"handicap": handicap}


def trials(args):
    """The combinations to try: (learning rate, weight decay, epochs, augmentation)."""
    import numpy as np

    kinds = args.augmentations if args.stage != "2a" and args.backbone_lr else ["none"]
    epochs = args.epochs or [getattr(args, f"epochs_{args.stage}")]
    every = list(itertools.product(args.lrs, args.wds, epochs, kinds))
    if not 0 < args.most < len(every):
        return every
    return [every[i] for i in sorted(np.random.default_rng(args.seed).permutation(len(every))[: args.most])]


def set_flags(args, trial):
    """Put a combination into the flags of train.py."""
    lr, args.wd, epochs, kind = trial
    setattr(args, f"lr_{args.stage}", lr)
    setattr(args, f"epochs_{args.stage}", epochs)
    args.rotation, args.zoom, args.lighting = AUGMENTATION[kind]


def named(trial):
    return dict(zip(("lr", "wd", "epochs", "augmentation"), trial))


def shown(trial):
    return f"lr {trial[0]:g}, wd {trial[1]:g}, {trial[2]} epochs, augmentation {trial[3]}"


def table(rows):
    """All combinations, those first that name the classes held back best."""
    from common.show import tables

    ordered = sorted(rows.items(), key=lambda row: (-row[1]["zero_shot"], -row[1]["accuracy"]))
    return tables.table({shown(trial): row for trial, row in ordered}, form=".4f")


if __name__ == "__main__":
    cli.launch(main, parse_args)
