"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from the official *binary* archives: no pickle is read."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

from common.data.imageset import ImageSet
from common.files.errors import UserError, reading

PIXELS = 3 * 32 * 32
MAX_BYTES = 1 << 28  # bytes of a file in the archive; the largest has 154 MB
LAYOUT = {  # name: (folder in the archive, training files, label bytes before the pixels)
    "cifar10": ("cifar-10-batches-bin", [f"data_batch_{i}.bin" for i in range(1, 6)], "test_batch.bin", 1),
    "cifar100": ("cifar-100-binary", ["train.bin"], "test.bin", 2),
}


def load(name: str, path) -> tuple[ImageSet, ImageSet, dict[str, str] | None]:
    """The official training and test sets.

    Parameters
    ----------
    name : {"cifar10", "cifar100"}
    path : path
        The folder of the ``.bin`` files, one that holds it, or the ``.tar.gz`` itself.

    Returns
    -------
    train, test : ImageSet
    superclasses : dict of str to str or None
        Of each class of CIFAR-100.

    Raises
    ------
    UserError
        The set is not there, damaged, or its pickled version.
    """
    folder, train_files, test_file, label_bytes = LAYOUT[name]
    files = _files(name, Path(path), folder)
    names_file = {"cifar10": "batches.meta.txt", "cifar100": "fine_label_names.txt"}[name]
    class_names = _names(files, names_file, path)
    train = _records(files, train_files, label_bytes, path)
    test = _records(files, [test_file], label_bytes, path)
    superclasses = None
    for _, labels in (train, test):
        _check_labels(labels[:, -1], class_names, path)
    if name == "cifar100":
        groups = _names(files, "coarse_label_names.txt", path)
        _check_labels(train[1][:, 0], groups, path)
        _check_labels(test[1][:, 0], groups, path)
        group_of = dict(zip(train[1][:, 1].tolist(), train[1][:, 0].tolist()))
        superclasses = {class_names[fine]: groups[group] for fine, group in sorted(group_of.items())}
    train, test = (ImageSet(pixels, labels[:, -1].astype(np.int64), class_names) for pixels, labels in (train, test))
    return train, test, superclasses


def _files(name: str, path: Path, folder: str):
    """A function that gives the bytes of one of the archive's files."""
    if path.is_file():
        with reading(path, f"get the binary version of {name} again"), tarfile.open(path) as archive:
            plain = (member for member in archive if member.isfile() and member.size <= MAX_BYTES)
            members = {Path(m.name).name: archive.extractfile(m).read() for m in plain if folder in m.name}

        def from_archive(file):
            if file not in members:
                raise UserError(f"{path} has no {file}: it is not the binary version of {name}")
            return members[file]

        return from_archive
    root = path / folder if (path / folder).is_dir() else path

    def from_folder(file):
        try:
            return (root / file).read_bytes()
        except OSError as error:
            raise UserError(f"{root / file}: {error.strerror}; ./get_data.sh {name} gets it") from error

    return from_folder


def _names(files, name: str, path) -> list[str]:
    with reading(f"{path}: {name}", "a name a line, get the set again"):
        names = files(name).decode().split()
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"{len(names)} names, {len(set(names))} different ones")
        return names


def _check_labels(labels: np.ndarray, names: list[str], path) -> None:
    if labels.max() >= len(names):
        raise UserError(f"{path}: a picture is of class {labels.max()} of {len(names)}: it is damaged, get it again")


def _records(files, names: list[str], label_bytes: int, path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 32, 32, 3) and label bytes (n, label_bytes)."""
    size = label_bytes + PIXELS
    parts = []
    for name in names:
        data = np.frombuffer(files(name), np.uint8)
        if not len(data) or len(data) % size:
            raise UserError(f"{path}: {name} is {len(data)} bytes, no multiple of {size}: it is damaged, get it again")
        parts.append(data.reshape(-1, size))
    rows = np.concatenate(parts)
    pixels = rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), rows[:, :label_bytes]
