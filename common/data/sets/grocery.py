"""The Grocery Store data set: photographs of 81 products in shops, each with a catalogue picture and a description.

Layout, that of the repository: ``dataset/train.txt``, ``val.txt`` and ``test.txt`` with a line ``PATH, PRODUCT, GROUP``
a photograph, and ``dataset/classes.csv`` with the names of products and groups and the paths of pictures and texts.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.data.imageset import ImageSet
from common.data.sets.lists import check_labels
from common.files.errors import UserError, reading

LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
COLUMNS = (
    "Class Name (str)", "Class ID (int)", "Coarse Class Name (str)", "Coarse Class ID (int)", "Iconic Image Path (str)",
    "Product Description Path (str)",
)  # fmt: skip
REMEDY = "./get_data.sh grocery gets it again"


def load(path, missing: str = "stop") -> tuple[ImageSet, ImageSet, dict[str, str], dict[str, list[str]]]:
    """The Grocery Store data set (Klasson et al. 2019), all three lists together.

    Parameters
    ----------
    path : path
        The folder ``dataset``, or the one that holds it.
    missing : {"stop", "skip"}
        ``skip``: a listed photograph that is not there is no error here.

    Returns
    -------
    photographs : ImageSet
        Domains are the lists: train, validation and test.
    catalogue : ImageSet
        One picture of each class, in the order of the classes.
    superclasses : dict of str to str
        The group of each class.
    captions : dict of str to list of str
        The description of each class.

    Raises
    ------
    UserError
        The set is not there or is damaged: names the file, and of a list the line.
    """
    root = Path(path)
    root = root / "dataset" if (root / "dataset").is_dir() else root
    if not (root / "classes.csv").is_file():
        raise UserError(f"{root} holds no Grocery Store set (classes.csv): ./get_data.sh grocery, or give --data-path")
    rows = _products(root / "classes.csv")
    names = [row[0] for row in rows]
    catalogue = ImageSet([_inside(root, row[4], "classes.csv") for row in rows], np.arange(len(rows)), names)
    listed = [_listed(root, file, [int(row[3]) for row in rows]) for file in LISTS.values()]
    paths, labels = ([value for one in listed for value in one[column]] for column in (0, 1))
    for file in [*catalogue.images, *([] if missing == "skip" else paths)]:
        if not file.is_file():
            raise UserError(f"{file} is not there, and {root} lists it: {REMEDY}")
    photographs = ImageSet(
        paths,
        np.array(labels, np.int64),
        names,
        domains=np.repeat(np.arange(len(listed)), [len(one[0]) for one in listed]),
        domain_names=list(LISTS),
    )
    captions = {row[0]: [_description(_inside(root, row[5], "classes.csv"))] for row in rows}
    return photographs, catalogue, {row[0]: row[2] for row in rows}, captions


def by_list(photographs: ImageSet) -> dict[str, ImageSet]:
    """The photographs of each list by its name: ``train``, ``validation`` and ``test``."""
    return {name: photographs.subset(photographs.domains == i) for i, name in enumerate(photographs.domain_names)}


def _products(file: Path) -> list[list[str]]:
    """The rows of ``classes.csv``, in the order of their numbers: `COLUMNS`."""
    with reading(file, REMEDY):
        with open(file, encoding="utf-8-sig", newline="") as lines:
            head, *rows = ([cell.strip() for cell in row] for row in csv.reader(lines, strict=True) if row)
        if tuple(head) != COLUMNS:
            raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
        for row in rows:
            if len(row) != len(COLUMNS) or not all(row):
                raise ValueError(f"row {row[0] if row else ''!r} has an empty column, or not {len(COLUMNS)} of them")
        rows.sort(key=lambda row: int(row[1]))
        if [int(row[1]) for row in rows] != list(range(len(rows))):
            raise ValueError(f"the class numbers are not 0 to {len(rows) - 1}, each once")
        if len({row[0] for row in rows}) < len(rows):
            raise ValueError("two classes have the same name")
        groups = {(row[2], int(row[3])) for row in rows}
        if len(groups) > min(len({group[i] for group in groups}) for i in (0, 1)):
            raise ValueError("a coarse class has two numbers, or a number two names")
    return rows


def _listed(root: Path, file: str, group_of: Sequence[int]) -> tuple[list[Path], list[int]]:
    """Paths and labels of a list; its third column has to be the class's group."""
    paths, labels = [], []
    with reading(root / file, REMEDY):
        lines = (root / file).read_text(encoding="utf-8-sig").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{root / file}, line {number}"
        name, *numbers = (cell.strip() for cell in line.rsplit(",", 2))
        if len(numbers) != 2 or not all(cell.isascii() and cell.isdigit() for cell in numbers):
            raise UserError(f"{where}: expected a path, the number of its class and that of its group: {REMEDY}")
        label, group = map(int, numbers)
        if label >= len(group_of) or group != group_of[label]:
            raise UserError(f"{where}: class {label} of group {group} is not in classes.csv: {REMEDY}")
        paths.append(_inside(root, name, f"{file}, line {number}"))
        labels.append(label)
    check_labels(root / file, labels, len(group_of))
    return paths, labels


def _inside(root: Path, name: str, where: str) -> Path:
    """The file called `name` in `root`; those of classes.csv begin with a slash that means `root`."""
    relative = name.lstrip("/")
    if not relative or ".." in Path(relative).parts or "\0" in relative:
        raise UserError(f"{root}, {where}: {name!r} is not a path inside the set: {REMEDY}")
    return root / relative


def _description(file: Path) -> str:
    with reading(file, REMEDY):
        text = " ".join(file.read_text(encoding="utf-8-sig").split())
        if not text:
            raise ValueError("it is empty")
    return text
