#!/usr/bin/env python3
"""Rank the sentences and pictures of a data set with a saved model, or with one of the 2014 code."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from examples.vse.train import FILES, TIES, dataset

USE = {  # of a saved model, in search.py too
    "data": [
        dataset(),
        *FILES,
        ("--data-path", cli.DIR, None, "folder of the data; default is the model's own"),
        ("--part", cli.choice("train", "dev", "test", "testall"), "test", "what is ranked"),
        cli.NUM_WORKERS,
    ],
    "devices": [cli.GPU],
}
FLAGS = {
    "evaluation": [
        ("params", cli.Kind(metavar="MODEL"), cli.REQUIRED, "the model.params of a run, or an .npz of the 2014 code"),
        TIES,
        ("--output", cli.Kind(metavar="FILE.json"), None, "also write the figures"),
    ],
    **USE,
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def open_model(args):
    """The model, and the part of the data that the flags name, its features read."""
    from common import devices
    from examples.vse import evaluation, layouts, model, pictures

    ctx = devices.contexts(args.gpus)[0]
    net = model.load(args.params, ctx)
    about = net.metadata
    own = not (args.dataset or args.captions or args.data_path)
    name = args.dataset or about["dataset"]
    path = about.get("data_path") if own else args.data_path
    captions = about.get("captions", []) if own else args.captions
    images = args.images or (about.get("images") if own else None)
    if layouts.has_pictures(name, captions) and not about["model"]:
        raise_no_backbone(args.params, name)
    read = None if net.backbone is not None else pictures.Reader(about, num_workers=args.num_workers, ctx=ctx)
    each = args.captions_per_image or (about.get("captions_per_image") if own else None)
    on_error = about.get("on_error", "stop") if own else "stop"  # what its training left out is left out here
    parts = layouts.load(name, path, read, about.get("seed", 123), captions, images, [args.part], each, on_error)
    return net, evaluation.Examined(parts[args.part], about, args.num_workers, ctx)


def raise_no_backbone(params, name):
    """Say that a model of features cannot look at pictures."""
    from common.files.errors import UserError

    raise UserError(f"{params} takes features from files, not the pictures of --data {name}: give the data it is for")


def main(args):
    from common.files.disk import write_json
    from examples.vse import evaluation

    net, examined = open_model(args)
    images, sentences = examined.encode(net)
    measure = net.metadata["measure"]
    rows = {"chance": evaluation.chance(examined.part)}
    rows.update(examined.rows(pathlib.Path(args.params).name, images, sentences, measure, args.ties))
    print(f"{args.part}: {examined.part.summary()}")
    print(evaluation.table(rows))
    if args.output:
        write_json(pathlib.Path(args.output), rows)


if __name__ == "__main__":
    cli.launch(main, parse_args)
