"""One picture: read, cut, resized, always (H, W, 3) uint8 RGB; and the pictures that a command line names."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageOps

from common.errors import UserError, reading

cv2.setNumThreads(0)  # pictures are decoded in parallel, one thread each

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
# What PIL raises on damaged files: the last three for wrong EXIF.
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, struct.error, TypeError, KeyError)


def read(path, least: int = 0) -> np.ndarray:
    """The picture in file `path`, turned as its EXIF orientation says.

    Grey, palette, transparent (on white), CMYK and 16-bit pictures come out as 8-bit RGB.

    Parameters
    ----------
    path
    least : int
        A JPEG may come at 1/2, 1/4 or 1/8 of its size, averaged over areas, if its shorter side then has this many
        pixels at least: it is decoded several times as fast. 0 reads it as it is.

    Raises
    ------
    UserError
        The file is not there or is not a picture.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the picture {path}: {error.strerror}") from error
    return decode(data, str(path), least)


def opened(file) -> Image.Image:
    """The picture in `file`, a path or an open file, by PIL, which refuses half a picture when its pixels are read.

    Importing gluoncv tells PIL to take half pictures as whole ones, so it is told otherwise each time.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    return Image.open(file)


def decode(data: bytes, name: str, least: int = 0) -> np.ndarray:
    """The picture in `data`; `name` is for the error, `least` as in `read`."""
    try:
        # JPEG: OpenCV is faster and turns by EXIF, but reads CMYK wrongly and takes one that is cut off as whole.
        if data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9":
            with opened(io.BytesIO(data)) as picture:
                mode, flag = picture.mode, _reduced(min(picture.size), least)
            if mode in ("RGB", "L"):
                picture = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
                if picture is not None:
                    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        with opened(io.BytesIO(data)) as picture:
            return rgb(ImageOps.exif_transpose(picture))
    except BROKEN as error:
        raise UserError(f"{name} is not a picture that can be read: {error}") from error


def _reduced(side: int, least: int) -> int:
    """OpenCV's flag for the smallest decoding of a picture of `side` pixels that leaves at least `least`."""
    flags = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
    return next((flag for share, flag in flags.items() if least and side // share >= least), cv2.IMREAD_COLOR)


def rgb(picture: Image.Image) -> np.ndarray:
    """An open picture of any mode as (H, W, 3) uint8: transparency on white, 16 bits scaled to 8."""
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 or 32 bits of grey
        values = np.asarray(picture, np.float64)
        top = 65535 if values.max(initial=0) > 255 else 255
        picture = Image.fromarray((values.clip(0, top) * (255 / top)).round().astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.asarray(picture.convert("RGB"))


def cut(picture: np.ndarray, box) -> np.ndarray:
    """The part of `picture` inside `box` (x, y, width, height in pixels), at least one pixel."""
    x, y, width, height = (int(round(float(value))) for value in box)
    x, y = min(max(x, 0), picture.shape[1] - 1), min(max(y, 0), picture.shape[0] - 1)
    return picture[y : y + max(height, 1), x : x + max(width, 1)]


def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`picture` at (width, height) pixels: averaged over areas when it shrinks, bilinear when it grows."""
    if (picture.shape[1], picture.shape[0]) == tuple(size):
        return picture
    shrinks = size[0] < picture.shape[1] and size[1] < picture.shape[0]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def short_size(picture: np.ndarray, short: int) -> tuple[int, int]:
    """(width, height) of `picture` with its shorter side at `short` pixels, its shape kept."""
    height, width = picture.shape[:2]
    scale = short / min(height, width)
    return max(short, round(width * scale)), max(short, round(height * scale))


def find(arguments: Sequence[str]) -> list[Path]:
    """The pictures that the arguments name: files, all below folders (in name order), and the lines of .txt lists.

    Raises
    ------
    UserError
        Something is not there, or there is no picture at all.
    """
    paths: list[Path] = []
    for argument in map(Path, arguments):
        if argument.is_dir():
            paths += sorted(path for path in argument.rglob("*") if path.suffix.lower() in SUFFIXES)
        elif not argument.is_file():
            raise UserError(f"{argument}: no such picture or folder")
        elif argument.suffix == ".txt":
            with reading(argument, "a list has the path of a picture on each line, in UTF-8"):
                lines = argument.read_text(encoding="utf-8-sig").splitlines()
            listed = [(number, Path(line.strip())) for number, line in enumerate(lines, 1) if line.strip()]
            missing = next((item for item in listed if not item[1].is_file()), None)
            if missing:
                raise UserError(f"{argument}, line {missing[0]}: {missing[1]}: no such picture")
            paths += [path for _, path in listed]
        else:
            paths.append(argument)
    if not paths:
        raise UserError(f"no picture in {', '.join(map(str, arguments))}: looked for {' '.join(sorted(SUFFIXES))}")
    return paths
