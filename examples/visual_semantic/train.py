#!/usr/bin/env python3
"""Train a small visual-semantic model: pictures and words in one space (DeViSE, Frome et al. 2013)."""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume
from common.train.schedule import one_cycle

DATASETS = ("awa2", "cifar10", "cifar100", "grocery", "folder", "csv", "xian")


def stage_list(text):
    """``"1,2a"`` -> ``["1", "2a"]``."""
    stages = text.split(",")
    if not set(stages) <= {"1", "2a", "2b"} or stages != sorted(set(stages)):
        raise argparse.ArgumentTypeError(f"{text}: some of 1,2a,2b, in this order")
    return stages


LOSSES = ("cosine", "hinge", "softmax", "symmetric")
CLASS_TEXT = cli.choice("name", "group", "description")
WORD_SPACE = cli.choice("raw", "centred", "whitened")
SPLIT = [  # which classes are seen: of evaluate.py too
    ("--split", cli.choice("standard", "proposed"), "standard", "unseen classes of awa2"),
    ("--unseen", cli.many(cli.CLASS, "*"), None, "unseen classes, or none; default by data set: see the README"),
    ("--valid-share", cli.unit_float, 0.1, "of seen pictures, held back"),
]
FLAGS = {
    "data": [
        *cli.data("awa2", DATASETS),
        *SPLIT,
        cli.BALANCE,
        cli.IMAGE_SIZE,
        cli.RESIZE,
        cli.KEEP_ASPECT,
        cli.VIEWS,
        ("--no-mirror", cli.switch, False, "never mirror in training"),
        ("--rotation", cli.degrees, 10.0, "turn by up to so many degrees in training"),
        ("--zoom", cli.non_negative_float, 0.1, "enlarge by up to this share"),
        ("--lighting", cli.non_negative_float, 0.2, "change brightness and contrast by up to this share"),
    ],
    "network": [
        *cli.network("squeezenet1.1"),
        cli.USE_PRETRAINED,
        ("--backbone-lr", cli.non_negative_float, 0.1, "factor of the rates of a pretrained backbone; 0 freezes it"),
        cli.FREEZE_BATCH_NORM,
        ("--head", cli.choice("trained", "eszsl"), "trained", "2a: by --loss, or solved by ESZSL's closed form"),
        ("--hidden", cli.whole(0, 65_536), 0, "hidden units of the head"),
        ("--dropout", cli.unit_float, 0.0, "of the features"),
    ],
    "words": [
        ("--word-vectors", cli.FILE, "glove50", "a .vec, .txt or .bin, glove50, or minilm, which encodes sentences"),
        ("--prompts", cli.many(cli.Kind(metavar="TEXT")), None, "minilm: a name goes to {}; default: see the README"),
        ("--words", cli.many(cli.Kind(metavar="CLASS=WORD")), [], "another word for a class"),
        ("--class-text", CLASS_TEXT, "name", "a class's words: its name, that and its group's, or its description"),
        ("--word-space", WORD_SPACE, "raw", "vectors as they are, less the mean of frequent words, or also whitened"),
    ],
    "loss": [
        ("--loss", cli.choice(*LOSSES), "cosine", "of the stages 2a and 2b"),
        ("--margin", cli.positive_float, 0.1, "of --loss hinge, a cosine"),
        ("--temperature", cli.positive_float, 0.1, "of --loss softmax and symmetric"),
    ],
    "optimisation": [
        ("--stages", cli.Kind(stage_list, "LIST"), ["1", "2a", "2b"], "1: backbone, 2a: head, 2b: both"),
        ("--epochs-1", cli.positive_int, 5, "epochs of stage 1"),
        ("--epochs-2a", cli.positive_int, 5, "epochs of stage 2a"),
        ("--epochs-2b", cli.positive_int, 3, "epochs of stage 2b"),
        ("--lr-1", cli.rate, 1e-3, "highest learning rate of stage 1, by Adam, in one cycle"),
        ("--lr-2a", cli.rate, 1e-3, "highest learning rate of stage 2a"),
        ("--lr-2b", cli.rate, 3e-4, "highest learning rate of stage 2b"),
        ("--find-lr", cli.switch, False, "range test for the first of --stages: plot, suggestion"),
        ("--batch-size", cli.batch_size, None, "pictures in a batch; default is 64, fewer for fewer pictures"),
        ("--wd", cli.non_negative_float, 1e-4, "weight decay"),
    ],
    "run": [
        *cli.run("visual_semantic"),
        ("--final", cli.choice("best", "last"), "best", "model.params is 2a's where 2b worsened it, or the last's"),
        cli.log_interval(20),
        cli.SAVE_INTERVAL,
        ("--keep-all", cli.on_off, True, "keep every epoch's checkpoint, for pictures over epochs (default: on)"),
        cli.NO_PLOTS,
    ],
    "devices": cli.DEVICES,
}


def parse_args(argv=None):
    return resume.parse_args(cli.parser(__doc__, FLAGS), argv, "visual_semantic", not_begun)


def not_begun(folder):
    """What a resumed run may still choose: the learning rates of the stages that have no folder yet."""
    return [f"lr_{name}" for name in ("1", "2a", "2b") if not (folder / f"stage{name}").exists()]


