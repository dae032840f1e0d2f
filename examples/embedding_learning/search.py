#!/usr/bin/env python3
"""Find the pictures of a gallery that are nearest to a query picture."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from examples.embedding_learning.embed import SHIPPED


def parse_args(argv=None):
    p = cli.parser(__doc__)
    p.add_argument("queries", nargs="+", metavar="PATH", help="query pictures")
    p.add_argument("--gallery", nargs="+", metavar="PATH", help="pictures, folders of them, or .txt lists of paths")
    p.add_argument("--index", metavar="FILE", help="keep the gallery's index here; without --gallery it is read")
    p.add_argument("--kind", choices=["exact", "hnsw"], default="exact", help="compare with all, or follow a graph")
    p.add_argument("--params", default=SHIPPED, metavar="FILE", help="a model of train.py; default is the shipped one")
    p.add_argument("-k", type=cli.positive_int, default=5, metavar="N", help="pictures to show for each query")
    p.add_argument("--sheet", metavar="FILE.png", help="also draw them")
    p.add_argument(
        "--on-error", default="stop", choices=cli.ON_ERROR, help="a picture that cannot be read: stop, or skip it"
    )
    p.add_argument("--num-workers", type=cli.whole(1, 256), default=2, metavar="N", help="threads that decode pictures")
    p.add_argument("--gpus", type=cli.int_list, default=[], metavar="LIST", help="GPU to use; empty means CPU")
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
