"""The data sets, behind one function: `load`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common.data import records
from common.data.imageset import Dataset, ImageSet, Whole, readable
from common.data.sets import cars196, cifar, cub200, emoji, folder, glyphs, grocery, omniglot, sop, table
from common.data.splits import at_least, note_unheld, split_domains, split_listed, split_seen, split_unseen
from common.data.walk import shown
from common.files.errors import UserError, near
from common.files.paths import data_dir
from common.files.sources import SOURCES

__all__ = [
    "LOADERS", "NAMES", "Dataset", "ImageSet", "Whole", "check_own", "find", "load", "own_flags", "packed", "together",
    "whole",
]  # fmt: skip


def _omniglot(place: Path, on_error: str, say: Callable[[str], None]) -> Whole:
    whole, alphabets = omniglot.load(place, on_error, say)
    return Whole(whole, alphabets, held=4)


def _emoji(place: Path, on_error: str, say: Callable[[str], None]) -> Whole:
    whole, rows, captions = emoji.load(place)
    superclasses = {row["code"]: row["subcategory"] for row in rows}
    return Whole(readable(whole, on_error, say), superclasses, captions, held=1)


def _glyphs(place: Path, on_error: str, say: Callable[[str], None]) -> Whole:
    whole = glyphs.load(place)
    return Whole(whole, captions={character: [glyphs.name(character)] for character in whole.class_names}, held=3)


LOADERS: dict[str, Callable[[Path, str, Callable[[str], None]], Whole]] = {  # sets that are split here
    "omniglot": _omniglot,
    "emoji": _emoji,
    "glyphs": _glyphs,
}
OFFICIAL = ("cub200", "cars196", "sop")  # split by class once and for all
OWN = {  # what --data-path takes where the pictures are the user's
    "folder": "a folder with a folder of pictures for each class",
    "csv": "a table, a CSV file with the columns path and label",
}
CATALOGUE = "catalogue"  # what stands for a split of its pictures in records
NAMES = (*OFFICIAL, "cifar10", "cifar100", "grocery", *LOADERS, *OWN)
FEWEST = 4  # classes of which two can be held back and two be told apart in training
HOW = {  # to get the sets that `get_data.sh` cannot
    "cars196": "Cars196 has no official host, give the place of its folder by --data-path",
    **{name: f"--data-path takes {what}" for name, what in OWN.items()},
}


def load(
    name: str,
    path=None,
    protocol: str | None = "unseen",
    seed: int = 123,
    test_fraction: float = 0.2,
    unseen: list[str] | None = None,
    keep_whole: bool = False,
    on_error: str = "stop",
    say: Callable[[str], None] = print,
    remedy: str = "--dataset glyphs needs no download",
    columns: Sequence[str] = (),
    class_depth: int | None = None,
    min_per_class: int = 0,
) -> Dataset:
    """Load a data set, split for one of the two questions.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    path : optional
        Its folder, for csv its table; or records that were made of it, see `common.data.records.shards`. Default is
        ``data/<name>`` in the repository.
    protocol : {"unseen", "seen", None}
        ``unseen``: no test class is trained on. Official split where there is one (cub200, cars196, sop); the classes
        in `unseen`; else half of the classes, drawn with `seed`. Of grocery the test list of these classes is looked
        for in their training list, the gallery. ``seen``: the same classes, pictures held back:
        the official split (cifar10, cifar100, grocery), the last artist (emoji), the last three faces (glyphs), else
        `test_fraction` of each class, drawn with `seed`. None: ``unseen``, but ``seen`` for a folder or table of two or
        three classes where none is named in `unseen`. A table with a column ``split``, and a folder with ``train`` and
        ``test``, is split as it says; None is then ``seen`` if all classes that are held back are trained on.
    seed : int
    test_fraction : float
        Of each class's pictures.
    unseen : list of str, optional
        Names of the test classes; for omniglot, of alphabets.
    keep_whole : bool
        cub200: do not cut pictures to the bird's bounding box.
    on_error : {"stop", "skip"}
        ``skip`` reads every picture once and leaves out those that cannot be read.
    say : callable (str)
        Is given a line on what a folder holds and what was left out of it.
    remedy : str
        What the calling program has where the data is not there.
    columns : sequence of str
        csv: see `common.data.sets.table.load`.
    class_depth : int, optional
        folder: see `common.data.sets.folder.lay_out`.
    min_per_class : int
        folder, csv: classes with fewer pictures are left out.

    Returns
    -------
    Dataset

    Raises
    ------
    UserError
        The data is not there (names the ``get_data.sh`` call) or not as it should be.
    """
    if name not in NAMES:
        raise UserError(f"no data set is called {name!r}{near(name, NAMES)}: {', '.join(NAMES)}")
    free, protocol = protocol is None, protocol or "unseen"
    if unseen is not None and (protocol == "seen" or name in OFFICIAL):
        why = f"{name} is split by class already" if name in OFFICIAL else "--protocol seen holds back no class"
        raise UserError(f"--unseen {unseen[0]} has no effect here, {why}: leave it out")
    check_own(name, columns, class_depth, min_per_class)
    root = find(name, path, remedy)
    in_records = bool(records.shards(root))
    if in_records and (keep_whole or columns or class_depth):
        flag = "--keep-whole" if keep_whole else "--columns" if columns else "--class-depth"
        raise UserError(f"{flag} has no effect on records: python3 -m common.pack takes it, or leave it out")
    found = packed(name, root, on_error, say) if in_records and name not in OWN else None
    if name in OFFICIAL:
        if found:
            train, test = (_own_classes(found.images, split) for split in ("train", "test"))
        else:
            train, test = (readable(split, on_error, say) for split in _official(name, root, keep_whole))
        if protocol == "seen":
            train, test = split_seen(train, test_fraction, seed)
        return Dataset(name, train, test, protocol=protocol)
    if name in ("cifar10", "cifar100"):
        if found:
            parts = (found.images.subset(found.images.splits == split) for split in ("train", "test"))
            train, test, superclasses = *parts, found.superclasses
        else:
            train, test, superclasses = cifar.load(name, root)
        if protocol == "unseen":
            train, _ = split_unseen(train, unseen, seed)
            test = test.select([n for n in test.class_names if n not in train.class_names])
        return Dataset(name, train, test, superclasses, protocol=protocol)
    if name == "grocery":
        found = found or groceries(root, on_error, say)
        return _grocery(found, protocol, unseen, seed)
    if name in OWN:
        found = whole(name, root, on_error, say, columns, class_depth, min_per_class)
        if found.images.splits is not None:
            return split_listed(name, found, root, None if free else protocol, unseen, say)
    else:
        found = found or LOADERS[name](root, on_error, say)
    if name == "omniglot":
        unseen = _alphabets(unseen, found.superclasses)
    classes = len(found.images.class_names)
    if name in OWN and free and unseen is None and classes < FEWEST:
        protocol = "seen"
        say(f"{classes} classes are too few to hold some back: --protocol seen, which holds back pictures")
    if protocol == "unseen":
        train, test = split_unseen(found.images, unseen, seed)
    elif found.held:
        train, test = split_domains(found.images, found.held)
    else:
        train, test = split_seen(found.images, test_fraction, seed)
        note_unheld(test, say)
    return Dataset(name, train, test, found.superclasses, found.captions, protocol)


def whole(
    name: str, root: Path, on_error: str = "stop", say: Callable[[str], None] = print, columns: Sequence[str] = (),
    class_depth: int | None = None, min_per_class: int = 0,
) -> Whole:  # fmt: skip
    """The user's own pictures, before they are split.

    Parameters
    ----------
    name : {"folder", "csv"}
    root : Path
        The folder, the table, or records.
    on_error, say, columns, class_depth, min_per_class
        See `load`.

    Raises
    ------
    UserError
        They are not there or not as they should be.
    """
    if records.shards(root):
        found = packed(name, root, on_error, say)
    elif name == "csv":
        found = table.load(root, columns, on_error, say)
    else:
        found = folder.load(root, on_error, say, class_depth)
    return at_least(found, min_per_class, say) if min_per_class else found


def own_flags(args) -> dict:
    """What the flags say on the user's own pictures, for `load`; programs need not have them all.

    Parameters
    ----------
    args : argparse.Namespace
    """
    defaults = {"on_error": "stop", "columns": (), "class_depth": None, "min_per_class": 0}
    return {name: getattr(args, name, default) for name, default in defaults.items()}


def find(name: str, path, remedy: str) -> Path:
    """The folder of a data set, or the table; see `load`.

    Parameters
    ----------
    name : str
    path : path or None
    remedy : str

    Raises
    ------
    UserError
        It is not there, or is the user's own and `path` does not say where.
    """
    if name in OWN and path is None:
        raise UserError(f"--dataset {name} needs --data-path, {OWN[name]}")
    root = Path(path) if path else data_dir(name)
    if name != "glyphs" and not root.exists() and not records.shards(root):
        how = f"./get_data.sh {name} gets it" if name in SOURCES else HOW.get(name, "--data-path takes its folder")
        raise UserError(f"{shown(root)} is not there: {how}; {remedy}")
    return root


def check_own(
    name: str, columns: Sequence[str] = (), class_depth: int | None = None, min_per_class: int = 0
) -> None:
    """Refuse flags of the user's own pictures for a data set that they say nothing of.

    Parameters
    ----------
    name : str
        Of the data set.
    columns, class_depth, min_per_class
        As in `load`.

    Raises
    ------
    UserError
        There is one.
    """
    given = {
        "--columns": columns[0] if columns and name != "csv" else None,
        "--class-depth": class_depth if name != "folder" else None,
        "--min-per-class": min_per_class if min_per_class and name not in OWN else None,
    }
    for flag, value in given.items():
        if value is not None:
            raise UserError(f"{flag} {value} has no effect on --dataset {name}: leave it out")


def _official(name: str, root: Path, keep_whole: bool) -> tuple[ImageSet, ImageSet]:
    if name == "cub200":
        return cub200.load(root, keep_whole)
    return {"cars196": cars196, "sop": sop}[name].load(root)


def _own_classes(images: ImageSet, split: str) -> ImageSet:
    """The pictures of a split, with no other classes than theirs."""
    found = images.subset(images.splits == split)
    return found.select([found.class_names[label] for label in np.unique(found.labels)])


def groceries(root: Path, on_error: str, say: Callable[[str], None]) -> Whole:
    """The Grocery Store data set, whose splits are its lists; see `common.data.sets.grocery.load`.

    Parameters
    ----------
    root : Path
    on_error, say
        See `load`.
    """
    photographs, catalogue, superclasses, captions = grocery.load(root, on_error)
    return Whole(readable(photographs, on_error, say), superclasses, captions, catalogue=catalogue)


def _grocery(found: Whole, protocol: str, unseen: list[str] | None, seed: int) -> Dataset:
    """The official lists; or of some classes the training list, and of the others the test list as queries.

    Those are looked for in the training list, which was photographed in other shops on other days.
    """
    lists = grocery.by_list(found.images)
    train, test, validation, gallery = lists["train"], lists["test"], lists["validation"], None
    if protocol == "unseen":
        train, gallery = split_unseen(train, unseen, seed)
        test, validation = test.select(gallery.class_names), None
    catalogue = found.catalogue
    return Dataset("grocery", train, test, found.superclasses, found.captions, protocol, validation, gallery, catalogue)


def packed(name: str, root: Path, on_error: str, say: Callable[[str], None]) -> Whole:
    """A data set in records, before it is split.

    Parameters
    ----------
    name : str
        Of the data set, or ``folder`` or ``csv`` for one's own pictures.
    root : Path
        See `common.data.records.shards`.
    on_error, say
        See `load`.

    Raises
    ------
    UserError
        The records are damaged or of another set.
    """
    found = records.load(records.shards(root), name, say)
    fields = {field.name for field in dataclasses.fields(ImageSet)}
    images = ImageSet(**{key: value for key, value in found.items() if key in fields})
    catalogue = None
    if images.splits is not None and (images.splits == CATALOGUE).any():
        catalogue = images.subset(images.splits == CATALOGUE)
        catalogue = dataclasses.replace(catalogue, splits=None, domains=None, domain_names=None)
        images = images.subset(images.splits != CATALOGUE)
    told = {key: found.get(key) for key in ("superclasses", "captions")}
    return Whole(readable(images, on_error, say), **told, held=found.get("held", 0), catalogue=catalogue)


def together(name: str, root: Path, keep_whole: bool, on_error: str, say: Callable[[str], None]) -> Whole:
    """A data set of splits or lists of its own as one, to be packed: `packed` gives it again.

    Parameters
    ----------
    name : str
        One that is neither in `OWN` nor in `LOADERS`.
    root : Path
    keep_whole, on_error, say
        See `load`.
    """
    if name == "grocery":
        found = groceries(root, on_error, say)
        pieces = grocery.by_list(found.images)
        catalogue = readable(found.catalogue, on_error, say)
        pieces[CATALOGUE] = dataclasses.replace(catalogue, domains=np.zeros_like(catalogue.labels))
    elif name in OFFICIAL:
        found = Whole(None)
        pieces = {
            split: readable(one, on_error, say)
            for split, one in zip(("train", "test"), _official(name, root, keep_whole))
        }
    else:
        train, test, superclasses = cifar.load(name, root)
        found, pieces = Whole(None, superclasses), {"train": train, "test": test}
    number: dict[str, int] = {}
    for one in pieces.values():
        for class_name in one.class_names:
            number.setdefault(class_name, len(number))
    parts = [
        dataclasses.replace(
            one,
            labels=np.array([number[class_name] for class_name in one.class_names])[one.labels],
            class_names=list(number),
            splits=np.full(len(one), split),
        )
        for split, one in pieces.items()
    ]
    return dataclasses.replace(found, images=ImageSet.concat(parts), catalogue=None)


def _alphabets(unseen: list[str] | None, superclasses: dict[str, str]) -> list[str]:
    """The characters of the unseen alphabets: those named, else the last two in name order."""
    alphabets = sorted(set(superclasses.values()))
    chosen = unseen or alphabets[-2:]
    wrong = [alphabet for alphabet in chosen if alphabet not in alphabets]
    if wrong:
        raise UserError(f"--unseen {wrong[0]}: no such alphabet{near(wrong[0], alphabets)}: {', '.join(alphabets)}")
    return [name for name, alphabet in superclasses.items() if alphabet in chosen]
