#!/usr/bin/env python3
"""Find the pictures for a sentence and the sentences for a picture, with a model of train.py."""

import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from examples.vse import flags

FLAGS = {
    "search": [
        flags.MODEL,
        ("--text", cli.many(cli.Kind(metavar="TEXT")), [], "sentences: their best pictures"),
        ("--image", cli.many(cli.PATH), [], "pictures, or numbers of pictures in the data: their best sentences"),
        ("--minus", cli.many(cli.Kind(metavar="TEXT")), [], "with --image: the pictures like it, less these words"),
        ("--plus", cli.many(cli.Kind(metavar="TEXT")), [], "with --image: the pictures like it, with these words"),
        ("--gallery", cli.many(cli.PATH), [], "search your pictures, not the data's"),
        ("--index", cli.FILE, None, "keep the index of --gallery here; without --gallery it is read"),
        ("--kind", cli.choice("exact", "hnsw"), "exact", "of --index: compare with all, or follow a graph"),
        ("--sentences", cli.FILE, None, "search the lines of a file, not the data's sentences"),
        *cli.ANSWERS,
        *cli.PAGE,
    ],
    "network": [
        ("--features-by", cli.NAME, None, "network of your pictures, for a model of features: vgg19 for those of 2014"),
        ("--weights", cli.WEIGHTS, "imagenet", "its parameters: imagenet, or a file"),
    ],
    **flags.USE,
    "devices": [cli.GPU, cli.ENGINE],
}


def parse_args(argv=None):
    p = cli.parser(__doc__, FLAGS)
    args = p.parse_args(argv)
    if not (args.text or args.image or args.serve or (args.gallery and args.index)):
        p.error("say what to do: --text SENTENCE, --image PICTURE, --serve, or --gallery FOLDER --index FILE")
    if args.kind != "exact" and not (args.gallery and args.index):
        p.error("--kind is of the index that --gallery and --index make")
    if (args.minus or args.plus) and not args.image:
        p.error("--minus and --plus change what is searched for by --image PICTURE")
    return args


def main(args):
    from common.show import plots

    gallery, reader = open_gallery(args)
    if args.serve:
        from common.search import page

        page.serve(app(gallery, reader), args.port)
        return
    rows = [answer_text(gallery, text, args.k) for text in args.text]
    if args.minus or args.plus:
        rows += [answer_changed(gallery, reader, image, args) for image in args.image]
    else:
        rows += [answer_image(gallery, reader, image, args.k) for image in args.image]
    if args.sheet:
        print(f"wrote {plots.sheet(rows, args.sheet)}")


def open_gallery(args):
    """What is searched, and what reads a query picture (None for a model of features)."""
    import numpy as np

    from common.data import images
    from common.search.index import Index
    from examples.vse import data, gallery, pictures, prepare

    net, searched = prepare.saved(args)
    reader, split = None, searched.split
    if args.features_by:
        prepare.read_by(net, args.features_by, args.weights)
    if net.metadata["model"]:
        own = net if net.backbone is not None else None
        reader = pictures.Reader(net.metadata, own, args.num_workers, net.ctx, keep=False)
    paths = images.named(args.gallery, args.on_error, args.num_workers)
    asked = math.inf if args.serve else len(paths) + sum(not image.isdigit() for image in args.image)
    if reader and asked:
        reader.settle(args, asked)
    index = Index.load(args.index, args.params) if args.index and not args.gallery else None
    if args.gallery or args.sentences or index:
        features, labels, shown = split.features, split.image_labels, split.pictures
        texts, sentence_labels = split.texts, split.sentence_labels
        if args.gallery or index:
            shown = pictures.files([pathlib.Path(name) for name in index.names] if index else paths)
            labels = -2 - shown.labels
            features = None if index else need(reader, args.params)(shown)
        if args.sentences:
            texts = read_sentences(args.sentences)
            sentence_labels = np.full(len(texts), -1)  # of no picture that is known
        searched.split = data.Split(features, labels, texts, sentence_labels, shown)
    if index:
        images, sentences = index.vectors(), net.encode_sentences(searched.split.texts)
    else:
        images, sentences = searched.encode(net)
    if args.index and args.gallery:
        index = gallery.build_index(net, images, paths, args)
        print(f"{len(index):,} pictures are indexed in {args.index}", flush=True)
    return gallery.Gallery(net, searched.split, images, sentences, index), reader


