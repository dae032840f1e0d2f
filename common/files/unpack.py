"""Archives from outside: checked for damage and for members that mean harm, then unpacked whole or not at all."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

from common.files.disk import supersede
from common.files.errors import UserError

MAX_BYTES = 64 << 30  # of all that an archive holds; AwA2 has 13 GB
MAX_MEMBERS = 1_000_000
MAX_GROWTH, SLACK = 100, 1 << 24  # an archive may unpack to so many times its size, and a small one to this
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
BROKEN = (  # what the readers of archives raise over damaged ones
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError,
    NotImplementedError,
)  # fmt: skip


def damage(path: Path, name: str) -> str:
    """Look through a file that came without a checksum.

    A cut ``.zip`` has lost its list of members; the others are read to their ends. The sums inside a ``.zip`` are
    compared when it is unpacked.

    Parameters
    ----------
    path : Path
    name : str
        What it is to be called: the suffix tells the format.

    Returns
    -------
    str
        Why it is not whole; empty if nothing is wrong.
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


def extract(archive: Path, folder: Path) -> None:
    """Unpack an archive, first into a temporary folder, from which its top level is moved.

    Parameters
    ----------
    archive : Path
        ``.zip``, ``.tar`` or ``.tar.gz``, whatever its name.
    folder : Path
        An existing folder; a folder or file in it that has a member's name is replaced.

    Raises
    ------
    UserError
        A member would land outside the folder, is a link or a device, encrypted or packed by an unknown method; or
        all of them are more than an archive of this size can be meant to hold. Nothing is unpacked then.
    """
    temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder))
    try:
        try:
            (_unzip if zipfile.is_zipfile(archive) else _untar)(archive, temporary)
        except BROKEN as error:
            reason = (str(error) or type(error).__name__).splitlines()[0][:100]
            raise UserError(f"{archive} cannot be unpacked: {reason}; remove it and get it again") from error
        for child in temporary.iterdir():
            supersede(child, folder / child.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
    limit = min(MAX_BYTES, size * MAX_GROWTH + SLACK)
    if count > MAX_MEMBERS or total > limit:
        raise UserError(
            f"{archive}: {count} members of {total} bytes and more come out of {size}, {MAX_MEMBERS} members and"
            f" {limit} bytes are the most: nothing was unpacked"
        )
