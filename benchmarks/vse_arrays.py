#!/usr/bin/env python3
"""Write the arrays that vse/train.py learns emoji or glyphs from, for vse_training.py: features, labels, sentences."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np

from common import cli


def parse_args(argv=None):
    p = cli.parser(__doc__)
    p.add_argument("--data", choices=["emoji", "glyphs"], required=True, help="data set")
    p.add_argument("--data-path", metavar="DIR", help="its folder")
    p.add_argument("--model", default="efficientnet_lite0", metavar="NAME", help="network, with ImageNet parameters")
    p.add_argument("--image-size", type=cli.positive_int, default=128, metavar="PIXELS", help="side of the pictures")
    p.add_argument("--seed", type=cli.non_negative_int, default=123, metavar="N", help="draws what is held out")
    p.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    return p.parse_args(argv)


def main(args):
    from examples.vse import layouts, pictures

    about = {"model": args.model, "params": None, "image_size": args.image_size, "dataset": args.data, "int8": False}
    read = pictures.Reader({**about, "photographs": False})
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for name, part in layouts.load(args.data, args.data_path, read, args.seed).items():
        np.savez(
            out / f"{name}.npz", features=part.features, image_labels=part.image_labels,
            sentence_labels=part.sentence_labels, texts=np.array(part.texts),
        )  # fmt: skip
        print(f"{name}: {part.features.shape[0]} pictures, {len(part.texts)} sentences")


if __name__ == "__main__":
    cli.launch(main, parse_args)
