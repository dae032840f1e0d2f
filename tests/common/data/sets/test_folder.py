"""One's own pictures in folders."""

import numpy as np
import pytest

from common.data import sets
from common.data.sets import folder
from common.files.errors import UserError


def test_folder_both_protocols(cifar_folder):
    seen = sets.load("folder", cifar_folder, protocol="seen", seed=3)
    assert (len(seen.train), len(seen.test)) == (8000, 2000)
    assert np.bincount(seen.test.labels).tolist() == [200] * 10
    assert not set(seen.train.images) & set(seen.test.images)
    unseen = sets.load("folder", cifar_folder, unseen=["cat", "dog"])
    assert unseen.test.class_names == ["cat", "dog"] and len(unseen.test) == 2000
    with pytest.raises(UserError, match="airplane"):
        sets.load("folder", cifar_folder, unseen=["airplan"])


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_classes_and_files_in_name_order_and_nothing_else(tmp_path):
    write(tmp_path, "b/2.jpg", "b/1.PNG", "b/notes.txt", "a/x.webp", ".hidden/1.jpg", "empty/readme.md", "stray.jpg")
    whole = folder.load(tmp_path)
    assert whole.class_names == ["a", "b"] and whole.labels.tolist() == [0, 1, 1]
    assert [path.name for path in whole.images] == ["x.webp", "1.PNG", "2.jpg"]


def test_what_is_no_folder_of_classes_is_one_line(tmp_path):
    write(tmp_path, "only/1.jpg")
    with pytest.raises(UserError, match="holds 1 class folders with pictures, two are needed: ROOT/CLASS/PICTURE.jpg"):
        folder.load(tmp_path)
    with pytest.raises(UserError, match="1.jpg is not a folder: --data-path takes one"):
        folder.load(tmp_path / "only" / "1.jpg")