def train_classifier(args, net, stage, schedule=one_cycle):
    """Stage 1: the backbone and a classifier of the seen classes, by cross-entropy."""
    from mxnet import autograd, gluon

    classify = net.classifier if stage.is_frozen else net.classify
    loss = gluon.loss.SoftmaxCrossEntropyLoss()  # -log softmax(W f(x) + b)_y
    trainer = stage.adam(args.lr_1, net.classifier)
    session = stage.session(trainer)  # keeps the books, as for the other stages
    for epoch in session.epochs(args.epochs_1):  # goes on where the run stopped
        for batch in session.batches(stage.loader, epoch):
            trainer.optimizer.scale_rates(schedule((epoch + batch.number / len(stage.loader)) / args.epochs_1))
            inputs, labels = stage.split(batch)
            with autograd.record():
                losses = [loss(classify(x), y) for x, y in zip(inputs, labels)]
            trainer.backward(losses)
            trainer.step(len(batch.labels) * stage.num_workers)
            session.add(loss=losses)
        session.close_epoch(stage.evaluate(classify, loss), save=stage.save)
    return session.metrics


def train_head(args, net, stage, schedule=one_cycle):
    """Stage 2a: the head g, which puts features f of the frozen backbone among the words, by --loss."""
    from mxnet import autograd

    from examples.visual_semantic.losses import create

    loss = create(args.loss, net.words[: len(net.seen)], stage.contexts, args.margin, args.temperature)
    stage.standardise()
    if args.head == "eszsl":
        return stage.solve(loss)
    trainer = stage.adam(args.lr_2a, net.encoder.head)
    session = stage.session(trainer)
    for epoch in session.epochs(args.epochs_2a):
        for batch in session.batches(stage.loader, epoch):
            trainer.optimizer.scale_rates(schedule((epoch + batch.number / len(stage.loader)) / args.epochs_2a))
            features, labels = stage.split(batch)
            with autograd.record():  # v = g(f) / |g(f)|, and by default the loss 1 - cos(v, t_y), t_y the class's word
                losses = [loss(net.embed_features(f), y) for f, y in zip(features, labels)]
            trainer.backward(losses)
            trainer.step(len(batch.labels) * stage.num_workers)
            session.add(loss=losses)
        session.close_epoch(stage.evaluate(net.embed_features, loss), save=stage.save)
    return session.metrics


def train_both(args, net, stage, schedule=one_cycle):
    """Stage 2b: head and backbone together, by the same loss."""
    from mxnet import autograd

    from examples.visual_semantic.losses import create

    embed = net.embed_features if stage.is_frozen else net.embed
    loss = create(args.loss, net.words[: len(net.seen)], stage.contexts, args.margin, args.temperature)
    stage.standardise()
    trainer = stage.adam(args.lr_2b, net.encoder.head)
    session = stage.session(trainer)
    for epoch in session.epochs(args.epochs_2b):
        for batch in session.batches(stage.loader, epoch):
            trainer.optimizer.scale_rates(schedule((epoch + batch.number / len(stage.loader)) / args.epochs_2b))
            inputs, labels = stage.split(batch)
            with autograd.record():  # v = g(f(x)) / |g(f(x))|
                losses = [loss(embed(x), y) for x, y in zip(inputs, labels)]
            trainer.backward(losses)
            trainer.step(len(batch.labels) * stage.num_workers)
            session.add(loss=losses)
        session.close_epoch(stage.evaluate(embed, loss), save=stage.save)
    return session.metrics


TRAIN = {"1": train_classifier, "2a": train_head, "2b": train_both}


def main(args):
    from common import devices  # imports MXNet, which takes 2.6 s: after the flags were read
    from common.data.samplers import fitting
    from common.files.errors import UserError
    from examples.visual_semantic import data, network
    from examples.visual_semantic.training_run import TrainingRun

    contexts = devices.contexts(args.gpus, args.num_cpus, args.amp)
    if args.kvstore == "dist_async" and len(args.stages) > 1:  # the servers hold the optimizer of one stage
        raise UserError(f"--kvstore {args.kvstore} runs a stage at a time: --stages 1, then --resume --stages 2a, ...")
    kvstore = devices.kvstore(args.kvstore, args.gradient_compression, args.amp)

    # Pictures of the seen classes, some of them held back, and of the unseen ones; network.
    splits = data.load(args)
    args.batch_size = fitting(args.batch_size, len(splits.train), len(contexts), kvstore.num_workers)
    net, transform = network.build(args, splits, contexts)
    reader = data.Reader(net.backbone, transform, contexts[0], args.num_workers, not args.backbone_lr)
    run = TrainingRun(args, net, splits, reader, contexts, kvstore)
    for name in args.stages:
        stage = run.start_stage(name)  # from the best epoch of the stage before
        if args.find_lr:
            return run.suggest_lr(stage, TRAIN[name])
        run.end_stage(stage, TRAIN[name](args, net, stage))
    run.finish(name)


if __name__ == "__main__":
    cli.launch(main, parse_args)
