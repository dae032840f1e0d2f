"""Which pictures are trained on, and which are held back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from common.data.imageset import Dataset, ImageSet, Whole
from common.data.walk import shown
from common.files.errors import UserError, near

SPLITS = {  # as people call them, in any case
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
NAMED = 3  # classes that a line names
FEW = 10  # a class with fewer pictures is split by picture number


def at_least(whole: Whole, fewest: int, say: Callable[[str], None] = print) -> Whole:
    """A data set without its classes of few pictures, all splits counted together.

    Parameters
    ----------
    whole : Whole
    fewest : int
        Pictures that a class has to have.
    say : callable (str)
        Is told how many classes were left out.

    Returns
    -------
    Whole

    Raises
    ------
    UserError
        Fewer than two classes have so many.
    """
    images = whole.images
    counts = np.bincount(images.labels, minlength=len(images.class_names))
    kept = [name for name, count in zip(images.class_names, counts) if count >= fewest]
    small = [name for name, count in zip(images.class_names, counts) if count < fewest]
    if len(kept) < 2:
        raise UserError(f"--min-per-class {fewest} leaves {len(kept)} of {len(counts)} classes, two are needed")
    named = ", ".join(map(shown, small[:NAMED])) + ", ..." * (len(small) > NAMED)
    say(
        f"{len(small):,} classes of fewer than {fewest} pictures are left out (--min-per-class)"
        f"{f', {counts[counts < fewest].sum():,} pictures: {named}' if small else ''}"
    )
    groups = whole.superclasses and {name: whole.superclasses[name] for name in kept}
    return dataclasses.replace(whole, images=images.select(kept), superclasses=groups)


def split_unseen(whole: ImageSet, unseen: Sequence[str] | None, seed: int) -> tuple[ImageSet, ImageSet]:
    """Training and test sets without a common class.

    Parameters
    ----------
    whole : ImageSet
    unseen : sequence of str or None
        The test classes; None draws half of the classes with `seed`.
    seed : int

    Returns
    -------
    train, test : ImageSet

    Raises
    ------
    UserError
        A name that is no class, or a split without a class.
    """
    names = whole.class_names
    if unseen is None:
        order = np.random.default_rng(seed).permutation(len(names))
        chosen = {names[i] for i in order[len(names) // 2 :]}
    else:
        wrong = [name for name in unseen if name not in names]
        if wrong:
            raise UserError(f"--unseen {wrong[0]}: no such class{near(wrong[0], names)}")
        chosen = set(unseen)
    seen = [name for name in names if name not in chosen]
    if not seen or not chosen:
        raise UserError(f"{len(seen)} seen and {len(chosen)} unseen classes: each part needs some")
    return whole.select(seen), whole.select([name for name in names if name in chosen])


def split_seen(whole: ImageSet, fraction: float, seed) -> tuple[ImageSet, ImageSet]:
    """Training and test sets with the same classes.

    Parameters
    ----------
    whole : ImageSet
    fraction : float
        Of each class's pictures that is held back: one picture at least, and not the only one.
    seed : int or sequence of int

    Returns
    -------
    train, test : ImageSet

    Raises
    ------
    UserError
        No class has two pictures.
    """
    rng = np.random.default_rng(seed)
    held = np.zeros(len(whole), bool)
    for label in range(len(whole.class_names)):
        members = rng.permutation(np.flatnonzero(whole.labels == label))
        if len(members) > 1:
            held[members[: max(1, round(fraction * len(members)))]] = True
    if not held.any():
        raise UserError(f"none of {len(whole.class_names)} classes has two pictures, which it takes to hold one back")
    return whole.subset(~held), whole.subset(held)


def note_unheld(held: ImageSet, say: Callable[[str], None]) -> None:
    """Say how many classes have a single picture, which is learned from, so that none is held back.

    Parameters
    ----------
    held : ImageSet
        What is held back, with the names of all classes.
    say : callable (str)
    """
    single = len(held.class_names) - len(np.unique(held.labels))
    if single:
        say(f"{single:,} classes have one picture each: it is learned from, and none of theirs is held back")


def split_domains(whole: ImageSet, count: int) -> tuple[ImageSet, ImageSet]:
    """Training and test sets with the same classes, the pictures of the last domains held back.

    Parameters
    ----------
    whole : ImageSet
        With domains.
    count : int
        Domains that are held back.

    Returns
    -------
    train, test : ImageSet
    """
    held = whole.domains >= len(whole.domain_names) - count
    return whole.subset(~held), whole.subset(held)


def split_listed(
    name: str, whole: Whole, path, protocol: str | None, unseen: Sequence[str] | None,
    say: Callable[[str], None] = print,
) -> Dataset:  # fmt: skip
    """A data set by its own splits; where it has no test pictures, those for validation are.

    Parameters
    ----------
    name : str
        Of the data set.
    whole : Whole
        Whose images have splits.
    path : path
        Of the table or folder, for the messages.
    protocol : {"unseen", "seen", None}
        ``seen``: all splits have the classes of the training split. ``unseen``: each has its own. None: ``seen`` where
        no other split has a class that the training split has not.
    unseen : sequence of str or None
        Has to be None: the data says it.
    say : callable (str)
        Is given a line on what the splits leave open.

    Returns
    -------
    Dataset

    Raises
    ------
    UserError
        A split that is needed has too few classes, or one that cannot be for ``seen``; or there are names in `unseen`.
    """
    place, images = shown(path), whole.images
    if unseen is not None:
        raise UserError(f"--unseen {unseen[0]} has no effect here, {place} is split already: leave it out")
    splits = {split: images.subset(images.splits == split) for split in ("train", "validation", "test")}
    if not len(splits["test"]):
        splits["test"] = splits.pop("validation")
        say(f"{place} has no picture of split test: its {len(splits['test']):,} of split validation are tested on")
    splits = {split: pictures for split, pictures in splits.items() if len(pictures) or split != "validation"}
    classes = {split: [images.class_names[i] for i in np.unique(one.labels)] for split, one in splits.items()}
    for split, fewest in (("train", 2), ("test", 1)):
        if len(classes[split]) < fewest:
            raise UserError(f"{place} has {len(classes[split])} classes of split {split}, it needs {fewest}")
    trained = set(classes["train"])
    new = next((label for label in images.class_names if label not in trained), None)
    if protocol == "seen" and new is not None:
        raise UserError(f"{place}: class {new!r} has no picture of split train, and is held back: here it needs some")
    if protocol is None:
        protocol = "unseen"
        if new is None:
            protocol = "seen"
            say("all classes that are held back are trained on: --protocol seen")
    if protocol == "unseen":
        splits = {split: pictures.select(classes[split]) for split, pictures in splits.items()}
        known = len(trained.intersection(classes["test"]))
        if known:
            say(f"{known} of {len(classes['test'])} classes of split test are trained on too")
    return Dataset(name, **splits, superclasses=whole.superclasses, protocol=protocol)


def halves(whole: ImageSet) -> tuple[ImageSet, ImageSet]:
    """The first half of the classes and the second, as Song et al. 2016 (section 5) split CUB-200-2011 and Cars196."""
    half = len(whole.class_names) // 2
    first = whole.subset(whole.labels < half)
    second = whole.subset(whole.labels >= half)
    return (
        dataclasses.replace(first, class_names=whole.class_names[:half]),
        dataclasses.replace(second, labels=second.labels - half, class_names=whole.class_names[half:]),
    )


def hold_out_classes(whole: ImageSet, fraction: float, seed) -> tuple[ImageSet, ImageSet]:
    """Training and validation sets without a common class.

    Parameters
    ----------
    whole : ImageSet
    fraction : float
        Of the classes with two pictures that is held out, two classes at least.
    seed : int or sequence of int

    Returns
    -------
    train, validation : ImageSet

    Raises
    ------
    UserError
        One of the two would have fewer than two classes.
    """
    able = np.random.default_rng(seed).permutation(np.flatnonzero(np.bincount(whole.labels) > 1))
    chosen = {whole.class_names[i] for i in able[: max(2, round(fraction * len(able)))]}
    rest = [name for name in whole.class_names if name not in chosen]
    if len(chosen) < 2 or len(rest) < 2:
        raise UserError(
            f"--validation-share {fraction:g} would hold out {len(chosen)} of {len(whole.class_names)} training classes"
            " and leave the others, two are needed of each: 0 holds out none"
        )
    return whole.select(rest), whole.select([name for name in whole.class_names if name in chosen])


def hold_out_pictures(whole: ImageSet, fraction: float, seed) -> tuple[ImageSet, ImageSet]:
    """Training and validation sets with the same classes.

    Parameters
    ----------
    whole : ImageSet
    fraction : float
        Of each class's pictures that is held out, one picture at least.
    seed : int or sequence of int

    Returns
    -------
    train, validation : ImageSet

    Raises
    ------
    UserError
        A class would be left without a picture to train on, or there is none to hold out.
    """
    largest = np.bincount(whole.labels).max()
    if largest < 2 or fraction == 1:
        raise UserError(
            f"--validation-share {fraction:g} would leave a class without a picture to train on (the largest has"
            f" {largest}): 0 holds out none"
        )
    return split_seen(whole, fraction, seed)


def draw_classes(names: Sequence[str], count: int, seed: int) -> list[str]:
    """Some classes, drawn at random, in the order of `names`.

    Parameters
    ----------
    names : sequence of str
    count : int
        How many are drawn.
    seed : int

    Returns
    -------
    list of str
    """
    chosen = np.random.default_rng(seed).permutation(len(names))[:count]
    return [names[i] for i in sorted(chosen)]


def split_stratified(
    labels: np.ndarray, fraction: float, seed: int, flag: str = "--test-share"
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of training and of test samples, each class in its proportion, by scikit-learn.

    The only one of a class is not held back.

    Parameters
    ----------
    labels : (n,) int array
    fraction : float
        Of all samples that is held back; where that is fewer than classes, so many.
    seed : int
    flag : str
        What sets `fraction`, for the message.

    Returns
    -------
    train, test : (m,) and (n - m,) int arrays

    Raises
    ------
    UserError
        There are too few samples for it.
    """
    from sklearn.model_selection import train_test_split

    counts = np.bincount(labels)
    single, able = (np.flatnonzero(chosen) for chosen in (counts[labels] == 1, counts[labels] > 1))
    classes = np.count_nonzero(counts > 1)
    share = classes if 0 < fraction * len(able) < classes else fraction
    try:
        train, test = train_test_split(able, test_size=share, stratify=labels[able], random_state=seed)
    except ValueError as error:
        raise UserError(f"{flag} {fraction}: {error}") from error
    return np.concatenate([train, single]), test


