"""Animals with Attributes 2 (Xian et al. 2019): 37,322 photographs of 50 animals, for recognising unseen ones.

Official layout: ``JPEGImages/CLASS/CLASS_10001.jpg``, ``classes.txt``, ``trainclasses.txt``, ``testclasses.txt``.
Any other pictures laid out like this are read the same way.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.datasets import folder
from common.datasets.base import ImageSet
from common.errors import UserError, near

# Standard split: Lampert et al. 2014; proposed split: Xian et al. 2019, whose test classes are none of ImageNet's.
STANDARD = (
    "chimpanzee", "giant+panda", "leopard", "persian+cat", "pig", "hippopotamus", "humpback+whale", "raccoon", "rat",
    "seal",
)  # fmt: skip
PROPOSED = ("bat", "blue+whale", "bobcat", "dolphin", "giraffe", "horse", "rat", "seal", "sheep", "walrus")
SPLITS = ("standard", "proposed")
COUNTS = {"classes": 50, "pictures": 37322, "seen": 30337, "unseen": 6985}  # the real set, standard split
FEW = 10  # a class with fewer pictures is split by picture number


def root_of(path) -> Path:
    """The folder that holds ``classes.txt``: `path`, or the one that the archive unpacks to inside it.

    Raises
    ------
    UserError
        Neither is there.
    """
    root = Path(path)
    for place in (root, root / "Animals_with_Attributes2"):
        if (place / "classes.txt").is_file():
            return place
    raise UserError(f"{root} holds no AwA2 (classes.txt, JPEGImages): ./get_data.sh awa2, or give --data-path")


def class_names(file) -> list[str]:
    """The names in ``classes.txt`` (``1<TAB>antelope``) or in a list of names, one a line.

    Raises
    ------
    UserError
        The file is not there, names nothing, or names a class twice.
    """
    file = Path(file)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise UserError(f"cannot read {file}: {reason}; AwA2's layout has it, a name a line") from error
    names: list[str] = []
    for number, line in enumerate(lines, 1):
        name = line.strip().split("\t")[-1].strip()
        if name in names:
            raise UserError(f"{file}, line {number}: {name!r} is there twice")
        if "/" in name or "\0" in name or name in (".", ".."):
            raise UserError(f"{file}, line {number}: {name[:40]!r} cannot be the name of a folder of pictures")
        if name:
            names.append(name)
    if not names:
        raise UserError(f"{file} names no class")
    return names


def split_names(path, split: str = "standard") -> tuple[list[str], list[str]]:
    """Names of the seen and of the unseen classes.

    Parameters
    ----------
    path : path
    split : {"standard", "proposed"}
        ``standard`` is what ``trainclasses.txt`` and ``testclasses.txt`` say; ``proposed`` is `PROPOSED` against the
        rest.

    Raises
    ------
    UserError
        A list names a class that ``classes.txt`` has not, or both lists name it.
    """
    root = root_of(path)
    names = class_names(root / "classes.txt")
    if split == "proposed":
        missing = [name for name in PROPOSED if name not in names]
        if missing:
            raise UserError(f"{root}/classes.txt has no {missing[0]!r}: --split proposed is for AwA2 itself")
        return [name for name in names if name not in PROPOSED], list(PROPOSED)
    seen, unseen = (class_names(root / f"{part}classes.txt") for part in ("train", "test"))
    for part, listed in (("train", seen), ("test", unseen)):
        wrong = next((name for name in listed if name not in names), None)
        if wrong:
            raise UserError(f"{root}/{part}classes.txt: {wrong!r} is not in classes.txt{near(wrong, names)}")
    both = sorted(set(seen) & set(unseen))
    if both:
        raise UserError(f"{root}: {both[0]!r} is in trainclasses.txt and in testclasses.txt: it must be in one")
    return seen, unseen


def load(path) -> ImageSet:
    """All pictures, the classes in the order of ``classes.txt``.

    Raises
    ------
    UserError
        The layout is not AwA2's, or a class has no picture.
    """
    root = root_of(path)
    names = class_names(root / "classes.txt")
    absent = [name for name in names if not (root / "JPEGImages" / name).is_dir()]
    if absent:
        place = " (split_awa2.py --move took it away: --undo brings it back)" if (root / "split.csv").is_file() else ""
        raise UserError(f"{root}/JPEGImages/{absent[0]} is not there{place}; ./get_data.sh awa2 gets the set")
    whole = folder.collect(root, [(name, root / "JPEGImages" / name) for name in names])
    empty = next((name for name in names if name not in whole.class_names), None)
    if empty:
        raise UserError(f"{root}/JPEGImages/{empty} holds no picture")
    return whole


def held_back(labels: np.ndarray, share: float = 0.1, seed: int = 123) -> np.ndarray:
    """Which pictures of seen classes are for validation: (n,) bool.

    `share` of each class, drawn with `seed`; of a class with fewer than ten pictures the one with the last number, so
    that where every class has a picture by each of a few artists all of one artist's are held back.

    Parameters
    ----------
    labels : (n,) int array
        Pictures of a class in the order of their numbers.

    Raises
    ------
    UserError
        A class has a single picture.
    """
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise UserError(f"class {label} has one picture: two are needed to hold one back for validation")
        few = len(members) < FEW
        held[members[-1:] if few else rng.permutation(members)[: max(1, round(share * len(members)))]] = True
    return held


def check_counts(seen: int, unseen: int, root) -> None:
    """Compare a split of the real set with the document's counts.

    Raises
    ------
    UserError
        They differ: the set is not whole.
    """
    if (seen, unseen) != (COUNTS["seen"], COUNTS["unseen"]):
        raise UserError(
            f"{root}: {seen} pictures of seen and {unseen} of unseen classes, AwA2 has {COUNTS['seen']} and"
            f" {COUNTS['unseen']}: get the set again"
        )


def is_real(names) -> bool:
    """Whether these are AwA2's own 50 classes, and not other pictures laid out like it."""
    return len(names) == COUNTS["classes"] and set(STANDARD) <= set(names) and set(PROPOSED) <= set(names)
