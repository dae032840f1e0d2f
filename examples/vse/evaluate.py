#!/usr/bin/env python3
"""Rank the sentences and pictures of a data set with a saved model, or with one of the 2014 code."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from examples.vse import flags

FLAGS = {
    "evaluation": [
        flags.MODEL,
        flags.TIES,
        ("--output", cli.Kind(metavar="FILE.json"), None, "also write the figures"),
        ("--save-embeddings", cli.DIR, None, "also write images.npy, sentences.npy and a table of each"),
    ],
    **flags.USE,
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from common.files.disk import write_json
    from examples.vse import evaluation, prepare

    net, asked = prepare.saved(args)
    images, sentences = asked.encode(net)
    rows = {"chance": evaluation.chance(asked.split)}
    rows.update(asked.rows(pathlib.Path(args.params).name, images, sentences, net.metadata, args.ties))
    print(f"{args.part}: {asked.split.summary()}")
    print(evaluation.table(rows))
    if args.output:
        write_json(pathlib.Path(args.output), rows)
    if args.save_embeddings:
        asked.write(pathlib.Path(args.save_embeddings), images, sentences)


if __name__ == "__main__":
    cli.launch(main, parse_args)
