"""One's own pictures in folders."""

import numpy as np
import pytest

from common.data import sets, walk
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
    whole = folder.load(tmp_path).images
    assert whole.class_names == ["a", "b"] and whole.labels.tolist() == [0, 1, 1]
    assert [path.name for path in whole.images] == ["x.webp", "1.PNG", "2.jpg"]


def test_what_is_no_folder_of_classes_is_one_line(tmp_path):
    write(tmp_path, "only/1.jpg")
    with pytest.raises(
        UserError, match=r"holds 1 class folders with pictures \(only: a class is the first folder on the way down that"
        r" holds pictures\), two are needed: ROOT/CLASS/PICTURE.jpg"
    ):  # fmt: skip
        folder.load(tmp_path)
    with pytest.raises(UserError, match="1.jpg is not a folder: --data-path takes one"):
        folder.load(tmp_path / "only" / "1.jpg")


def laid_out(root, *names, **options):
    """What is made of empty files: the class of each, the whole, and the line that was said."""
    write(root, *names)
    said = []
    whole = folder.load(root, say=said.append, **options)
    images = whole.images
    names = [images.class_names[label] for label in images.labels]
    return {path.relative_to(root).as_posix(): name for path, name in zip(images.images, names)}, whole, said[0]


NESTED = ("fruit/apple/1.jpg", "fruit/pear/2020/1.jpg", "fruit/pear/2.jpg", "milk/oat/1.jpg", "milk/soy/a/b/1.jpg")


def test_nested_folders_are_classes_in_groups(tmp_path):
    classes, whole, line = laid_out(tmp_path, *NESTED)
    assert list(classes.values()) == ["fruit/apple", "fruit/pear", "fruit/pear", "milk/oat", "milk/soy/a/b"]
    groups = {"fruit/apple": "fruit", "fruit/pear": "fruit", "milk/oat": "milk", "milk/soy/a/b": "milk"}
    assert whole.superclasses == groups and whole.images.splits is None
    assert line == (
        f"{tmp_path}: 5 pictures of 4 classes in 2 groups; a class is the first folder on the way down that holds"
        " pictures (--class-depth), such as fruit/apple; 1 pictures lie deeper in the folder of their class; nothing"
        " skipped"
    )
    assert sets.load("folder", tmp_path, "seen", say=str, min_per_class=0).superclasses == groups


@pytest.mark.parametrize(("depth", "names", "groups"), [
    (1, ["fruit", "milk"], None), (2, ["fruit/apple", "fruit/pear", "milk/oat", "milk/soy"], {"fruit", "milk"}),
    (9, ["fruit/apple", "fruit/pear/2020", "fruit/pear", "milk/oat", "milk/soy/a/b"], {"fruit", "milk"}),
])  # fmt: skip
def test_class_depth_says_how_many_folders_name_a_class(tmp_path, depth, names, groups):
    _, whole, line = laid_out(tmp_path, *NESTED, class_depth=depth)
    assert sorted(whole.images.class_names) == sorted(names) and len(whole.images) == 5
    assert (whole.superclasses and set(whole.superclasses.values())) == groups
    assert f"a class is the first {depth} folders on the way down (--class-depth)" in line


def test_folders_that_hold_all_others_are_passed_over(tmp_path):
    assert set(laid_out(tmp_path, "photos/shop/a/1.jpg", "photos/shop/b/c/1.jpg")[0].values()) == {"a", "b/c"}
    _, whole, line = laid_out(tmp_path, "photos/shop/b/2.jpg", "photos/shop/3.jpg", "a/1.jpg")
    assert whole.images.class_names == ["a", "photos/shop"] and whole.superclasses is None
    assert "3 pictures lie deeper in the folder of their class" in line


SPLIT = ("{}/x/a/1.jpg", "{}/x/b/1.jpg", "{}/x/b/deep/2.jpg")


@pytest.mark.parametrize("names", [
    ("train", "valid", "test"), ("Training", "validation", "TESTING"), ("p/TRAIN", "p/Val", "p/Test"),
])  # fmt: skip
def test_splits_above_the_classes_are_used_as_a_table_s_are(tmp_path, names):
    files = [file.format(name) for name in names for file in SPLIT]
    classes, whole, line = laid_out(tmp_path, *files, f"{names[2]}/stray.jpg", f"{names[0]}/../extra/1.jpg")
    assert set(classes.values()) == {"a", "b"} and len(classes) == 9 and whole.superclasses is None
    wanted = [split for name, split in zip(names, ("train", "validation", "test")) for _ in SPLIT]
    by_path = dict(zip(classes, whole.images.splits))
    assert [by_path[file] for file in files] == wanted
    assert "; train 3, validation 3, test 3; " in line
    assert f"1 {walk.BESIDE_SPLITS} (" in line and f"1 {walk.OUTSIDE} ({names[2]}/stray.jpg)" in line
    for protocol in ("seen", None):
        data = sets.load("folder", tmp_path, protocol, say=str)
        assert (len(data.train), len(data.validation), len(data.test), data.protocol) == (3, 3, 3, "seen")
        assert {str(path.relative_to(tmp_path)) for path in data.validation.images} == set(files[3:6])
    with pytest.raises(UserError, match="--unseen a has no effect here, .* is split already"):
        sets.load("folder", tmp_path, "unseen", unseen=["a"], say=str)


