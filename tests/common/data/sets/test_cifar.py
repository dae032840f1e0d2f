"""CIFAR-10 and CIFAR-100 in their official binary layout."""

import tarfile

import numpy as np
import pytest

from common.data import sets
from common.files.errors import UserError


def write_cifar(folder, name, labels, rng):
    """`labels` (n, label bytes) with random pixels, in the official binary layout; returns the pixels."""
    pixels = rng.integers(0, 256, (len(labels), 3, 32, 32), np.uint8)
    rows = np.concatenate([labels.astype(np.uint8), pixels.reshape(len(labels), -1)], axis=1)
    (folder / name).write_bytes(rows.tobytes())
    return pixels.transpose(0, 2, 3, 1)


def test_cifar10_binary_folder_and_archive(tmp_path):
    folder, rng = tmp_path / "cifar-10-batches-bin", np.random.default_rng(0)
    folder.mkdir()
    names = [f"thing{i}" for i in range(10)]
    (folder / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    labels = np.arange(20)[:, None] % 10
    parts = [write_cifar(folder, f"data_batch_{i}.bin", labels, rng) for i in range(1, 6)]
    test = write_cifar(folder, "test_batch.bin", labels, rng)
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(folder, folder.name)
    for path in (tmp_path, folder, tmp_path / "cifar-10-binary.tar.gz"):
        data = sets.load("cifar10", path, protocol="seen")
        np.testing.assert_array_equal(data.train.images, np.concatenate(parts))
        np.testing.assert_array_equal(data.test.images, test)
        assert data.train.class_names == names and data.test.labels.tolist() == labels[:, 0].tolist()
    unseen = sets.load("cifar10", tmp_path, unseen=["thing3"])
    assert set(unseen.test.class_names) == {"thing3"} and len(unseen.test) == 2
    (folder / "test_batch.bin").write_bytes(b"short")
    with pytest.raises(UserError, match=r"test_batch.bin is 5 bytes"):
        sets.load("cifar10", folder)


def test_cifar100_superclasses(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "fine_label_names.txt").write_text("apple\nbear\n")
    (tmp_path / "coarse_label_names.txt").write_text("fruit\nlarge\n")
    labels = np.array([[0, 0], [1, 1], [0, 0]])
    for name in ("train.bin", "test.bin"):
        write_cifar(tmp_path, name, labels, rng)
    data = sets.load("cifar100", tmp_path, protocol="seen")
    assert data.superclasses == {"apple": "fruit", "bear": "large"}
    assert data.train.labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b broken"])
def test_a_damaged_archive_is_named(tmp_path, content):
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="cifar-10-binary.tar.gz"):
        sets.load("cifar10", path)


def test_the_python_archive_is_refused_unread(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"a pickle")
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "data_batch_1", "cifar-10-batches-py/data_batch_1")
    with pytest.raises(UserError, match="has no batches.meta.txt: it is not the binary version of cifar10"):
        sets.load("cifar10", tmp_path / "cifar-10-python.tar.gz")


def test_labels_without_a_name_are_refused(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("cat dog")
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        (folder / name).write_bytes(bytes([7]) + bytes(3072))
    with pytest.raises(UserError, match="a picture is of class 7 of 2: it is damaged"):
        sets.load("cifar10", tmp_path)
    (folder / "batches.meta.txt").write_text("cat cat")
    with pytest.raises(UserError, match="2 names, 1 different"):
        sets.load("cifar10", tmp_path)
