#!/usr/bin/env python3
"""Train a classifier on features, generated before or read fresh from pictures; fine-tune the network where asked."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume
from common.files.errors import UserError

DATASETS = ("cub200", "cars196", "sop", "cifar10", "cifar100", "omniglot", "emoji", "glyphs", "folder")


def parse_args(argv=None):
    p = cli.parser(__doc__)
    add = p.add_argument
    add("--features", metavar="FILE", help="NAME_data.npy, .csv or .parquet of generate_embedding.py")
    add("--dataset", choices=DATASETS, metavar="NAME",
        help=f"pictures instead of --features: {', '.join(DATASETS)}; default with --data-path is folder")  # fmt: skip
    add("--data-path", metavar="DIR", help="folder of the data set; for folder: of class folders of pictures")
    add("--model", metavar="NAME", help="network of the features; default with pictures is squeezenet1.1")
    add("--weights", default="imagenet", metavar="WEIGHTS",
        help="imagenet, None (random) or a file: .params, .h5, .pth, .safetensors")  # fmt: skip
    add("--interpolation", default="nearest", choices=("nearest", "bilinear", "bicubic"),
        help="how pictures are resized")  # fmt: skip
    add("--int8", action="store_true", help="read features with the network quantised to 8 bits")
    add("--classifier", default="logistic", choices=("logistic", "svm", "knn", "gluon"),
        help="logistic regression, linear SVM, k nearest neighbours, or a dense layer in Gluon")  # fmt: skip
    add("--k", type=cli.positive_int, default=5, metavar="N", help="neighbours of knn")
    add("--folds", type=cli.positive_int, default=5, metavar="N", help="folds of the cross-validation; 1 leaves it out")
    add("--test-share", type=cli.unit_float, default=0.2, metavar="SHARE",
        help="share of each class held back, where the data set has no split of its own")  # fmt: skip
    add("--fine-tune", action="store_true", help="then train the network's last block too, and compare")
    add("--epochs", type=cli.positive_int, default=2, metavar="N", help="epochs of --fine-tune")
    add("--lr", type=cli.positive_float, default=1e-4, metavar="RATE",
        help="learning rate of --fine-tune in its first epoch; it falls along a line")  # fmt: skip
    add("--batch-size", type=cli.batch_size, default=32, metavar="N", help="pictures a pass takes")
    add("--num-workers", type=cli.whole(1, 256), default=2, metavar="N", help="threads that decode pictures ahead")
    add("--gpus", type=cli.int_list, default=[], metavar="LIST", help="GPU to use; empty means CPU")
    add("--run-dir", metavar="DIR", help="folder of this run; default is runs/transfer/DATASET-NUMBER")
    add("--resume", action="store_true", help="continue the run in --run-dir (or the newest) where it was stopped")
    add("--on-error", default="stop", choices=cli.ON_ERROR,
        help="a picture that cannot be read: stop, or skip and list it in skipped.txt")  # fmt: skip
    add("--seed", type=cli.seed_number, default=123, metavar="N", help="random seed")
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
    if args.dataset:
        args.model = args.model or "squeezenet1.1"
    return args


def main(args):
    import numpy as np

    from common.data import walk
    from common.run import Run
    from examples.transfer import evaluation, model, outputs

    # Pictures, or features of them; which of them are learned from, and which held back.
    if args.features:
        vectors, names = outputs.load(args.features)
        classes, labels = np.unique(names, return_inverse=True)
        image_set, (train, test) = None, split(labels, args.test_share, args.seed)
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
    run = Run.start(args, "transfer", data=data_is)
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
        from common.backbones.pretrained import save_preprocessing
        from common.files.disk import atomic, save_arrays
        from examples.transfer import finetune

        finetune.last_block(net, image_set, train, classifier, args, run)
        with atomic(run.folder / "backbone.params") as beside:
            save_arrays(beside, {name: p._reduce() for name, p in net._collect_params_with_prefix().items()})
        save_preprocessing(run.folder / "backbone.params", net.preprocessing)
        about["weights"] = "backbone.params"  # predict.py finds it beside the classifier
        vectors = read_features(args, net, image_set, run, "finetuned")
        classifier = fit(vectors, train)
        figures["accuracy_before_fine_tuning"] = figures["accuracy"]
        figures["accuracy"] = evaluation.accuracy(classifier, vectors[test], labels[test])
        run.log(f"accuracy on {len(test)} held-back pictures after fine-tuning {figures['accuracy']:.4f}")

    classifier.save(run.folder / "classifier.npz")
    run.finish(figures)
    shown = image_set.subset(test) if image_set else None
    page = evaluation.report(run, classifier, vectors[test], labels[test], shown, figures)
    run.log(f"{run.folder / 'classifier.npz'}, {page}")


def split(labels, share: float, seed: int):
    """Places of the pictures to learn from and of those held back, `share` of each class."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    try:
        return train_test_split(np.arange(len(labels)), test_size=share, stratify=labels, random_state=seed)
    except ValueError as error:
        raise UserError(f"--test-share {share}: {error}") from error


def pictures(args):
    """All pictures of the data set as one ImageSet, and the places of those to learn from and of those held back."""
    import dataclasses

    import numpy as np

    from common.data import sets

    data = sets.load(
        args.dataset, args.data_path, "seen", args.seed, args.test_share, on_error=args.on_error
    )
    parts = data.train, data.test
    in_memory = all(part.in_memory for part in parts)
    boxes = None if parts[0].boxes is None else np.concatenate([part.boxes for part in parts])
    images = [part.images for part in parts]
    whole = dataclasses.replace(
        data.train,
        images=np.concatenate(images) if in_memory else [path for part in images for path in part],
        labels=np.concatenate([part.labels for part in parts]),
        boxes=boxes,
        domains=None,
    )
    places = np.arange(len(whole))
    return whole, places[: len(data.train)], places[len(data.train) :]


def backbone(args):
    """The network that reads features, on the device asked for."""
    from common import devices
    from examples.transfer import networks

    return networks.create(args.model, args.weights, devices.contexts(args.gpus)[0], args.seed)


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
