"""One's own pictures: ``root/CLASS/*.jpg``. Omniglot (``root/ALPHABET/CHARACTER/*.png``) is read here too."""

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
    """Names and places of the class folders in `root`; what else is there goes to `skipped`, see `common.data.walk`."""
    found = []
    for entry in walk.entries(root, skipped):
        if not entry.is_dir():
            skipped.append((entry, walk.OUTSIDE))
        elif walk.is_above(entry, root):
            skipped.append((entry, walk.LINK))
        else:
            found.append((entry.name, entry))
    return found


def pictures(place: Path, skipped: list) -> list[Path]:
    """The pictures of the class folder `place` in name order; what else is there, or below, goes to `skipped`."""
    found = list(walk.walk(place, skipped))
    skipped += [(file, walk.DEEPER) for file in found if file.parent != place]
    own = [file for file in found if file.parent == place]
    skipped += [] if own else [(place, walk.EMPTY)]
    return own


def collect(
    root: Path, named: list[tuple[str, Path]], on_error: str = "stop", say: Callable[[str], None] = print,
    skipped: list | None = None,
) -> ImageSet:  # fmt: skip
    """The pictures of the named folders; folders without a picture are left out. Arguments as those of `load`.

    With `skipped`, what was left out before, the line is said also where nothing was.
    """
    always, skipped = skipped is not None, skipped if skipped is not None else []
    paths, labels, names = [], [], []
    for name, place in named:
        own = pictures(place, skipped)
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
