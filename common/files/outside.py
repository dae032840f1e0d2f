"""Files from outside: looked at before anything is allocated, and every defect is one line.

A file of arrays says in a few bytes how large its arrays are, and a compressed one grows when it is read. What is
claimed is compared here with what the file can hold, before a reader believes it.
"""

from __future__ import annotations

import json
import math
import os
import pickletools
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.files.errors import reading

MOST_JSON = 1 << 28  # bytes; COCO's captions are a tenth of it
SLACK = 1 << 24  # bytes that a compressed file may always grow to
GROWTH = 100  # times that a compressed file may grow; parameters shrink to a half at best, pictures by a few times

# MXNet's list of arrays: a magic number, a reserved one, the arrays, the names. Each array has its own magic number.
LIST_MAGIC, V1, V2, V3 = 0x112, 0xF993FAC8, 0xF993FAC9, 0xF993FACA
DENSE = 0  # the storage type that parameters have
ITEM_SIZES = {0: 4, 1: 8, 2: 2, 3: 1, 4: 4, 5: 1, 6: 8, 7: 1, 12: 2}  # by MXNet's number of a type
MOST_DIMENSIONS = 32


def read_json(path, remedy: str, kind: type = dict):
    """The content of a small JSON file.

    Parameters
    ----------
    path : path
    remedy : str
        What to do about a file that is not as it should be.
    kind : type
        What its outermost value has to be.

    Raises
    ------
    UserError
        The file cannot be read, is too long, no JSON in UTF-8, or another kind of value.
    """
    with reading(path, remedy):
        size = Path(path).stat().st_size
        if size > MOST_JSON:
            raise ValueError(f"{size} bytes are more than such a file has")
        return parse_json(Path(path).read_text(encoding="utf-8-sig"), kind)


def parse_json(text: str | bytes, kind: type = dict):
    """The value in `text`.

    Parameters
    ----------
    text : str or bytes
    kind : type

    Raises
    ------
    ValueError
        No JSON, or its outermost value is not of this kind.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("its values lie too deep in each other") from None
    if not isinstance(value, kind):
        raise ValueError(f"it holds a {type(value).__name__} where a {kind.__name__} was expected")
    return value


def whole(value, low: int = 1, high: int = 1_000_000) -> bool:
    """Whether a value out of a JSON file is a whole number from `low` to `high`; ``true`` is none.

    Parameters
    ----------
    value : object
    low, high : int
    """
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def texts(value, unique: bool = True) -> bool:
    """Whether a value out of a JSON file is a list of texts.

    Parameters
    ----------
    value : object
    unique : bool
        Each may be there once only.
    """
    plain = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return plain and (not unique or len(set(value)) == len(value))


def number(value, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether a value out of a JSON file is a finite number from `low` to `high`.

    Parameters
    ----------
    value : object
    low, high : float
    """
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and math.isfinite(value) and low <= value <= high


def shares(value) -> bool:
    """Whether a value out of a JSON file is a list of numbers between 0 and 1.

    Parameters
    ----------
    value : object
    """
    return isinstance(value, list) and all(number(one, 0, 1) and 0 < one < 1 for one in value)


def check_fields(content: Mapping, wanted: Mapping) -> None:
    """See that metadata has what is needed to build a network.

    Parameters
    ----------
    content : mapping
        What `read_json` gave.
    wanted : mapping of str to type or function
        For each key its type, or a function that says whether the value will do.

    Raises
    ------
    ValueError
        A key is not there, or its value is of another kind.
    """
    for key, test in wanted.items():
        if key not in content:
            raise ValueError(f"it has no {key!r}")
        value = content[key]
        if not (isinstance(value, test) if isinstance(test, type) else test(value)):
            raise ValueError(f"its {key!r} cannot be {json.dumps(value, default=str)[:40]}")


def check_growth(what: str, claimed: int, size: int) -> None:
    """See that content of `claimed` bytes may come out of a file of `size` bytes.

    Parameters
    ----------
    what : str
        What grows, for the message.
    claimed, size : int
        Bytes.

    Raises
    ------
    ValueError
        It is a small file that grows beyond measure.
    """
    if claimed < 0 or claimed > size * GROWTH + SLACK:
        raise ValueError(f"{what} claims {claimed} bytes in a file of {size}")


def arrays(path, remedy: str) -> dict:
    """The arrays in a ``.params`` file of MXNet, by name, after `shapes` has looked through it.

    Parameters
    ----------
    path : path
    remedy : str
        What the user can do about a file that is not as it should be.

    Raises
    ------
    UserError
        The file is not there, cut, no such file, or has values that are not finite.
    """
    import mxnet as mx

    shapes(path, remedy)
    with reading(path, remedy):
        found = mx.nd.load(str(path))
        for name, array in found.items():
            _check_finite(name, array)
        return found


def load_parameters(net, path, remedy: str, ctx=None) -> None:
    """Fill a network with all that a ``.params`` file holds, after `shapes` has looked through it.

    Parameters
    ----------
    net : gluon.Block
    path : path
    remedy : str
        What the user can do about a file that is not as it should be.
    ctx : mx.Context or list, optional

    Raises
    ------
    UserError
        The file is not there, cut, no such file, of another network, or has values that are not finite.
    """
    import mxnet as mx

    shapes(path, remedy)
    with reading(path, remedy):
        try:
            net.load_parameters(str(path), ctx=ctx or mx.cpu(), cast_dtype=True)  # a file may hold 16-bit numbers
        except mx.MXNetError as error:
            lines = str(error).strip().splitlines()
            raise ValueError(lines[-1 if lines[0].startswith("Traceback") else 0]) from error  # C++ calls come first
        for name, parameter in net._collect_params_with_prefix().items():
            _check_finite(name, parameter.data(parameter.list_ctx()[0]))


