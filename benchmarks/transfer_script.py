#!/usr/bin/env python3
"""JPEG files to a CSV of features, as the transfer document's script makes it: the suite's program beside Keras.

Both read the same CSV of LABEL,PATH and write one of Class,n0,n1,... The peer does what the document says, by Keras on
PyTorch: load_img, img_to_array, preprocess_input and predict, picture by picture by default (-b 1), or in batches. The
weights are random, which changes no time. From start to end of each process, imports included.

    .venv/bin/python benchmarks/transfer_script.py --peer PYTHON_WITH_KERAS
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import turns

NETWORKS = {  # the document's name: Keras's module
    "VGG16": "vgg16", "ResNet50": "resnet50", "MobileNet": "mobilenet", "Xception": "xception",
}  # fmt: skip
WIDTH = 500  # of the pictures, in pixels, as ImageNet's


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--peer", metavar="PYTHON", help="interpreter that has Keras; without, ours alone")
    p.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=["MobileNet"])
    p.add_argument("--pictures", type=int, default=1000)
    p.add_argument("--batches", nargs="+", type=int, default=[1, 64], help="as -b of the script")
    p.add_argument("--keras-side", nargs=4, metavar=("NETWORK", "BATCH", "CSV", "OUTPUT"), help=argparse.SUPPRESS)
    p.add_argument("--suite-side", nargs=4, metavar=("NETWORK", "BATCH", "CSV", "OUTPUT"), help=argparse.SUPPRESS)
    turns.add_arguments(p, rounds=2)
    return p.parse_args()


def keras_side(network: str, batch: int, rows: str, output: str) -> None:
    """The document's script, by Keras."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    import numpy as np
    import torch

    torch.set_num_threads(turns.THREADS)
    module = getattr(keras.applications, NETWORKS[network])
    model = getattr(module, network)(weights=None, **({} if network == "VGG16" else {"pooling": "avg"}),
                                     include_top=network == "VGG16")  # fmt: skip
    if network == "VGG16":
        model = keras.Model(model.input, model.get_layer("fc2").output)
    size = 299 if network == "Xception" else 224
    with open(rows, newline="") as file:
        labels, paths = zip(*csv.reader(file))

    def read(path):
        return keras.utils.img_to_array(keras.utils.load_img(path, target_size=(size, size)))

    features = []
    if batch == 1:
        for path in paths:
            features.append(model.predict(module.preprocess_input(read(path)[None]), verbose=0))
    else:
        pictures = module.preprocess_input(np.stack([read(path) for path in paths]))
        features.append(model.predict(pictures, batch_size=batch, verbose=0))
    with open(output, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Class", *(f"n{i}" for i in range(features[0].shape[1]))])
        writer.writerows([label, *vector] for label, vector in zip(labels, np.concatenate(features)))


def suite_side(network: str, batch: int, rows: str, output: str) -> None:
    """The suite's program, as a user starts it."""
    from examples.transfer import generate_embedding

    target = pathlib.Path(output)
    flags = ["-csv", rows, "-tm", network, "-weights", "None", "-b", str(batch), "-to-csv"]
    generate_embedding.main(generate_embedding.parse_args([*flags, "-dir", str(target.parent), "-n", target.stem]))


def main():
    args = parse_args()
    began = time.perf_counter()
    if args.keras_side or args.suite_side:
        network, batch, rows, output = args.keras_side or args.suite_side
        (keras_side if args.keras_side else suite_side)(network, int(batch), rows, output)
        print(json.dumps({"done": time.perf_counter() - began}))
        return
    from benchmarks.loader import write_pictures

    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_pictures(folder, args.pictures, WIDTH)
        paths = sorted(folder.glob("*/*.jpg"))
        rows = folder / "pictures.csv"
        rows.write_text("".join(f"{path.parent.name},{path}\n" for path in paths))
        sides = {"suite": ("--suite-side", sys.executable)}
        if args.peer:
            sides["Keras"] = ("--keras-side", args.peer)
        for network in args.networks:
            for batch in args.batches:
                seconds = {side: [] for side in sides}
                for _ in range(args.rounds):
                    for side, (flag, python) in sides.items():
                        output = folder / f"{side}.csv"
                        start = time.perf_counter()
                        turns.run([python, __file__, flag, network, batch, rows, output])
                        seconds[side].append(time.perf_counter() - start)
                        check(output, len(paths))
                work = f"{args.pictures:,} JPEG files to a CSV of features, {network}, -b {batch}"
                found.append(turns.Row(work, "seconds", "suite", seconds, more=False, times=5))
    turns.report(found, args.json)


def check(output: pathlib.Path, pictures: int) -> None:
    """The CSV has a header and a row for each picture."""
    lines = output.read_text().splitlines()
    if len(lines) != pictures + 1 or not lines[0].startswith("Class,n0,"):
        sys.exit(f"error: {output.name} has {len(lines)} lines, and begins with {lines[0][:20]}")


if __name__ == "__main__":
    main()
