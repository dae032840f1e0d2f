"""One picture: read, cut, resized, always (H, W, 3) uint8 RGB; and the pictures that a command line names."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from common.data import records
from common.data.walk import SUFFIXES, holder, is_record, shown, summary, walk
from common.files.errors import UserError, reading

cv2.setNumThreads(0)  # pictures are decoded in parallel, one thread each

# What PIL raises on damaged files: RuntimeError for AVIF, struct.error to LookupError for wrong EXIF and TIFF tags.
BROKEN = (
    OSError, SyntaxError, ValueError, Image.DecompressionBombError, EOFError, RuntimeError, zlib.error, struct.error,
    TypeError, LookupError, ArithmeticError, MemoryError,
)  # fmt: skip
QUARTER_TURNS = (5, 6, 7, 8)  # of EXIF's orientations


def read(path, min_side: int = 0) -> np.ndarray:
    """The picture in a file, turned as its EXIF orientation says.

    Grey, palette, transparent (on white), CMYK and 16-bit pictures come out as 8-bit RGB.

    Parameters
    ----------
    path : path
    min_side : int
        A JPEG may come at 1/2, 1/4 or 1/8 of its size, averaged over areas, if its shorter side then has this many
        pixels at least: it is decoded several times as fast. 0 reads it as it is.

    Returns
    -------
    (H, W, 3) uint8 RGB

    Raises
    ------
    UserError
        The file is not there or is not a picture.
    """
    return decode(content(path), title(path), min_side)


def content(path) -> bytes:
    """The bytes of a picture's file, or of its record.

    Raises
    ------
    UserError
        It is not there, or the record is damaged.
    """
    path = Path(path)
    if is_record(path):
        return records.read(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the picture {shown(path)}: {error.strerror}") from error


def title(path) -> str:
    """What an error calls a picture: its file, of one in records the file and the record's number."""
    path = Path(path)
    return f"{shown(holder(path))}, record {path.name}," if is_record(path) else shown(path)


