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

    metadata = {"model": args.model, "params": None, "image_size": args.image_size, "dataset": args.data, "int8": False}
    splits = layouts.load(args.data, args.data_path, args.seed)
    pictures.read_features(splits, pictures.Reader({**metadata, "photographs": False}))
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for name, split in splits.items():
        np.savez(
            out / f"{name}.npz", features=split.features, image_labels=split.image_labels,
            sentence_labels=split.sentence_labels, texts=np.array(split.texts),
        )  # fmt: skip
        print(f"{name}: {split.features.shape[0]} pictures, {len(split.texts)} sentences")


if __name__ == "__main__":
    cli.launch(main, parse_args)
