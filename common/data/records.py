"""Pictures in MXNet's RecordIO: ``X.rec``, its index ``X.idx``, and ``X.json`` with what is known of each.

A picture is called ``X.rec/NUMBER``, by its line in the index, as if the file were a folder: so it goes wherever the
path of a picture goes. What im2rec made is read too; it has no ``X.json``, and its classes are called by their numbers.
"""

from __future__ import annotations

import functools
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from common.data.walk import holder, shown
from common.files.disk import atomic, plain, write_text
from common.files.errors import UserError, reading

FORMAT = 1
MAGIC = 0xCED7230A  # begins each part of a record
HEADER = struct.Struct("IfQQ")  # flag, label, id, and here the CRC-32 of what follows: `mxnet.recordio.IRHeader`
AGAIN = "python3 -m common.pack makes it again"
PER_PICTURE = ("labels", "order", "names", "domains", "is_query", "is_gallery", "splits")


def shards(place) -> list[Path]:
    """The files of records that a path names: one, those in a folder without other folders, or those of a pattern.

    Parameters
    ----------
    place : path
        ``X.rec``, a folder, or a pattern such as ``X-*.rec``.

    Returns
    -------
    list of Path
        In name order; empty where it names something else.
    """
    place, found = Path(place), []
    if place.is_dir():
        if any(place.glob("*.rec")) and not any(child.is_dir() for child in place.iterdir()):
            found = place.glob("*.rec")
    elif place.suffix == ".rec":
        found = [place] if place.exists() else place.parent.glob(place.name)
    return sorted(file for file in found if file.is_file())


def pictures(file: Path) -> list[Path]:
    """What the pictures in one file of records are called, in its order.

    Raises
    ------
    UserError
        It has no index, or one of another file.
    """
    return [file / str(number) for number in range(len(_spans(file)))]


def read(path: Path) -> bytes:
    """The file of a picture, as it was packed.

    The file is opened for each picture: that takes microseconds where decoding takes a millisecond, threads and
    processes share nothing, and there may be any number of shards.

    Parameters
    ----------
    path : Path
        ``X.rec/NUMBER``.

    Raises
    ------
    UserError
        The record is not there or is damaged; names the file and the record.
    """
    return _record(path)[1]


def _record(path: Path) -> tuple[tuple, bytes]:
    """The header of a record, and what it holds."""
    file, number = holder(path), int(path.name)
    spans = _spans(file)
    with reading(f"{shown(file)}, record {number},", "it is damaged: get the file, or pack the pictures, again"):
        if number >= len(spans):
            raise ValueError(f"there are {len(spans)}, from 0")
        start, end = spans[number].tolist()
        with open(file, "rb", buffering=0) as records:
            data = _joined(os.pread(records.fileno(), end - start, start))
        if len(data) < HEADER.size:
            raise ValueError("it holds no picture")
        header, data = HEADER.unpack_from(data), data[HEADER.size :]
        if header[0]:
            raise ValueError(f"it has {header[0]} labels, not one")
        if header[3] and header[3] != zlib.crc32(data):
            raise ValueError("its checksum is another")
        return header, data


def _joined(data: bytes) -> bytes:
    """The content of a record: of one part, or of several between which the content has `MAGIC` itself."""
    parts, at, kind = [], 0, 1
    while kind not in (0, 3):  # the whole, or the last part
        if len(data) < at + 8:
            raise ValueError("it is cut off")
        magic, word = struct.unpack_from("<II", data, at)
        kind, size = word >> 29, word & (1 << 29) - 1
        parts.append(data[at + 8 : at + 8 + size])
        if magic != MAGIC or len(parts[-1]) < size:
            raise ValueError("no whole record begins there")
        at += 8 + (size + 3) // 4 * 4
    return struct.pack("<I", MAGIC).join(parts)


def _spans(file: Path) -> np.ndarray:
    """Where each record begins and where the next one does: (n, 2) int64."""
    index = file.with_suffix(".idx")
    with reading(shown(index), f"{shown(file)} needs the index that was made with it"):
        states = [os.stat(one) for one in (file, index)]
        return _index(file, states[0].st_size, states[1].st_mtime_ns)


@functools.cache
def _index(file: Path, size: int, changed: int) -> np.ndarray:
    starts = np.array(file.with_suffix(".idx").read_bytes().split()[1::2], np.int64)  # KEY<TAB>OFFSET
    order = np.argsort(starts)
    ends = np.append(starts[order[1:]], size)
    if not len(starts) or starts.min() < 0 or (ends - starts[order]).min() < 8:
        raise ValueError("it is of another file")
    spans = np.stack([starts, starts], axis=1)
    spans[order, 1] = ends
    return spans


