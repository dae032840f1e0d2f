#!/usr/bin/env python3
"""Write a model of train.py for use elsewhere: f(x) with its scores as ONNX, class vectors, model.json."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from common.export import flags

FLAGS = {"export": flags.package(("--input", cli.FILE, cli.REQUIRED, "model.params of train.py"))}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from common.data import images

    paths = images.named(args.pictures, args.on_error, args.num_workers)

    import numpy as np

    from common.export import package
    from examples.im2vec import data, exported, modelfile

    model = modelfile.load(args.input)
    names, transform = model.metadata["classes"], data.eval_transform(model)
    seen = package.Input.of(transform)
    package.write(
        package.Package(
            "im2vec", model.metadata["model"], exported.Scored(model, seen), seen, len(names),
            kind="scores", unit_length=False, distance="dot", class_names=names, classes=model.vectors("class"),
            embedding_size=model.net.dim, metadata=model.metadata, title="Vectors of classes, and of pictures",
            about="One vector for each class, learned as word2vec learns those of words, and a network f(x) that gives"
            f" a picture its vector. The score of a class is its log-probability, up to a constant of the picture"
            f" ({model.metadata['objective']}); classes.npy has the class vectors.",
            limits="Classes are alike where pictures are; what the words for them have in common is not known.",
        ),
        args, paths,
        lambda some: np.stack([transform(images.read(path, transform.min_side)) for path in some]),
    )  # fmt: skip


if __name__ == "__main__":
    cli.launch(main, parse_args)
