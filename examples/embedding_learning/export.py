#!/usr/bin/env python3
"""Write a model of train.py for use elsewhere: ONNX in float32 and INT8, model.json, classes by their pictures."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from common.export import flags
from examples.embedding_learning.embed import SHIPPED

FLAGS = {
    "export": flags.package(cli.model_file(SHIPPED)),
    "classes, each the mean of its pictures": [
        cli.Alternatives([
            ("--classes", cli.DIR, None, "a folder with a folder of pictures for each class"),
            ("--dataset", cli.choice("grocery"), None, "its catalogue pictures, with their names"),
        ]),
        cli.DATA_PATH,
    ],
}  # fmt: skip


def parse_args(argv=None):
    p = cli.parser(__doc__, FLAGS)
    args = p.parse_args(argv)
    if args.data_path and not args.dataset:
        p.error("--data-path is the folder of a --dataset: name one, or give the folder to --classes")
    return args


def main(args):
    from common.data import images

    paths = images.named(args.pictures, args.on_error, args.num_workers)
    pictures, titles = pictures_of_classes(args)

    import numpy as np

    from common.data import transforms
    from common.export import package
    from common.files.errors import reading
    from examples.embedding_learning import exported, model

    net, metadata = model.load(args.params)
    with reading(args.params, model.REMEDY):
        transform = transforms.saved(metadata)

    def read(some):
        return np.stack([transform(images.read(path, transform.min_side)) for path in some])

    seen = package.Input.of(transform)
    whole = exported.OfViews(net, seen) if seen.views else net
    names = list(pictures)
    package.write(
        package.Package(
            "embedding_learning", metadata["model"], whole, seen, net.embed_dim,
            class_names=names, titles=titles and [titles[name] for name in names],
            classes=exported.class_vectors(whole, pictures, read) if names else None,
            metadata=metadata, title="Pictures whose distance says how alike they are",
            about="Maps a picture to a vector of length one, so that pictures of one class lie near to each other, also"
            " of classes that were not trained on: they are found by their neighbours, or named by the mean of a few"
            " pictures.",
            limits="What is alike is what the training data called a class. Pictures of another kind lie somewhere too:"
            " look at the similarity, not only at the order.",
        ),
        args, paths, read,
    )  # fmt: skip


def pictures_of_classes(args):
    """Class name -> paths of its pictures, and class name -> title where the data has such."""
    if args.dataset:
        from examples.embedding_learning import gallery

        paths, told = gallery.catalogue(args.dataset, args.data_path, args.on_error)
        names = [title.replace(" ", "-") for title in told["titles"]]
        return {name: [path] for name, path in zip(names, paths)}, dict(zip(names, told["titles"]))
    if not args.classes:
        return {}, None
    from common.data.sets import folder
    from common.files.errors import UserError

    if not pathlib.Path(args.classes).is_dir():
        raise UserError(f"--classes {args.classes} is not a folder: it takes one with a folder of pictures a class")
    found = folder.load(args.classes, args.on_error).images
    of_class = ((found.labels == label).nonzero()[0] for label in range(len(found.class_names)))
    return {
        name: [found.images[i] for i in indices] for name, indices in zip(found.class_names, of_class)
    }, None  # fmt: skip


if __name__ == "__main__":
    cli.launch(main, parse_args)
