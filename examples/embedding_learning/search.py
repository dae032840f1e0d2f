#!/usr/bin/env python3
"""Find the pictures of a gallery that are nearest to a query picture, on the command line or on a page."""

import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from examples.embedding_learning.embed import SHIPPED, WIDTH

GALLERY = [
    ("--gallery", cli.many(cli.PATH), None, "pictures, folders of them, or .txt lists of paths"),
    ("--dataset", cli.choice("grocery"), None, "its catalogue pictures, with their names and descriptions"),
]
RANKED = [
    ("--rerank", cli.float_list, [], "K1,K2,LAMBDA: rank by k-reciprocal neighbours; the paper's are 20,6,0.3"),
    ("--query-expansion", cli.float_list, [], "K,ALPHA: look for the query and its K nearest, weighed by cosine^ALPHA"),
    ("--augmented-database", cli.float_list, [], "K,ALPHA: the gallery's pictures, too, with their K nearest"),
]
FLAGS = {
    "search": [
        ("queries", cli.many(cli.PATH, "*"), [], "query pictures"),
        cli.Alternatives(GALLERY),
        cli.DATA_PATH,
        ("--index", cli.FILE, None, "keep the gallery's index here; without a gallery it is read"),
        ("--kind", cli.choice("exact", "hnsw", "binary"), "exact", "compare with all, follow a graph, compare signs"),
        WIDTH,
        cli.Alternatives(RANKED),
        *cli.ANSWERS,
        *cli.PAGE,
        cli.ON_ERROR,
        cli.NUM_WORKERS,
    ],
    "network": [cli.model_file(SHIPPED), cli.GPU, cli.ENGINE],
}


def parse_args(argv=None):
    p = cli.parser(__doc__, FLAGS)
    args = p.parse_args(argv)
    if not args.gallery and not args.dataset and not args.index:
        p.error("say where to search: --gallery FOLDER, --dataset grocery, or --index FILE written by an earlier call")
    builds = args.index and (args.gallery or args.dataset)
    if (args.queries and args.serve) or not (args.queries or args.serve or builds):
        p.error(
            "say what to search for: query pictures, or --serve without any, whose page takes them, or neither with"
            " --gallery and --index, which makes the index"
        )
    if args.data_path and not args.dataset:
        p.error("--data-path is the folder of a --dataset: name one, or give the folder to --gallery")
    if args.rerank and (len(args.rerank) != 3 or min(args.rerank[:2]) < 1 or not 0 <= args.rerank[2] <= 1):
        p.error("--rerank takes three numbers, of which two are 1 or more and the last is 0 to 1: 20,6,0.3")
    flag, settings = ranked(args)
    if flag != "--rerank" and settings and (len(settings) != 2 or settings[0] < 1 or settings[1] < 0):
        p.error(f"{flag} takes two numbers, the first 1 or more and the second 0 or more: 10,3")
    if settings and not (args.queries or args.serve):
        p.error(f"{flag} ranks what is found for a query, and none is given: leave it out")
    return args


def ranked(args):
    """The flag of `RANKED` that is given, and its numbers; the last one's, none, where there is none."""
    given = [(flag, getattr(args, flag[2:].replace("-", "_"))) for flag, *_ in RANKED]
    return next((one for one in given if one[1]), given[-1])


def main(args):
    from common.data import images

    queries = images.find(args.queries) if args.queries else []  # wrong paths are said before the model is read
    index, embedder = open_index(args)
    flag, settings = ranked(args)
    if settings:
        from examples.embedding_learning.gallery import Reranked

        index = Reranked(index, flag, settings)
    if args.serve:
        from common.search import page
        from examples.embedding_learning import gallery

        page.serve(gallery.app(index, embedder), args.port)
    elif queries:
        answer(index, embedder, images.readable(queries, args.on_error, args.num_workers), args)


def open_index(args):
    """What is searched, and what embeds a query."""
    from common.data import images
    from common.files.disk import place, with_folder
    from common.search.index import Index
    from examples.embedding_learning import gallery

    if args.index and (args.dataset or args.gallery):
        place(with_folder(args.index), "--index")
    told, width, asked = {}, args.width, math.inf if args.serve else len(args.queries)
    if args.dataset:
        paths, told = gallery.catalogue(args.dataset, args.data_path, args.on_error)
    elif args.gallery:
        paths = images.named(args.gallery, args.on_error, args.num_workers)
    else:
        paths, index = [], gallery.load_index(args.index, args.params, args.width)
        width = index.metadata.get("width")
    embedder = gallery.Embedder(args.params, len(paths) + asked, args.engine, args.gpus, args.num_workers, width)
    if not paths:
        return index, embedder
    metadata = {**told, **({"width": width} if width else {})}
    index = Index.build(embedder(paths), list(map(str, paths)), args.kind, metadata=metadata, params=args.params)
    if args.index:
        index.save(args.index)
        print(f"{len(index):,} pictures are indexed in {args.index}", flush=True)
    return index, embedder


def answer(index, embedder, queries, args):
    """Print what was found for each query, and draw it with ``--sheet``."""
    from common.data import images, walk
    from common.show import plots
    from examples.embedding_learning import gallery

    rows = []
    for query, finds in zip(queries, gallery.nearest(index, embedder(queries), args.k)):
        print(walk.shown(query))
        row = [(images.read(query), "query", plots.QUERY)]
        for find in finds:
            print(f"  {find.score:.3f}  {find.title and walk.shown(find.title) + '  '}{walk.shown(find.path)}")
            if find.description:
                print(f"         {walk.shown(find.description)}")
            if args.sheet:
                row.append((images.read(find.path), f"{find.title}\n{find.score:.2f}".lstrip(), None))
        rows.append(row)
    if args.sheet:
        print(f"wrote {plots.sheet(rows, args.sheet)}")


if __name__ == "__main__":
    cli.launch(main, parse_args)
