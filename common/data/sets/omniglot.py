"""Omniglot (Lake et al. 2015): handwritten characters of many alphabets, twenty people each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.data import walk
from common.data.imageset import ImageSet
from common.data.sets import folder
from common.files.errors import UserError, reading

MAX_DRAWERS = 1000  # Omniglot has 20


def load(path, on_error: str = "stop", say: Callable[[str], None] = print) -> tuple[ImageSet, dict[str, str]]:
    """All drawings under ``ALPHABET/CHARACTER/*.png``.

    Parameters
    ----------
    path : path
        A folder of alphabets, or one with folders such as ``images_background`` that hold them.
    on_error, say
        As in `common.data.sets.folder.load`.

    Returns
    -------
    whole : ImageSet
        Classes are called ``ALPHABET/CHARACTER``; domains are the drawers.
    alphabets : dict of str to str
        Of each class.

    Raises
    ------
    UserError
        The set is not there, or a file is not called as in it.
    """
    root = Path(path)
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: ./get_data.sh omniglot, or give --data-path")
    characters = sorted({file.parent for file in walk.walk(root, [])})
    if not characters:
        raise UserError(f"{root} holds no ALPHABET/CHARACTER/*.png: ./get_data.sh omniglot, or give --data-path")
    classes = [(f"{child.parent.name}/{child.name}", child) for child in characters]
    whole = folder.collect(root, classes, on_error, say)
    drawers = np.array([_drawer(file) for file in whole.images])
    whole = dataclasses.replace(whole, domains=drawers, domain_names=[str(i + 1) for i in range(drawers.max() + 1)])
    return whole, {name: name.split("/")[0] for name in whole.class_names}


def _drawer(file: Path) -> int:
    """Who drew it, from 0: Omniglot calls its files CHARACTER_DRAWER.png."""
    with reading(file, "Omniglot's files are called NUMBER_NUMBER.png"):
        number = int(file.stem.split("_")[-1])
        if not 1 <= number <= MAX_DRAWERS:
            raise ValueError(f"drawer {number}")
        return number - 1
