"""Files written whole or not at all, checksums, and the lock that keeps a folder to one writer."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import UserError

try:
    import fcntl
except ImportError:  # not a POSIX system, and MXNet 1.9.1 has no wheels for it either
    fcntl = None

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


def write_text(path, text: str) -> None:
    """Write a small UTF-8 file whole or not at all."""
    with atomic(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path, value: Any) -> None:
    """`write_text` of indented JSON; NumPy numbers and paths become plain ones."""
    write_text(path, json.dumps(value, indent=2, default=plain, ensure_ascii=False) + "\n")


def write_array(path, array) -> None:
    """Write a NumPy array as ``.npy``, whole or not at all."""
    import numpy as np  # what reads flags only does without

    with atomic(path) as beside:
        np.save(beside, array, allow_pickle=False)


def save_arrays(path, arrays) -> None:
    """``mx.nd.save`` of a dict of dense arrays, which on a full disk may leave the end out and say nothing.

    It leaves the last few kilobytes to the closing of the file, whose failure it does not look at.
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


def flush(path) -> None:
    """Have the system bring a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return checksum(path, "sha256")


def checksum(path, algorithm: str) -> str:
    """The digest of a file by `algorithm`, a name that `hashlib.new` knows, in hexadecimal digits."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


class Lock:
    """The right to write what `path` stands for. The system takes it back when the process ends, however it ends.

    Parameters
    ----------
    path : path
        The lock's file, ``.lock`` in the folder that is protected; it stays there, empty or not.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._file = None

    def take(self, wait: bool = False) -> bool:
        """Take the lock; return whether it is ours. With `wait`, wait for another process to let go."""
        if fcntl is None:
            return True
        with writing(self.path):
            file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115  (held for as long as the lock is)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            file.close()
            taken = error.errno in (errno.EWOULDBLOCK, errno.EACCES)
            return not taken  # else a file system that knows no locks
        self._file = file
        return True

    def release(self) -> None:
        """Let go."""
        if self._file:
            self._file.close()
            self._file = None

    def __enter__(self) -> Lock:
        self.take(wait=True)
        return self

    def __exit__(self, *_) -> None:
        self.release()


_held: weakref.WeakValueDictionary[Path, Lock] = weakref.WeakValueDictionary()  # this process's, while it needs them


def only_writer(folder, other: str = "another folder") -> Lock:
    """The lock of `folder`, for as long as the caller keeps it; all that this process does in the folder shares it.

    Raises
    ------
    UserError
        Another process has it: the message offers `other`.
    """
    place = Path(folder).resolve()
    lock = _held.get(place)
    if lock is None:
        lock = Lock(place / ".lock")
        if not lock.take():
            raise UserError(f"{folder} is written by another process now: wait for its end, or give {other}")
        _held[place] = lock
    return lock
