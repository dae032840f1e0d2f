"""Unpacking: whatever members an archive has, nothing lands outside the folder, and all of them do or none."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.files.errors import UserError
from common.files.unpack import extract

parts = st.sampled_from(["a", "b", "c.txt", "..", ".", "", "~", "é", "C:", "x\\..\\y", " ", "n" * 300, "-rf"])
names = st.builds(
    lambda start, middle: start + "/".join(middle),
    st.sampled_from(["", "", "", "/", "../", "//", "./"]),
    st.lists(parts, min_size=1, max_size=4),
)
contents = st.binary(max_size=20)
ZIP_KINDS = (0o100644, 0o100000, 0, 0o040755, 0o120777, 0o010644, 0o020644, 0o104755, 0o177777)
TAR_KINDS = (tarfile.REGTYPE, tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE,
             tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE)  # fmt: skip
ODD_MODES = (0o120777, 0o010644, 0o020644)
ODD_TYPES = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
BEFORE = {"there": "before", "a/old": "old"}


def tree(folder: Path) -> dict:
    """Everything under a folder: file to content, folder to None."""
    found = {}
    for path in sorted(folder.rglob("*")):
        assert not path.is_symlink()
        found[path.relative_to(folder).as_posix()] = path.read_bytes() if path.is_file() else None
    return found


def begun(new_folder) -> tuple[Path, Path]:
    """A folder with a little in it, and where its neighbours lie."""
    around = new_folder()
    folder = around / "data"
    for name, text in {**BEFORE, "../outside": "untouched", "../b/c.txt": "untouched"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return around, folder


def plain(name: str) -> bool:
    return all(part not in ("", ".", "..") and "\\" not in part for part in name.split("/"))


def checked(around: Path, folder: Path, archive: Path, members: list[tuple[str, bytes]], odd=False) -> None:
    """Unpack `archive`; members are the files in it, in their order; `odd` if it has others than files and folders."""
    before, here = tree(around), os.listdir(os.getcwd())
    try:
        extract(archive, folder)
        refused = False
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        refused = True
    after = tree(around)
    assert os.listdir(os.getcwd()) == here
    assert refused or not odd
    if refused:
        assert after == before
        return
    outside = {name: content for name, content in before.items() if not name.startswith("data/")}
    assert {name: content for name, content in after.items() if not name.startswith("data/")} == outside
    for name, content in dict(members).items():
        if plain(name):
            assert after[f"data/{name}"] == content
    assert not [name for name in after if "unpacking" in name]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(st.lists(st.tuples(names, contents, st.sampled_from(ZIP_KINDS)), max_size=5))
@example([("a", b"x", 0)])
@example([("there/x", b"x", 0)])
@example([("new", b"x", 0), ("there/x", b"x", 0)])
@example([("b/c.txt", b"x", 0o120777)])
def test_zip(new_folder, members):
    around, folder = begun(new_folder)
    archive = around / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, content)
    odd = any(mode in ODD_MODES for *_, mode in members)
    checked(around, folder, archive, [(name, content) for name, content, _ in members], odd)


@given(st.lists(st.tuples(names, contents, st.sampled_from(TAR_KINDS), names, st.integers(0, 0o7777)), max_size=5),
       st.sampled_from(["w", "w:gz"]))  # fmt: skip
@example([("there/x", b"x", tarfile.REGTYPE, "", 0)], "w")
@example([("a", b"", tarfile.SYMTYPE, "..", 0o777), ("a/outside", b"x", tarfile.REGTYPE, "", 0o644)], "w")
def test_tar(new_folder, members, mode):
    around, folder = begun(new_folder)
    archive, regular = around / "archive.tar", (tarfile.REGTYPE, tarfile.AREGTYPE)
    with tarfile.open(archive, mode) as file:
        for name, content, kind, link, bits in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, link, bits
            info.size = len(content) if kind in regular and not name.endswith("/") else 0  # of old, a slash is a folder
            file.addfile(info, io.BytesIO(content))
    odd = any(member[2] in ODD_TYPES for member in members)
    checked(around, folder, archive, [(name, text) for name, text, kind, *_ in members if kind in regular], odd)


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255), st.sampled_from(["zip", "tar"]))
def test_damaged(new_folder, content, place, value, kind):
    around, folder = begun(new_folder)
    archive = around / f"archive.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("in/file", content)
    else:
        with tarfile.open(archive, "w:gz") as file:
            info = tarfile.TarInfo("in/file")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    damaged = bytearray(archive.read_bytes())
    damaged[place % len(damaged)] = value
    archive.write_bytes(damaged[: len(damaged) - place % 3])
    checked(around, folder, archive, [])
