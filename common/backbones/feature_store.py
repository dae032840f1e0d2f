"""Features that were read before, kept in a folder: a row of numbers by the key of its picture."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from common.data.walk import holder
from common.files.disk import atomic, writing
from common.files.lock import Lock

# What NumPy and zipfile raise on a file that is cut, damaged or something else.
BROKEN = (
    OSError, ValueError, EOFError, MemoryError, SyntaxError, KeyError, NotImplementedError, zipfile.BadZipFile,
    zlib.error, TypeError, AttributeError,
)  # fmt: skip
PART = 1024  # rows in a part, about: what a kill can lose


def keys(image_set) -> list[str]:
    """A key for each picture: a hash of its pixels where it is in memory, else of path, size, time of change and box.

    Parameters
    ----------
    image_set : common.data.sets.ImageSet

    Returns
    -------
    list of str
    """
    if image_set.in_memory:
        shape = str(image_set.images.shape[1:]).encode()
        return [_hash(shape, np.ascontiguousarray(picture)) for picture in image_set.images]
    boxes = [None] * len(image_set) if image_set.boxes is None else image_set.boxes.tolist()
    return [_of_file(path, box) for path, box in zip(image_set.images, boxes)]


def _of_file(path, box) -> str:
    state = os.stat(holder(path))
    text = f"{os.path.abspath(path)} {state.st_size} {state.st_mtime_ns} {box}"
    return _hash(text.encode("utf-8", "surrogateescape"))


def _hash(*parts) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()[:32]


class FeatureStore:
    """A folder of features that one network gave, in parts that are written once each, whole or not at all.

    A part holds the keys of its pictures and their rows, with zip's checksums. One that is damaged, or holds something
    else, counts as not there. Many processes may read and add at once; `lock` keeps two from computing the same.

    Parameters
    ----------
    folder : path
        Made when there is something to keep.
    width : int
        Numbers in a row.
    """

    def __init__(self, folder, width: int):
        self.folder, self.width = Path(folder), width

    def fetch(self, wanted: Sequence[str], read: Callable[[np.ndarray], Iterable[tuple]]) -> np.ndarray:
        """The rows of the pictures with these keys; those that are not there are read, and kept.

        Parameters
        ----------
        wanted : sequence of str
            Of a picture that is there twice, one is read.
        read : callable (indices) -> iterable of (rows, numbers)
            Reads the pictures at `indices`, batch by batch: the rows of those at ``indices[numbers]``.

        Returns
        -------
        (n, width) float32

        Raises
        ------
        UserError
            The folder cannot be written.
        """
        rows, missing = self.find(wanted)
        if not missing.any():
            return rows
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with Lock(self.folder / ".lock"):
            rows, missing = self.find(wanted)  # another process may have read them meanwhile
            first: dict[str, int] = {}
            for index in np.flatnonzero(missing):
                first.setdefault(wanted[index], index)
            indices = np.array(list(first.values()), np.int64)
            for new, numbers in _joined(read(indices) if len(indices) else ()):
                rows[indices[numbers]] = new
                self._add([wanted[index] for index in indices[numbers]], new)
        for index in np.flatnonzero(missing):
            rows[index] = rows[first[wanted[index]]]
        return rows

    def find(self, wanted: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the pictures with these keys, as far as they are there.

        Parameters
        ----------
        wanted : sequence of str

        Returns
        -------
        rows : (n, width) float32
            Anything where there is none.
        missing : (n,) bool
        """
        rows, missing = np.empty((len(wanted), self.width), np.float32), np.ones(len(wanted), bool)
        for path in sorted(self.folder.glob("*.npz")):
            if not missing.any():
                break
            place = {key: i for i, key in enumerate(_pictures(path))}
            found = [(i, place[wanted[i]]) for i in np.flatnonzero(missing) if wanted[i] in place]
            part = self._rows(path, len(place)) if found else None
            if part is not None:
                here, there = np.array(found).T
                rows[here], missing[here] = part[there], False
        return rows, missing

    def _rows(self, path: Path, count: int) -> np.ndarray | None:
        rows = _array(path, "features")
        whole = rows is not None and rows.shape == (count, self.width) and rows.dtype == np.float32
        return rows if whole and np.isfinite(rows).all() else None

    def _add(self, pictures: Sequence[str], rows: np.ndarray) -> None:
        name = _hash("\n".join(pictures).encode())[:16]
        with atomic(self.folder / f"{name}.npz") as beside:
            np.savez(beside, pictures=np.array(pictures, "S32"), features=rows)


def _joined(batches: Iterable[tuple]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of (rows, numbers) in parts of at least `PART` rows, but for the last."""
    waiting: list[tuple] = []
    for batch in batches:
        waiting.append(batch)
        if sum(len(numbers) for _, numbers in waiting) >= PART:
            yield tuple(map(np.concatenate, zip(*waiting)))
            waiting = []
    if waiting:
        yield tuple(map(np.concatenate, zip(*waiting)))


def _pictures(path: Path) -> list[str]:
    """The keys of the pictures in a part; none of one that is damaged."""
    found = _array(path, "pictures")
    return found.astype(str).tolist() if found is not None and found.dtype == "S32" and found.ndim == 1 else []


def _array(path: Path, name: str) -> np.ndarray | None:
    try:
        with np.load(path, allow_pickle=False) as part:
            return part[name]
    except BROKEN:
        return None
