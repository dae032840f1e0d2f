"""One's own pictures: ``root/CLASS/*.jpg``, nested or not, below ``train/``, ``val/`` and ``test/`` or not."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Callable, Container
from pathlib import Path

import numpy as np

from common.data import walk
from common.data.imageset import ImageSet, Whole, readable
from common.data.splits import SPLITS
from common.files.errors import UserError

Place = tuple[str, ...]  # the folders that lead from a root to a picture
RULE = "a class is the first folder on the way down that holds pictures"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The pictures of a folder, and what their folders say of them.

    Attributes
    ----------
    paths : list of Path
        In name order.
    names : list of str
        The class of each, ``GROUP/CLASS`` where its folder lies in another; empty for pictures in no class's folder.
    splits : list of str or None
        ``train``, ``validation`` or ``test`` for each, where the folders say it.
    superclasses : dict of str to str
        The first folder of each class that lies in another.
    note : str
        What was made of the folders, for the log; empty where each picture lies in ``root/CLASS/``.
    """

    paths: list[Path]
    names: list[str]
    splits: list[str] | None
    superclasses: dict[str, str]
    note: str


def load(
    path, on_error: str = "stop", say: Callable[[str], None] = print, class_depth: int | None = None
) -> Whole:
    """The pictures of a folder of class folders, classes and files in name order; see `lay_out`.

    Parameters
    ----------
    path : path
    on_error : {"stop", "skip"}
        ``skip`` reads every picture once and leaves out those that cannot be read.
    say : callable (str)
        Is given one line: how many pictures and classes there are, and what was left out.
    class_depth : int, optional
        See `lay_out`.

    Returns
    -------
    Whole
        With the first folders of nested classes as groups, where all are nested.

    Raises
    ------
    UserError
        No such folder, or it holds fewer than two classes.
    """
    root = Path(path)
    if not root.is_dir():
        raise UserError(
            f"{walk.shown(root)} is not a folder: --data-path takes one with a folder of pictures for each class"
        )
    skipped: list = []
    found = lay_out(root, skipped, class_depth)
    kept = [i for i, name in enumerate(found.names) if name]
    skipped += [(path, walk.OUTSIDE) for path, name in zip(found.paths, found.names) if not name]
    names = list(dict.fromkeys(found.names[i] for i in kept))
    left_out = walk.summary(skipped, root)
    if len(names) < 2:
        only = f" ({walk.shown(names[0])}: {RULE})" if names else ""
        raise UserError(
            f"{walk.shown(root)} holds {len(names)} class folders with pictures{only}, two are needed:"
            f" ROOT/CLASS/PICTURE.jpg ({left_out})"
        )
    grouped = len(found.superclasses) == len(names)
    groups = f" in {len(set(found.superclasses.values())):,} groups" if grouped else ""
    note = f"{found.note}; " if found.note else ""
    say(f"{walk.shown(root)}: {len(kept):,} pictures of {len(names):,} classes{groups}; {note}{left_out}")
    number = {name: i for i, name in enumerate(names)}
    images = ImageSet(
        [found.paths[i] for i in kept], np.array([number[found.names[i]] for i in kept], np.int64), names,
        skipped=skipped, splits=found.splits and np.array([found.splits[i] for i in kept]),
    )  # fmt: skip
    return Whole(readable(images, on_error, say, root=root), found.superclasses if grouped else None)


