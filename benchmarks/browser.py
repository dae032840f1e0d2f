#!/usr/bin/env python3
"""Whether the page of runtime/web, in headless Chromium, names pictures as runtime/image_embeddings.py does.

Asks both networks of an exported model about the same pictures, in the browser and in Python, and prints how many get
one first class, and what a picture takes in the browser: quickest and median, the ratio of INT8 to float32.

    .venv/bin/python benchmarks/browser.py FOLDER PICTURES --count 1000
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import tempfile

REPO = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "runtime")]


def chosen(places, count: int, seed: int) -> list:
    """Some pictures of the folders."""
    import image_embeddings
    import numpy as np

    paths = image_embeddings.find_pictures(places)
    return [paths[i] for i in np.sort(np.random.default_rng(seed).permutation(len(paths))[:count])]


def in_browser(folder: pathlib.Path, paths: list, kinds: list[str]) -> dict:
    """What the page answers: for each kind of network its answers and seconds."""
    from tests.runtime.web import browser

    with tempfile.TemporaryDirectory() as place:
        names = []
        for number, path in enumerate(paths):
            names.append(f"{number:05d}{path.suffix}")
            os.symlink(path.resolve(), pathlib.Path(place, names[-1]))
        listed = {"pictures": names, "words": [], "networks": kinds}
        told, _ = browser.run("trial.html", folder, pathlib.Path(place), listed, flags=("--dump-dom",))
    if "error" in told:
        sys.exit(f"error: {told['error']}")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="what an export.py --package FOLDER wrote")
    parser.add_argument("pictures", nargs="+", help="files or folders")
    parser.add_argument("--count", type=int, default=1000, help="pictures drawn of them")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    import image_embeddings
    import numpy as np

    paths = chosen(args.pictures, args.count, args.seed)
    kinds = list(image_embeddings.Model(args.folder).manifest["files"])
    told = in_browser(args.folder, paths, kinds)
    first = {kind: [answer["best"][0][0] for answer in told[kind]["answers"]] for kind in kinds}
    scores = {kind: np.array([answer["best"][0][1] for answer in told[kind]["answers"]]) for kind in kinds}
    expected = {}
    for kind in kinds:
        model = image_embeddings.Model(args.folder, int8=kind == "int8", threads=1)
        found = [pairs[0] for pairs in model.names(paths, 1)]
        expected[kind] = [model.titles.index(name) for name, _ in found]
        apart = np.abs(scores[kind] - [score for _, score in found]).max()
        took = 1000 * np.array(told[kind]["seconds"])
        print(
            f"{kind}: the class of Python's {kind} for {same(first[kind], expected[kind])} of {len(paths)} pictures, of"
            f" its float32 for {same(first[kind], expected['float32'])}; scores at most {apart:.1g} apart;"
            f" {took.min():.1f} ms a picture at the quickest, {np.median(took):.1f} in the median"
        )
    if len(kinds) > 1:
        quickest = [min(told[kind]["seconds"]) for kind in ("int8", "float32")]
        print(f"INT8 takes {quickest[0] / quickest[1]:.2f} times what float32 takes, quickest to quickest")


def same(a: list, b: list) -> int:
    return sum(x == y for x, y in zip(a, b))


if __name__ == "__main__":
    main()
