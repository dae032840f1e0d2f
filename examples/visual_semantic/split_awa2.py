#!/usr/bin/env python3
"""Split AwA2, or pictures laid out like it, into train, valid and test; --finish what was stopped, or --undo it."""

import argparse
import contextlib
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

LIST = "split.csv"  # what was copied or moved where, in the folder split into
COLUMNS = ["action", "source", "target"]
PARTS = ("train", "valid", "test")


def share(text):
    """A number above 0 and below 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value
WHAT = [
    ("--copy", cli.switch, False, "leave the pictures where they are"),
    ("--move", cli.switch, False, "move them, which needs no room"),
    ("--finish", cli.switch, False, "go on with a copy or move that was stopped, by split.csv"),
    ("--undo", cli.switch, False, "remove the copies, or move the pictures back, by split.csv"),
]
FLAGS = {
    "split": [
        cli.Alternatives(WHAT, required=True),
        ("--data-path", cli.DIR, None, "folder of JPEGImages and classes.txt; default is data/awa2"),
        ("--output", cli.DIR, None, "where train, valid and test go; default is --data-path"),
        ("--split", cli.choice("standard", "proposed"), "standard", "which classes are unseen"),
        ("--valid-share", cli.Kind(share, "X"), 0.1, "of each seen class's pictures"),
        cli.seed("draws them"),
    ],
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from common.data.sets import awa2
    from common.files.errors import UserError
    from common.files.paths import data_dir

    given = pathlib.Path(args.data_path) if args.data_path else data_dir("awa2")
    target = pathlib.Path(args.output) if args.output else given
    if args.undo or args.finish:
        with sole(target):
            (undo if args.undo else finish)(target)
        return
    if not given.is_dir():
        raise UserError(f"{given} is not there: ./get_data.sh awa2 gets it (13 GB), or give --data-path")
    if (target / LIST).exists():
        stopped = interrupted(target)
        raise UserError(stopped or f"{target / LIST}: this folder is split already; --undo takes it back")
    rows, names = plan(given, target, args.split, args.valid_share, args.seed)
    there = next((row for row in rows if row[1].exists()), None)
    if there:
        raise UserError(f"{there[1]} is there already and nothing is overwritten: give another --output")
    action = "move" if args.move else "copy"
    write_list(target, [(action, source.resolve(), destination.resolve()) for source, destination, _ in rows])
    with sole(target):
        finish(target)
    if awa2.remark(names, len(rows)):
        print(awa2.remark(names, len(rows)))


def plan(root, target, split, valid_share, seed):
    """What goes where: a list of (source, target, part), and the names of the classes that have pictures."""
    from common.data.sets import awa2
    from common.data.splits import held_back

    whole, seen, unseen = awa2.load_split(root, split)
    known = whole.select(seen)
    held = held_back(known.labels, valid_share, seed)
    rows = [(path, "valid" if held[i] else "train") for i, path in enumerate(known.images)]
    rows += [(path, "test") for path in (whole.select(unseen).images if unseen else ())]
    return [(path, target / part / path.parent.name / path.name, part) for path, part in rows], seen + unseen


def write_list(target, rows):
    """Write split.csv, before anything is copied: what was stopped half-way can then be finished or undone."""
    import csv

    from common.files.disk import atomic, writing

    with writing(target, "give another --output"):
        target.mkdir(parents=True, exist_ok=True)
    with atomic(target / LIST) as tmp, open(tmp, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def listed(target):
    """The rows of split.csv: (action, source, target)."""
    import csv

    from common.files.errors import UserError

    if not (target / LIST).is_file():
        raise UserError(f"{target} has no {LIST}: nothing was split there; give its --output or --data-path")
    with open(target / LIST, encoding="utf-8", errors="replace", newline="") as file:
        lines = list(csv.reader(file))
    if lines[:1] != [COLUMNS] or not lines[1:] or not all(len(x) == 3 and x[0] in ("copy", "move") for x in lines[1:]):
        raise UserError(f"{target / LIST} is not what this script wrote: mend it; if no picture is missing, remove it")
    return [(action, pathlib.Path(source), pathlib.Path(destination)) for action, source, destination in lines[1:]]


def inside(target):
    """`listed`, with all targets inside the folder: what may be moved and removed."""
    from common.files.errors import UserError

    rows = listed(target)
    if any(target.resolve() not in destination.parents for _, _, destination in rows):
        raise UserError(f"{target / LIST} names files outside {target}: nothing was done; was the folder moved?")
    return rows


def interrupted(target):
    """One line about a split that is not whole, with the commands that mend it; None where it is, or there is none.

    Also for a folder that was moved as a whole: the last three names of a target (part, class, file) are looked for.
    """
    if not (target / LIST).is_file():
        return None
    rows = listed(target)
    found = sum(target.joinpath(*destination.parts[-3:]).is_file() for _, _, destination in rows)
    if found == len(rows):
        return None
    return (
        f"{target}: {found} of the {len(rows)} pictures that {LIST} lists are in train, valid and test:"
        f" {command(target, 'finish')} brings the others, {command(target, 'undo')} takes all back"
    )


def command(target, what):
    """How this script is called to do something with a split folder."""
    import shlex

    return f"split_awa2.py --{what} --data-path {shlex.quote(str(target))}"


@contextlib.contextmanager
def sole(target):
    """While pictures are copied, moved or removed: no other process does the same."""
    from common.files.errors import UserError
    from common.files.lock import Lock

    listed(target)  # taking the lock would make the file
    lock = Lock(target / LIST)
    if not lock.take():
        raise UserError(f"another split_awa2.py is at work on {target}: wait until it is done")
    try:
        yield
    except KeyboardInterrupt:
        print(f"stopped; {command(target, 'finish')} goes on, {command(target, 'undo')} takes it back", file=sys.stderr)
        sys.exit(130)
    finally:
        lock.release()


def finish(target):
    """Copy or move what split.csv lists and is not where it belongs yet."""
    from tqdm import tqdm

    from common.files.disk import writing

    rows = inside(target)
    check(rows, "finish")
    with writing(target, f"mend that, then {command(target, 'finish')} goes on"):
        for action, source, destination in tqdm(rows, disable=not sys.stderr.isatty()):
            if not whole(destination, source):
                destination.parent.mkdir(parents=True, exist_ok=True)
                (move if action == "move" else copy)(source, destination)
            elif action == "move":
                source.unlink(missing_ok=True)  # stopped between the copy to another disk and this
        for part in PARTS:
            sweep(target, part, rows)
    counts = [sum(destination.parts[-3] == part for _, _, destination in rows) for part in PARTS]
    done = "moved" if rows[0][0] == "move" else "copied"
    print(f"{done}: {counts[0]} to {target / 'train'}, {counts[1]} to {target / 'valid'},"
          f" {counts[2]} of unseen classes to {target / 'test'}; listed in {target / LIST}")  # fmt: skip


def undo(target):
    """Take back what split.csv lists: remove copies whose original is there, move back what was moved."""
    from common.files.disk import writing

    rows = inside(target)
    check(rows, "undo")
    with writing(target, f"mend that, then {command(target, 'undo')} goes on"):
        for action, source, destination in rows:
            if source.is_file():
                destination.unlink(missing_ok=True)  # `check` has seen that the source is whole
            elif action == "move":
                source.parent.mkdir(parents=True, exist_ok=True)
                move(destination, source)
        for part in PARTS:
            sweep(target, part, rows)
        (target / LIST).unlink()
    print(f"undone: {len(rows)} pictures; {target} is as it was")


def check(rows, what):
    """See that nothing would be lost or overwritten, before anything is done.

    What decides is the content: of a picture that is at both destinations one may be half, where a disk ran full or an
    earlier version was stopped.
    """
    from common.files.errors import UserError

    for action, source, destination in rows:
        if source.is_file() and destination.is_file():
            if not same(source, destination) and not half(destination, source):
                raise UserError(f"{source} and {destination} differ and nothing is removed: keep the whole one of them")
        elif not source.is_file() and not destination.is_file():
            raise UserError(
                f"neither {source} nor {destination} is there: put the picture back, or take its line out of {LIST}"
            )
        elif action == "copy" and what == "undo" and destination.is_file():
            raise UserError(f"{source} is gone and {destination} is its only copy: put it back, then --undo again")


def whole(destination, source):
    """Whether a picture has arrived."""
    return destination.is_file() and not (source.is_file() and half(destination, source))


def same(one, other):
    """Whether two files have the same bytes; those of one size and time are taken for it."""
    import filecmp

    return filecmp.cmp(one, other)


def half(part, file):
    """Whether a file is the beginning of another, and no more."""
    if part.stat().st_size >= file.stat().st_size:
        return False
    with open(part, "rb") as one, open(file, "rb") as other:
        return all(piece == other.read(len(piece)) for piece in iter(lambda: one.read(1 << 20), b""))


def copy(source, destination):
    """Copy to a neighbouring name, flush, rename: half a copy never has the name of a picture."""
    import shutil

    from common.files.disk import atomic

    with atomic(destination) as tmp:
        shutil.copy2(source, tmp)


def move(source, destination):
    """Rename; to another disk, copy whole and only then remove the source."""
    import errno

    try:
        os.rename(source, destination)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy(source, destination)
        source.unlink()


def sweep(target, part, rows):
    """Remove copies that were stopped half-way, and empty folders."""
    folder, destinations = (target / part).resolve(), {destination for _, _, destination in rows}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.name.startswith(".") and path.is_file() and path not in destinations:
            siblings = (file for file in destinations if file.parent == path.parent)
            if any(path.name.startswith(f".{file.name}") for file in siblings):
                path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


if __name__ == "__main__":
    cli.launch(main, parse_args)
