#!/usr/bin/env python3
"""Train a classifier on features, generated before or read fresh from pictures; fine-tune the network where asked."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume
from common.files.errors import UserError

DATASETS = ("cub200", "cars196", "sop", "cifar10", "cifar100", "omniglot", "emoji", "glyphs", "folder")
DATASET = cli.choice(*DATASETS, metavar="NAME")
CLASSIFIER = cli.choice("logistic", "svm", "knn", "gluon")
FLAGS = {
    "data": [
        ("--features", cli.FILE, None, "NAME_data.npy, .csv or .parquet of generate_embedding.py"),
        ("--dataset", DATASET, None, "pictures instead of --features: %(choices)s; default with --data-path is folder"),
        cli.DATA_PATH,
        *cli.READING,
        cli.INTERPOLATION,
        ("--test-share", cli.unit_float, 0.2, "share of each class held back, where the data has no split of its own"),
    ],
    "network": [
        ("--model", cli.NAME, None, "network of the features; default with pictures is squeezenet1.1"),
        ("--weights --params", cli.WEIGHTS, "imagenet", "imagenet, None (random), .params, .h5, .pth or .safetensors"),
        cli.INT8,
    ],
    "classifier": [
        ("--classifier", CLASSIFIER, "logistic", "logistic regression, linear SVM, k nearest neighbours, dense layer"),
        ("--k", cli.positive_int, 5, "neighbours of knn"),
        ("--folds", cli.positive_int, 5, "folds of the cross-validation; 1 leaves it out"),
    ],
    "optimisation": [
        ("--fine-tune", cli.switch, False, "then train the network's last block too, and compare"),
        ("--epochs", cli.positive_int, 2, "epochs of --fine-tune"),
        ("--lr", cli.rate, 1e-4, "learning rate of --fine-tune in its first epoch; it falls along a line"),
        ("--batch-size", cli.batch_size, 32, "pictures a pass takes"),
    ],
    "run": cli.run("transfer"),
    "devices": cli.DEVICES,
}


def parse_args(argv=None):
    p = cli.parser(__doc__, FLAGS)
    args = resume.parse_args(p, argv, "transfer")
    if pathlib.Path(args.weights).is_file():
        args.weights = str(pathlib.Path(args.weights).resolve())  # for predict.py, from any folder
    if args.features and args.dataset == "features":  # runs of old called them so
        args.dataset = None
    if args.data_path and not args.dataset:
        args.dataset = "folder"
    if bool(args.features) == bool(args.dataset):
        p.error("give --features FILE, or pictures: --data-path DIR with a folder for each class, or --dataset NAME")
    if args.fine_tune and args.features:
        p.error("--fine-tune needs pictures, not --features")
    if args.int8 and args.gpus:
        p.error("--int8 runs on the CPU: leave out --gpus")
    if args.kvstore.startswith("dist") and not args.fine_tune:
        p.error(f"--kvstore {args.kvstore} shares out --fine-tune: one process reads features")
    if args.dataset:
        args.model = args.model or "squeezenet1.1"
    return args


def main(args):
    import numpy as np

    from common import devices
    from common.data import walk
    from common.data.splits import split_stratified
    from common.run import Run
    from examples.transfer import evaluation, model, outputs

    # Devices and workers: they share out the fine-tuning, and each worker reads all features, on its first device.
    kvstore = devices.kvstore(args.kvstore) if args.fine_tune else None
    rank, workers = (kvstore.rank, kvstore.num_workers) if kvstore else (0, 1)

    # Pictures, or features of them; which of them are learned from, and which held back.
    if args.features:
        vectors, names = outputs.load(args.features)
        classes, labels = np.unique(names, return_inverse=True)
        image_set, (train, test) = None, split_stratified(labels, args.test_share, args.seed)
    else:
        image_set, train, test = pictures(args)
        classes, labels = np.array(image_set.class_names), image_set.labels
    fewest = np.bincount(labels[train], minlength=len(classes)).min()
    if len(classes) < 2 or (args.folds > 1 and fewest < args.folds):
        raise UserError(
            f"{len(classes)} classes, the smallest of {fewest} pictures to learn from: at least 2 classes are needed,"
            f" and {args.folds} pictures of each for --folds {args.folds} (--folds 1 leaves the cross-validation out)"
        )
    data_is = {"pictures to learn from": len(train), "pictures held back": len(test), "classes": len(classes)}
    run = Run.start(args, "transfer", rank, {**data_is, "workers": workers})
    if image_set:
        walk.write(image_set.skipped, run.folder / "skipped.txt")
    run.log(f"{len(train)} pictures of {len(classes)} classes to learn from, {len(test)} held back")

    # The network's features, as it comes.
    about = {"name": args.model, "weights": args.weights, "interpolation": args.interpolation, "seed": args.seed}
    if image_set:
        net = backbone(args)
        about["name"] = net.name_  # where `--model` has several sources: the one that was found
        run.log(f"{net.name_}: {net.width} numbers a picture of {net.input_size} x {net.input_size}; {net.source}")
        vectors = read_features(args, net, image_set, run, "features")

    # A classifier on them: cross-validated, then judged on the pictures held back.
    def fit(vectors, chosen):
        return model.fit(args.classifier, vectors[chosen], labels[chosen], classes, about, args.k, args.seed)

    figures = {"classifier": args.classifier, "train_pictures": len(train), "test_pictures": len(test)}
    if args.folds > 1:
        figures["fold_accuracy"] = evaluation.cross_validate(fit, vectors, labels, train, args.folds, args.seed)
        mean, deviation = np.mean(figures["fold_accuracy"]), np.std(figures["fold_accuracy"])
        run.log(f"{args.folds}-fold accuracy {mean:.4f} (deviation {deviation:.4f})")
    classifier = fit(vectors, train)
    figures["accuracy"] = evaluation.accuracy(classifier, vectors[test], labels[test])
    run.log(f"accuracy on {len(test)} held-back pictures {figures['accuracy']:.4f}")

    # The same with the network's last block trained on these pictures.
    if args.fine_tune:
        from examples.transfer import finetune

        finetune.last_block(net, image_set, train, classifier, args, run, kvstore)
        if rank:  # the first worker goes on
            return
        vectors = read_features(args, net, image_set, run, "finetuned")
        classifier = fit(vectors, train)
        figures["before_fine_tuning_accuracy"] = figures["accuracy"]
        figures["accuracy"] = evaluation.accuracy(classifier, vectors[test], labels[test])
        run.log(f"accuracy on {len(test)} held-back pictures after fine-tuning {figures['accuracy']:.4f}")

    classifier.save(run.folder / "model.params", net if args.fine_tune else None)
    run.finish(figures)
    shown = image_set.subset(test) if image_set else None
    page = evaluation.report(run, classifier, vectors[test], labels[test], shown, figures)
    run.log(f"{run.folder / 'model.params'}, {page}")


def pictures(args):
    """All pictures of the data set as one ImageSet, and the indices of those to learn from and of those held back."""
    import numpy as np

    from common.data import sets

    data = sets.load(
        args.dataset, args.data_path, "seen", args.seed, args.test_share, on_error=args.on_error
    )
    whole = sets.ImageSet.concat([data.train, data.test])
    indices = np.arange(len(whole))
    return whole, indices[: len(data.train)], indices[len(data.train) :]


def backbone(args):
    """The network that reads features, on the devices asked for."""
    from common import devices
    from examples.transfer import networks

    return networks.create(args.model, args.weights, devices.contexts(args.gpus, args.num_cpus), args.seed)


def read_features(args, net, image_set, run, name: str):
    """Features (n, width) of all pictures, kept as `name` in the run folder; a resumed run goes on where it was."""
    from common import devices
    from common.backbones import features
    from common.backbones.quantize import CALIBRATION, quantize
    from examples.transfer import inputs, outputs

    (file, _) = outputs.paths(run.folder, name, "npy")
    if run.resumed and file.is_file():
        return outputs.load(file)[0]
    source = inputs.from_dataset(image_set)
    failed = source.check()
    if failed:
        raise UserError(next(iter(failed.values())))
    size = net.input_size
    output = outputs.Output(run.folder, name, "npy", net.width, source.key(), run.resumed)
    if args.int8:
        net = quantize(net, inputs.spread(source, CALIBRATION, size, args.interpolation))
    else:
        net.hybridize(static_alloc=True, static_shape=True)
    pieces = inputs.batches(
        source, size, args.batch_size, args.interpolation, start=output.seen, num_workers=args.num_workers
    )
    for vectors, batch in features.stream(pieces, net, devices.contexts(args.gpus)[0]):
        if batch.failed:
            raise UserError(next(iter(batch.failed.values())))
        output.add(vectors, {})
    return outputs.load(output.finish(source.labels, source.rows)[0])[0]


if __name__ == "__main__":
    cli.launch(main, parse_args)
