#!/usr/bin/env python3
"""Show how classes relate: similarity, tree, maps, nearest classes and analogies of a model that train.py wrote."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

KINDS = ("class", "mean")
MODEL = [
    ("--input", cli.FILE, None, "a model that train.py wrote"),
    ("--run-dir", cli.DIR, None, "a run folder: its model, and its vectors through training"),
]
SUMS = cli.Kind(metavar="SUM", action="append")
FLAGS = {
    "model": [
        cli.Alternatives(MODEL, required=True),
        ("--vectors", cli.choice(*KINDS, metavar="KIND"), None, "class: learned; mean: of f(x); default is the stable"),
    ],
    "pictures": [
        ("--output", cli.DIR, None, "where to write; default is --run-dir, or a folder called as --input"),
        ("--analogy", SUMS, [], "classes nearest to a sum such as 'lion - tiger + wolf'; may be given again"),
        ("--projector", cli.switch, False, "write the folder projector too, for TensorBoard's projector"),
        ("--nearest", cli.whole(1, 10**9, "K"), 5, "nearest classes listed for each"),
    ],
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from common.run import read_history
    from examples.im2vec import modelfile, relations, vectors

    file = pathlib.Path(args.run_dir) / "model.params" if args.run_dir else modelfile.params_path(args.input)
    folder = pathlib.Path(args.output or args.run_dir or file.with_suffix(""))
    model = modelfile.load(file)
    history = read_history(args.run_dir) if args.run_dir else []
    if args.projector:
        print(f"wrote {vectors.write_projector(model, folder / 'projector', args.vectors)}")
    relations.draw(model, folder, args.run_dir, history, args.vectors, args.analogy, args.nearest)


if __name__ == "__main__":
    cli.launch(main, parse_args)
