"""What every data set gives: labelled pictures, in a training and a test split."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common.data import images
from common.data.walk import BROKEN, is_record, summary
from common.files.errors import UserError, near

OPTIONAL = ("boxes", "domains", "is_query", "is_gallery", "splits")  # of each picture, where the data has it


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Labelled pictures.

    Attributes
    ----------
    images : list of Path, or (n, H, W, 3) uint8 array
    labels : (n,) int64
        Index into `class_names`.
    class_names : list of str
    boxes : (n, 4) float array or None
        x, y, width, height in pixels: what `read` cuts out.
    domains : (n,) int64 or None
        Who drew each picture, an index into `domain_names`.
    domain_names : list of str or None
    skipped : sequence of (Path, str)
        Files beside the pictures that were left out, and why.
    is_query, is_gallery : (n,) bool or None
        Which pictures are looked for, and which are searched, where the data says so.
    splits : (n,) array of str or None
        ``train``, ``validation`` or ``test``, where the data says it.
    """

    images: Sequence[Path] | np.ndarray
    labels: np.ndarray
    class_names: list[str]
    boxes: np.ndarray | None = None
    domains: np.ndarray | None = None
    domain_names: list[str] | None = None
    skipped: Sequence[tuple[Path, str]] = ()
    is_query: np.ndarray | None = None
    is_gallery: np.ndarray | None = None
    splits: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def in_memory(self) -> bool:
        """Whether `images` is an array of pixels."""
        return isinstance(self.images, np.ndarray)

    @property
    def places(self) -> np.ndarray | None:
        """Where each picture lies, (n, 2) int64: in which file of records, and at which number; None if in no such."""
        if self.in_memory or not all(map(is_record, self.images)):
            return None
        files = np.unique([str(path.parent) for path in self.images], return_inverse=True)[1]
        return np.stack([files, [int(path.name) for path in self.images]], axis=1)

    def read(self, index: int, min_side: int = 0) -> np.ndarray:
        """A picture, decoded and cut to its box.

        Parameters
        ----------
        index : int
        min_side : int
            As in `common.data.images.read`; of no effect where there are boxes, which are of the picture as it is.

        Returns
        -------
        (H, W, 3) uint8 RGB

        Raises
        ------
        UserError
            The file is not there or is not a picture.
        """
        if self.in_memory:
            return self.images[index]
        if self.boxes is None:
            return images.read(self.images[index], min_side)
        return images.cut(images.read(self.images[index]), self.boxes[index])

    def array(self, size: int, threads: int = 2) -> np.ndarray:
        """All pictures, decoded once and resized to squares.

        Parameters
        ----------
        size : int
            Side in pixels.
        threads : int
            That decode.

        Returns
        -------
        (n, size, size, 3) uint8 RGB

        Raises
        ------
        UserError
            A picture cannot be read.
        """
        if self.in_memory and self.images.shape[1:3] == (size, size):
            return self.images
        result = np.empty((len(self), size, size, 3), np.uint8)

        def put(index):
            result[index] = images.resize(self.read(index, size), (size, size))

        with ThreadPoolExecutor(max(threads, 1)) as pool:
            list(pool.map(put, range(len(self))))
        return result

    def subset(self, indices) -> ImageSet:
        """The pictures at `indices`, (m,) int or (n,) bool, with the same classes."""
        indices = np.asarray(indices)
        indices = np.flatnonzero(indices) if indices.dtype == bool else indices.astype(np.int64)
        return dataclasses.replace(
            self,
            images=self.images[indices] if self.in_memory else [self.images[i] for i in indices],
            labels=self.labels[indices],
            **{name: value[indices] for name in OPTIONAL if (value := getattr(self, name)) is not None},
        )

    def select(self, class_names: Sequence[str]) -> ImageSet:
        """Only the named classes, numbered in the order given.

        Raises
        ------
        UserError
            A name that is no class, with the near ones.
        """
        number = {name: i for i, name in enumerate(self.class_names)}
        unknown = [name for name in class_names if name not in number]
        if unknown:
            raise UserError(f"no class is called {unknown[0]!r}{near(unknown[0], self.class_names)}")
        new = np.full(len(self.class_names), -1)
        new[[number[name] for name in class_names]] = np.arange(len(class_names))
        chosen = self.subset(new[self.labels] >= 0)
        return dataclasses.replace(chosen, labels=new[chosen.labels], class_names=list(class_names))

    @staticmethod
    def concat(sets: Sequence[ImageSet]) -> ImageSet:
        """The pictures of several sets of the same classes as one set, in their order.

        What a picture may have beside its label is kept where all sets have it. Pixels stay in memory if all sets have
        theirs there.
        """
        first, in_memory = sets[0], all(one.in_memory for one in sets)
        whole = {
            name: np.concatenate(values) if all(value is not None for value in values) else None
            for name in ("labels", *OPTIONAL)
            for values in [[getattr(one, name) for one in sets]]
        }
        images = [one.images for one in sets]
        return dataclasses.replace(
            first,
            images=np.concatenate(images) if in_memory else list(itertools.chain(*images)),
            domain_names=None if whole["domains"] is None else first.domain_names,
            skipped=list(dict.fromkeys(item for one in sets for item in one.skipped)),
            **whole,
        )


