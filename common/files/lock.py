"""The lock that keeps a folder to one writer. The system takes it back when its process ends, however it ends."""

from __future__ import annotations

import errno
import weakref
from pathlib import Path

from common.files.disk import writing
from common.files.errors import UserError

try:
    import fcntl
except ImportError:  # not a POSIX system, and MXNet 1.9.1 has no wheels for it either
    fcntl = None


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

    Parameters
    ----------
    folder : path
    other : str
        What the user can give instead, for the message.

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
