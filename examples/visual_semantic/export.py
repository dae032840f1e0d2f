#!/usr/bin/env python3
"""Write a model of train.py for use elsewhere: ONNX in float32 and INT8, classes and words beside it; check both."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from common.export import flags
from examples.visual_semantic.search import SHIPPED

FLAGS = {
    "export": [
        cli.model_file(SHIPPED),
        cli.Alternatives([
            ("--package", cli.DIR, None, flags.PACKAGE),
            ("--output", cli.DIR, None, "ONNX and word matrix alone; default without --package: mobile/ by the model"),
        ]),
        ("--vocabulary", cli.non_negative_int, 20_000, "most frequent words that a package knows besides the classes"),
        ("--word-vectors", cli.FILE, None, "where these are looked up; default is the model's file"),
        *flags.PICTURES,
        *flags.DESCRIBED,
        *flags.READING,
    ],
}  # fmt: skip


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from common.data import images

    paths = images.named(args.pictures, args.on_error, args.num_workers)

    from examples.visual_semantic import model

    net = model.load(args.params)
    if args.package:
        write_package(args, net, paths)
    else:
        write_mobile(args, net, paths)


def write_package(args, net, paths):
    """The folder that is read without the suite."""
    import numpy as np

    from common.data import images, transforms
    from common.export import package
    from examples.visual_semantic import gallery, model

    metadata = net.metadata
    file = pathlib.Path(str(metadata["word_vectors"])).name
    transform = transforms.saved(metadata)
    seen = package.Input.of(transform)
    encoder = model.AfterMean(package.OfViews(net.backbone, seen), net.encoder) if seen.views else net.encoder
    package.write(
        package.Package(
            "visual_semantic", metadata["model"], encoder, seen, net.dim,
            class_names=net.class_names, titles=list(map(gallery.plain, net.class_names)), classes=net.words,
            words=known_words(args, net), metadata=metadata, title="Pictures among words",
            about=f"Puts a picture where the words for what it shows are ({file}), so that it is named"
            f" by the nearest word, trained on or not (DeViSE, Frome et al. 2013). {len(net.seen)} classes were trained"
            f" on, {len(net.unseen)} are known by their words alone.",
            limits="A new class is as good as its word: names with several meanings, and words that the file of word"
            " vectors has seldom, are found badly. Seen classes draw pictures of unseen ones to themselves.",
        ),
        args, paths,
        lambda some: np.stack([transform(images.read(path, transform.min_side)) for path in some]),
    )  # fmt: skip


def known_words(args, net):
    """The most frequent words and those of the classes' names, as their file has them; None for none."""
    from common.export import package
    from common.text.vectors import WordVectors
    from examples.visual_semantic import words

    if not args.vocabulary:
        return None
    known = WordVectors.read(
        words.file_of(args.word_vectors or net.metadata["word_vectors"]), max_words=args.vocabulary
    )
    spelled = [word for word in known.vectors if len(word.split()) == 1]
    return package.Words(
        spelled, known.matrix(spelled), net.centre.data().asnumpy(), net.turn.data().asnumpy(),
    )  # fmt: skip


def write_mobile(args, net, paths):
    """ONNX and the word matrix alone."""
    import numpy as np

    from common.data import transforms
    from common.data.loader import Loader
    from common.data.samplers import Sequential
    from common.data.sets import ImageSet
    from common.export import onnx
    from common.export.package import Session
    from common.files.disk import write_json
    from examples.visual_semantic import data, mobile

    file = pathlib.Path(args.params)
    folder = pathlib.Path(args.output or file.parent / "mobile")
    path = mobile.write(net, folder, file.stem)
    print(f"{path}: {size(path)}; {len(net.class_names)} words of {net.dim} numbers in {file.stem}-words.npy")
    if net.metadata.get("views"):
        shares = ", ".join(f"{share:g}" for share in net.metadata["views"])
        print(
            f"it takes a picture alone; the figures of train.py are of the mean with its middles ({shares}; --views),"
            " as --package reads them"
        )
    if not paths:
        print("no --pictures: INT8 is not written, and nothing was compared")
        return

    order = np.random.default_rng(args.seed).permutation(len(paths))
    some = min(args.calibrate, (len(paths) + 1) // 2)
    calibration, rest = order[:some], np.sort(order[some : some + args.check])
    transform = transforms.saved(net.metadata).whole

    def loader(chosen):
        chosen = ImageSet([paths[i] for i in chosen], np.zeros(len(chosen), np.int64), [""])
        return Loader(chosen, transform, Sequential(len(chosen), data.READ_BATCH), args.num_workers)

    ranges = np.concatenate([batch.images for batch in loader(calibration).epoch()])
    small = folder / f"{file.stem}-int8.onnx"
    made = onnx.write_int8(path, small, ranges, lambda rows: (rows @ net.words.T).argmax(axis=1), args.int8_agreement)
    print(f"INT8: {made['in_float32']} of {made['convolutions']} convolutions stay in float32")
    checked = loader(rest)
    reference = data.read(net.embed, checked.image_set, transform, None, args.num_workers)
    taken_for = (reference @ net.words.T).argmax(axis=1)
    figures = {}
    for kind, written in (("float32", path), ("int8", small)):
        session = Session(written)
        vectors = np.concatenate([session(batch.images) for batch in checked.epoch()])
        same = int(((vectors @ net.words.T).argmax(axis=1) == taken_for).sum())
        cosine, took = float((vectors * reference).sum(axis=1).mean()), session.milliseconds(ranges[0])
        print(
            f"{kind}: {size(written)}, {took:.1f} ms a picture of {net.metadata['crop']} px on one core, the model's"
            f" top-1 on {same} of {len(rest)} pictures, cosine to its vectors {cosine:.4f}"
        )
        figures[kind] = {"bytes": written.stat().st_size, "milliseconds": round(took, 2), "same_top1": same,
                         "pictures": len(rest), "cosine": round(cosine, 5)}  # fmt: skip
    write_json(folder / f"{file.stem}-check.json", figures)


def size(path) -> str:
    """``"2.96 MB"``, in millions of bytes."""
    return f"{path.stat().st_size / 1e6:.2f} MB"


if __name__ == "__main__":
    cli.launch(main, parse_args)
