"""Animals with Attributes 2 (Xian et al. 2019): 37,322 photographs of 50 animals, for recognising unseen ones.

Official layout: ``JPEGImages/CLASS/CLASS_10001.jpg``, ``classes.txt``, ``trainclasses.txt``, ``testclasses.txt``.
Any other pictures laid out like this are read the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from common.data.imageset import ImageSet
from common.data.sets import folder
from common.files.errors import UserError, near

CLASSES = (
    "antelope", "grizzly+bear", "killer+whale", "beaver", "dalmatian", "persian+cat", "horse", "german+shepherd",
    "blue+whale", "siamese+cat", "skunk", "mole", "tiger", "hippopotamus", "leopard", "moose", "spider+monkey",
    "humpback+whale", "elephant", "gorilla", "ox", "fox", "sheep", "seal", "chimpanzee", "hamster", "squirrel",
    "rhinoceros", "rabbit", "bat", "giraffe", "wolf", "chihuahua", "rat", "weasel", "otter", "buffalo", "zebra",
    "giant+panda", "deer", "bobcat", "pig", "lion", "mouse", "polar+bear", "collie", "walrus", "raccoon", "cow",
    "dolphin",
)  # fmt: skip
PICTURES = 37322  # in the whole set
# Standard split: Lampert et al. 2014; proposed split: Xian et al. 2019, whose test classes are none of ImageNet's.
STANDARD = (
    "chimpanzee", "giant+panda", "leopard", "persian+cat", "pig", "hippopotamus", "humpback+whale", "raccoon", "rat",
    "seal",
)  # fmt: skip
PROPOSED = ("bat", "blue+whale", "bobcat", "dolphin", "giraffe", "horse", "rat", "seal", "sheep", "walrus")
SPLITS = ("standard", "proposed")


def root_of(path) -> Path:
    """The folder that holds ``classes.txt``: `path`, or the one that the archive unpacks to inside it.

    Raises
    ------
    UserError
        Neither is there.
    """
    root = Path(path)
    for candidate in (root, root / "Animals_with_Attributes2"):
        if (candidate / "classes.txt").is_file():
            return candidate
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
        rest, as far as ``classes.txt`` has them.

    Returns
    -------
    seen, unseen : list of str

    Raises
    ------
    UserError
        A list names a class that ``classes.txt`` has not, or both lists name it.
    """
    root = root_of(path)
    names = class_names(root / "classes.txt")
    if split == "proposed":
        missing = [name for name in PROPOSED if name not in names]
        if missing and (len(missing) == len(PROPOSED) or not set(names) <= set(CLASSES)):
            raise UserError(f"{root}/classes.txt has no {missing[0]!r}: --split proposed is for AwA2 itself")
        return [n for n in names if n not in PROPOSED], [n for n in PROPOSED if n in names]
    seen, unseen = (class_names(root / f"{kind}classes.txt") for kind in ("train", "test"))
    for kind, listed in (("train", seen), ("test", unseen)):
        wrong = next((name for name in listed if name not in names), None)
        if wrong:
            raise UserError(f"{root}/{kind}classes.txt: {wrong!r} is not in classes.txt{near(wrong, names)}")
    both = sorted(set(seen) & set(unseen))
    if both:
        raise UserError(f"{root}: {both[0]!r} is in trainclasses.txt and in testclasses.txt: it must be in one")
    return seen, unseen


def load(path, on_error: str = "stop", say: Callable[[str], None] = print) -> ImageSet:
    """All pictures, the classes in the order of ``classes.txt``.

    Where that file names all of AwA2's classes, some of them may be absent: a sample of the set; see `remark`.

    Parameters
    ----------
    path : path
    on_error, say
        As in `common.data.sets.folder.load`.

    Returns
    -------
    ImageSet

    Raises
    ------
    UserError
        The layout is not AwA2's, or a class of other pictures laid out like it has none.
    """
    root = root_of(path)
    names = class_names(root / "classes.txt")
    absent = [name for name in names if not (root / "JPEGImages" / name).is_dir()]
    moved = absent and (root / "split.csv").is_file()
    if absent and (moved or not is_real(names) or len(absent) == len(names)):
        why = " (split_awa2.py --move took it away: --undo brings it back)" if moved else ""
        raise UserError(f"{root}/JPEGImages/{absent[0]} is not there{why}; ./get_data.sh awa2 gets the set")
    there = [(name, root / "JPEGImages" / name) for name in names if name not in absent]
    whole = folder.collect(root, there, on_error, say)
    empty = next((name for name in names if name not in (*absent, *whole.class_names)), None)
    if empty and not is_real(names):
        raise UserError(f"{root}/JPEGImages/{empty} holds no picture")
    return whole


def load_split(
    path, split: str = "standard", on_error: str = "stop", say: Callable[[str], None] = print
) -> tuple[ImageSet, list[str], list[str]]:  # fmt: skip
    """`load`, and `split_names` without the classes that a sample of the set has not.

    Parameters
    ----------
    path : path
    split : {"standard", "proposed"}
    on_error, say
        See `load`.

    Returns
    -------
    whole : ImageSet
    seen, unseen : list of str
    """
    whole = load(path, on_error, say)
    seen, unseen = split_names(path, split)
    there = set(whole.class_names)
    return whole, [name for name in seen if name in there], [name for name in unseen if name in there]


def remark(names: Sequence[str], pictures: int) -> str:
    """A remark for the log where pictures are not all of AwA2.

    Parameters
    ----------
    names : sequence of str
        Of the classes.
    pictures : int
        How many there are.

    Returns
    -------
    str
        Empty for the whole set, and for other pictures laid out like it.
    """
    if not set(names) <= set(CLASSES) or (len(names) == len(CLASSES) and pictures == PICTURES):
        return ""
    what = "a subset of AwA2" if pictures < PICTURES else "not the published AwA2"
    return f"{what}: {len(names)} of its {len(CLASSES)} classes, {pictures:,} pictures where it has {PICTURES:,}"


def is_real(names) -> bool:
    """Whether these are AwA2's own 50 classes, and not other pictures laid out like it."""
    return len(names) == len(CLASSES) and set(names) == set(CLASSES)
