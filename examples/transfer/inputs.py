"""Pictures and labels to read: a CSV, a pair of .npy files or a folder; all of it checked before a network runs."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from common import images
from common.errors import UserError

FILTERS = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic")}
BLOCK = 1024  # rows of a .npy file that are checked at a time


def resize(picture: Image.Image, size: int, interpolation: str) -> np.ndarray:
    """`picture` at `size` x `size` as Keras's ``load_img`` makes it: PIL's filter, the shape not kept."""
    return np.asarray(picture.resize((size, size), FILTERS[interpolation]))


def read(path, size: int, interpolation: str = "nearest") -> np.ndarray:
    """The picture in file `path` as (size, size, 3) uint8 RGB.

    Plain RGB files come out as from Keras's ``load_img``. Where that is wrong (16 bits, EXIF orientation,
    transparency), they come out as one sees them.

    Raises
    ------
    UserError
        The file is not there or is not a whole picture.
    """
    try:
        with Image.open(path) as picture:
            picture = ImageOps.exif_transpose(picture)
            if picture.mode != "RGB" or "transparency" in picture.info:
                picture = Image.fromarray(images.rgb(picture))
            return resize(picture, size, interpolation)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not a picture that can be read: {error}") from error


@dataclass
class Files:
    """Pictures in files.

    Attributes
    ----------
    paths : list of Path
    labels : (n,) array of int64 or str
    rows : list of str
        What to call each picture in an error.
    """

    paths: list[Path]
    labels: np.ndarray
    rows: list[str]

    def __len__(self):
        return len(self.paths)

    def check(self) -> dict[int, str]:
        """Why pictures cannot be read, by number, found from the files' beginnings alone."""
        with ThreadPoolExecutor(4) as pool:
            reasons = pool.map(_why_unreadable, self.paths, chunksize=64)
            return {i: reason for i, reason in enumerate(reasons) if reason}

    def read(self, i: int, size: int, interpolation: str) -> np.ndarray:
        return read(self.paths[i], size, interpolation)

    def key(self) -> str:
        """A name for these pictures and labels, by place, size, time of change and label."""
        total = hashlib.sha256()
        for path, label in zip(self.paths, self.labels):
            state = path.stat() if path.is_file() else None
            total.update(f"{path}|{label}|{state and (state.st_size, state.st_mtime_ns)}\n".encode())
        return total.hexdigest()


def _why_unreadable(path: Path) -> str | None:
    if not path.is_file():
        return f"{path}: no such file"
    try:
        with Image.open(path):
            return None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"{path} is not a picture that can be read: {error}"


@dataclass
class Vectors:
    """Pictures as rows of a .npy file, each height x width x 3 values of 0..255.

    Attributes
    ----------
    path : Path
    data : (n, height * width * 3) array, mapped from the file
    labels : (n,) array
    height, width : int
    """

    path: Path
    data: np.ndarray
    labels: np.ndarray
    height: int
    width: int
    rows: list[str] = field(init=False)

    def __post_init__(self):
        self.rows = [f"{self.path} row {i + 1}" for i in range(len(self.data))]

    def __len__(self):
        return len(self.data)

    def check(self) -> dict[int, str]:
        """Rows with values that are no pixels, by number."""
        bad, largest = {}, 0.0
        if self.data.dtype == np.uint8:
            return bad
        for start in range(0, len(self.data), BLOCK):
            block = np.asarray(self.data[start : start + BLOCK], np.float64)
            wrong = ~((block >= 0) & (block <= 255)).all(axis=1)  # a NaN fails both
            bad.update({start + int(i): "a value outside of 0..255" for i in np.flatnonzero(wrong)})
            largest = max(largest, np.nanmax(block))
        if largest <= 1 and self.data.dtype.kind == "f":
            raise UserError(f"{self.path}: all values lie in 0..1; pixels of 0..255 are needed: multiply by 255")
        return bad

    def read(self, i: int, size: int, interpolation: str) -> np.ndarray:
        pixels = np.rint(self.data[i]).astype(np.uint8).reshape(self.height, self.width, 3)
        return resize(Image.fromarray(pixels), size, interpolation)

    def key(self) -> str:
        """A name for the file and the labels."""
        state = self.path.stat()
        text = f"{self.path.resolve()} {state.st_size} {state.st_mtime_ns} {self.height} {self.width} {self.labels.tolist()}"  # noqa: E501
        return hashlib.sha256(text.encode()).hexdigest()


