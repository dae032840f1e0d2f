"""Pictures and labels to read: CSV, .npy pair, folder or data set; all of it checked before a network runs."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from common.backbones.preprocessing import INTERPOLATIONS
from common.data import images, walk
from common.data.loader import ahead
from common.data.sets import ImageSet, folder
from common.data.transforms import Eval, RandomResizedCrop, inner
from common.files import finite
from common.files.errors import UserError

OUTSIDE = "a value outside of 0..255, which --stretch takes"
HEIGHT, WIDTH = 90, 160  # of the document's pictures in -data
FILTERS = {name: Image.Resampling[name.upper()] for name in INTERPOLATIONS}
BLOCK = 1 << 20  # values of a .npy file that are checked at a time


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
    return resize(whole(path), size, interpolation)


def whole(path) -> Image.Image:
    """The picture in file `path` in RGB, at its own size; see `read`.

    Raises
    ------
    UserError
        The file is not there or is not a whole picture.
    """
    try:
        with images.opened(path) as picture:
            picture = ImageOps.exif_transpose(picture)  # a copy
            if picture.mode != "RGB" or "transparency" in picture.info:
                picture = Image.fromarray(images.rgb(picture))
            return picture
    except images.BROKEN as error:
        raise UserError(f"{images.title(path)} is not a picture that can be read: {error}") from error


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

    def whole(self, i: int) -> Image.Image:
        return whole(self.paths[i])

    def names(self) -> list[str]:
        """Where each picture came from."""
        return [walk.shown(path) for path in self.paths]

    def key(self) -> str:
        """A name for these pictures and labels, by path, size, time of change and label."""
        total = hashlib.sha256()
        for path, label in zip(self.paths, self.labels):
            state = walk.holder(path).stat() if walk.is_file(path) else None
            total.update(
                f"{path}|{label}|{state and (state.st_size, state.st_mtime_ns)}\n".encode("utf-8", "surrogateescape")
            )
        return total.hexdigest()


def _why_unreadable(path: Path) -> str | None:
    if not walk.is_file(path):
        return f"{walk.shown(path)}: no such file"
    try:
        with images.opened(path):
            return None
    except UserError as error:  # of a damaged record
        return str(error)
    except images.BROKEN as error:
        return f"{images.title(path)} is not a picture that can be read: {error}"


@dataclass
class Vectors:
    """Pictures in a .npy file, each height x width x 3 values of 0..255.

    Attributes
    ----------
    path : Path
    data : (n, height * width * 3) or (n, height, width, 3) array, mapped from the file
    labels : (n,) array
    height, width : int
    stretch : bool
        Take any finite values, and stretch each picture to 0..255 as the document's program does.
    """

    path: Path
    data: np.ndarray
    labels: np.ndarray
    height: int
    width: int
    stretch: bool = False
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
        rows = max(1, BLOCK // (self.height * self.width * 3))
        for start in range(0, len(self.data), rows):
            block = self.data[start : start + rows]
            block = block.reshape(len(block), -1)
            if self.stretch:
                with np.errstate(over="ignore"):
                    block = lifted(block, axis=1)
            else:
                wrong = ((block < 0) | (block > 255)).any(axis=1)
                bad.update({start + int(i): OUTSIDE for i in np.flatnonzero(wrong)})
            bad.update({start + int(i): "a value that is not finite" for i in finite.rows(block)})
            largest = max(largest, np.fmax.reduce(block, axis=None))  # fmax: without NaN
        if largest <= 1 and self.data.dtype.kind == "f" and not self.stretch:
            raise UserError(
                f"{self.path}: all values lie in 0..1; pixels of 0..255 are needed: multiply by 255, or --stretch each"
                " picture"
            )
        return bad

    def read(self, i: int, size: int, interpolation: str) -> np.ndarray:
        return resize(self.whole(i), size, interpolation)

    def whole(self, i: int) -> Image.Image:
        pixels = stretched(self.data[i]) if self.stretch else np.rint(self.data[i]).astype(np.uint8)
        return Image.fromarray(pixels.reshape(self.height, self.width, 3))

    def names(self) -> list[str]:
        """Where each picture came from."""
        return self.rows

    def key(self) -> str:
        """A name for the file, the labels and what becomes of the values."""
        state = self.path.stat()
        text = f"{self.path.resolve()} {state.st_size} {state.st_mtime_ns} {self.height} {self.width} {self.labels.tolist()}"  # noqa: E501
        text += " stretched" * self.stretch
        return hashlib.sha256(text.encode()).hexdigest()


def lifted(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """`values` as float32, the smallest of each row (`axis` 1) or of all at 0 where it was negative."""
    values = values.astype(np.float32)
    return values + np.maximum(-values.min(axis=axis, keepdims=True), 0)


def stretched(values: np.ndarray) -> np.ndarray:
    """A picture as Keras's ``array_to_img`` makes it of an array: its largest value becomes 255; the rest is cut off.

    The same arithmetic in the same order: what becomes 99.99999 there and then 99 does so here.
    """
    values = lifted(values)
    largest = values.max()
    if largest != 0:
        values /= largest
    values *= 255
    return values.astype(np.uint8)


@dataclass
class Pictures:
    """Pictures of a data set: in memory, or cut out of files.

    Attributes
    ----------
    images : common.data.sets.ImageSet
    labels : (n,) array of str
    rows : list of str
    """

    images: ImageSet
    labels: np.ndarray
    rows: list[str]

    def __len__(self):
        return len(self.images)

    def check(self) -> dict[int, str]:
        """Nothing is known before the pictures are read."""
        return {}

    def read(self, i: int, size: int, interpolation: str) -> np.ndarray:
        return resize(self.whole(i), size, interpolation)

    def whole(self, i: int) -> Image.Image:
        return Image.fromarray(self.images.read(i))

    def names(self) -> list[str]:
        """Where each picture came from."""
        return self.rows

    def key(self) -> str:
        """A name for the pixels in memory, or the files by path, size and time of change."""
        total = hashlib.sha256("\n".join(self.labels.tolist()).encode())
        if self.images.in_memory:
            total.update(np.ascontiguousarray(self.images.images))
        else:
            for path in self.images.images:
                state = walk.holder(path).stat()
                total.update(f"{path}|{state.st_size}|{state.st_mtime_ns}\n".encode())
        return total.hexdigest()


@dataclass
class Chosen:
    """The pictures `order` of `source`, in that order."""

    source: Files | Vectors | Pictures
    order: np.ndarray

    def __len__(self):
        return len(self.order)

    def read(self, i: int, size: int, interpolation: str) -> np.ndarray:
        return self.source.read(self.order[i], size, interpolation)


@dataclass
class Middle:
    """The middle of each picture of `source`, or several views of it; see `middle`."""

    source: Files | Vectors | Pictures
    side: int
    keep_aspect: bool
    views: Sequence[float]
    share: float | None = None

    def __len__(self):
        return len(self.source)

    def read(self, i: int, size: int, interpolation: str) -> np.ndarray:
        whole = np.asarray(self.source.whole(i))
        found = []
        for view in (whole, *(inner(whole, share) for share in self.views)):
            found.append(self._cut(view, size, interpolation))
        return np.stack(found) if self.views else found[0]

    def _cut(self, view: np.ndarray, size: int, interpolation: str) -> np.ndarray:
        if self.share:
            return cropped(Image.fromarray(view), size, self.share, interpolation)
        cut = Eval(self.side, size, self.keep_aspect)
        return cut.middle(np.asarray(Image.fromarray(view).resize(cut.size(view), FILTERS[interpolation])))


def cropped(picture: Image.Image, size: int, share: float, interpolation: str) -> np.ndarray:
    """The middle of `picture` as timm and torchvision cut it out: ``Resize(int(size / share))``, ``CenterCrop(size)``.

    Their rounding is theirs too: of the longer side down, of the cut's place to the nearest whole pixel.
    """
    short, (width, height) = int(size / share), picture.size
    wide = width > height
    longer = int(short * max(width, height) / min(width, height))
    resized = np.asarray(picture.resize((longer, short) if wide else (short, longer), FILTERS[interpolation]))
    y, x = (round((side - size) / 2) for side in resized.shape[:2])
    return resized[y : y + size, x : x + size]


def middle(
    source, size: int, side: int | None, keep_aspect: bool, views: Sequence[float] = (), share: float | None = None
) -> Files | Vectors | Pictures | Middle:
    """`source`, with the middle cut out of its pictures, or several views of them, where flags ask for it.

    Parameters
    ----------
    source : Files, Vectors or Pictures
    size : int
        Side in pixels of what the network sees.
    side : int or None
        Of ``--resize``: the pictures' before they are cut; None: `size`.
    keep_aspect : bool
        It is the shorter one; otherwise pictures become squares, whatever their shape.
    views : sequence of float
        A picture becomes (1 + views, size, size, 3): it and its middles, of such shares of its sides.
    share : float or None
        Of ``--crop-share``, see `cropped`; `side` and `keep_aspect` are not given then.

    Raises
    ------
    UserError
        `side` is less than `size`.
    """
    if side is not None and side < size:
        raise UserError(f"--resize {side}: the network sees pictures of {size} pixels, cut out of no smaller ones")
    asked = side or keep_aspect or views or share
    return Middle(source, side or size, keep_aspect, views, share) if asked else source


@dataclass
class Augmented(Chosen):
    """The pictures `order` of `source`, each changed at random.

    Attributes
    ----------
    source : Files or Pictures
    transform : common.data.transforms.RandomResizedCrop
        Has the size.
    seed : sequence of int
        With a picture's place in `order` it determines the change.
    """

    transform: RandomResizedCrop
    seed: Sequence[int]

    def read(self, i: int, size: int, interpolation: str) -> np.ndarray:
        rng = np.random.default_rng([*self.seed, i])
        return self.transform(np.asarray(self.source.whole(self.order[i])), rng)


def from_dataset(image_set: ImageSet) -> Files | Pictures:
    """The pictures of `image_set`, labelled with the names of their classes."""
    labels = np.array(image_set.class_names)[image_set.labels]
    if image_set.in_memory or image_set.boxes is not None:
        return Pictures(image_set, labels, [f"picture {i + 1}" for i in range(len(labels))])
    return Files(list(image_set.images), labels, [str(path) for path in image_set.images])


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
    return beside if walk.is_file(beside) or not walk.is_file(Path(name)) else Path(name)


def _labels(texts: list[str]) -> np.ndarray:
    """Whole numbers as int64 where all are, and where writing them again gives the same text."""
    try:
        numbers = np.array([int(text) for text in texts], np.int64)
    except (ValueError, OverflowError):
        return np.array(texts)
    return numbers if [str(n) for n in numbers] == texts else np.array(texts)


def from_folder(path, class_depth: int | None = None) -> Files:
    """Pictures in a folder and below, in the order of their names; the label is the class, see `folder.lay_out`.

    A picture in no class's folder has an empty label.

    Raises
    ------
    UserError
        No such folder, or no picture in it.
    """
    root = Path(path)
    if not root.is_dir():
        raise UserError(f"--folder {root} is no folder: one of pictures, or of folders of them, is needed")
    skipped: list = []
    found = folder.lay_out(root, skipped, class_depth)
    left_out = walk.summary(skipped, root)
    if not found.paths:
        raise UserError(f"--folder {root} holds no picture; {left_out}")
    bare = found.names.count("")
    notes = [found.note, f"{bare:,} in no class's folder have an empty label" if bare else ""]
    notes = [note for note in (*notes, left_out if skipped else "") if note]
    if notes:
        print(f"{walk.shown(root)}: {len(found.paths):,} pictures; {'; '.join(notes)}", flush=True)
    labels = np.array([walk.shown(name) for name in found.names])
    return Files(found.paths, labels, [walk.shown(path) for path in found.paths])


def from_npy(
    data, labels, height: int = HEIGHT, width: int = WIDTH, channels: int = 3, stretch: bool = False
) -> Vectors:
    """Pictures in the .npy file `data`, their labels in the .npy file `labels`.

    Parameters
    ----------
    height, width, channels : int
        Of pictures that are rows of ``height * width * channels`` values. An array (n, height, width, 3) says it
        itself, and must agree where other than the defaults are given.
    stretch : bool
        See `Vectors`.

    Raises
    ------
    UserError
        A file that cannot be read, pictures of another shape, labels and data of different length, or channels other
        than 3.
    """
    if channels != 3:
        raise UserError(f"-c {channels}: the networks take pictures of 3 channels only")
    pictures, names = _load(data, "-data"), _load(labels, "-labels")
    height, width = _shape(pictures, f"-data {data}", height, width)
    if names.shape not in ((len(pictures),), (len(pictures), 1)):
        raise UserError(f"-labels {labels} has shape {names.shape}, but -data {data} has {len(pictures)} rows")
    if pictures.dtype.kind not in "uif" or not len(pictures):
        raise UserError(f"-data {data} holds {len(pictures)} rows of {pictures.dtype}: numbers of 0..255 are needed")
    if names.dtype.kind not in "uifbSU":
        raise UserError(f"-labels {labels} holds {names.dtype}: numbers or text are needed")
    names = finite.check(np.array(names).reshape(-1), f"-labels {labels}", "give every picture a label")
    names = _decoded(names, labels) if names.dtype.kind == "S" else names
    return Vectors(Path(data), pictures, names, height, width, stretch)


def _shape(pictures: np.ndarray, what: str, height: int, width: int) -> tuple[int, int]:
    """Height and width of the pictures in an array."""
    if pictures.ndim == 4 and pictures.shape[3] == 3 and pictures.shape[1] and pictures.shape[2]:
        own = pictures.shape[1:3]
        if (height, width) not in (own, (HEIGHT, WIDTH)):
            raise UserError(
                f"{what} holds pictures of -he {own[0]} -w {own[1]}, not {height} and {width}: give neither"
            )
        return own
    if pictures.ndim == 2 and pictures.shape[1] == height * width * 3:
        return height, width
    turned = " (channels come last: numpy.moveaxis(x, 1, 3))" if pictures.ndim == 4 and pictures.shape[1] == 3 else ""
    raise UserError(
        f"{what} has shape {pictures.shape}: -he {height} -w {width} -c 3 need rows of {height * width * 3} values, or"
        f" an array (n, height, width, 3){turned}"
    )


def _decoded(names: np.ndarray, labels) -> np.ndarray:
    try:
        return np.char.decode(names, "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"-labels {labels} holds bytes that are no UTF-8: {error}") from error


def _load(path, flag: str) -> np.ndarray:
    """The array in a file, mapped: one that claims more than the file holds is refused before room is made for it."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise UserError(f"{flag} {path}: {error.strerror or error}") from error
    except Exception as error:  # NumPy's own parser of headers has many
        reason = (str(error) or type(error).__name__).splitlines()[0][:100]
        if "Python objects" in reason or "Object arrays" in reason:
            save = "labels.astype(str)" if flag == "-labels" else "numpy.stack(list(pictures))"
            raise UserError(
                f"{flag} {path} holds Python objects, which only running a program in it could read: numpy.save {save}"
            ) from error
        raise UserError(f"{flag} {path} is not a .npy file of numbers or text: {reason}") from error
    if not isinstance(found, np.ndarray):
        raise UserError(f"{flag} {path} is an archive of arrays: a .npy file of one is needed")
    return found


