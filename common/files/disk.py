"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common.files.errors import UserError

LONGEST = 200  # bytes of a file's own name that its temporary neighbour takes over


@contextlib.contextmanager
def atomic(path, remedy: str = "free some space or give another place") -> Iterator[Path]:
    """Around the writing of a file: it appears whole, or what was there before stays.

    Parameters
    ----------
    path : path
        Where the file is to be.
    remedy : str
        What the user can do if it cannot be written.

    Yields
    ------
    Path
        A name in the same folder and with the same suffix, to write to. When the block ends, what was written is
        flushed to the disk and renamed to `path`; if the block fails, it is removed.

    Raises
    ------
    UserError
        The disk is full, the folder is read-only or not there, the name is too long: names `path`.
    """
    path = Path(path)
    stem = path.name.encode()[:LONGEST].decode(errors="ignore")
    beside = path.with_name(f".{stem}.{os.getpid()}-{threading.get_ident()}{path.suffix[:20]}")
    try:
        with writing(path, remedy):
            yield beside
            flush(beside)
            os.replace(beside, path)
            flush(path.parent)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path, remedy: str = "free some space or give another place") -> Iterator[None]:
    """Around anything that writes `path`: what the system refuses becomes one line that names it.

    MXNet reports a full disk by an error of its own, without a cause, in its last line.

    Parameters
    ----------
    path : path
        What is written, for the message.
    remedy : str
        What the user can do about it.

    Raises
    ------
    UserError
        The system refuses: no room, no right, no such folder.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; {remedy}") from error
    except Exception as error:
        if type(error).__name__ != "MXNetError":
            raise
        reason = (str(error).strip().splitlines() or ["MXNet says no more"])[-1][:120]
        raise UserError(f"cannot write {path}: {reason}; {remedy}") from error


def with_folder(path) -> Path:
    """The path of a file to be written, whose folder is there from now on.

    Parameters
    ----------
    path : path

    Raises
    ------
    UserError
        The folder cannot be made: names `path`.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def place(path, flag: str) -> Path:
    """The path of a file to be written, where one can be: asked before the work whose result it is to hold.

    Parameters
    ----------
    path : path
    flag : str
        What the user gave it by, for the message.

    Raises
    ------
    UserError
        Its folder is not there, or may not be written to.
    """
    path = Path(path)
    folder = path.resolve().parent
    if not folder.is_dir():
        raise UserError(f"{flag} {path}: its folder does not exist")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{flag} {path}: its folder cannot be written to; give another place")
    return path


def write_text(path, text: str) -> None:
    """Write a small UTF-8 file whole or not at all.

    Parameters
    ----------
    path : path
    text : str

    Raises
    ------
    UserError
        It cannot be written, see `atomic`.
    """
    with atomic(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path, value: Any) -> None:
    """`write_text` of indented JSON; NumPy numbers and paths become plain ones.

    Parameters
    ----------
    path : path
    value : object
        What `json.dumps` takes, with what `plain` makes plain.

    Raises
    ------
    UserError
        It cannot be written, see `atomic`.
    """
    write_text(path, json.dumps(value, indent=2, default=plain, ensure_ascii=False) + "\n")


def write_table(path, columns: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a CSV file in UTF-8 whole or not at all.

    Parameters
    ----------
    path : path
    columns : sequence of str
        The header.
    rows : iterable of sequences
    """
    with atomic(path) as tmp, open(tmp, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def write_array(path, array) -> None:
    """Write a NumPy array as ``.npy``, whole or not at all.

    Parameters
    ----------
    path : path
    array : array
        Of numbers or texts; Python objects are refused.

    Raises
    ------
    UserError
        It cannot be written, see `atomic`.
    """
    import numpy as np  # what reads flags only does without

    with atomic(path) as beside:
        np.save(beside, array, allow_pickle=False)


def save_arrays(path, arrays) -> None:
    """``mx.nd.save`` of a dict of dense arrays, which on a full disk may leave the end out and say nothing.

    It leaves the last few kilobytes to the closing of the file, whose failure it does not look at.

    Parameters
    ----------
    path : path
    arrays : dict of str to NDArray
        Dense ones.

    Raises
    ------
    OSError
        The file has not the size that these arrays take.
    """
    import mxnet as mx  # what reads flags only does without these
    import numpy as np

    mx.nd.save(str(path), arrays)
    size = 32  # two magic numbers, how many arrays, how many names
    for name, array in arrays.items():
        size += 4 + 4 + 4 + 8 * array.ndim + 8 + 4  # format, storage, dimensions, shape, context (two), type
        size += 8 + len(name.encode()) + array.size * np.dtype(array.dtype).itemsize
    if os.path.getsize(path) != size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def plain(value: Any) -> Any:
    """What JSON can hold, for a NumPy number, an array or a path."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def supersede(source: Path, target: Path) -> None:
    """Rename a file or a folder to a name that another file, folder or link may have, which goes.

    Parameters
    ----------
    source, target : Path
        On the same disk.
    """
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    elif source.is_dir():  # os.replace does not put a folder where a file or a link is
        target.unlink(missing_ok=True)
    os.replace(source, target)


def flush(path) -> None:
    """Have the system bring a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
