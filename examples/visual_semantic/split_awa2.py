#!/usr/bin/env python3
"""Split AwA2, or pictures laid out like it, into the folders train, valid and test; --undo takes it back."""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

LIST = "split.csv"  # what was copied or moved where, in the folder split into
COLUMNS = ["action", "source", "target"]


def share(text):
    """A number above 0 and below 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def parse_args(argv=None):
    p = cli.parser(__doc__)
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--copy", action="store_true", help="leave the pictures where they are")
    what.add_argument("--move", action="store_true", help="move them, which needs no room")
    what.add_argument("--undo", action="store_true", help="remove the copies, or move the pictures back, by split.csv")
    p.add_argument("--data-path", metavar="DIR", help="folder of JPEGImages and classes.txt; default is data/awa2")
    p.add_argument("--output", metavar="DIR", help="where train, valid and test go; default is --data-path")
    p.add_argument("--split", choices=["standard", "proposed"], default="standard", help="which classes are unseen")
    p.add_argument("--valid-share", type=share, default=0.1, metavar="X", help="of each seen class's pictures")
    p.add_argument("--seed", type=cli.seed_number, default=123, metavar="N", help="draws them")
    return p.parse_args(argv)


def main(args):
    from common.datasets import awa2
    from common.errors import UserError
    from common.paths import data_dir

    given = pathlib.Path(args.data_path) if args.data_path else data_dir("awa2")
    if args.undo:
        undo(pathlib.Path(args.output) if args.output else given)
        return
    if not given.is_dir():
        raise UserError(f"{given} is not there: ./get_data.sh awa2 gets it (13 GB), or give --data-path")
    target = pathlib.Path(args.output) if args.output else given
    if (target / LIST).exists():
        raise UserError(f"{target / LIST}: this folder is split already; --undo takes it back")
    rows, names = plan(given, target, args.split, args.valid_share, args.seed)
    there = next((row for row in rows if row[1].exists()), None)
    if there:
        raise UserError(f"{there[1]} is there already and nothing is overwritten: give another --output")
    counts = {part: sum(row[2] == part for row in rows) for part in ("train", "valid", "test")}
    if awa2.is_real(names) and args.split == "standard":
        awa2.check_counts(counts["train"] + counts["valid"], counts["test"], given)
    carry_out(rows, target, "move" if args.move else "copy")
    done = "moved" if args.move else "copied"
    print(f"{done}: {counts['train']} to {target / 'train'}, {counts['valid']} to {target / 'valid'},"
          f" {counts['test']} of unseen classes to {target / 'test'}; listed in {target / LIST}")  # fmt: skip


def plan(root, target, split, valid_share, seed):
    """What goes where: a list of (source, target, part), and all class names."""
    from common.datasets import awa2

    whole = awa2.load(root)
    seen, unseen = awa2.split_names(root, split)
    known = whole.select(seen)
    held = awa2.held_back(known.labels, valid_share, seed)
    rows = [(path, "valid" if held[i] else "train") for i, path in enumerate(known.images)]
    rows += [(path, "test") for path in whole.select(unseen).images]
    return [(path, target / part / path.parent.name / path.name, part) for path, part in rows], whole.class_names


def carry_out(rows, target, action):
    """Copy or move. The list is written first, so that a run that was stopped half-way can be undone."""
    import csv
    import shutil

    from tqdm import tqdm

    target.mkdir(parents=True, exist_ok=True)
    with open(target / LIST, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([action, source.resolve(), place.resolve()] for source, place, _ in rows)
    for source, place, _ in tqdm(rows, disable=not sys.stderr.isatty()):
        place.parent.mkdir(parents=True, exist_ok=True)
        if action == "move":
            shutil.move(source, place)
        else:
            beside = place.with_name(f".{place.name}")
            shutil.copy2(source, beside)
            beside.replace(place)  # half a copy never has the name of a picture


def undo(target):
    """Take back what split.csv lists: remove copies whose original is there, move back what was moved."""
    import shutil

    rows = listed(target)
    check_undo(rows)
    for action, source, place in rows:
        if not place.is_file():
            continue  # stopped before it came to this one
        if action == "copy":
            place.unlink()
        else:
            source.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(place, source)
    for part in ("train", "valid", "test"):
        sweep(target / part)
    (target / LIST).unlink()
    print(f"undone: {len(rows)} pictures; {target} is as it was")


def listed(target):
    """The rows of split.csv: (action, source, target)."""
    import csv

    from common.errors import UserError

    if not (target / LIST).is_file():
        raise UserError(f"{target} has no {LIST}: nothing was split there; give its --output or --data-path")
    with open(target / LIST, encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    if not lines or lines[0] != COLUMNS or any(len(line) != 3 or line[0] not in ("copy", "move") for line in lines[1:]):
        raise UserError(f"{target / LIST} is not a list that this script wrote: nothing was done")
    rows = [(action, pathlib.Path(source), pathlib.Path(place)) for action, source, place in lines[1:]]
    if any(target.resolve() not in place.parents for _, _, place in rows):
        raise UserError(f"{target / LIST} names files outside {target}: nothing was done; was the folder moved?")
    return rows


def check_undo(rows):
    """See that nothing would be lost or overwritten, before anything is done."""
    from common.errors import UserError

    for action, source, place in rows:
        if not place.is_file():
            continue
        if action == "copy" and not source.is_file():
            raise UserError(f"{source} is gone and {place} is its only copy: put it back, then --undo again")
        if action == "move" and source.exists():
            raise UserError(f"{source} is there again and nothing is overwritten: move it away, then --undo again")


def sweep(folder):
    """Remove empty folders, and copies that were stopped half-way."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path.name.startswith("."):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


if __name__ == "__main__":
    cli.launch(main, parse_args)
