#!/usr/bin/env python3
"""Name the class of pictures, by a classifier of train.py."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

FLAGS = {
    "prediction": [
        ("pictures", cli.many(cli.FILE), cli.REQUIRED, "pictures, folders of them, or .txt lists of paths"),
        ("--params", cli.FILE, cli.REQUIRED, "model.params of train.py's run folder"),
        ("--batch-size", cli.batch_size, 16, "pictures a forward pass takes"),
        ("--all", cli.switch, False, "write a column for each class too: its probability, or what the classifier has"),
        cli.NUM_WORKERS,
        cli.ENGINE,
    ],
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from examples.transfer import model

    classifier = model.load(args.params)
    import argparse
    import csv

    import numpy as np

    from common.backbones import features
    from common.data import images, walk
    from common.export import engine
    from common.files.errors import UserError
    from examples.transfer import inputs, networks

    described = classifier.backbone
    networks.check_named(classifier, args.params)
    paths = images.find(args.pictures)
    shown = [walk.shown(path) for path in paths]
    source = inputs.Files(paths, np.zeros(len(paths), np.int64), shown)
    failed = source.check()
    if failed:
        raise UserError(next(iter(failed.values())))
    net = networks.of_classifier(classifier, args.params)
    cpu = argparse.Namespace(engine=args.engine, gpus=[])
    read = engine.reader(cpu, net, net.input_size, len(paths))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "class", "score", *(classifier.classes if args.all else ())])
    size, filter = net.input_size, networks.interpolation(described["interpolation"], net)
    looks = described.get("resize"), described.get("keep_aspect", False), described.get("views", ())
    source = inputs.middle(source, size, *looks, described.get("crop_share"))
    pieces = inputs.batches(source, size, args.batch_size, filter, num_workers=args.num_workers)
    for vectors, batch in features.stream(pieces, read):
        if batch.failed:
            raise UserError(next(iter(batch.failed.values())))
        scores = classifier.probabilities(vectors)
        for i, row in enumerate(scores):
            each = [f"{score:.4f}" for score in row] if args.all else []
            writer.writerow([shown[batch.first + i], classifier.classes[row.argmax()], f"{row.max():.4f}", *each])


if __name__ == "__main__":
    cli.launch(main, parse_args)