def read_sentences(path):
    """The lines of a file that are not empty."""
    from common.files.errors import UserError
    from examples.vse import layouts

    lines = [line for line in layouts.read_lines(pathlib.Path(path), "a text file of one sentence a line") if line]
    if not lines:
        raise UserError(f"{path} has no sentence: one a line is wanted")
    return lines


def need(reader, params):
    """`reader`, or an error where the model takes features from files."""
    from common.files.errors import UserError

    if reader is None:
        raise UserError(
            f"{params} takes features from files: --features-by says which network gives them for pictures; or give"
            " numbers of the data's"
        )
    return reader


def answer_text(gallery, text, k):
    """Print the pictures for `text`; return a row of `common.show.plots.sheet`."""
    print(text)
    row = [(None, text, None)]
    for score, index in gallery.pictures_for(text, k):
        print(f"  {score:.3f}  {gallery.title(index)}")
        picture = gallery.read(index)
        row.append((picture, f"{score:.2f}" if picture is not None else gallery.title(index), None))
    return row


def answer_image(gallery, reader, image, k):
    """Print the sentences for the picture in a file, or for picture number `image`; return a row."""
    from common.show import plots

    picture, vector = embed(gallery, reader, image)
    print(image)
    row = [(picture, "query" if picture is not None else str(image), plots.QUERY)]
    for score, index in gallery.sentences_for(vector, k):
        print(f"  {score:.3f}  {gallery.split.texts[index]}")
        row.append((None, gallery.split.texts[index], None))
    return row


def answer_changed(gallery, reader, image, args):
    """Print the pictures like an image less the words of ``--minus``, with those of ``--plus``; return a row."""
    from common.show import plots

    picture, vector = embed(gallery, reader, image)
    changed = gallery.changed(vector, args.minus, args.plus)
    said = " ".join([image, *(f"- {text}" for text in args.minus), *(f"+ {text}" for text in args.plus)])
    print(said)
    own = int(image) if image.isdigit() else None  # of the data's pictures: it is not its own answer
    row = [(picture, said, plots.QUERY)]
    for score, index in gallery.pictures_like(changed, args.k, own):
        print(f"  {score:.3f}  {gallery.title(index)}")
        found = gallery.read(index)
        row.append((found, f"{score:.2f}" if found is not None else gallery.title(index), None))
    return row


def embed(gallery, reader, image):
    """Pixels (None where there are only features) and embedding of the picture that an argument names."""
    from common.data import images
    from common.files.errors import UserError
    from examples.vse import pictures

    if image.isdigit():
        if int(image) >= len(gallery.images):
            raise UserError(f"--image {image}: there are pictures 0 to {len(gallery.images) - 1}")
        return gallery.read(int(image)), gallery.images[int(image)]
    read = need(reader, "the model")
    shown = pictures.files(images.find([image])[:1])
    return shown.read(0), gallery.net.encode_images(read(shown))[0]


def app(gallery, reader):
    """The search page: sentences find pictures, pictures find sentences and pictures."""
    from common.search import page
    from common.search.page import Hit
    from examples.vse import pictures

    shown = gallery.split.pictures
    titles = [gallery.title(index) for index in range(len(gallery.images))]
    texts = gallery.split.texts

    def hit(score, index):
        return Hit(score, titles[index].split("  ", 1)[-1], index if shown is not None else None)

    def by_text(text, k):
        return [hit(*found) for found in gallery.pictures_for(text, k)]

    def by_image(picture, k):
        vector = gallery.net.encode_images(reader(pictures.arrays(picture)))[0]
        sentences = [Hit(score, texts[index]) for score, index in gallery.sentences_for(vector, k)]
        return {"Sentences": sentences, "Pictures": [hit(*found) for found in gallery.pictures_like(vector, k)]}

    return page.create_app(
        "Sentences and pictures",
        [] if shown is None else [shown.read(i) if shown.in_memory else shown.images[i] for i in range(len(titles))],
        search_text=by_text,
        search_image=by_image if reader else None,
        hint=f"A model of {gallery.net.metadata['dataset']}, {len(texts)} sentences.",
        examples=texts[:: max(1, len(texts) // 6)][:6],
    )


if __name__ == "__main__":
    cli.launch(main, parse_args)