def opened(file, formats: Sequence[str] | None = None) -> Image.Image:
    """A picture opened by PIL, which refuses a truncated one when its pixels are read.

    Importing gluoncv tells PIL to take truncated pictures as whole ones, so it is told otherwise each time.

    Parameters
    ----------
    file : path or binary file
    formats : sequence of str, optional
        PIL's names of the only decoders that may be tried.

    Returns
    -------
    PIL.Image.Image
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    if isinstance(file, Path) and is_record(file):
        file = io.BytesIO(records.read(file))
    return Image.open(file, formats=formats)


def decode(data: bytes, name: str, min_side: int = 0, formats: Sequence[str] | None = None) -> np.ndarray:
    """The picture in the bytes of a file.

    Parameters
    ----------
    data : bytes
    name : str
        What the error calls it.
    min_side : int
        As in `read`.
    formats : sequence of str, optional
        As in `opened`.

    Returns
    -------
    (H, W, 3) uint8 RGB

    Raises
    ------
    UserError
        It is no picture, or a damaged one.
    """
    try:
        # JPEG: OpenCV is faster and turns by EXIF, but misreads CMYK and accepts a truncated file.
        if data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9":
            with opened(io.BytesIO(data), formats) as picture:
                mode, flag = picture.mode, _reduced(min(picture.size), min_side)
            if mode in ("RGB", "L"):
                picture = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
                if picture is not None:
                    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        with opened(io.BytesIO(data), formats) as picture:
            return rgb(ImageOps.exif_transpose(picture))
    except BROKEN as error:
        why = "no format that Pillow knows" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"{name} is not a picture that can be read: {why if data else 'it is empty'}") from error


def size(path) -> tuple[int, int]:
    """Width and height of the picture in a file, as `read` gives it, from the file's beginning alone.

    Raises
    ------
    UserError
        The file is not there or is not a picture.
    """
    try:
        with opened(path) as picture:
            turned = picture.getexif().get(ExifTags.Base.Orientation) in QUARTER_TURNS
            return picture.size[::-1] if turned else picture.size
    except BROKEN as error:
        raise UserError(f"{title(path)} is not a picture that can be read: {error}") from error


def _reduced(side: int, min_side: int) -> int:
    """OpenCV's flag for the smallest decoding of a picture of `side` pixels that leaves at least `min_side`."""
    flags = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
    return next((flag for n, flag in flags.items() if min_side and side // n >= min_side), cv2.IMREAD_COLOR)


def rgb(picture: Image.Image) -> np.ndarray:
    """An open picture of any mode as (H, W, 3) uint8: transparency on white, deeper grey scaled to 8 bits.

    The mode decides which value is white, so that a dark picture stays dark: 65,535 for integers (PIL's ``I;16``, and
    ``I``, as which it reads 16-bit PGM); for floats the least of 1, 255 and 65,535 that is not exceeded. Values outside
    are clipped.

    Raises
    ------
    ValueError
        Floats that are not finite.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it holds numbers that are not finite")
        whites = (1, 255, 65535) if picture.mode == "F" else (65535,)
        white = next((w for w in whites if values.max(initial=0) <= w), 65535)
        picture = Image.fromarray((values.clip(0, white) * (255 / white)).round().astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.asarray(picture.convert("RGB"))


def cut(picture: np.ndarray, box) -> np.ndarray:
    """The region of a picture inside a bounding box, at least one pixel.

    Parameters
    ----------
    picture : (H, W, 3) array
    box : sequence of four numbers
        x, y, width, height in pixels.

    Returns
    -------
    (h, w, 3) array
        A view.
    """
    x, y, width, height = (int(round(float(value))) for value in box)
    x, y = min(max(x, 0), picture.shape[1] - 1), min(max(y, 0), picture.shape[0] - 1)
    return picture[y : y + max(height, 1), x : x + max(width, 1)]


def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture at another size: averaged over areas when it shrinks, bilinear when it grows.

    Parameters
    ----------
    picture : (H, W) or (H, W, channels) array
    size : (int, int)
        Width and height in pixels.

    Returns
    -------
    (height, width) or (height, width, channels) array
    """
    if (picture.shape[1], picture.shape[0]) == tuple(size):
        return picture
    shrinks = size[0] < picture.shape[1] and size[1] < picture.shape[0]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def short_size(picture: np.ndarray, short: int) -> tuple[int, int]:
    """The size of a picture with its shorter side at `short` pixels, its aspect ratio kept.

    Parameters
    ----------
    picture : (H, W, ...) array
    short : int

    Returns
    -------
    width, height : int
    """
    height, width = picture.shape[:2]
    scale = short / min(height, width)
    return max(short, round(width * scale)), max(short, round(height * scale))


def find(arguments: Sequence[str]) -> list[Path]:
    """The pictures that the arguments name: files, all below folders (in name order), in records, listed in .txt files.

    What is left out of a folder is said on stderr, in one line.

    Parameters
    ----------
    arguments : sequence of str

    Returns
    -------
    list of Path

    Raises
    ------
    UserError
        Something is not there, or there is no picture at all.
    """
    paths: list[Path] = []
    said = []
    for argument in map(Path, arguments):
        if argument.is_dir():
            skipped: list = []
            paths += walk(argument, skipped)
            said += [f"{shown(argument)}: {summary(skipped, argument)}"] if skipped else []
        elif not argument.is_file():
            raise UserError(f"{shown(argument)}: no such picture or folder")
        elif argument.suffix == ".txt":
            paths += _listed(argument)
        elif argument.suffix == ".rec":
            paths += records.pictures(argument)
        else:
            paths.append(argument)
    if not paths:
        where = "; ".join(said) or ", ".join(map(shown, arguments))
        raise UserError(f"no picture in {where}: looked for {' '.join(sorted(SUFFIXES))}")
    for line in said:
        print(f"note: {line}", file=sys.stderr)
    return paths


def _listed(file: Path) -> list[Path]:
    """The pictures that a text file names, one a line."""
    with reading(file, "a .txt file lists pictures, one path a line, in UTF-8"):
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # other line ends may be part of a name
        listed = [(number, Path(line.strip())) for number, line in enumerate(lines, 1) if line.strip()]
        missing = next((item for item in listed if not item[1].is_file()), None)
    if missing:
        raise UserError(f"{shown(file)}, line {missing[0]}: {shown(missing[1])}: no such picture")
    return [path for _, path in listed]


def unreadable(paths: Sequence, threads: int = 2) -> dict[int, str]:
    """Which of the pictures cannot be read. Each is decoded, a JPEG as small as that goes.

    Parameters
    ----------
    paths : sequence of path
    threads : int
        That decode.

    Returns
    -------
    dict of int to str
        Index in `paths`, and why.
    """

    def trouble(path) -> str:
        try:
            read(path, min_side=1)
        except UserError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        troubles = tqdm(
            pool.map(trouble, paths), "checking pictures", len(paths), leave=False, delay=2,
            disable=not sys.stderr.isatty(),
        )  # fmt: skip
        return {index: why for index, why in enumerate(troubles) if why}


def readable(paths: Sequence[Path], on_error: str, threads: int = 2) -> list[Path]:
    """The pictures a program goes on with: all of them, or those that can be read.

    Parameters
    ----------
    paths : sequence of Path
    on_error : {"stop", "skip"}
        ``skip`` reads every picture once, and leaves out those that cannot be read, with a line each on stderr.
    threads : int
        That decode.

    Returns
    -------
    list of Path

    Raises
    ------
    UserError
        None can be read.
    """
    bad = unreadable(paths, threads) if on_error == "skip" else {}
    for why in bad.values():
        print(f"note: skipped: {why}", file=sys.stderr)
    if len(bad) == len(paths):
        raise UserError(f"none of {len(paths)} pictures can be read: give others")
    return [path for index, path in enumerate(paths) if index not in bad]


def named(arguments: Sequence[str], on_error: str, threads: int = 2) -> list[Path]:
    """The pictures of a program's flag, none where it is not given: what `find` finds, as far as `readable`.

    Programs call it before they read a model, so that a wrong path is said at once.

    Parameters
    ----------
    arguments : sequence of str
        See `find`.
    on_error, threads
        See `readable`.
    """
    return readable(find(arguments), on_error, threads) if arguments else []
