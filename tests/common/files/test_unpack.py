"""Archives that are damaged, mean harm or grow beyond measure."""

import io
import os
import tarfile
import zipfile

import pytest

from common.files import unpack
from common.files.errors import UserError


def packed(name, folder):
    """A whole archive called `name`."""
    path, body = folder / name, bytes(range(256)) * 40
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", body)
    elif name.endswith(".h5"):
        import h5py

        with h5py.File(path, "w") as file:
            file["a"] = list(body)
    else:
        with tarfile.open(path, "w:gz") as archive:
            info = tarfile.TarInfo("a")
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return path.read_bytes()


def evil_zip(path, name, link=False):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.txt", "x")
        info = zipfile.ZipInfo(name)
        if link:
            info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")


def evil_tar(path, name, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info, io.BytesIO(b""))


@pytest.mark.parametrize("make", [
    lambda p: evil_zip(p, "../outside.txt"),
    lambda p: evil_zip(p, "/outside.txt"),
    lambda p: evil_zip(p, "link", link=True),
    lambda p: evil_tar(p, "a/../../outside.txt"),
    lambda p: evil_tar(p, "link", tarfile.SYMTYPE),
    lambda p: evil_tar(p, "link", tarfile.LNKTYPE),
    lambda p: evil_tar(p, "pipe", tarfile.FIFOTYPE),
])  # fmt: skip
def test_members_that_mean_harm_are_refused(tmp_path, make):
    inside = tmp_path / "inside"
    inside.mkdir()
    make(tmp_path / "archive")
    with pytest.raises(UserError, match="nothing was unpacked"):
        unpack.extract(tmp_path / "archive", inside)
    assert os.listdir(inside) == [] and sorted(os.listdir(tmp_path)) == ["archive", "inside"]


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "bad.tgz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(UserError, match=r"bad.tgz cannot be unpacked"):
        unpack.extract(tmp_path / "bad.tgz", tmp_path)


def refused(archive, folder, reason):
    inside = folder / "inside"
    inside.mkdir(exist_ok=True)
    with pytest.raises(UserError, match=reason) as error:
        unpack.extract(archive, inside)
    assert "\n" not in str(error.value) and os.listdir(inside) == []


def test_an_archive_that_grows_beyond_measure_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(40_000_000))
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        info = tarfile.TarInfo("zeros")
        info.size = 40_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    for name in ("a.zip", "a.tgz"):
        refused(tmp_path / name, tmp_path, f"{name}: 1 members of 40000000 bytes .*nothing was unpacked")


def test_an_archive_of_too_many_members_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "MAX_MEMBERS", 10)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i in range(11):
            archive.writestr(str(i), "")
    refused(tmp_path / "a.zip", tmp_path, "11 members of 0 bytes and more")


def patched(path, places: dict[bytes, tuple[int, int]]):
    """Write a number of two bytes at a distance from each signature in the archive."""
    content = bytearray(path.read_bytes())
    for signature, (distance, value) in places.items():
        start = content.index(signature) + distance
        content[start : start + 2] = value.to_bytes(2, "little")
    path.write_bytes(content)


@pytest.mark.parametrize(("places", "reason"), [
    ({b"PK\x03\x04": (6, 1), b"PK\x01\x02": (8, 1)}, "member 'a' is encrypted, which is not read"),
    ({b"PK\x03\x04": (8, 97), b"PK\x01\x02": (10, 97)}, "member 'a' is packed by method 97, which is not read"),
    ({b"PK\x03\x04": (14, 7)}, "cannot be unpacked|nothing was"),
])  # fmt: skip
def test_a_zip_that_cannot_be_read_is_one_line(tmp_path, places, reason):
    packed("a.zip", tmp_path)
    patched(tmp_path / "a.zip", places)
    if b"PK\x01\x02" not in places:  # the sum in the list of members, which is the one compared
        patched(tmp_path / "a.zip", {b"PK\x01\x02": (16, 7)})
    refused(tmp_path / "a.zip", tmp_path, reason)


def test_unpacking_a_tar_warns_of_nothing(tmp_path, recwarn):
    packed("a.tgz", tmp_path)
    (tmp_path / "inside").mkdir()
    unpack.extract(tmp_path / "a.tgz", tmp_path / "inside")
    assert os.listdir(tmp_path / "inside") == ["a"] and not recwarn.list
