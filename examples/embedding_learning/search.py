#!/usr/bin/env python3
"""Find the pictures of a gallery that are nearest to a query picture."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from examples.embedding_learning.embed import SHIPPED

FLAGS = {
    "search": [
        ("queries", cli.many(cli.PATH), cli.REQUIRED, "query pictures"),
        ("--gallery", cli.many(cli.PATH), None, "pictures, folders of them, or .txt lists of paths"),
        ("--index", cli.FILE, None, "keep the gallery's index here; without --gallery it is read"),
        ("--kind", cli.choice("exact", "hnsw"), "exact", "compare with all, or follow a graph"),
        *cli.ANSWERS,
        cli.ON_ERROR,
        cli.NUM_WORKERS,
    ],
    "network": [cli.model_file(SHIPPED), cli.GPU],
}


def parse_args(argv=None):
    p = cli.parser(__doc__, FLAGS)
    args = p.parse_args(argv)
    if not args.gallery and not args.index:
        p.error("say where to search: --gallery FOLDER, or --index FILE written by an earlier call")
    return args


def main(args):
    from common.data import images, walk
    from common.show import plots
    from examples.embedding_learning import gallery

    if args.gallery:
        paths = images.readable(images.find(args.gallery), args.on_error, args.num_workers)
        vectors = gallery.embed(paths, args.params, args.gpus, args.num_workers)
        index = gallery.build_index(paths, vectors, args.kind, args.params)
        if args.index:
            index.save(args.index)
    else:
        index = gallery.load_index(args.index, args.params)
    queries = images.readable(images.find(args.queries), args.on_error, args.num_workers)
    scores, places = index.query(gallery.embed(queries, args.params, args.gpus, args.num_workers), args.k)
    rows = []
    for query, row_scores, row_places in zip(queries, scores, places):
        print(walk.shown(query))
        row = [(images.read(query), "query", plots.QUERY)]
        for score, place in zip(row_scores, row_places):
            print(f"  {score:.3f}  {walk.shown(index.names[place])}")
            if args.sheet:
                row.append((images.read(index.names[place]), f"{score:.2f}", None))
        rows.append(row)
    if args.sheet:
        print(f"wrote {plots.sheet(rows, args.sheet)}")


if __name__ == "__main__":
    cli.launch(main, parse_args)
