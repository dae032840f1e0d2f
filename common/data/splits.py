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

    `unseen` names the test classes; None draws half of the classes with `seed`.
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


def split_seen(whole: ImageSet, test_share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Training and test sets with the same classes: `test_share` of each class's pictures, at least one, held back."""
    rng = np.random.default_rng(seed)
    held = np.zeros(len(whole), bool)
    for label in range(len(whole.class_names)):
        members = rng.permutation(np.flatnonzero(whole.labels == label))
        if len(members) < 2:
            raise UserError(
                f"class {whole.class_names[label]!r} has {len(members)} pictures: two are needed to hold one back"
            )
        held[members[: max(1, round(test_share * len(members)))]] = True
    return whole.subset(~held), whole.subset(held)


def split_domains(whole: ImageSet, count: int) -> tuple[ImageSet, ImageSet]:
    """Training and test sets with the same classes: the pictures of the last `count` domains are held back."""
    held = whole.domains >= len(whole.domain_names) - count
    return whole.subset(~held), whole.subset(held)


def halves(whole: ImageSet) -> tuple[ImageSet, ImageSet]:
    """The first half of the classes and the second, as everybody since Song et al. 2016 splits these sets."""
    half = len(whole.class_names) // 2
    first = whole.subset(whole.labels < half)
    second = whole.subset(whole.labels >= half)
    return (
        dataclasses.replace(first, class_names=whole.class_names[:half]),
        dataclasses.replace(second, labels=second.labels - half, class_names=whole.class_names[half:]),
    )


def held_back(
    labels: np.ndarray, share: float = 0.1, seed: int = 123, names: Sequence[str] | None = None
) -> np.ndarray:
    """Which pictures of seen classes are for validation: (n,) bool.

    `share` of each class, drawn with `seed`; of a class with fewer than ten pictures the one with the last number, so
    that where every class has a picture by each of a few artists all of one artist's are held back.

    Parameters
    ----------
    labels : (n,) int array
        Pictures of a class in the order of their numbers.
    names : sequence of str, optional
        What the classes are called, for the message.

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
        held[members[-1:] if few else rng.permutation(members)[: max(1, round(share * len(members)))]] = True
    return held
