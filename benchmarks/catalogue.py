#!/usr/bin/env python3
"""How often a photograph finds its product's catalogue picture: models of embedding_learning beside frozen features.

    .venv/bin/python benchmarks/catalogue.py MODEL.params ...

hit@1, 5 and 10 among the 81 catalogue pictures of the Grocery Store set, of the validation and the test
list. Choose between models by the first, report the second. All models have to be of one frozen network, whose features
are read once.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the repository: runs without an install

from common import cli


def parse_args(argv=None):
    models = ("models", cli.many(cli.FILE), cli.REQUIRED, "model files of train.py")
    return cli.parser(__doc__, {"models": [models, cli.DATA_PATH]}).parse_args(argv)


def main(args):
    import mxnet as mx

    from common import devices
    from common.data import sets, transforms
    from examples.embedding_learning import catalogue, data, model

    found = sets.load("grocery", args.data_path, "seen")
    asked = {"validation": found.validation, "test": found.test}
    net, metadata = model.load(args.models[0])
    transform = transforms.saved(metadata)
    reading = argparse.Namespace(num_workers=2, engine="onnxruntime")
    features = {
        name: data.read(net.backbone, pictures, transform, mx.cpu(), reading).features
        for name, pictures in {**asked, "catalogue": found.catalogue}.items()
    }

    def show(name, embed):
        rows = {split: embed(values) for split, values in features.items()}
        figures = []
        for split, pictures in asked.items():
            parts = {"train": found.train, "test": pictures, "catalogue": found.catalogue}
            # Embeddings to train on are asked for by what is not shown, less each side's mean.
            sides = {"train": rows["catalogue"], "test": rows[split], "catalogue": rows["catalogue"]}
            hits = catalogue.hits(parts, sides.get)
            figures.append(f"{split} " + " ".join(f"{hits[f'catalogue_all_hit@{k}']:.3f}" for k in catalogue.KS))
        print(f"{name}: {', '.join(figures)}", flush=True)

    show("frozen features", lambda values: values)
    for file in args.models:
        net, _ = model.load(file)
        show(file, lambda values, net=net: net.embed(devices.put(values)).asnumpy())


if __name__ == "__main__":
    cli.launch(main, parse_args)
