#!/usr/bin/env python3
"""Train a classifier on features, generated before or read fresh from a folder of class folders."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from common.errors import UserError


def parse_args(argv=None):
    p = cli.parser(__doc__)
    add = p.add_argument
    add("--features", metavar="FILE", help="NAME_data.npy, .csv or .parquet of generate_embedding.py")
    add("--data-path", metavar="DIR", help="folder of class folders of pictures, instead of --features")
    add("--model", metavar="NAME", help="network of the features; default with --data-path is squeezenet1.1")
    add("--weights", default="imagenet", metavar="WEIGHTS", help="imagenet, None or a .params file")
    add(
        "--interpolation",
        default="nearest",
        choices=("nearest", "bilinear", "bicubic"),
        help="how pictures are resized",
    )
    add("--classifier", default="logistic", choices=("logistic", "svm", "knn", "gluon"), help="kind of classifier")
    add("--k", type=cli.positive_int, default=5, metavar="N", help="neighbours of knn")
    add("--folds", type=cli.positive_int, default=5, metavar="N", help="folds of the cross-validation; 1 leaves it out")
    add("--test-share", type=cli.unit_float, default=0.2, metavar="SHARE", help="share of pictures held back")
    add("--fine-tune", action="store_true", help="first train the network's last block; needs --data-path")
    add("--epochs", type=cli.positive_int, default=2, metavar="N", help="epochs of --fine-tune")
    add("--lr", type=cli.positive_float, default=1e-4, metavar="RATE", help="learning rate of --fine-tune")
    add("--batch-size", type=cli.positive_int, default=32, metavar="N", help="pictures a forward pass takes")
    add("--num-workers", type=cli.positive_int, default=2, metavar="N", help="threads that decode pictures ahead")
    add("--run-dir", metavar="DIR", help="folder of this run; default is runs/transfer/features-NUMBER")
    add("--seed", type=cli.non_negative_int, default=123, metavar="N", help="random seed")
    args = p.parse_args(argv)
    if bool(args.features) == bool(args.data_path):
        p.error("give --features FILE or --data-path DIR")
    if args.fine_tune and not args.data_path:
        p.error("--fine-tune needs pictures: give --data-path DIR")
    args.dataset = "features"  # the run folder's name
    return args


def main(args):
    import numpy as np
    from sklearn.model_selection import train_test_split

    from common.run import Run
    from examples.transfer import inputs, model, outputs

    source = inputs.from_folder(args.data_path) if args.data_path else None
    vectors, names = (None, source.labels) if source else outputs.load(args.features)
    classes, labels = np.unique(names, return_inverse=True)
    fewest = np.bincount(labels).min()
    if len(classes) < 2 or fewest < 2 or (args.folds > 1 and fewest * (1 - args.test_share) < args.folds):
        raise UserError(
            f"{len(classes)} classes, the smallest of {fewest}: at least 2 classes are needed, and --folds"
            f" {args.folds} pictures of each beside those held back"
        )
    everything = np.arange(len(labels))
    try:
        train, test = train_test_split(everything, test_size=args.test_share, stratify=labels, random_state=args.seed)
    except ValueError as error:
        raise UserError(f"--test-share {args.test_share}: {error}") from error
    run = Run.start(args, "transfer")
    if source:
        args.model = args.model or "squeezenet1.1"
        vectors, weights = read_features(args, source, train, labels, len(classes), run)
    about = {"name": args.model, "weights": weights if source else args.weights}
    about.update(interpolation=args.interpolation, seed=args.seed)
    options = {"backbone": about, "k": args.k, "seed": args.seed}
    folds = cross_validate(args, vectors[train], labels[train], classes, options) if args.folds > 1 else []
    if folds:
        run.log(f"{args.folds}-fold accuracy {np.mean(folds):.4f} (deviation {np.std(folds):.4f})")
    classifier = model.fit(args.classifier, vectors[train], labels[train], classes, **options)
    predicted = classifier.predict(vectors[test])
    accuracy = float((predicted == labels[test]).mean())
    run.log(f"accuracy on {len(test)} held-back pictures {accuracy:.4f}")
    classifier.save(run.folder / "classifier.npz")
    draw_confusion(labels[test], predicted, classes, run.plots / "confusion.png")
    figures = {"accuracy": accuracy, "test_pictures": len(test), "train_pictures": len(train)}
    run.finish({**figures, "fold_accuracy": folds, "classifier": args.classifier})
    run.log(f"{run.folder / 'classifier.npz'}, {run.plots / 'confusion.png'}")


def read_features(args, source, train, labels, classes: int, run):
    """Features of all pictures, fresh, and the weights they were read with; the network fine-tuned where asked."""
    import numpy as np

    from common import features
    from examples.transfer import inputs, networks

    failed = source.check()
    if failed:
        raise UserError(next(iter(failed.values())))
    net, weights = networks.create(args.model, args.weights, seed=args.seed), args.weights
    if args.fine_tune:
        from common.weights import save_beside
        from examples.transfer import finetune

        finetune.last_block(net, source, train, labels, classes, args, run.log)
        net.save_parameters(str(run.folder / "backbone.params"))
        save_beside(run.folder / "backbone.params", net.preprocessing)
        weights = "backbone.params"
    net.hybridize(static_alloc=True, static_shape=True)
    result = np.empty((len(source), net.width), np.float32)
    pieces = inputs.batches(source, net.input_size, args.batch_size, args.interpolation, num_workers=args.num_workers)
    for vectors, batch in features.stream(pieces, net):
        if batch.failed:
            raise UserError(next(iter(batch.failed.values())))
        result[batch.first : batch.first + len(vectors)] = vectors
    return result, weights


def cross_validate(args, vectors, labels, classes, options) -> list[float]:
    """Accuracy of each fold, classes in equal shares."""
    from sklearn.model_selection import StratifiedKFold

    from examples.transfer import model

    splits = StratifiedKFold(args.folds, shuffle=True, random_state=args.seed).split(vectors, labels)
    return [
        float(
            (
                model.fit(args.classifier, vectors[a], labels[a], classes, **options).predict(vectors[b]) == labels[b]
            ).mean()
        )
        for a, b in splits
    ]


def draw_confusion(labels, predicted, classes, path) -> None:
    """Rows are true classes, columns what was predicted."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from sklearn.metrics import ConfusionMatrixDisplay

    figure, axes = pyplot.subplots(figsize=(8, 7))
    shown = len(classes) <= 30
    ConfusionMatrixDisplay.from_predictions(
        labels, predicted, labels=range(len(classes)), display_labels=classes if shown else None, include_values=shown,
        xticks_rotation="vertical", ax=axes, cmap="Blues",
    )  # fmt: skip
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    cli.launch(main, parse_args)