def from_csv(path) -> Files:
    """Pictures listed in a CSV of ``label,path`` rows without a header.

    A path is relative to the CSV's folder, or else to the working folder.

    Raises
    ------
    UserError
        No such file, no rows, or a row that has not two columns.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [(reader_line, row) for reader_line, row in _numbered(csv.reader(file)) if row]
    except OSError as error:
        raise UserError(f"-csv {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"-csv {path} is not a CSV in UTF-8: {error}") from error
    if not rows:
        raise UserError(f"-csv {path} has no rows: each has to be LABEL,PATH")
    for number, row in rows:
        if len(row) != 2 or not row[1].strip():
            raise UserError(f"-csv {path} row {number} has {len(row)} columns: each row has to be LABEL,PATH")
    paths = [_found(path.parent, row[1].strip()) for _, row in rows]
    return Files(paths, _labels([row[0].strip() for _, row in rows]), [f"{path} row {number}" for number, _ in rows])


def _numbered(reader) -> Iterator[tuple[int, list[str]]]:
    for row in reader:
        yield reader.line_num, row


def _found(folder: Path, name: str) -> Path:
    beside = folder / name
    return beside if beside.is_file() or not Path(name).is_file() else Path(name)


def _labels(texts: list[str]) -> np.ndarray:
    """Whole numbers as int64 where all are, and where writing them again gives the same text."""
    try:
        numbers = np.array([int(text) for text in texts], np.int64)
    except (ValueError, OverflowError):
        return np.array(texts)
    return numbers if [str(n) for n in numbers] == texts else np.array(texts)


def from_folder(path) -> Files:
    """Pictures in ``ROOT/CLASS/``; the label is the folder's name."""
    from common.datasets import folder

    found = folder.load(path)
    return Files(list(found.images), np.array(found.class_names)[found.labels], [str(p) for p in found.images])


def from_npy(data, labels, height: int, width: int, channels: int) -> Vectors:
    """Pictures as rows of the .npy file `data`, their labels in the .npy file `labels`.

    Raises
    ------
    UserError
        A file that cannot be read, rows of another length than ``height * width * channels``, labels and data of
        different length, or channels other than 3.
    """
    if channels != 3:
        raise UserError(f"-c {channels}: the networks take pictures of 3 channels only")
    pictures, names = _load(data, "-data"), _load(labels, "-labels")
    if pictures.ndim != 2 or pictures.shape[1] != height * width * channels:
        raise UserError(
            f"-data {data} has shape {pictures.shape}: -he {height} -w {width} -c {channels} need rows of"
            f" {height * width * channels} values"
        )
    if names.size != len(pictures) or names.shape[0] != len(pictures):
        raise UserError(f"-labels {labels} has shape {names.shape}, but -data {data} has {len(pictures)} rows")
    if pictures.dtype.kind not in "uif" or not len(pictures):
        raise UserError(f"-data {data} holds {len(pictures)} rows of {pictures.dtype}: numbers of 0..255 are needed")
    return Vectors(Path(data), pictures, np.asarray(names).reshape(-1), height, width)


def _load(path, flag: str) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise UserError(f"{flag} {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{flag} {path} is not a .npy file of numbers or text: {error}") from error


@dataclass
class Batch:
    """Some pictures in order: `images` (n, size, size, 3) uint8, where a failed one is black, and why it `failed`."""

    first: int
    images: np.ndarray
    failed: dict[int, str]


def batches(source, size: int, batch_size: int, interpolation: str, skip=(), start: int = 0, num_workers: int = 2):
    """Batches of `source` from picture `start` on, decoded ahead in threads, at most a few batches of them.

    Parameters
    ----------
    source : Files or Vectors
    skip : collection of int
        Pictures known to fail.

    Yields
    ------
    Batch
    """

    def load(i):
        if i in skip:
            return None, skip[i]
        try:
            return source.read(i, size, interpolation), None
        except UserError as error:
            return None, str(error)

    blank = np.zeros((size, size, 3), np.uint8)
    ahead = max(2 * batch_size, 4 * num_workers)
    with ThreadPoolExecutor(max(1, num_workers)) as pool:
        waiting, following = [], iter(range(start, len(source)))
        for first in range(start, len(source), batch_size):
            count = min(batch_size, len(source) - first)
            while len(waiting) < ahead + count and (i := next(following, None)) is not None:
                waiting.append(pool.submit(load, i))
            found, waiting = [task.result() for task in waiting[:count]], waiting[count:]
            failed = {first + i: reason for i, (_, reason) in enumerate(found) if reason}
            yield Batch(first, np.stack([blank if p is None else p for p, _ in found]), failed)