@dataclass
class Batch:
    """Some pictures in order: `images` (n, size, size, 3) uint8, where a failed one is black, and why it `failed`.

    Or (n, views, size, size, 3), see `middle`.
    """

    first: int
    images: np.ndarray
    failed: dict[int, str]


def spread(source, count: int, size: int, interpolation: str, skip=()) -> np.ndarray:
    """Up to `count` pictures spread over `source`, all views of those that can be read: (n, size, size, 3) uint8.

    They set the ranges of an INT8 network. `skip` holds the numbers of pictures known to fail.
    """
    good = [i for i in range(len(source)) if i not in skip]
    indices = np.unique(np.linspace(0, len(good) - 1, count).astype(int)) if good else []
    found = []
    for index in indices:
        try:
            found.append(source.read(good[index], size, interpolation))
        except UserError:  # told where all pictures are read
            continue
    return np.array(found, np.uint8).reshape(-1, size, size, 3)


def batches(source, size: int, batch_size: int, interpolation: str, skip=(), start: int = 0, num_workers: int = 2):
    """Batches of `source` from picture `start` on, decoded ahead in threads, at most a few batches of them.

    Parameters
    ----------
    source : Files or Vectors
    size : int
        Side in pixels that the network takes.
    batch_size : int
    interpolation : {"nearest", "bilinear", "bicubic"}
    skip : dict of int to str
        Pictures known to fail, and why.
    start : int
        Number of the first picture.
    num_workers : int
        Decoding threads.

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

    depth = max(2 * batch_size, 4 * num_workers)
    with contextlib.closing(ahead(load, range(start, len(source)), max(1, num_workers), depth)) as loaded:
        for first in range(start, len(source), batch_size):
            found = list(itertools.islice(loaded, batch_size))
            failed = {first + i: reason for i, (_, reason) in enumerate(found) if reason}
            shape = next((p.shape for p, _ in found if p is not None), (size, size, 3))
            images = [np.zeros(shape, np.uint8) if p is None else p for p, _ in found]
            yield Batch(first, np.stack(images), failed)