@pytest.mark.parametrize(("files", "names", "splits"), [
    (["train/a/1.jpg", "train/b/1.jpg", "test/1.jpg"], {"a", "b"}, None),  # a test set without labels
    (["train/a/1.jpg", "train/b/1.jpg"], {"a", "b"}, None),
    (["train/1.jpg", "test/1.jpg", "bus/2.jpg"], {"train", "test", "bus"}, None),  # vehicles
    (["val/a/1.jpg", "test/a/1.jpg"], {"val/a", "test/a"}, None),  # nothing to learn from
    (["train/a/1.jpg", "train/b/1.jpg", "val/c/1.jpg", "test/d/1.jpg"], {"a", "b", "c", "d"}, "train validation test"),
])  # fmt: skip
def test_what_is_taken_for_splits(tmp_path, files, names, splits):
    _, whole, _ = laid_out(tmp_path, *files)
    assert set(whole.images.class_names) == names
    assert (whole.images.splits is None) if splits is None else set(whole.images.splits) == set(splits.split())


def test_classes_of_the_test_folder_alone_are_unseen(tmp_path):
    write(tmp_path, *(f"{place}/{i}.jpg" for place in ("train/a", "train/b", "test/c", "test/d") for i in "12"))
    data = sets.load("folder", tmp_path, None, say=str)
    assert data.protocol == "unseen" and data.train.class_names == ["a", "b"] and data.test.class_names == ["c", "d"]
    with pytest.raises(UserError, match="class 'c' has no picture of split train, and is held back"):
        sets.load("folder", tmp_path, "seen", say=str)


def test_names_that_look_alike_are_one(tmp_path):
    """An accent of one letter, and of two as macOS writes it: across splits too."""
    one, two = "caf\u00e9", "cafe\u0301"
    _, whole, line = laid_out(tmp_path / "a", f"{one}/1.jpg", f"{two}/2.jpg", "tea/1.jpg")
    assert whole.images.class_names == [one, "tea"] and whole.images.labels.tolist() == [0, 0, 1]
    assert "1 folders whose names look like another's are one with it" in line
    _, whole, _ = laid_out(tmp_path / "b", f"train/{two}/1.jpg", "train/tea/1.jpg", f"test/{one}/1.jpg")
    assert sorted(whole.images.class_names) == [one, "tea"]
    data = sets.load("folder", tmp_path / "a", "unseen", unseen=[one], say=str)
    assert data.test.class_names == [one] and len(data.test) == 2


ODD = (
    "Кошки", "猫", "🍎 Äpfel", "a b", 'it\'s "so"', "-rf", "--data-path", "$HOME", "x" * 200,
    "per%cent", "a\nb", "tab\t",
)  # fmt: skip


def test_any_name_is_a_class(tmp_path):
    write(tmp_path, *(f"{name}/{name[:100]}.JPG" for name in ODD))
    said = []
    whole = folder.load(tmp_path, say=said.append).images
    assert sorted(whole.class_names) == sorted(ODD) and len(said[0].splitlines()) == 1
    assert [path.parent.name for path in whole.images] == [whole.class_names[label] for label in whole.labels]


def test_a_class_of_one_picture_is_learned_from(tmp_path):
    write(tmp_path, "a/1.jpg", "b/1.jpg", "b/2.jpg", "c/1.jpg", "c/2.jpg")
    said = []
    data = sets.load("folder", tmp_path, "seen", say=said.append)
    assert sorted(data.train.labels) == [0, 1, 2] and sorted(data.test.labels) == [1, 2]
    assert said[1] == "1 classes have one picture each: it is learned from, and none of theirs is held back"
    few = sets.load("folder", tmp_path, "seen", say=said.append, min_per_class=2)
    assert few.train.class_names == ["b", "c"]
    assert said[3] == "1 classes of fewer than 2 pictures are left out (--min-per-class), 1 pictures: a"


@pytest.mark.parametrize(("name", "flags", "line"), [
    ("glyphs", {"min_per_class": 3}, "--min-per-class 3 has no effect on --dataset glyphs"),
    ("csv", {"class_depth": 2}, "--class-depth 2 has no effect on --dataset csv"),
    ("folder", {"columns": ["path=x"]}, "--columns path=x has no effect on --dataset folder"),
])  # fmt: skip
def test_flags_of_other_sets_are_refused(name, flags, line):
    with pytest.raises(UserError, match=line):
        sets.load(name, "x", **flags)
