#!/usr/bin/env python3
"""Search pictures by words or by a picture, and find the words for a picture, with a model of train.py."""

import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

SHIPPED = pathlib.Path(__file__).resolve().parent / "pretrained" / "emoji.params"
FLAGS = {
    "search": [
        ("--text", cli.many(cli.Kind(metavar="TEXT")), [], "queries, each of a word or of several, averaged"),
        ("--image", cli.many(cli.PATH), [], "query pictures: their nearest words and pictures"),
        ("--gallery", cli.many(cli.PATH), [], "pictures, folders or .txt lists of paths, whose index is kept"),
        ("--index", cli.FILE, None, "the gallery's index, read without --gallery; default is beside the model"),
        ("--exact", cli.switch, False, "compare with all pictures; else follow a graph (HNSW)"),
        ("--vocabulary", cli.non_negative_int, 0, "name pictures by the N most frequent words too, not classes alone"),
        ("--word-vectors", cli.FILE, None, "where words are looked up; default is the model's file"),
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
    if not (args.text or args.image or args.gallery or args.serve):
        p.error("say what to do: --text WORDS, --image PICTURES, --gallery FOLDER or --serve")
    return args


def main(args):
    from common.data import images

    queries = images.find(args.image) if args.image else []  # wrong paths are said before the model is read
    paths = images.named(args.gallery, args.on_error, args.num_workers)

    from examples.visual_semantic.gallery import Searcher

    searcher = Searcher(args.params, "exact" if args.exact else "hnsw", args.word_vectors, args.gpus, args.num_workers)
    asked = math.inf if args.serve else len(paths) + len(queries)
    if asked:
        searcher.choose(args, asked)
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
        cells.append((file, f"{plain(file.parent.name)}\n{score:.2f}", None))
    return cells


if __name__ == "__main__":
    cli.launch(main, parse_args)
