#!/usr/bin/env python3
"""How time and memory grow with the data: training, evaluation, search and features at 1, 4 and 16 times as much.

Training and features are the suite's programs on JPEG files: embedding_learning's train.py, three epochs of conv4 with
the evaluation of its test part, and transfer's generate_embedding.py with SqueezeNet 1.1. Evaluation is all metrics
that look as far as R, search a graph that is built and asked 1,000 times. Each is a process of its own, from start to
end; the memory is the most that it held (Linux).
"""

from __future__ import annotations

import argparse
import math
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import turns
from common.files.paths import REPO

FACTORS = (1, 4, 16)
SIZES = {"training": 400, "evaluation": 4000, "search": 3000, "features": 200}  # at 1
WHAT = {
    "training": "training of conv4, pictures", "evaluation": "retrieval metrics, embeddings of 128",
    "search": "graph built and searched, vectors of 128", "features": "features by SqueezeNet 1.1, pictures",
}  # fmt: skip
CLASS = 25  # pictures of a class
WIDTH = 96  # of the pictures, in pixels


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--works", nargs="+", choices=list(SIZES), default=list(SIZES))
    p.add_argument("--scale", type=float, default=1, help="of all sizes")
    p.add_argument("--plot", type=pathlib.Path, metavar="FILE", help="PNG to write")
    p.add_argument("--side", nargs=2, metavar=("WORK", "SIZE"), help=argparse.SUPPRESS)
    turns.add_arguments(p, rounds=1)
    return p.parse_args()


def write_pictures(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """JPEGs of noise of each class's own colour, as ``CLASS/NNNN.jpg``."""
    import numpy as np
    from PIL import Image

    rng, paths = np.random.default_rng(0), []
    for number in range(count):
        if number % CLASS == 0:
            colour = rng.integers(0, 200, 3)
        path = folder / f"{number // CLASS:04d}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((colour + rng.integers(0, 56, (WIDTH, WIDTH, 3))).astype(np.uint8)).save(path, quality=90)
        paths.append(path)
    return paths


def side(work: str, size: int) -> None:
    """Evaluation or search, in a process of its own."""
    from benchmarks.recall import draw, suite

    vectors, labels = draw(size, 128)
    if work == "evaluation":
        suite(vectors, labels)
    else:
        from common.search.index import Index

        Index.build(vectors, kind="hnsw").query(vectors[:1000], 10)


def command(work: str, size: int, folder: pathlib.Path, paths: list[pathlib.Path]) -> list:
    """What is run for a work of this size; `paths` are the most pictures there are."""
    if work in ("evaluation", "search"):
        return [sys.executable, __file__, "--side", work, size]
    rows = folder / f"{size}.csv"
    lines = [f"{path.parent.name},{path}\n" for path in paths[:size]]
    examples = REPO / "examples"
    if work == "features":
        rows.write_text("".join(lines))
        program = [sys.executable, examples / "transfer" / "generate_embedding.py", "-csv", rows, "-dir", folder]
        return [*program, "-tm", "squeezenet1.1", "-b", 32, "-n", f"features{size}"]
    rows.write_text("label,path\n" + "".join(lines))
    program = [sys.executable, examples / "embedding_learning" / "train.py", "--dataset", "csv", "--data-path", rows]
    passes = ["--epochs", 3, "--epoch-batches", max(size // 36, 1)]  # of batches of 36
    return [*program, "--model", "conv4", *passes, "--no-plots", "--run-dir", folder / f"run{size}"]


def main():
    args = parse_args()
    if args.side:
        side(args.side[0], int(args.side[1]))
        return
    from benchmarks.features import measured

    lines, found = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        most = max([SIZES[work] for work in args.works if work in ("training", "features")], default=0)
        paths = write_pictures(folder / "pictures", round(most * args.scale * FACTORS[-1])) if most else []
        for work in args.works:
            sizes = [max(round(SIZES[work] * args.scale * factor), 2 * CLASS) for factor in FACTORS]
            rows = [measured(list(map(str, command(work, size, folder, paths)))) for size in sizes]
            found[work] = sizes, [row[0] for row in rows], [row[2] for row in rows]
            cells = [f"{size:,}: {row[0]:.1f} s, {row[2]:.0f} MB" for size, row in zip(sizes, rows)]
            growth = [f"{exponent(sizes, values):.2f}" for values in found[work][1:]]
            lines.append([WHAT[work], *cells, *growth])
            print(", ".join(lines[-1]), flush=True)
    heads = ("work", *(f"{factor}x" for factor in FACTORS), "time grows by the power", "memory by the power")
    text = "## Growth\n\nFrom the start to the end of a process, and the most memory that it held; powers are from 4x"
    text += " to 16x.\n\n" + turns.table(heads, lines)
    if args.plot:
        draw(found, args.plot)
        text += f"\n![Time and memory beside the size of the data]({args.plot.name})\n"
    turns.report([], args.json, text)


def exponent(sizes, values) -> float:
    """The power of the size that a value grows with, between the two largest."""
    return math.log(values[-1] / values[-2]) / max(math.log(sizes[-1] / sizes[-2]), 1e-9)


def draw(found: dict, path: pathlib.Path) -> None:
    from common.show.plots import CLASSES, write

    import matplotlib.pyplot as plt  # isort: skip
    from matplotlib import ticker  # isort: skip

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8))
    for axis, which, title in zip(axes, (1, 2), ("seconds", "MB at the most")):
        for work, colour in zip(found, CLASSES):
            axis.loglog(found[work][0], found[work][which], "o-", color=colour, label=work)
        axis.set(title=title, xlabel="pictures or embeddings")
        axis.grid(alpha=0.3, which="both")
        for side, subs in ((axis.xaxis, (1,)), (axis.yaxis, (1, 2, 5))):  # longer numbers, and side by side
            side.set_major_locator(ticker.LogLocator(subs=subs))
            side.set_major_formatter("{x:,g}")
            side.set_minor_locator(ticker.NullLocator())
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.tight_layout()
    write(figure, path)


if __name__ == "__main__":
    main()