def folds(labels: np.ndarray, count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds of a cross-validation, each class in equal shares in all of them, by scikit-learn.

    Parameters
    ----------
    labels : (n,) int array
    count : int
        Of folds.
    seed : int

    Returns
    -------
    list of (train, test)
        Indices of the samples of the other folds, and of the fold's own.
    """
    from sklearn.model_selection import StratifiedKFold

    return list(StratifiedKFold(count, shuffle=True, random_state=seed).split(labels, labels))


def split_halves(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two halves of the samples of each class that has two, in ascending order.

    Parameters
    ----------
    labels : (n,) int array
    seed : int

    Returns
    -------
    first, second : int arrays
        Of a class with an odd number the first has one more.
    """
    rng, parts = np.random.default_rng(seed), ([], [])
    for label in np.flatnonzero(np.bincount(labels) > 1):
        members = rng.permutation(np.flatnonzero(labels == label))
        for part, chosen in zip(parts, np.array_split(members, 2)):
            part.append(chosen)
    return np.sort(np.concatenate(parts[0])), np.sort(np.concatenate(parts[1]))


def held_back(labels: np.ndarray, fraction: float = 0.1, seed: int = 123) -> np.ndarray:
    """Which pictures of seen classes are for validation.

    Of each class a fraction, drawn with `seed`; of a class with fewer than ten pictures the one with the last number,
    so that where every class has a picture by each of a few artists all of one artist's are held back. The only picture
    of a class is not.

    Parameters
    ----------
    labels : (n,) int array
        Pictures of a class in the order of their numbers.
    fraction : float
        One picture at least is held back.
    seed : int

    Returns
    -------
    (n,) bool

    Raises
    ------
    UserError
        No class has two pictures.
    """
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) > 1:
            few = len(members) < FEW
            held[members[-1:] if few else rng.permutation(members)[: max(1, round(fraction * len(members)))]] = True
    if not held.any():
        raise UserError("no class has two pictures, which it takes to hold one back for validation: add pictures")
    return held