def load(files: list[Path], name: str, say: Callable[[str], None] = print) -> dict:
    """What is known of the pictures in files of records, in the order that they had before they were packed.

    Parameters
    ----------
    files : list of Path
        See `shards`.
    name : str
        The data set that is asked for: the one that was packed, or ``folder`` or ``csv``, for which all are one's own
        pictures.
    say : callable (str)
        Is given one line: how many pictures and classes there are.

    Returns
    -------
    dict
        ``images``, the paths; ``labels``, (n,) int64; ``class_names``; and what else `write` was given.

    Raises
    ------
    UserError
        A file is damaged, or they are not of one data set.
    """
    found = [_described(file) for file in files]
    first, place = found[0], shown(files[0] if len(files) == 1 else files[0].parent)
    for file, one in zip(files, found):
        odd = next((key for key in first if key not in PER_PICTURE and one[key] != first[key]), None)
        if odd or one.keys() != first.keys():
            raise UserError(f"{shown(file)} was not packed together with {shown(files[0])}: name one set's files")
    if name not in ("folder", "csv", first["dataset"]):
        raise UserError(f"{place} holds {first['dataset']}: --dataset folder, or {first['dataset']}")
    paths = [path for file in files for path in pictures(file)]
    whole = {key: np.array([value for one in found for value in one[key]]) for key in PER_PICTURE if key in first}
    order = np.argsort(whole.pop("order", np.arange(len(paths))), kind="stable")
    whole = {key: values[order] for key, values in whole.items()}
    count, of = len(first["class_names"]), first.get("shards", len(files))
    some = f" in {len(files)} of {of} files" if of != len(files) else f" in {of} files" if of > 1 else ""
    say(f"{place}: {len(paths):,} pictures of {count:,} classes in records{some}")
    return {**first, **whole, "images": [paths[i] for i in order]}


def _described(file: Path) -> dict:
    """What ``X.json`` says, checked; without it what the records themselves say."""
    told, count = file.with_suffix(".json"), len(_spans(file))
    if not told.is_file():
        headers = [_record(path)[0] for path in pictures(file)]
        labels = [int(header[1]) for header in headers]
        with reading(shown(file), "im2rec gives each picture the number of its class"):
            if min(labels) < 0 or max(labels) > 1_000_000:
                raise ValueError(f"labels from {min(labels)} to {max(labels)}")
        names = [str(label) for label in range(max(labels) + 1)]
        return {"dataset": "folder", "class_names": names, "labels": labels}
    with reading(shown(told), AGAIN):
        found = json.loads(told.read_text(encoding="utf-8"))
        if found.pop("format") != FORMAT:
            raise ValueError("it is of a newer version")
        if found.pop("bytes") != os.path.getsize(file):
            raise ValueError(f"{file.name} is cut off, or another")
        wrong = next((key for key in PER_PICTURE if key in found and len(found[key]) != count), None)
        if wrong:
            raise ValueError(f"{len(found[wrong])} {wrong}, {count} records")
        labels, classes = np.array(found["labels"], np.int64), len(found["class_names"])
        if labels.min() < 0 or labels.max() >= classes or classes != len(set(found["class_names"])):
            raise ValueError(f"classes {labels.min()} to {labels.max()} of {classes}")
        return found


def write(file: Path, contents: Iterable[bytes], about: Mapping) -> int:
    """Write pictures as one file of records, with its index and description, whole or not at all.

    Parameters
    ----------
    file : Path
        ``X.rec``.
    contents : iterable of bytes
        The file of each picture, in order.
    about : mapping
        ``dataset``, ``class_names``, and of each picture ``labels``, ``order`` (its number in the whole set) and what
        else of `PER_PICTURE` there is; anything else that JSON can hold is kept too.

    Returns
    -------
    int
        Bytes of the file.

    Raises
    ------
    UserError
        The files cannot be written.
    """
    from mxnet import recordio

    index = file.with_suffix(".idx")
    with atomic(file) as records, atomic(index) as offsets:
        writer = recordio.MXIndexedRecordIO(str(offsets), str(records), "w")
        for number, data in enumerate(contents):
            label, place = float(about["labels"][number]), int(about["order"][number])
            writer.write_idx(number, recordio.pack(recordio.IRHeader(0, label, place, zlib.crc32(data)), data))
        size = writer.tell()
        writer.close()
        if os.path.getsize(records) != size:  # it does not look whether the end of the file could be written
            raise OSError(28, os.strerror(28))
    told = {"format": FORMAT, "bytes": size, **about}
    write_text(file.with_suffix(".json"), json.dumps(told, default=plain, ensure_ascii=False) + "\n")
    return size
