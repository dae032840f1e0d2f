#!/usr/bin/env python3
"""Pictures a second out of records beside out of files, from a cold and from a warm cache, in random order.

JPEGs of ImageNet's size (500 x 375, those of loader.py) are packed as they are, and resized to a shorter side of 256.
One epoch of each is read by our loader as a training reads it, 224 px out of 256: files in random order, records by
shard and buffer. Before a cold epoch the system is told that the pages of these files are not needed
(POSIX_FADV_DONTNEED), which needs no rights; names and inodes stay cached, so that files look better than after a
restart. Turns alternate; medians.

    .venv/bin/python benchmarks/records.py --folder DIR_ON_THE_DISK_IN_QUESTION
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import common  # noqa: F401  (first: MXNet needs what it sets)
from benchmarks.loader import write_pictures
from common import pack
from common.data import sets
from common.data.loader import Loader
from common.data.samplers import Shuffled
from common.data.transforms import Train


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--folder", help="where to write the pictures; default is the system's place for what is temporary")
    p.add_argument("--pictures", type=int, default=5000)
    p.add_argument("--shards", type=int, default=4)
    p.add_argument("--workers", type=int, default=2, help="threads")
    p.add_argument("--rounds", type=int, default=3)
    return p.parse_args()


def forget(folder: pathlib.Path) -> None:
    """Have the system drop the pages of all files below."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def epoch(pictures, workers: int, number: int) -> tuple[float, float]:
    """Pictures a second, and CPU milliseconds a picture, of one epoch."""
    sampler = Shuffled(len(pictures), 50, 0, places=pictures.places)
    loader = Loader(pictures, Train(256, 224, keep_aspect=True), sampler, workers, keep=False)
    start, cpu = time.perf_counter(), time.process_time()
    count = sum(len(batch.images) for batch in loader.epoch(number))
    return count / (time.perf_counter() - start), (time.process_time() - cpu) / count * 1000


def main():
    args = parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = pathlib.Path(folder)
        (root / "files").mkdir()
        write_pictures(root / "files", args.pictures, 500)
        places = {"files": root / "files"}
        for name, more in (("records", []), ("records of 256 px", ["--resize", "256"])):
            places[name] = root / name.replace(" ", "-")
            places[name].mkdir()
            output = ["--output", str(places[name] / "x.rec"), "--shards", str(args.shards)]
            pack.main(pack.parse_args(["--data-path", str(root / "files"), *output, *more]))
        whole = {name: sets.whole("folder", place, say=lambda line: None).images for name, place in places.items()}
        found = {(name, cache): [] for cache in ("cold", "warm") for name in places}
        for number in range(args.rounds):
            for name, cache in found:
                if cache == "cold":
                    forget(places[name])
                found[name, cache].append(epoch(whole[name], args.workers, number))
        for name, cache in found:
            rates, cpu = zip(*found[name, cache])
            rate = statistics.median(rates)
            ratio = rate / statistics.median(rate for rate, _ in found["files", cache])
            print(
                f"{cache} {name}: {rate:,.0f} pictures a second ({min(rates):,.0f} to {max(rates):,.0f}),"
                f" {ratio:.2f} times files; CPU {statistics.median(cpu):.2f} ms a picture"
            )


if __name__ == "__main__":
    main()
