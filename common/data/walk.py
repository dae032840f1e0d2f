"""What a folder of pictures holds: every file is a picture, or left out for a reason that can be said."""

from __future__ import annotations

import collections
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from common.files.disk import write_text

NAMED = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif",
    ".heic", ".heif",
}  # fmt: skip
SUFFIXES = NAMED & set(Image.registered_extensions())  # what the Pillow that is installed reads
MACOS = "__MACOSX"
HIDDEN = "hidden"
BESIDE = "of macOS beside another file (._NAME)"
OTHER = "no picture's name"
UNREADABLE = "of a format that Pillow cannot read here: convert them to JPEG or PNG"
DEEPER = "pictures lying deeper than CLASS/: move them up"
OUTSIDE = "pictures in no class's folder: move them into one"
BESIDE_SPLITS = "pictures beside the folders train, validation, test: move them into a class of one"
LINK = "links to nothing, or to a folder that is read already"
SPECIAL = "neither file nor folder"
LOCKED = "that may not be opened: change their permissions"
EMPTY = "folders without a picture"
BROKEN = "pictures that cannot be read"
MISSING = "files that are not there"
NAME = "names that are not UTF-8: rename them"
SHOWN = 3  # files named for a reason

Skipped = "list[tuple[Path, str]]"


def is_record(path: Path) -> bool:
    """Whether it is the name of a picture in a file of records, see `common.data.records`: ``X.rec/NUMBER``."""
    return path.parent.suffix == ".rec" and path.name.isdecimal() and path.name.isascii()


def holder(path) -> Path:
    """The file that a picture lies in: its own, or one of records."""
    path = Path(path)
    return path.parent if is_record(path) else path


def is_file(path: Path) -> bool:
    """Whether there is such a file; names that the system refuses, and folders that must not be read, have none."""
    try:
        return holder(path).is_file()
    except (OSError, ValueError):  # a name that is too long or holds a NUL
        return False


def walk(folder, skipped: Skipped) -> Iterator[Path]:
    """The pictures in a folder and below, in name order.

    Links are followed, to a folder once, so that one to a folder above it does not loop; a link to a folder that lies
    below is left out, since its pictures have their place.

    Parameters
    ----------
    folder : path
    skipped : list of (Path, str)
        Takes what else is there, each with its reason.

    Yields
    ------
    Path
    """
    root = Path(folder)
    return _below(root, root.resolve(), above(root), skipped)


def _below(folder: Path, root: Path, visited: set, skipped: Skipped) -> Iterator[Path]:
    for path in entries(folder, skipped):
        if not path.is_dir():
            yield path
        elif _identity(path) in visited or (path.is_symlink() and _is_read(path.resolve(), root)):
            skipped.append((path, LINK))
        else:
            visited.add(_identity(path))
            yield from _below(path, root, visited, skipped)


def _is_read(folder: Path, root: Path) -> bool:
    """Whether the way from `root` to a folder leads there without a link."""
    return folder.is_relative_to(root) and not any(map(_reason_of_name, folder.relative_to(root).parts))


def entries(folder: Path, skipped: Skipped) -> Iterator[Path]:
    """The pictures and the folders in a folder itself, in name order.

    Parameters
    ----------
    folder : Path
    skipped : list of (Path, str)
        Takes the rest, each with its reason.

    Yields
    ------
    Path
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        skipped.append((folder, LOCKED))
        return
    for path in (folder / name for name in names):
        reason = _reason(path)
        if reason:
            skipped.append((path, reason))
        else:
            yield path


def _reason(path: Path) -> str:
    """Why `path` is neither a picture nor a folder to look into; empty text if it is one of them."""
    reason = _reason_of_name(path.name)
    if reason:
        return reason
    try:
        mode = os.stat(path).st_mode
    except PermissionError:
        return LOCKED
    except OSError:  # a link to nothing, or to itself
        return LINK
    if stat.S_ISDIR(mode):
        return ""
    if not stat.S_ISREG(mode):
        return SPECIAL
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return ""
    return UNREADABLE if suffix in NAMED else OTHER


def _reason_of_name(name: str) -> str:
    if name != name.encode(errors="ignore").decode():
        return NAME
    if name.startswith("._") or name == MACOS:
        return BESIDE
    return HIDDEN if name.startswith(".") else ""


def above(folder) -> set[tuple[int, int]]:
    """Device and inode of a folder and of all that hold it, whatever links lead to them."""
    real = Path(folder).resolve()
    return {_identity(one) for one in (real, *real.parents)}


def _identity(folder) -> tuple[int, int]:
    state = os.stat(folder)
    return state.st_dev, state.st_ino


def summary(skipped: Iterable[tuple[Path, str]], root) -> str:
    """How many files were left out, by reason, each with the first few.

    Parameters
    ----------
    skipped : iterable of (Path, str)
    root : path
        The names are relative to it.

    Returns
    -------
    str
        ``"3 skipped: 2 hidden (.a, .b); 1 ..."``.
    """
    by_reason = collections.defaultdict(list)
    for path, reason in skipped:
        by_reason[reason].append(shown(os.path.relpath(path, root)))
    parts = [
        f"{len(names):,} {reason} ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})"
        for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    ]
    return f"{sum(map(len, by_reason.values())):,} skipped: {'; '.join(parts)}" if parts else "nothing skipped"


def write(skipped: Iterable[tuple[Path, str]], path) -> None:
    """List what was left out, a reason, a tab and a file on each line; where nothing was, no file is written.

    Parameters
    ----------
    skipped : iterable of (Path, str)
    path : path
        Of the list.

    Raises
    ------
    UserError
        It cannot be written.
    """
    if skipped:
        write_text(path, "".join(f"{reason}\t{shown(file)}\n" for file, reason in skipped))


def shown(path) -> str:
    """`path` on one line that any terminal takes: line breaks and bytes that are no text are escaped."""
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def composed(name: str) -> str:
    """A name in the one form (NFC) of those that look alike: macOS writes an accent as a letter of its own (NFD)."""
    return unicodedata.normalize("NFC", name)


def spelled(folder: Path, name: str) -> Path:
    """The file of that name in a folder, where it is not there in the form (NFC or NFD) that looks the same.

    Parameters
    ----------
    folder : Path
    name : str
        May be a path.

    Returns
    -------
    Path
        With `name` as it is, where no form of it is there.
    """
    forms = (folder / name, *(folder / unicodedata.normalize(form, name) for form in ("NFC", "NFD")))
    return next(filter(is_file, forms), forms[0])
