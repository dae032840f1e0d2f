#!/usr/bin/env python3
"""Write a classifier of train.py with its network for use elsewhere: ONNX in float32 and INT8, model.json."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from common.export import flags

FLAGS = {"export": flags.package(("--params", cli.FILE, cli.REQUIRED, "model.params of train.py's run folder"))}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from common.data import images

    paths = images.named(args.pictures, args.on_error, args.num_workers)

    from examples.transfer import model

    classifier = model.load(args.params)

    import numpy as np

    from common.export import package
    from common.files.errors import UserError
    from examples.transfer import exported, inputs, networks

    if classifier.kind == "knn":
        raise UserError(
            f"{args.params} compares with all its training pictures (knn), which no network does: train with"
            " --classifier logistic, or export embedding_learning's model, whose pictures are compared"
        )
    net = networks.of_classifier(classifier, args.params)
    described = classifier.backbone
    size, filter = net.input_size, networks.interpolation(described["interpolation"], net)
    views, share = tuple(described.get("views", ())), described.get("crop_share")
    resize, keep_aspect = described.get("resize"), bool(described.get("keep_aspect"))
    if share:
        resize, keep_aspect = int(size / share), True
    seen = package.Input(resize or size, size, keep_aspect, filter, views=views)

    def read(some):
        source = inputs.Files(list(some), np.zeros(len(some), np.int64), list(map(str, some)))
        source = inputs.middle(source, size, resize, keep_aspect, views)
        return np.stack([source.read(i, size, filter) for i in range(len(some))])

    names = {"logistic": "logistic regression", "lda": "linear discriminant analysis"}
    kind = names.get(classifier.kind, classifier.kind)
    how = "fine-tuned" if classifier.parameters else f"weights {described['weights']}, as they were, and {kind}"
    package.write(
        package.Package(
            "transfer", net.name_, exported.Classified(package.of_views(net, seen), classifier), seen,
            len(classifier.classes),
            kind=exported.kind(classifier), unit_length=False, class_names=classifier.classes.tolist(),
            embedding_size=net.width, title="Pictures' classes",
            about=f"Tells to which of {len(classifier.classes)} classes a picture belongs ({net.name_}, {how}); the"
            " network's features are a second output, by which pictures are compared.",
            limits="Every picture is given one of the classes, whatever it shows. Probabilities of a network are mostly"
            " too sure on pictures of another kind than those of the training.",
            metadata=metrics_beside(args.params),
        ),
        args, paths, read,
    )  # fmt: skip


def metrics_beside(params) -> dict:
    """Figures and data set of the run that a model file lies in, where it does."""
    from common.files import outside

    folder, found = pathlib.Path(params).parent, {}
    if (folder / "metrics.json").is_file() and (folder / "args.json").is_file():
        remedy = "a run's file is damaged: copy the model elsewhere to export it without figures"
        found["metrics"] = outside.read_json(folder / "metrics.json", remedy)
        found["dataset"] = outside.read_json(folder / "args.json", remedy).get("args", {}).get("dataset")
    return found


if __name__ == "__main__":
    cli.launch(main, parse_args)
