"""One's own pictures: ``root/CLASS/*.jpg``. Omniglot (``root/ALPHABET/CHARACTER/*.png``) is read here too."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.datasets.base import ImageSet
from common.errors import UserError
from common.images import SUFFIXES


def load(path) -> ImageSet:
    """The pictures of a folder of class folders, classes and files in name order.

    Raises
    ------
    UserError
        No such folder, or none of its folders holds a picture.
    """
    root = Path(path)
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: --data-path takes one with a folder of pictures for each class")
    folders = sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    return collect(root, [(child.name, child) for child in folders])


def collect(root: Path, classes: list[tuple[str, Path]]) -> ImageSet:
    """The pictures of the named folders; folders without a picture are left out."""
    paths, labels, names = [], [], []
    for name, folder in classes:
        found = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
        if found:
            paths += found
            labels += [len(names)] * len(found)
            names.append(name)
    if len(names) < 2:
        raise UserError(
            f"{root} holds {len(names)} class folders with pictures, two are needed: ROOT/CLASS/PICTURE.jpg"
        )
    return ImageSet(paths, np.array(labels, np.int64), names)
