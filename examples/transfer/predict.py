#!/usr/bin/env python3
"""Name the class of pictures, by a classifier of train.py."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

FLAGS = {
    "prediction": [
        ("pictures", cli.many(cli.FILE), cli.REQUIRED, "pictures"),
        ("--params", cli.FILE, cli.REQUIRED, "model.params of train.py's run folder"),
        ("--batch-size", cli.batch_size, 16, "pictures a forward pass takes"),
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
    from common.export import engine
    from common.files.errors import UserError
    from examples.transfer import inputs, networks

    described = classifier.backbone
    networks.check_named(classifier, args.params)
    paths = [pathlib.Path(path) for path in args.pictures]
    source = inputs.Files(paths, np.zeros(len(paths), np.int64), args.pictures)
    failed = source.check()
    if failed:
        raise UserError(next(iter(failed.values())))
    net = networks.of_classifier(classifier, args.params)
    cpu = argparse.Namespace(engine=args.engine, gpus=[])
    read = engine.reader(cpu, net, net.input_size, len(paths))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "class", "score"])
    size, filter = net.input_size, networks.interpolation(described["interpolation"], net)
    looks = described.get("resize"), described.get("keep_aspect", False), described.get("views", ())
    source = inputs.middle(source, size, *looks)
    pieces = inputs.batches(source, size, args.batch_size, filter, num_workers=args.num_workers)
    for vectors, batch in features.stream(pieces, read):
        if batch.failed:
            raise UserError(next(iter(batch.failed.values())))
        scores = classifier.probabilities(vectors)
        for i, row in enumerate(scores):
            writer.writerow([paths[batch.first + i], classifier.classes[row.argmax()], f"{row.max():.4f}"])


if __name__ == "__main__":
    cli.launch(main, parse_args)
