"""AwA2's layout, its splits, and what is held back."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data.sets import awa2
from common.data.splits import held_back
from common.files.errors import UserError

CLASSES = {"antelope": 12, "polar+bear": 10, "ox": 4, "rat": 5}  # class -> pictures


def lay_out(root: Path, classes=CLASSES, train=("antelope", "polar+bear", "ox"), test=("rat",)) -> Path:
    for name, count in classes.items():
        (root / "JPEGImages" / name).mkdir(parents=True)
        for number in range(10001, 10001 + count):
            Image.new("RGB", (8, 8)).save(root / "JPEGImages" / name / f"{name}_{number}.jpg")
    (root / "classes.txt").write_text("".join(f"{i:>8}\t{name}\n" for i, name in enumerate(classes, 1)))
    (root / "trainclasses.txt").write_text("\n".join(train))
    (root / "testclasses.txt").write_text("\n".join(test) + "\n\n")
    return root


def test_the_official_layout_is_read_also_from_where_the_archive_unpacks(tmp_path):
    lay_out(tmp_path / "data" / "Animals_with_Attributes2")
    whole = awa2.load(tmp_path / "data")
    assert whole.class_names == list(CLASSES)  # in the order of classes.txt
    assert np.bincount(whole.labels).tolist() == list(CLASSES.values())
    assert whole.images[0].name == "antelope_10001.jpg" and whole.read(0).shape == (8, 8, 3)
    assert awa2.split_names(tmp_path / "data") == (["antelope", "polar+bear", "ox"], ["rat"])


def test_the_splits_are_the_published_ones():
    assert len(awa2.STANDARD) == len(set(awa2.STANDARD)) == len(awa2.PROPOSED) == len(set(awa2.PROPOSED)) == 10
    assert set(awa2.STANDARD) & set(awa2.PROPOSED) == {"rat", "seal"}
    assert len(set(awa2.CLASSES)) == 50 and {*awa2.STANDARD, *awa2.PROPOSED} <= set(awa2.CLASSES)


def test_the_proposed_split_needs_awa2s_own_classes(tmp_path):
    names = [*awa2.PROPOSED, "ox", "cow"]
    root = lay_out(tmp_path, dict.fromkeys(names, 1), names[:6], names[6:])
    assert awa2.split_names(root, "proposed") == (["ox", "cow"], list(awa2.PROPOSED))
    (root / "classes.txt").write_text("ox\ncow\n")
    with pytest.raises(UserError, match="has no 'bat': --split proposed is for AwA2"):
        awa2.split_names(root, "proposed")
    (root / "classes.txt").write_text("ox\ncow\nwalrus\n")  # a sample
    assert awa2.split_names(root, "proposed") == (["ox", "cow"], ["walrus"])
    (root / "classes.txt").write_text("ox\ncoww\nwalrus\n")
    with pytest.raises(UserError, match="has no 'bat': --split proposed is for AwA2"):
        awa2.split_names(root, "proposed")


def test_one_in_ten_is_held_back_and_of_small_classes_the_last_number():
    labels = np.repeat([0, 1, 2, 3], [30, 10, 4, 9])
    held = held_back(labels, 0.1, seed=1)
    assert [int(held[labels == c].sum()) for c in range(4)] == [3, 1, 1, 1]
    assert held[43] and held[52]  # the last of the two small classes
    np.testing.assert_array_equal(held, held_back(labels, 0.1, seed=1))
    assert (held != held_back(labels, 0.1, seed=2)).any()
    assert held_back(np.array([0, 0, 1])).tolist() == [False, True, False]  # the only one is not
    with pytest.raises(UserError, match="no class has two pictures"):
        held_back(np.array([0, 1]))


def test_a_sample_in_the_official_layout_is_read_and_named_as_one(tmp_path):
    """classes.txt names all fifty, as in the official archive; pictures are there of four."""
    root = lay_out(tmp_path)
    (root / "classes.txt").write_text("".join(f"{i:>8}\t{name}\n" for i, name in enumerate(awa2.CLASSES, 1)))
    (root / "trainclasses.txt").write_text("\n".join(name for name in awa2.CLASSES if name not in awa2.STANDARD))
    (root / "testclasses.txt").write_text("\n".join(awa2.STANDARD))
    (root / "JPEGImages" / "beaver").mkdir()  # empty
    for split, unseen in (("standard", ["rat"]), ("proposed", ["rat"])):
        whole, seen, new = awa2.load_split(root, split)
        assert whole.class_names == ["antelope", "ox", "rat", "polar+bear"] and new == unseen
        assert sorted(seen) == ["antelope", "ox", "polar+bear"]
    said = "a subset of AwA2: 4 of its 50 classes, 31 pictures where it has 37,322"
    assert awa2.remark(whole.class_names, len(whole)) == said


def test_the_whole_set_and_other_pictures_are_no_subset():
    assert awa2.remark(awa2.CLASSES, 37322) == awa2.remark(["ox", "pizza"], 9) == ""
    assert awa2.remark(awa2.CLASSES, 37321).startswith("a subset of AwA2: 50 of its 50 classes, 37,321 pictures where")
    assert awa2.remark(awa2.CLASSES, 37323).startswith("not the published AwA2: 50 of its 50 classes, 37,323 pictures")
    assert awa2.is_real(awa2.CLASSES[::-1]) and not awa2.is_real(awa2.CLASSES[1:])


@pytest.mark.parametrize(("damage", "text"), [
    (lambda root: (root / "classes.txt").unlink(), "get_data.sh awa2"),
    (lambda root: (root / "trainclasses.txt").unlink(), "cannot read .*trainclasses.txt"),
    (lambda root: (root / "testclasses.txt").write_text("rats\n"), "testclasses.txt: 'rats' .*did you mean rat"),
    (lambda root: (root / "testclasses.txt").write_text("ox\n"), "'ox' is in trainclasses.txt and in testclasses.txt"),
    (lambda root: (root / "classes.txt").write_text("1\tox\n2\tox\n"), "classes.txt, line 2: 'ox' is there twice"),
    (lambda root: (root / "classes.txt").write_text("\n"), "names no class"),
    (lambda root: (root / "classes.txt").write_text("ox\ncow\n"), "JPEGImages/cow is not there"),
    (lambda root: [f.unlink() for f in (root / "JPEGImages" / "ox").iterdir()], "JPEGImages/ox holds no picture"),
])  # fmt: skip
def test_a_layout_that_is_wrong_is_said(tmp_path, damage, text):
    root = lay_out(tmp_path)
    damage(root)
    with pytest.raises(UserError, match=text):
        awa2.load(root)
        awa2.split_names(root)
