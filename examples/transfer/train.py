#!/usr/bin/env python3
"""Train a classifier on features, generated before or read fresh from pictures; fine-tune the network where asked."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume
from examples.transfer import flags

DATASETS = (
    "cub200", "cars196", "sop", "cifar10", "cifar100", "omniglot", "emoji", "glyphs", "grocery", "folder", "csv",
)  # fmt: skip
DATASET = cli.choice(*DATASETS, metavar="NAME")
CLASSIFIER = cli.choice("logistic", "lda", "svm", "knn", "gluon")
FLAGS = {
    "data": [
        ("--features", cli.FILE, None, "NAME_data.npy, .csv or .parquet of generate_embedding.py"),
        ("--dataset", DATASET, None, "pictures instead of --features: %(choices)s; default with --data-path is folder"),
        *cli.PICTURES,
        *cli.READING,
        *flags.SEEN_AS,
        ("--test-share", cli.unit_float, 0.2, "share of each class held back, where the data has no split of its own"),
    ],
    "network": [
        ("--model", cli.NAME, None, "network of the features; default with pictures is squeezenet1.1"),
        ("--weights --params", cli.WEIGHTS, "imagenet", "imagenet, None (random) or a file: .params, .h5, .pth, ..."),
        *flags.TAKEN_FROM,
        cli.INT8,
    ],
    "classifier": [
        ("--classifier", CLASSIFIER, "logistic", "%(choices)s: a dense layer"),
        ("--shrinkage", cli.unit_float, None, "of lda's covariance; 1: a multiple of unity; default: Ledoit and Wolf"),
        ("--k", cli.positive_int, 5, "neighbours of knn"),
        ("--folds", cli.positive_int, None, "of the cross-validation, 1: none; default is 5, fewer for small classes"),
        cli.BALANCE,
    ],
    "optimisation": [
        ("--fine-tune", cli.switch, False, "then train the network too, its last block or all of it, and compare"),
        ("--epochs", cli.positive_int, 2, "epochs of --fine-tune"),
        ("--lr", cli.rate, 1e-4, "highest learning rate of --fine-tune, which --schedule lowers"),
        ("--batch-size", cli.batch_size, 32, "pictures a pass takes"),
    ],
    "fine-tuning": [
        ("--fine-tune-layers", cli.choice("last", "all"), "last", "train the last block, or the whole network"),
        cli.FREEZE_BATCH_NORM,
        ("--optimizer", cli.choice("adam", "adamw"), "adam", "%(choices)s of --fine-tune"),
        ("--lr-head", cli.rate, None, "learning rate of the classifier on the network; default is --lr"),
        ("--weight-decay", cli.rate_or_0, 0.0, "shrinks the weights; with adamw apart from the gradients"),
        ("--schedule", cli.choice("linear", "one-cycle"), "linear", "down by a line an epoch, or up and down by steps"),
        ("--label-smoothing", cli.unit_float, 0.0, "share of the wanted probability that all classes get alike"),
        ("--train-size", cli.pixels_list, None, "side of pictures trained on; 160,224: in two halves of the epochs"),
        ("--crop-area", cli.unit_float, 1.0, "cut out windows of at least this share of the area; 1: none"),
        ("--mirror", cli.switch, False, "mirror every other picture left to right"),
        ("--lighting", cli.unit_float, 0.0, "change brightness and contrast by up to this share"),
        ("--augment", cli.choice("trivial"), None, "one strong random change of each picture: %(choices)s"),
        ("--erase", cli.unit_float, 0.0, "share of pictures that get a grey rectangle"),
        ("--mixup", cli.non_negative_float, 0.0, "blend pairs of pictures, by a share from Beta(X, X); 0: none"),
        ("--cutmix", cli.non_negative_float, 0.0, "paste windows of other pictures, areas from Beta(X, X); 0: none"),
        ("--average", cli.unit_float, 0.0, "keep a moving average of the weights that decays by this a step; 0: none"),
        ("--validation-share", cli.unit_float, 0.0, "share held back of what is learned from: it picks the epoch"),
    ],
    "run": cli.run("transfer"),
    "devices": cli.DEVICES,
}


def parse_args(argv=None):
    parser = cli.parser(__doc__, FLAGS)
    args = resume.parse_args(parser, argv, "transfer")
    if pathlib.Path(args.weights).is_file():
        args.weights = str(pathlib.Path(args.weights).resolve())  # for predict.py, from any folder
    if args.features and args.dataset == "features":  # runs of old called them so
        args.dataset = None
    if args.data_path and not args.dataset:
        args.dataset = "folder"
    flags.check(parser, args, {flag[2:].replace("-", "_"): default for flag, _, default, _ in FLAGS["fine-tuning"]})
    args.model = args.model or ("squeezenet1.1" if args.dataset else None)
    return args


def main(args):
    import numpy as np

    from common import devices
    from common.data import walk
    from common.run import Run
    from examples.transfer import data, evaluation, model

    # Devices and workers: they share out the steps of training; each worker reads all features, on its first device.
    contexts = devices.contexts(args.gpus, args.num_cpus, args.amp)
    shared = args.fine_tune or "dist" in args.kvstore
    kvstore = devices.kvstore(args.kvstore, args.gradient_compression, args.amp) if shared else None
    rank, workers = (kvstore.rank, kvstore.num_workers) if kvstore else (0, 1)

    # Data: pictures, or features of them; which of them are learned from, and which held back.
    loaded = data.load(args)
    labels, train, test = loaded.labels, loaded.train, loaded.test
    net = data.network(args, loaded.image_set, contexts)
    run = Run.start(args, "transfer", rank, {**loaded.counts(), "workers": workers}, loaded.notes, data.stages(args))
    run.log(f"{len(train)} pictures of {len(loaded.class_names)} classes to learn from, {len(test)} held back")

    # The network's features, as it comes.
    vectors, image_set, config = loaded.features, loaded.image_set, data.described(args, net)
    if image_set:
        walk.write(image_set.skipped, run.folder / "skipped.txt")
        run.log(f"{net.name_}: {net.width} numbers a picture of {net.input_size} x {net.input_size}; {net.source}")
        vectors = data.read_features(args, net, image_set, run, "features")

    # A classifier on them: cross-validated, then judged on the pictures held back.
    def fit(vectors, chosen):
        return model.fit(
            args.classifier, vectors[chosen], labels[chosen], loaded.class_names, config, args.k, args.seed,
            args.balance, kvstore, args.shrinkage,
        )  # fmt: skip

    run.stage("classifier")
    metrics = {"classifier": args.classifier, "train_pictures": len(train), "test_pictures": len(test)}
    if args.folds > 1:
        folds = metrics["fold_accuracy"] = evaluation.out_of_sample(fit, vectors, loaded, run)
        run.log(f"{args.folds}-fold accuracy {np.mean(folds):.4f} (deviation {np.std(folds):.4f})")
    classifier = fit(vectors, train)
    metrics.update(evaluation.held_back(classifier, vectors, loaded))
    run.log(evaluation.line(metrics))

    # The same with the network trained on these pictures; the epoch and the classifier by validation pictures, if any.
    if args.fine_tune:
        run.stage("fine-tuning")
        net, head = fine_tune(net, classifier, loaded, args, run, contexts, kvstore)
        if rank:  # the first worker goes on
            return
        vectors = data.read_features(args, net, image_set, run, "finetuned")
        classifier, chosen = evaluation.better(head, fit(vectors, train), vectors, loaded, run)
        metrics["before_fine_tuning_accuracy"] = metrics["accuracy"]
        metrics.update({**chosen, **evaluation.held_back(classifier, vectors, loaded)})
        run.log(evaluation.line(metrics, " after fine-tuning"))

    classifier.save(run.folder / "model.params", net if args.fine_tune else None)
    run.finish(metrics)
    shown = image_set and image_set.subset(test)
    page = evaluation.report(run, classifier, vectors[test], labels[test], shown, metrics)
    run.log(f"{run.folder / 'model.params'}, {page}")


def fine_tune(net, classifier, loaded, args, run, contexts, kvstore):
    """Train the network, or its last block, with a head that starts as the classifier: what is kept of both."""
    from mxnet import autograd

    from common import devices
    from common.train import mixed, optimizer
    from common.train.session import Session
    from examples.transfer import data, finetune

    sides, worker = finetune.sides(net, args), (kvstore.rank, kvstore.num_workers)
    loader = data.Batches(loaded.image_set, loaded.train, sides, args, len(contexts), *worker)
    head = finetune.dense(classifier, args.seed, contexts)
    trainer = optimizer.trainer(finetune.groups(net, head, args), kvstore)
    schedule = finetune.SCHEDULES[args.schedule]
    cross_entropy = finetune.CrossEntropy(len(loaded.class_names), args.label_smoothing, loader.mixes)
    net.hybridize()
    net.speed_up_training()
    head.hybridize()
    mixed.start(args.amp, trainer, net, net)
    tuning = finetune.Tuning(net, head, loaded, args, run, classifier.backbone, kvstore)

    session = Session(
        run, blocks=tuning.blocks, trainers={"trainer": trainer}, best=tuning.best, seed=args.seed, rank=kvstore.rank
    )
    for epoch in session.epochs(args.epochs):
        for number, batch in enumerate(session.batches(loader, epoch)):
            trainer.optimizer.scale_rates(schedule(epoch, number / len(loader), args.epochs))
            images, labels, weights = (devices.split(array, contexts) for array in batch)
            with autograd.record():
                losses = [cross_entropy(head(net(x)), y, w) for x, y, w in zip(images, labels, weights)]
            trainer.backward(losses)
            trainer.step(len(batch[0]) * kvstore.num_workers)
            tuning.update(epoch * len(loader) + number)
            session.add(loss=losses)
        session.close_epoch(tuning.evaluate(), save=tuning.save)
    return tuning.finish()


if __name__ == "__main__":
    cli.launch(main, parse_args)