def readable(
    whole: ImageSet, on_error: str, say: Callable[[str], None] = print, threads: int = 2, root: Path | None = None
) -> ImageSet:
    """The pictures a program goes on with: all of them, or those that can be read.

    Parameters
    ----------
    whole : ImageSet
    on_error : {"stop", "skip"}
        ``skip`` reads every picture once; those that cannot be read go to ``skipped``. A class that loses all its
        pictures goes too.
    say : callable (str)
        Is given a line that counts those left out.
    threads : int
        That decode.
    root : Path, optional
        That the names in the line are relative to; default is the folder above the first picture's.

    Returns
    -------
    ImageSet
    """
    if on_error != "skip" or whole.in_memory:
        return whole
    bad = images.unreadable(whole.images, threads)
    if not bad:
        return whole
    kept = np.ones(len(whole), bool)
    kept[list(bad)] = False
    lost = [(Path(whole.images[index]), BROKEN) for index in bad]
    say(summary(lost, root or Path(whole.images[0]).parent.parent))
    whole = dataclasses.replace(whole.subset(kept), skipped=[*whole.skipped, *lost])
    present = np.unique(whole.labels)
    return whole if len(present) == len(whole.class_names) else whole.select([whole.class_names[i] for i in present])


class Notes(list):
    """Lines on the data that are said as it is loaded, kept for the log of a run that is started afterwards.

    Parameters
    ----------
    say : callable (str)
        Says a line at once.
    """

    def __init__(self, say: Callable[[str], None] = print):
        super().__init__()
        self._say = say

    def __call__(self, line: str) -> None:
        self._say(line)
        self.append(line)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in two splits, and what some have besides.

    Attributes
    ----------
    name : str
    train, test : ImageSet
    superclasses : dict of str to str or None
        The group each class belongs to, where the data set has groups (alphabet, category, ...).
    captions : dict of str to list of str or None
        Sentences for each class, where the data set has them.
    protocol : {"unseen", "seen"}
        How the two splits differ: by class, or by picture.
    validation : ImageSet or None
        The data's own validation pictures. Of the protocol ``seen`` they are of classes of `train`, not all of which
        need have one.
    gallery : ImageSet or None
        Other pictures of the classes of `test`, among which the test pictures are looked for where they were taken at
        other times and places; of the protocol ``unseen`` alone. None: each other.
    catalogue : ImageSet or None
        One picture of each class of both splits, as a catalogue shows it.
    """

    name: str
    train: ImageSet
    test: ImageSet
    superclasses: dict[str, str] | None = None
    captions: dict[str, list[str]] | None = None
    protocol: str = "unseen"
    validation: ImageSet | None = None
    gallery: ImageSet | None = None
    catalogue: ImageSet | None = None


@dataclasses.dataclass(frozen=True)
class Whole:
    """A data set before it is split.

    Attributes
    ----------
    images : ImageSet
        All pictures.
    superclasses, captions
        As in `Dataset`.
    held : int
        How many domains, the last ones, the protocol ``seen`` holds back; 0: pictures of each class.
    catalogue : ImageSet or None
        As in `Dataset`.
    """

    images: ImageSet
    superclasses: dict[str, str] | None = None
    captions: dict[str, list[str]] | None = None
    held: int = 0
    catalogue: ImageSet | None = None