def _check_finite(name: str, array) -> None:
    values = array.asnumpy()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{name} holds numbers that are not finite")


def shapes(path, remedy: str) -> dict[str, tuple[int, ...]]:
    """The shape of each array in a ``.params`` file of MXNet, by name; no array is read.

    MXNet's own reader allocates whatever the file claims, and ends the process over some files.

    Parameters
    ----------
    path : path
    remedy : str
        What the user can do about a file that is not as it should be.

    Raises
    ------
    UserError
        The file is not there, cut, or no such file.
    """
    with reading(path, remedy), open(path, "rb") as file:
        take = _Taker(file, os.fstat(file.fileno()).st_size)
        if take.number("<Q") != LIST_MAGIC:
            raise ValueError("it does not start as MXNet's files of arrays do")
        take.number("<Q")
        found = [_shape(take) for _ in range(take.count(min_bytes=4))]
        names = [take.bytes(take.count()).decode() for _ in range(take.count(min_bytes=8))]
        if len(names) != len(found) or len(set(names)) != len(names):
            raise ValueError(f"it has {len(set(names))} names for {len(found)} arrays")
        if take.left:
            raise ValueError(f"{take.left} bytes follow its end")
        return dict(zip(names, found))


class _Taker:
    """Takes numbers and bytes from a file, and never asks for more than it holds."""

    def __init__(self, file, size: int):
        self.file, self.left = file, size

    def _use(self, count: int) -> None:
        if count > self.left:
            raise ValueError("it ends too early: it was cut, or is no file of arrays")
        self.left -= count

    def bytes(self, count: int) -> bytes:
        self._use(count)
        return self.file.read(count)

    def skip(self, count: int) -> None:
        self._use(count)
        self.file.seek(count, os.SEEK_CUR)

    def number(self, kind: str) -> int:
        return struct.unpack(kind, self.bytes(struct.calcsize(kind)))[0]

    def count(self, min_bytes: int = 1) -> int:
        """How many things follow, each of `min_bytes` bytes or more."""
        count = self.number("<Q")
        if count * min_bytes > self.left:
            raise ValueError("it ends too early: it was cut, or is no file of arrays")
        return count


def _shape(take: _Taker) -> tuple[int, ...]:
    """The shape of the array that starts here; goes on to its end."""
    magic = take.number("<I")
    if magic in (V2, V3) and take.number("<i") != DENSE:
        raise ValueError("it holds a sparse array, which no parameters are")
    dimensions = take.number("<i") if magic in (V1, V2, V3) else magic  # the first version began with their number
    if not 0 <= dimensions <= MOST_DIMENSIONS:
        raise ValueError(f"an array of {dimensions} dimensions")
    shape = tuple(take.number("<q" if magic in (V1, V2, V3) else "<I") for _ in range(dimensions))
    if not shape and magic != V3:  # an array that was never given a value ends here
        raise ValueError("it holds an array without values")
    device, _, kind = take.number("<i"), take.number("<i"), take.number("<i")
    if min(shape, default=0) < 0 or kind not in ITEM_SIZES or not 1 <= device <= 6:
        raise ValueError(f"an array of shape {shape}, type {kind} and device {device}")
    take.skip(ITEM_SIZES[kind] * math.prod(shape))
    return shape


def check_npz(path) -> None:
    """See that no array of a ``.npz`` claims more than its member holds, and no member grows beyond measure.

    Raises
    ------
    ValueError, zipfile.BadZipFile
        It does, or it is no such file.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_growth("it", sum(info.file_size for info in members), os.path.getsize(path))
        for info in members:
            with archive.open(info) as member:
                _check_header(member, info.filename, info.file_size)


def load_npz(path, names: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """All arrays of a ``.npz`` of plain numbers and texts, or those called `names`; nothing is unpickled.

    Parameters
    ----------
    path : path
    names : sequence of str, optional

    Raises
    ------
    Exception
        Any, for a file that is not as it should be: read inside of `common.files.errors.reading`.
    """
    check_npz(path)
    with np.load(path, allow_pickle=False) as kept:
        missing = [name for name in names if name not in kept.files]
        if missing:
            raise ValueError(f"it has no {', '.join(missing)}")
        return {name: kept[name] for name in names or kept.files}


def load_npy(path, mmap_mode: str | None = "r") -> np.ndarray:
    """The array in a ``.npy`` of plain numbers or texts, mapped from the file; nothing is unpickled.

    Parameters
    ----------
    path : path
    mmap_mode : str or None
        As `numpy.load` takes it.

    Raises
    ------
    Exception
        Any, for a file that is not as it should be: read inside of `common.files.errors.reading`.
    """
    with open(path, "rb") as file:
        _check_header(file, "it", os.fstat(file.fileno()).st_size)
    return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)


def _check_header(file, name: str, size: int) -> None:
    """See that the ``.npy`` which starts here, of `size` bytes, holds the array it claims."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, which are not read")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"{name} claims an array of shape {shape} in {size} bytes: it was cut, or is damaged")


def check_pickle(data) -> None:
    """See that a pickle, in a file open at its start, makes no table larger than itself; the file is left there.

    A pickle may number an object 2**31, and Python's reader then makes a table of that length.

    Raises
    ------
    ValueError
        It does, or it is no pickle.
    """
    start = data.tell()
    for operation, argument, _ in pickletools.genops(data):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > data.tell() - start:
            raise ValueError("a pickle in it numbers its objects beyond measure")
    data.seek(start)
