#!/usr/bin/env python3
"""Search pictures by words or by a picture, and find the words for a picture, with a model of train.py."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

SHIPPED = pathlib.Path(__file__).resolve().parent / "pretrained" / "emoji.params"


def parse_args(argv=None):
    p = cli.parser(__doc__)
    p.add_argument(
        "--text", nargs="+", default=[], metavar="TEXT", help="queries, each of a word or of several, averaged"
    )
    p.add_argument(
        "--image", nargs="+", default=[], metavar="PATH", help="query pictures: their nearest words and pictures"
    )
    p.add_argument(
        "--gallery", nargs="+", default=[], metavar="PATH",
        help="pictures to search in, folders of them, or .txt lists of paths: they are indexed, and the index kept",
    )  # fmt: skip
    p.add_argument(
        "--index", metavar="FILE",
        help="where the gallery's index is kept: written with --gallery, read without; default is beside the model",
    )  # fmt: skip
    p.add_argument("--exact", action="store_true", help="compare with all pictures; else follow a graph (HNSW)")
    p.add_argument(
        "--vocabulary", type=cli.non_negative_int, default=0, metavar="N",
        help="name pictures by the N most frequent words too, not only by the classes",
    )  # fmt: skip
    p.add_argument("--word-vectors", metavar="FILE", help="where words are looked up; default is the model's file")
    p.add_argument("--params", default=SHIPPED, metavar="FILE", help="a model of train.py; default is the shipped one")
    p.add_argument(
        "--on-error", default="stop", choices=cli.ON_ERROR, help="a picture that cannot be read: stop, or skip it"
    )
    p.add_argument("-k", type=cli.positive_int, default=5, metavar="N", help="results to show for each query")
    p.add_argument("--sheet", metavar="FILE.png", help="also draw them")
    p.add_argument("--serve", action="store_true", help="answer on a page of this machine instead")
    p.add_argument("--port", type=cli.port, default=8000, metavar="N", help="of the page; 0: any free one")
    p.add_argument("--num-workers", type=cli.whole(1, 256), default=2, metavar="N", help="threads that decode pictures")
    p.add_argument("--gpus", type=cli.int_list, default=[], metavar="LIST", help="GPU to use; empty means CPU")
    args = p.parse_args(argv)
    if not (args.text or args.image or args.gallery or args.serve):
        p.error("say what to do: --text WORDS, --image PICTURES, --gallery FOLDER or --serve")
    return args


def main(args):
    from common.data import images

    queries = images.find(args.image) if args.image else []  # wrong paths are said before the model is read
    paths = images.readable(images.find(args.gallery), args.on_error, args.num_workers) if args.gallery else []

    from examples.visual_semantic.gallery import Searcher

    searcher = Searcher(args.params, "exact" if args.exact else "hnsw", args.word_vectors, args.gpus, args.num_workers)
    if paths:
        searcher.build(paths, args.index)
        print(f"{len(paths)} pictures indexed: {args.index or searcher.beside}", flush=True)
    elif args.text or args.serve or args.index or searcher.beside.is_file():
        searcher.open(args.index)
    if args.vocabulary:
        searcher.read_vocabulary(args.vocabulary)
    if args.serve:
        serve(searcher, args.port)
        return
    rows = [answer_text(searcher, text, args.k) for text in args.text]
    rows += [answer_picture(searcher, path, args.k) for path in queries]
    if args.sheet and rows:
        from common.show import plots

        rows = [[(file and images.read(file), caption, colour) for file, caption, colour in row] for row in rows]
        print(f"wrote {plots.sheet(rows, args.sheet)}")


def serve(searcher, port):
    """The page, until Ctrl-C. Without the file of word vectors it finds the classes by name, and says so."""
    from common.files.errors import UserError
    from common.search import page

    try:
        searcher.keep_words()
    except UserError as error:
        print(f"only names of classes can be searched for: {error}", flush=True)
    page.serve(searcher.app(), port)


def answer_text(searcher, text, k):
    """Print the pictures nearest to `text`; return a row of `plots.sheet`, files in the place of pictures."""
    vector = searcher.of_text(text)[None]  # a word without one ends it here
    print(text)
    return [(None, text, None), *shown(searcher, vector, k)]


def answer_picture(searcher, path, k):
    """Print the words and the pictures nearest to the picture in `path`; return a row as `answer_text` does."""
    from common.show import plots

    vectors = searcher.of_pictures([path])
    print(path)
    named = searcher.classes(vectors, k)[0]
    print("  classes:", ", ".join(f"{word} {score:.3f}" for score, word in named))
    if searcher.vocabulary:
        print("  words:", ", ".join(f"{word} {score:.3f}" for score, word in searcher.any_words(vectors, k)[0]))
    query = (path, f"{named[0][1]}?\n{named[0][0]:.2f}", plots.QUERY)
    return [query, *(shown(searcher, vectors, k) if searcher.index else [])]


def shown(searcher, vectors, k):
    """Print the pictures nearest to a vector (1, dim); return them as cells of that row."""
    from examples.visual_semantic.gallery import plain

    cells = []
    for score, place in searcher.pictures(vectors, k)[0]:
        file = pathlib.Path(searcher.index.names[place])
        print(f"  {score:.3f}  {file}")
        cells.append((file, f"{plain(file.parent.name)[:14]}\n{score:.2f}", None))
    return cells


if __name__ == "__main__":
    cli.launch(main, parse_args)
