#!/usr/bin/env python3
"""Pictures a second that reach the training loop: our loader beside torchvision's and Gluon's DataLoader.

JPEGs of ImageNet's size (500 x 375), cut from scikit-learn's two photographs with a fixed seed, are read, their shorter
side brought to 256 pixels, cut at random to 224 and mirrored, with two threads here and two processes there. Each side
runs in a process of its own, in turn, and its best epoch counts.

    .venv/bin/python benchmarks/loader.py --peer PYTHON_WITH_TORCH
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

BATCH, WORKERS, RESIZE, CROP = 50, 2, 256, 224


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--peer", default=sys.executable, metavar="PYTHON", help="interpreter that has torch")
    p.add_argument("--pictures", type=int, default=400)
    p.add_argument("--width", type=int, default=500, help="of the pictures, in pixels; the height is 3/4 of it")
    p.add_argument("--rounds", type=int, default=2, help="processes of each side, run in turn")
    p.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    p.add_argument("--folder", help=argparse.SUPPRESS)
    return p.parse_args()


def write_pictures(folder: pathlib.Path, count: int, width: int) -> float:
    """Write `count` JPEGs as ``CLASS/NNNN.jpg``; return their mean size in kB."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(picture) for picture in load_sample_images().images]
    rng = np.random.default_rng(0)
    total = 0
    for number in range(count):
        photograph = photographs[number % 2]
        share = rng.uniform(0.6, 1)  # of the photograph's width, at 4:3
        w, h = photograph.width * share * 0.88, photograph.width * share * 0.66
        x, y = rng.uniform(0, photograph.width - w), rng.uniform(0, photograph.height - h)
        box = (x, y, x + w, y + h)
        cut = photograph.resize((width, width * 3 // 4), Image.Resampling.BICUBIC, box)
        path = folder / f"{number % 2}" / f"{number:04d}.jpg"
        path.parent.mkdir(exist_ok=True)
        cut.save(path, quality=92)
        total += path.stat().st_size
    return total / count / 1000


def ours(folder: str):
    """Epochs of `common.data.loader.Loader`."""
    from common.data.loader import Loader
    from common.data.samplers import Shuffled
    from common.data.sets.folder import load
    from common.data.transforms import Train

    pictures = load(folder).images
    transform = Train(RESIZE, CROP, keep_aspect=True)
    loader = Loader(pictures, transform, Shuffled(len(pictures), BATCH, 0), WORKERS, keep=False)
    return lambda epoch: (batch.images for batch in loader.epoch(epoch))


def gluon(folder: str):
    """Epochs of Gluon's DataLoader in processes."""
    import common  # noqa: F401  (first: MXNet needs the numpy alias it sets)
    import mxnet as mx  # isort: skip
    from mxnet.gluon.data import DataLoader, vision  # isort: skip

    mirror = vision.transforms.RandomFlipLeftRight()

    def transform(picture):
        return mirror(mx.image.random_crop(mx.image.resize_short(picture, RESIZE), (CROP, CROP))[0])

    pictures = vision.ImageFolderDataset(folder).transform_first(transform)
    loader = DataLoader(pictures, BATCH, shuffle=True, num_workers=WORKERS)
    return lambda epoch: (batch.asnumpy() for batch, _ in loader)


def torchvision(folder: str):
    """Epochs of torch's DataLoader over torchvision's ImageFolder and transforms, left at 8 bits as ours are."""
    import torch
    from torchvision import datasets, transforms

    chain = [
        transforms.Resize(RESIZE),
        transforms.RandomCrop(CROP),
        transforms.RandomHorizontalFlip(),
        transforms.PILToTensor(),
    ]
    pictures = datasets.ImageFolder(folder, transforms.Compose(chain))
    loader = torch.utils.data.DataLoader(
        pictures, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True, prefetch_factor=4
    )
    return lambda epoch: (batch for batch, _ in loader)


SIDES = {"ours": ours, "gluon": gluon, "torchvision": torchvision}


def best(epochs) -> float:
    """Pictures a second in the fastest of three epochs, after one to warm up."""
    fastest = 0.0
    for epoch in range(4):
        start = time.perf_counter()
        count = sum(len(batch) for batch in epochs(epoch))
        if epoch:
            fastest = max(fastest, count / (time.perf_counter() - start))
    return fastest


def main():
    args = parse_args()
    if args.side:
        print(json.dumps(best(SIDES[args.side](args.folder))))
        return
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        size = write_pictures(pathlib.Path(folder), args.pictures, args.width)
        for _ in range(args.rounds):
            for side in SIDES:
                python = args.peer if side == "torchvision" else sys.executable
                done = subprocess.run(
                    [python, __file__, "--side", side, "--folder", folder], capture_output=True, text=True
                )
                if done.returncode:
                    sys.exit(f"error: the {side} side failed: {done.stderr.strip().splitlines()[-1]}")
                found[side] = max(found.get(side, 0.0), json.loads(done.stdout.splitlines()[-1]))
    shape = f"{args.width} x {args.width * 3 // 4}"
    print(f"{args.pictures} JPEGs of {shape}, {size:.0f} kB each; {WORKERS} workers")
    for side, speed in found.items():
        ratio = "" if side == "ours" else f", ours is {found['ours'] / speed:.2f} times as fast"
        print(f"{side:<12}{speed:7.0f} pictures a second{ratio}")


if __name__ == "__main__":
    main()
