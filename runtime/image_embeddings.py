#!/usr/bin/env python3
"""Embed, name and search pictures with an exported model, by onnxruntime, NumPy and Pillow alone.

    python3 image_embeddings.py name FOLDER PICTURE...
    python3 image_embeddings.py embed FOLDER PICTURE... --output vectors.npz
    python3 image_embeddings.py search FOLDER QUERY --gallery PICTURES
    python3 image_embeddings.py add FOLDER CLASS --words TEXT
    python3 image_embeddings.py add FOLDER CLASS --pictures PICTURE...

FOLDER is what an `export.py --package FOLDER` wrote; QUERY is a picture or words. In Python:

    model = Model("FOLDER")
    model.embed(["a.jpg", "b.jpg"])                # (2, size) float32
    model.name("a.jpg", k=3)                       # [("lion", 0.81), ...]
    model.search("PICTURES", "polar bear", k=5)    # [("PICTURES/17.jpg", 0.64), ...]
    model.add_class("red panda", pictures=["1.jpg", "2.jpg", "3.jpg"], save=True)
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import os
import re
import struct
import sys
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps, UnidentifiedImageError

FORMAT, VERSION = "image-embeddings model", 1
SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif"}
BATCH = 16  # pictures that the network sees at a time
BROKEN = (  # what Pillow raises on damaged files
    OSError, SyntaxError, ValueError, Image.DecompressionBombError, EOFError, RuntimeError, zlib.error, struct.error,
    TypeError, LookupError, ArithmeticError, MemoryError,
)  # fmt: skip


class ModelError(ValueError):
    """Something the user gave cannot be used: one line that names it and says what to do."""


# Pictures


def read_picture(path, jpeg_min_side: int | None = None) -> np.ndarray:
    """The picture in a file as (H, W, 3) uint8 RGB, turned by its EXIF orientation, transparency on white.

    A whole JPEG is decoded at 1/2, 1/4 or 1/8 where its shorter side keeps `jpeg_min_side` pixels.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read the picture {path}: {error.strerror}") from error
    try:
        with Image.open(io.BytesIO(data)) as picture:
            whole_jpeg = data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9" and picture.mode in ("RGB", "L")
            if whole_jpeg and jpeg_min_side:
                shorter = min(picture.size)
                by = next((n for n in (8, 4, 2) if shorter // n >= jpeg_min_side), 1)
                if by > 1:
                    picture.draft(picture.mode, tuple(side // by for side in picture.size))
            return _rgb(ImageOps.exif_transpose(picture))
    except BROKEN as error:
        why = "no format that Pillow knows" if isinstance(error, UnidentifiedImageError) else error
        raise ModelError(f"{path} is not a picture that can be read: {why if data else 'it is empty'}") from error


def _rgb(picture: Image.Image) -> np.ndarray:
    """A picture of any mode as (H, W, 3) uint8; the mode says which value of deeper ones is white."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it holds numbers that are not finite")
        whites = (1, 255, 65535) if picture.mode == "F" else (65535,)
        white = next((w for w in whites if values.max(initial=0) <= w), 65535)
        picture = Image.fromarray((values.clip(0, white) * (255 / white)).round().astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))


def resize(picture: np.ndarray, width: int, height: int, interpolation: str) -> np.ndarray:
    """A picture (H, W, 3) uint8 at another size; `interpolation` as model.json has it."""
    if picture.shape[:2] == (height, width):
        return picture
    if interpolation != "area":
        return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling[interpolation.upper()]))
    if width < picture.shape[1] and height < picture.shape[0]:
        return _by_areas(picture, width, height)
    return _linear(picture, width, height)


def _by_areas(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """As OpenCV's INTER_AREA, in its order of float32 sums, so that the same values are rounded."""
    x, y = (1 / (new / old) for new, old in ((width, picture.shape[1]), (height, picture.shape[0])))
    if max(abs(scale - round(scale)) for scale in (x, y)) < np.finfo(float).eps:
        x, y = round(x), round(y)
        blocks = picture[: height * y, : width * x].reshape(height, y, width, x, 3)
        sums = blocks.sum(axis=(1, 3), dtype=np.int64)
        if (x, y) == (2, 2):
            return ((sums + 2) >> 2).astype(np.uint8)
        return np.rint(sums.astype(np.float32) * np.float32(1 / (x * y))).astype(np.uint8)
    columns = np.zeros((picture.shape[0], width, 3), np.float32)
    for index, weight in zip(*_overlaps(picture.shape[1], width, x)):
        columns += picture[:, index] * weight[:, None]
    rows = np.zeros((height, width, 3), np.float32)
    for index, weight in zip(*_overlaps(picture.shape[0], height, y)):
        rows += columns[index] * weight[:, None, None]
    return np.rint(rows).clip(0, 255).astype(np.uint8)


def _overlaps(old: int, new: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Which old pixels each new one covers, and how much of it they are: two (taps, new) arrays."""
    taps: list[list[tuple[int, float]]] = []
    for place in range(new):
        low, high = place * scale, place * scale + scale
        cell = min(scale, old - low)
        last = min(int(np.floor(high)), old - 1)
        first = min(int(np.ceil(low)), last)
        found = [(first - 1, (first - low) / cell)] if first - low > 1e-3 else []
        found += [(pixel, 1 / cell) for pixel in range(first, last)]
        if high - last > 1e-3:
            found.append((last, min(min(high - last, 1.0), cell) / cell))
        taps.append(found)
    most = max(map(len, taps))
    index, weight = np.zeros((most, new), np.int64), np.zeros((most, new), np.float32)
    for place, found in enumerate(taps):
        for number, (pixel, part) in enumerate(found):
            index[number, place], weight[number, place] = pixel, part
    return index, weight


def _linear(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """As OpenCV's INTER_LINEAR: weights of 11 bits, and its roundings of whole numbers."""
    columns, rows = _neighbours(picture.shape[1], width, ends=True), _neighbours(picture.shape[0], height, ends=False)
    pixels = picture.astype(np.int32)
    across = sum(pixels[:, index] * weight[:, None] for index, weight in columns)
    high, low = (((across[index] >> 4) * weight[:, None, None]) >> 16 for index, weight in rows)
    return ((high + low + 2) >> 2).astype(np.uint8)


def _neighbours(old: int, new: int, ends: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each new pixel the two old ones beside its middle, and what each counts, of 2048.

    Beyond the first and last one both are the same; with `ends` it then counts once, else in two parts, each rounded.
    """
    middle = ((np.arange(new) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32)
    first = np.floor(middle).astype(np.int64)
    second = middle - first.astype(np.float32)
    if ends:
        second[(first < 0) | (first >= old - 1)] = 0
    places = first.clip(0, old - 1), (first + 1).clip(0, old - 1)
    parts = (np.rint(part * np.float32(2048)).astype(np.int32) for part in (1 - second, second))
    return list(zip(places, parts))


def find_pictures(places: Iterable) -> list[Path]:
    """The pictures that are named: files, and all below folders, in name order."""
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            found += sorted(
                path for path in place.rglob("*")
                if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
            )  # fmt: skip
        elif place.is_file():
            found.append(place)
        else:
            raise ModelError(f"{place}: no such picture or folder")
    if not found:
        raise ModelError(f"no picture in {', '.join(map(str, places))}")
    return found


# Words


_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_ALONE = "[\u3005-\u3007\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"  # Han, Hiragana
_MARK = "\uffff"  # stands in for combining marks, which `re` does not count as word characters
_LETTER = rf"(?:(?!{_ALONE})[^\W_]{_MARK}*)"
_MARKED = re.compile(rf"{_ALONE}{_MARK}*|{_LETTER}+(?:'{_LETTER}+)*")
_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}


def tokenise(text: str) -> list[str]:
    """The words of a sentence in lower case, without punctuation; a Chinese or Japanese character is a word."""
    text = text.lower().replace("’", "'")
    if text.isascii():
        return _WORD.findall(text)
    text = unicodedata.normalize("NFC", text.translate(_LIGATURES))
    shape = "".join(
        _MARK
        if unicodedata.category(letter) in ("Mn", "Mc")
        and not unicodedata.name(letter, "").startswith("VARIATION SELECTOR")
        else letter
        for letter in text
    )
    return [text[found.start() : found.end()] for found in _MARKED.finditer(shape)]


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[\s+_-]+", name) if part]


def _spellings(name: str) -> list[str]:
    """How a list of words may spell a name: itself, then its words joined."""
    parts, forms = _parts(name), [name, name.lower()]
    if len(parts) > 1:
        for spelled in (parts, [part.lower() for part in parts], [part.capitalize() for part in parts]):
            forms += ["_".join(spelled), "-".join(spelled), " ".join(spelled)]
    return forms


# Models


@dataclasses.dataclass
class Gallery:
    """Pictures that are searched: their names and vectors (n, size)."""

    names: list[str]
    vectors: np.ndarray

    def save(self, path) -> None:
        """Write both as one .npz, whole or not at all."""
        with _beside(Path(path)) as beside, open(beside, "wb") as file:
            np.savez(file, names=np.array(self.names, str), vectors=self.vectors)

    @classmethod
    def load(cls, path) -> Gallery:
        """What `save` wrote."""
        try:
            with np.load(path, allow_pickle=False) as found:
                names, vectors = [str(name) for name in found["names"]], found["vectors"]
            if vectors.ndim != 2 or len(names) != len(vectors):
                raise ValueError("names and vectors differ in number")
        except (OSError, ValueError, LookupError, EOFError, zlib.error) as error:
            raise ModelError(f"{path} is no gallery that `embed --output {path}` wrote: {error}") from error
        return cls(names, vectors)


class Model:
    """A model in the folder that an export.py wrote.

    Parameters
    ----------
    folder : path
    int8 : bool
        Take the INT8 network, which is smaller and mostly faster, instead of float32.
    threads : int
        Of onnxruntime; 0: one for each core.

    Attributes
    ----------
    manifest : dict
        What model.json says.
    class_names, titles : list of str
        Names of the classes, and what people read.
    classes : (C, size) float32 or None
        What an embedding is compared with.
    """

    def __init__(self, folder, int8: bool = False, threads: int = 0):
        self.folder = Path(folder)
        self.manifest = _manifest(self.folder)
        kind = "int8" if int8 else "float32"
        if kind not in self.manifest["files"]:
            raise ModelError(f"{folder} has no INT8 network: export it with --pictures, or leave out --int8")
        about = self.manifest["files"][kind]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self._session = self._load(about["file"], about["sha256"], options)
        self.class_names = list(self.manifest["classes"]["names"])
        self.titles = list(self.manifest["classes"].get("titles") or self.class_names)
        file = self.manifest["classes"].get("file")
        self.classes = self._array(file) if file else None
        if self.classes is not None and len(self.classes) != len(self.class_names):
            raise ModelError(f"{self.folder / file} has {len(self.classes)} rows for {len(self.class_names)} classes")
        self._known: tuple | None = None  # the word space, read when a word is asked for

    # Pictures in

    def see(self, picture) -> np.ndarray:
        """What the network sees of a picture, a file or (H, W, 3) uint8: one of its inputs, without the batch."""
        about = self.manifest["input"]
        if not isinstance(picture, np.ndarray):
            picture = read_picture(picture, about["resize"]["jpeg_min_side"])
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
            raise ModelError(f"a picture must be (H, W, 3) uint8 RGB, not {picture.shape} {picture.dtype}")
        if about["in_graph"]:
            return picture
        views = [self._sized(picture)]
        for share in about["views"] or ():
            y, x = (int(side * (1 - share) / 2) for side in picture.shape[:2])
            views.append(self._sized(picture[y : picture.shape[0] - y, x : picture.shape[1] - x]))
        return np.stack(views) if about["views"] else views[0]

    def _sized(self, picture: np.ndarray) -> np.ndarray:
        steps, crop = self.manifest["input"]["resize"], self.manifest["input"]["crop"]
        height, width = picture.shape[:2]
        short = steps["size"]
        if steps["keep_aspect"]:
            scale = short / min(height, width)
            new = max(short, round(width * scale)), max(short, round(height * scale))
        else:
            new = short, short
        picture = resize(picture, *new, steps["interpolation"])
        y, x = ((side - kept) // 2 for side, kept in zip(picture.shape, crop))
        return picture[y : y + crop[0], x : x + crop[1]]

    def outputs(self, pictures) -> dict[str, np.ndarray]:
        """All that the network gives for pictures, by name: (n, size) each."""
        if isinstance(pictures, (str, os.PathLike)) or getattr(pictures, "ndim", 0) == 3:
            pictures = [pictures]
        names = [value.name for value in self._session.get_outputs()]
        size = 1 if self.manifest["input"]["in_graph"] else BATCH
        parts: list[list] = [[] for _ in names]
        pictures = list(pictures)
        if not pictures:
            raise ModelError("no picture is given")
        for start in range(0, len(pictures), size):
            batch = np.stack([self.see(picture) for picture in pictures[start : start + size]])
            for part, found in zip(parts, self._session.run(names, {self.manifest["input"]["name"]: batch})):
                part.append(found)
        return {name: np.concatenate(part) for name, part in zip(names, parts)}

    def embed(self, pictures) -> np.ndarray:
        """Vectors of pictures, files or (H, W, 3) uint8 arrays, one or several: (n, size) float32."""
        return self.outputs(pictures)[self._searched]

    @property
    def _searched(self) -> str:
        """The output that pictures are compared by."""
        return (self.manifest["embedding"] or self.manifest["output"])["name"]

    # Answers

    def name(self, picture, k: int = 5) -> list[tuple[str, float]]:
        """The `k` classes that a picture is most like, with their scores: cosines, or what the model gives."""
        return self.names([picture], k)[0]

    def names(self, pictures: Sequence, k: int = 5) -> list[list[tuple[str, float]]]:
        """`name` of several pictures."""
        if not self.class_names:
            raise ModelError(f"{self.folder} knows no class: add some (`add {self.folder} CLASS --pictures ...`)")
        found = self.outputs(pictures)[self.manifest["output"]["name"]]
        scores = found if self._scores else self.similarity(found, self.classes)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [[(self.titles[i], float(row[i])) for i in order] for row, order in zip(scores, best)]

    def search(self, gallery, query, k: int = 5) -> list[tuple[str, float]]:
        """The `k` pictures of a gallery nearest to a query.

        Parameters
        ----------
        gallery : Gallery, path or sequence of paths
            A folder of pictures, a .npz of `embed`, or pictures.
        query : path, (H, W, 3) uint8 array or str
            A picture; or words, where no file is called so.
        """
        gallery = self.gallery(gallery)
        vector = self.embed(query) if is_picture(query) else self.words(query)[None]
        scores = self.similarity(vector, gallery.vectors)[0]
        return [(gallery.names[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")[:k]]

    def gallery(self, places) -> Gallery:
        """What `search` searches, for more than one query."""
        if isinstance(places, Gallery):
            found = places
        elif isinstance(places, (str, os.PathLike)) and Path(places).suffix == ".npz":
            found = Gallery.load(places)
        else:
            places = [places] if isinstance(places, (str, os.PathLike)) else places
            paths = find_pictures(places)
            found = Gallery(list(map(str, paths)), self.embed(paths))
        size = (self.manifest["embedding"] or self.manifest["output"])["size"]
        if found.vectors.shape[1:] != (size,):
            raise ModelError(f"the gallery's vectors are of shape {found.vectors.shape}, the model's of {size} numbers")
        return found

    def similarity(self, vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
        """How near vectors (n, size) are to others (m, size), by the model's distance: (n, m), larger is nearer."""
        distance = self.manifest["distance"] or "cosine"
        if distance == "cosine":
            vectors, others = _unit(vectors), _unit(others)
        if distance == "euclidean":
            return -np.sqrt(np.maximum((vectors[:, None] - others[None]) ** 2, 0).sum(axis=2))
        return vectors @ others.T

    # Words

    def words(self, text: str) -> np.ndarray:
        """Where words are among the pictures: (size,) float32."""
        about, plain = self.manifest["words"], _plain(text)
        if not plain:
            raise ModelError("nothing to search for: give a word")
        for names in (self.class_names, self.titles) if self.classes is not None else ():
            for name, row in zip(names, self.classes):
                if _plain(name) == plain:
                    return row
        if not about:
            raise ModelError(f"{self.folder} knows no words, {text!r} among them: give a picture")
        if about["network"]:
            return self._sentence(text)
        numbers, vectors = self._space()
        moved = self._look_up(text, numbers, vectors)
        if about["centre"]:
            moved = moved - self._array(about["centre"])
        if about["matrix"]:
            moved = moved @ self._array(about["matrix"])
        return (_unit(moved[None])[0] if self.manifest["distance"] == "cosine" else moved).astype(np.float32)

    def _space(self) -> tuple:
        """The number of each word, and the vectors or the network that belong to them."""
        if self._known is None:
            about = self.manifest["words"]
            lines = self._bytes(about["list"]).decode("utf-8").split("\n")[:-1]
            if about["network"]:
                second = self._load(about["network"], self.manifest["sha256"][about["network"]])
            else:
                second = self._array(about["vectors"])
            self._known = {word: number for number, word in reversed(list(enumerate(lines)))}, second
        return self._known

    def _look_up(self, text: str, numbers: dict, vectors: np.ndarray) -> np.ndarray:
        for form in _spellings(text):
            if form in numbers:
                return vectors[numbers[form]]
        parts = _parts(text)
        if len(parts) > 1:
            return np.mean([self._look_up(part, numbers, vectors) for part in parts], axis=0)
        raise ModelError(f"no word vector for {text!r} among the {len(numbers)} words of {self.folder}: take another")

    def _sentence(self, text: str) -> np.ndarray:
        numbers, network = self._space()
        words = tokenise(text) if self.manifest["words"]["tokens"] == "words" else text.split()
        found = np.array([*(numbers.get(word, 1) for word in words), 0], np.int64)[:, None]
        return network.run(None, {"words": found, "lengths": np.array([len(found)], np.int32)})[0][0]

    # New classes

    def add_class(self, name: str, words: str | None = None, pictures=None, save: bool = False) -> None:
        """Let pictures be named by one more class.

        Parameters
        ----------
        name : str
        words : str, optional
            What the class is called in words; default is `name`, where no pictures are given.
        pictures : sequence, optional
            A few of it: the mean of their vectors is its vector.
        save : bool
            Keep it in the folder, too: whole or not at all.
        """
        if self._scores:
            kind = self.manifest["output"]["kind"]
            raise ModelError(f"{self.folder} gives {kind} of its classes, and takes no new one")
        if not _plain(name):
            raise ModelError("a class needs a name")
        if _plain(name) in map(_plain, [*self.class_names, *self.titles]):
            raise ModelError(f"{self.folder} has a class {name!r} already: give another name")
        if pictures is not None and words is not None:
            raise ModelError("a class is added by words or by pictures: give one of them")
        vector = self.words(words or name) if pictures is None else self._mean(self.embed(pictures))
        rows = np.zeros((0, len(vector)), np.float32) if self.classes is None else self.classes
        self.classes = np.concatenate([rows, vector[None]]).astype(np.float32)
        self.class_names, self.titles = [*self.class_names, name], [*self.titles, name.replace("+", " ")]
        if save:
            self.save()

    def _mean(self, vectors: np.ndarray) -> np.ndarray:
        if self.manifest["distance"] != "cosine":
            return vectors.mean(axis=0)
        return _unit(vectors.mean(axis=0)[None])[0]

    def save(self) -> None:
        """Keep the classes in the folder. A new file is written, then model.json, which names it, is replaced."""
        with io.BytesIO() as content:
            np.save(content, self.classes)
            data = content.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        old, new = self.manifest["classes"].get("file"), f"classes-{digest[:12]}.npy"
        has_titles = self.manifest["classes"].get("titles") or self.titles != self.class_names
        sums = {file: found for file, found in self.manifest["sha256"].items() if file != old}
        classes = {"names": self.class_names, "titles": self.titles if has_titles else None, "file": new}
        manifest = {**self.manifest, "classes": classes, "sha256": {**sums, new: digest}}
        with _beside(self.folder / new) as beside:
            beside.write_bytes(data)
        with _beside(self.folder / "model.json") as beside:
            beside.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        self.manifest = manifest
        if old and old != new:
            (self.folder / old).unlink(missing_ok=True)

    @property
    def _scores(self) -> bool:
        return self.manifest["output"]["kind"] != "embedding"

    # Files

    def _bytes(self, name: str, digest: str | None = None) -> bytes:
        """A file of the folder, after its SHA-256 was compared."""
        path = self.folder / Path(name).name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror}; export the model again") from error
        if hashlib.sha256(data).hexdigest() != (digest or self.manifest["sha256"].get(name)):
            raise ModelError(f"{path} does not match its SHA-256 in model.json: it is damaged, export the model again")
        return data

    def _array(self, name: str) -> np.ndarray:
        return np.load(io.BytesIO(self._bytes(name)), allow_pickle=False)

    def _load(self, name: str, digest: str, options=None):
        try:
            data = self._bytes(name, digest)
            return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except ModelError:
            raise
        except Exception as error:  # onnxruntime has many
            why = f"onnxruntime {onnxruntime.__version__} cannot read {self.folder / name}"
            raise ModelError(f"{why}: {str(error).strip().splitlines()[0][:150]}") from error


def is_picture(query) -> bool:
    """Whether a query is a picture: pixels, a file, or what is named as one."""
    if not isinstance(query, str):
        return True
    return Path(query).suffix.lower() in SUFFIXES or os.path.isfile(query)


def _manifest(folder: Path) -> dict:
    path = folder / "model.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise ModelError(f"cannot read {path}: {why}; give the folder that an export.py --package wrote") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ModelError(f"{path} describes no exported model: give the folder that an export.py --package wrote")
    if found.get("version", 0) > VERSION:
        raise ModelError(f"{path} has version {found['version']}: take an image_embeddings.py newer than {VERSION}")
    missing = {"files", "input", "output", "classes", "words", "sha256", "distance", "embedding"} - set(found)
    if missing:
        raise ModelError(f"{path} has no {', '.join(sorted(missing))}: export the model again")
    return found


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A name to write to, which becomes `path` when all is written."""
    beside = path.with_name(f".{path.name[:100]}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):  # a read-only disk refuses this too
            beside.unlink(missing_ok=True)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("+", " ").split())


# The command line


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ModelError(f"{message} (--help shows what there is)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    for command, text in (("name", "the classes of pictures"), ("embed", "the vectors of pictures"),
                          ("search", "the pictures nearest to a picture or to words"),
                          ("add", "one more class, kept in the folder")):  # fmt: skip
        sub = commands.add_parser(command, help=text, description=text)
        sub.add_argument("folder", metavar="FOLDER", help="what export.py --package wrote")
        if command in ("name", "embed"):
            sub.add_argument("pictures", nargs="+", metavar="PICTURE", help="pictures, or folders of them")
        if command == "embed":
            sub.add_argument("--output", required=True, help=".npz (a gallery), .npy (vectors) or .csv")
        if command == "search":
            sub.add_argument("query", metavar="QUERY", help="a picture, or words")
            sub.add_argument("--gallery", required=True, nargs="+", help="pictures, folders, or a .npz of embed")
        if command == "add":
            sub.add_argument("name", metavar="CLASS")
            how = sub.add_mutually_exclusive_group()
            how.add_argument("--words", help="what it is called in words; default is its name")
            how.add_argument("--pictures", nargs="+", help="a few pictures of it")
        if command in ("name", "search"):
            sub.add_argument("-k", type=int, default=5, help="answers to show (5)")
        sub.add_argument("--int8", action="store_true", help="the INT8 network")
        sub.add_argument("--threads", type=int, default=0, help="of onnxruntime; 0 (default): one a core")
    return parser


def _write(path: Path, names: list[str], vectors: np.ndarray) -> None:
    if path.suffix == ".npz":
        Gallery(names, vectors).save(path)
        return
    with _beside(path) as beside:
        if path.suffix == ".npy":
            with open(beside, "wb") as file:
                np.save(file, vectors)
            return
        with open(beside, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", *(f"e{i}" for i in range(vectors.shape[1]))])
            writer.writerows([name, *map(repr, row.tolist())] for name, row in zip(names, vectors))


def main(argv: Sequence[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    if getattr(args, "k", 1) < 1 or args.threads < 0:
        raise ModelError("-k is at least 1, and --threads at least 0")
    if args.command == "embed":
        output = Path(args.output)
        if output.suffix not in (".npz", ".npy", ".csv") or not output.absolute().parent.is_dir():
            raise ModelError(f"--output {output}: a name that ends in .npz, .npy or .csv, in a folder that is there")
    paths = find_pictures(args.pictures) if args.command in ("name", "embed") else []
    model = Model(args.folder, args.int8, args.threads)
    if args.command == "name":
        for path in paths:
            print(path)
            for title, score in model.name(path, args.k):
                print(f"  {score:.3f}  {title}")
    elif args.command == "embed":
        vectors = model.embed(paths)
        _write(output, list(map(str, paths)), vectors)
        print(f"{len(paths)} vectors of {vectors.shape[1]} numbers: {output}")
    elif args.command == "search":
        gallery = args.gallery[0] if len(args.gallery) == 1 else args.gallery
        for file, score in model.search(gallery, args.query, args.k):
            print(f"{score:.3f}  {file}")
    else:
        model.add_class(args.name, args.words, find_pictures(args.pictures) if args.pictures else None, save=True)
        print(f"{args.folder} has {len(model.class_names)} classes now")


if __name__ == "__main__":
    try:
        main()
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)
