"""One's own pictures: ``root/CLASS/*.jpg``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.data import walk
from common.data.imageset import ImageSet, readable
from common.files.errors import UserError


def load(path, on_error: str = "stop", say: Callable[[str], None] = print) -> ImageSet:
    """The pictures of a folder of class folders, classes and files in name order.

    Parameters
    ----------
    path : path
    on_error : {"stop", "skip"}
        ``skip`` reads every picture once and leaves out those that cannot be read.
    say : callable (str)
        Is given one line: how many pictures and classes there are, and what was left out.

    Returns
    -------
    ImageSet

    Raises
    ------
    UserError
        No such folder, or none of its folders holds a picture.
    """
    root = Path(path)
    if not root.is_dir():
        raise UserError(
            f"{walk.shown(root)} is not a folder: --data-path takes one with a folder of pictures for each class"
        )
    skipped: list = []
    return collect(root, classes(root, skipped), on_error, say, skipped)


def classes(root: Path, skipped: list) -> list[tuple[str, Path]]:
    """The class folders in a folder.

    Parameters
    ----------
    root : Path
    skipped : list of (Path, str)
        Takes what else is there, and why, see `common.data.walk`.

    Returns
    -------
    list of (str, Path)
        Names and folders.
    """
    found = []
    for entry in walk.entries(root, skipped):
        if not entry.is_dir():
            skipped.append((entry, walk.OUTSIDE))
        elif walk.is_above(entry, root):
            skipped.append((entry, walk.LINK))
        else:
            found.append((entry.name, entry))
    return found


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
    root: Path, named: list[tuple[str, Path]], on_error: str = "stop", say: Callable[[str], None] = print,
    skipped: list | None = None,
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
    skipped : list of (Path, str), optional
        What was left out before. Where it is given, the line is said even if nothing was left out.

    Returns
    -------
    ImageSet

    Raises
    ------
    UserError
        Fewer than two folders hold a picture.
    """
    always, skipped = skipped is not None, skipped if skipped is not None else []
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
    if always or skipped:
        say(line)
    whole = ImageSet(paths, np.array(labels, np.int64), names, skipped=skipped)
    return readable(whole, on_error, say)
