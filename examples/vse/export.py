#!/usr/bin/env python3
"""Write a model of train.py for use elsewhere: pictures and sentences as two ONNX networks, model.json."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from common.export import flags

FLAGS = {"export": flags.package(("--params", cli.FILE, cli.REQUIRED, "the model.params of a run"))}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from common.data import images

    paths = images.named(args.pictures, args.on_error, args.num_workers)

    import numpy as np

    from common.export import package
    from common.files.errors import UserError
    from examples.vse import exported, model, pictures

    net = model.load(args.params)
    metadata = net.metadata
    if not metadata.get("model"):
        raise UserError(f"{args.params} takes features from files: export a model that was trained on pictures")
    if metadata["measure"] != "cosine":
        raise UserError(f"{args.params} compares by --measure {metadata['measure']}: only cosine's models are exported")
    if metadata["no_imgnorm"]:
        raise UserError(f"{args.params} is of --no-imgnorm: only models whose vectors have length one are exported")
    if net.encoder:
        raise UserError(f"{args.params} reads sentences by {metadata['encoder']}: only lstm, gru and bow are exported")
    transform = pictures.eval_transform(metadata)
    seen = package.Input.of(transform)
    backbone = package.of_views(net.backbone or pictures.Reader(metadata).network(), seen)
    package.write(
        package.Package(
            "vse", metadata["model"], exported.Tower(backbone, net.images), seen,
            metadata["dim"], metadata=metadata, title="Pictures and sentences in one space",
            words=package.Words(
                net.vocabulary.words, write=lambda path: exported.write_sentences(net, path),
                tokens=metadata.get("tokens", "words"),
            ),
            about=f"Maps pictures and sentences ({metadata['encoder']}) to vectors of length one, near to each other"
            " where the sentence says what the picture shows: pictures are searched by sentences (Kiros et al. 2014).",
            limits="Words that the training's sentences had not are read as one unknown word.",
        ),
        args, paths,
        lambda some: np.stack([transform(images.read(path, transform.min_side)) for path in some]),
    )  # fmt: skip


if __name__ == "__main__":
    cli.launch(main, parse_args)
