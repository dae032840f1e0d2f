"""Which pictures are trained on, and which are held back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from common.data.imageset import ImageSet
from common.files.errors import UserError, near

FEW = 10  # a class with fewer pictures is split by picture number


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
        Of each class's pictures that is held back, one picture at least.
    seed : int or sequence of int

    Returns
    -------
    train, test : ImageSet

    Raises
    ------
    UserError
        A class has fewer than two pictures.
    """
    rng = np.random.default_rng(seed)
    held = np.zeros(len(whole), bool)
    for label in range(len(whole.class_names)):
        members = rng.permutation(np.flatnonzero(whole.labels == label))
        if len(members) < 2:
            raise UserError(
                f"class {whole.class_names[label]!r} has {len(members)} pictures: two are needed to hold one back"
            )
        held[members[: max(1, round(fraction * len(members)))]] = True
    return whole.subset(~held), whole.subset(held)


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
        A class would be left without a picture to train on.
    """
    fewest = np.bincount(whole.labels).min()
    if fewest < 2 or fraction == 1:
        raise UserError(
            f"--validation-share {fraction:g} would leave a class without a picture to train on (the smallest has"
            f" {fewest}): 0 holds out none"
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

    Parameters
    ----------
    labels : (n,) int array
    fraction : float
        Of all samples that is held back.
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

    try:
        return train_test_split(np.arange(len(labels)), test_size=fraction, stratify=labels, random_state=seed)
    except ValueError as error:
        raise UserError(f"{flag} {fraction}: {error}") from error


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


def held_back(
    labels: np.ndarray, fraction: float = 0.1, seed: int = 123, names: Sequence[str] | None = None
) -> np.ndarray:
    """Which pictures of seen classes are for validation.

    Of each class a fraction, drawn with `seed`; of a class with fewer than ten pictures the one with the last number,
    so that where every class has a picture by each of a few artists all of one artist's are held back.

    Parameters
    ----------
    labels : (n,) int array
        Pictures of a class in the order of their numbers.
    fraction : float
        One picture at least is held back.
    seed : int
    names : sequence of str, optional
        What the classes are called, for the message.

    Returns
    -------
    (n,) bool

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
            name = names[label] if names else label
            raise UserError(f"class {name!r} has one picture: two are needed to hold one back for validation")
        few = len(members) < FEW
        held[members[-1:] if few else rng.permutation(members)[: max(1, round(fraction * len(members)))]] = True
    return held
