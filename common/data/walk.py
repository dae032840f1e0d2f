"""What a folder of pictures holds: every file is a picture, or left out for a reason that can be said."""

from __future__ import annotations

import collections
import os
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
LINK = "links to nothing, or to a folder that is read already"
SPECIAL = "neither file nor folder"
LOCKED = "folders that cannot be opened"
EMPTY = "folders without a picture"
BROKEN = "pictures that cannot be read"
MISSING = "files that are not there"
NAME = "names that are not UTF-8: rename them"
SHOWN = 3  # files named for a reason

Skipped = "list[tuple[Path, str]]"


def is_file(path: Path) -> bool:
    """Whether there is such a file; names that the system refuses, and folders that must not be read, have none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long or holds a NUL
        return False


def walk(folder, skipped: Skipped) -> Iterator[Path]:
    """The pictures in a folder and below, in name order.

    Links are followed, to a folder once, so that one to a folder above it does not loop.

    Parameters
    ----------
    folder : path
    skipped : list of (Path, str)
        Takes what else is there, each with its reason.

    Yields
    ------
    Path
    """
    return _below(Path(folder), above(folder), skipped)


def _below(folder: Path, visited: set, skipped: Skipped) -> Iterator[Path]:
    for path in entries(folder, skipped):
        if not path.is_dir():
            yield path
        elif _identity(path) in visited:
            skipped.append((path, LINK))
        else:
            visited.add(_identity(path))
            yield from _below(path, visited, skipped)


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
    name, suffix = path.name, path.suffix.lower()
    if name != name.encode(errors="ignore").decode():
        return NAME
    if name.startswith("._") or name == MACOS:
        return BESIDE
    if name.startswith("."):
        return HIDDEN
    if not path.exists():
        return LINK
    if path.is_dir():
        return ""
    if not path.is_file():
        return SPECIAL
    if suffix in SUFFIXES:
        return ""
    return UNREADABLE if suffix in NAMED else OTHER


def above(folder) -> set[tuple[int, int]]:
    """Device and inode of a folder and of all that hold it, whatever links lead to them."""
    real = Path(folder).resolve()
    return {_identity(one) for one in (real, *real.parents)}


def is_above(path, folder) -> bool:
    """Whether a path leads to a folder, or to one that holds it.

    Parameters
    ----------
    path, folder : path

    Returns
    -------
    bool
    """
    return _identity(path) in above(folder)


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