def lay_out(root: Path, skipped: list, class_depth: int | None = None) -> Layout:
    """The pictures in a folder and below, by class and split.

    A class is the first folder on the way down that holds pictures; all that lie below it are its own. A folder that
    holds all others is passed over, and so are ``train``, ``validation`` and ``test`` (in any case, also ``training``,
    ``val``, ``valid``, ``testing``) where ``train`` holds classes and another of them is there. Names that look alike
    (an accent of one or of two letters) are the same.

    Parameters
    ----------
    root : Path
    skipped : list of (Path, str)
        Takes what else is there, and why.
    class_depth : int, optional
        A class is instead so many folders down; pictures that lie higher are of the class of their folder.
    """
    paths = list(walk.walk(root, skipped))
    _note_empty(root, paths, skipped)
    spelled = {folder: folder.parts[len(root.parts) :] for folder in {path.parent for path in paths}}
    of_folder = {folder: tuple(map(walk.composed, parts)) for folder, parts in spelled.items()}
    alike = len(set(spelled.values())) - len(set(of_folder.values()))
    places = _inner([of_folder[path.parent] for path in paths])
    splits = _splits(places)
    if splits:
        beside = [path for path, split in zip(paths, splits) if not split]
        skipped += [(path, walk.BESIDE_SPLITS) for path in beside]
        kept = [i for i, split in enumerate(splits) if split]
        paths, splits = [paths[i] for i in kept], [splits[i] for i in kept]
        places = _inner([places[i][1:] for i in kept])
    own = dict.fromkeys(places)
    class_of = {place: _class(place, own, class_depth) for place in own}
    names = ["/".join(class_of[place]) for place in places]
    superclasses = {"/".join(found): found[0] for found in class_of.values() if len(found) > 1}
    deeper = sum(len(place) > len(class_of[place]) for place in places)
    parts = []
    if class_depth:
        parts.append(f"a class is the first {class_depth} folders on the way down (--class-depth)")
    elif superclasses or deeper:
        parts.append(f"{RULE} (--class-depth), such as {walk.shown(next(iter(superclasses or filter(None, names))))}")
    if deeper:
        parts.append(f"{deeper:,} pictures lie deeper in the folder of their class")
    if alike:
        parts.append(f"{alike:,} folders whose names look like another's are one with it")
    counts = collections.Counter(split for split, name in zip(splits or (), names) if name)
    if len(counts) > 1:
        there = [split for split in dict.fromkeys(SPLITS.values()) if split in counts]
        parts.append(", ".join(f"{split} {counts[split]:,}" for split in there))
    return Layout(paths, names, splits if len(counts) > 1 else None, superclasses, "; ".join(parts))


def _inner(places: list[Place]) -> list[Place]:
    """The places below the folder that holds all others and no picture itself."""
    common = os.path.commonprefix([place for place in places if place] or [()])
    below = max(len(common) - (common in places), 0)
    return [place[below:] for place in places]


def _splits(places: list[Place]) -> list[str] | None:
    """The split of each place, empty for one in none; None where the first folders are no splits."""
    named = {place[0]: SPLITS[place[0].lower()] for place in places if place and place[0].lower() in SPLITS}
    holding = {named[place[0]] for place in places if len(place) > 1 and place[0] in named}
    if "train" not in holding or len(set(named.values())) < 2:
        return None
    return [named.get(place[0], "") if place else "" for place in places]


def _class(place: Place, own: Container[Place], depth: int | None) -> Place:
    """The folders that name the class of the pictures in `place`; `own` has all places that hold pictures."""
    if depth or not place:
        return place[:depth]
    return next(place[:n] for n in range(1, len(place) + 1) if place[:n] in own)


def _note_empty(root: Path, paths: list[Path], skipped: list) -> None:
    full = {path.parts[len(root.parts)] for path in paths}
    known = {place for path, reason in skipped if reason in (walk.LOCKED, walk.LINK) for place in (path, path.parent)}
    folders = (entry for entry in walk.entries(root, []) if entry.is_dir())
    skipped += [(entry, walk.EMPTY) for entry in folders if entry.name not in full and entry not in known]


def pictures(folder: Path, skipped: list) -> list[Path]:
    """The pictures of a class folder.

    Parameters
    ----------
    folder : Path
    skipped : list of (Path, str)
        Takes what else is there, or below, and why.

    Returns
    -------
    list of Path
        In name order.
    """
    found = list(walk.walk(folder, skipped))
    skipped += [(file, walk.DEEPER) for file in found if file.parent != folder]
    own = [file for file in found if file.parent == folder]
    skipped += [] if own else [(folder, walk.EMPTY)]
    return own


def collect(
    root: Path, named: list[tuple[str, Path]], on_error: str = "stop", say: Callable[[str], None] = print
) -> ImageSet:  # fmt: skip
    """The pictures of class folders; folders without a picture are left out.

    Parameters
    ----------
    root : Path
        What the line and the errors call the whole.
    named : list of (str, Path)
        Names of the classes, and their folders.
    on_error, say
        As in `load`.

    Returns
    -------
    ImageSet

    Raises
    ------
    UserError
        Fewer than two folders hold a picture.
    """
    skipped: list = []
    paths, labels, names = [], [], []
    for name, folder in named:
        own = pictures(folder, skipped)
        if own:
            paths += own
            labels += [len(names)] * len(own)
            names.append(name)
    line = f"{walk.shown(root)}: {len(paths):,} pictures of {len(names):,} classes; {walk.summary(skipped, root)}"
    if len(names) < 2:
        raise UserError(
            f"{walk.shown(root)} holds {len(names)} class folders with pictures, two are needed:"
            f" ROOT/CLASS/PICTURE.jpg ({walk.summary(skipped, root)})"
        )
    if skipped:
        say(line)
    whole = ImageSet(paths, np.array(labels, np.int64), names, skipped=skipped)
    return readable(whole, on_error, say, root=root)
