#!/usr/bin/env python3
"""Lay the emoji set out as AwA2 is: JPEGImages/CLASS/CLASS_10001.jpg and the three lists of classes."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

CATEGORIES = ("Animals & Nature", "Food & Drink", "Travel & Places", "Objects", "Activities")
ALWAYS_SEEN = ("elephant", "water buffalo", "cow", "dolphin")  # the four of the document's pictures
FLAGS = {
    "layout": [
        ("--data-path", cli.DIR, None, "the emoji, see ./get_data.sh emoji; default is data/emoji"),
        ("--output", cli.DIR, cli.REQUIRED, "a new folder"),
        ("--categories", cli.many(cli.NAME), list(CATEGORIES), "of classes.csv"),
        ("--unseen-share", cli.unit_float, 0.1, "of the classes, drawn"),
        ("--word-vectors", cli.FILE, "glove50", "names without a vector are left out"),
        cli.seed("draws the unseen classes"),
    ],
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    import shutil

    import numpy as np

    from common.data.sets import emoji
    from common.files.errors import UserError, near
    from common.files.paths import data_dir
    from examples.visual_semantic import words

    output = pathlib.Path(args.output)
    if output.exists():
        raise UserError(f"{output} is there already: give a new folder")
    whole, rows, _ = emoji.load(args.data_path or data_dir("emoji"))
    known = sorted({row["category"] for row in rows})
    wrong = next((name for name in args.categories if name not in known), None)
    if wrong:
        raise UserError(f"--categories {wrong!r}: no such category{near(wrong, known)}: {', '.join(known)}")
    names = {i: spelled(row["name"]) for i, row in enumerate(rows) if row["category"] in args.categories}
    names = {i: name for i, name in names.items() if name}
    found = words.known(names.values(), args.word_vectors)
    classes = {}  # name -> class number; a name that comes twice means its first emoji
    for number, name in names.items():
        if name in found:
            classes.setdefault(name, number)
    if len(classes) < 4:
        raise UserError(f"{len(classes)} emoji of {', '.join(args.categories)} have a word vector: too few")
    free = [name for name in classes if name not in ALWAYS_SEEN]
    drawn = np.random.default_rng(args.seed).permutation(len(free))[: round(args.unseen_share * len(classes))]
    unseen = {free[i] for i in drawn}
    for name, number in classes.items():
        folder = output / "JPEGImages" / name.replace(" ", "+")
        folder.mkdir(parents=True)
        for place, index in enumerate(np.flatnonzero(whole.labels == number), 10001):
            shutil.copyfile(whole.images[index], folder / f"{folder.name}_{place}.jpg")
    write(output / "classes.txt", [f"{i}\t{name}" for i, name in enumerate(classes, 1)])
    write(output / "trainclasses.txt", [name for name in classes if name not in unseen])
    write(output / "testclasses.txt", [name for name in classes if name in unseen])
    print(f"{output}: {len(classes) - len(unseen)} seen and {len(unseen)} unseen classes,"
          f" pictures 10001 to 1{len(whole.domain_names):04d} by {', '.join(whole.domain_names)}")  # fmt: skip


def spelled(name):
    """The name in lower case, where it is one to three words of letters; empty otherwise."""
    parts = name.lower().replace("-", " ").replace("’", "").split()
    return " ".join(parts) if len(parts) <= 3 and all(part.isalpha() and part.isascii() for part in parts) else ""


def write(path, lines):
    """A list of classes, a space written as + as AwA2 does."""
    from common.files.disk import write_text

    write_text(path, "".join(line.replace(" ", "+") + "\n" for line in lines))


if __name__ == "__main__":
    cli.launch(main, parse_args)
