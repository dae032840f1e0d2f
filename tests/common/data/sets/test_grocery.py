"""The Grocery Store set: its lists, catalogue and descriptions, and files that are not as they should be."""

import shutil

import numpy as np
import pytest

from common.data import sets
from common.data.sets import grocery
from common.files.errors import UserError


@pytest.fixture
def broken(groceries, tmp_path):
    """A copy of the small set, to be broken: its folder ``dataset``."""
    shutil.copytree(groceries, tmp_path / "grocery")
    return tmp_path / "grocery" / "dataset"


def test_the_official_lists(groceries):
    data = sets.load("grocery", groceries, protocol="seen")
    assert (len(data.train), len(data.validation), len(data.test), len(data.catalogue)) == (30, 7, 20, 10)
    names = data.train.class_names
    assert names[:2] == ["Royal-Gala", "Pink-Lady"] and data.superclasses["Pink-Lady"] == "Apple"
    assert all(split.class_names == names for split in (data.validation, data.test, data.catalogue))
    assert data.captions["Oat-Milk"] == ["Oat Milk is a kind of milk, number 6."]
    assert data.train.images[0].name == "Royal-Gala_001.jpg" and data.gallery is None
    assert data.catalogue.labels.tolist() == list(range(10)) and data.catalogue.read(9).shape == (40, 48, 3)
    assert sets.load("grocery", groceries / "dataset", protocol="seen").train.images == data.train.images


def test_unseen_products_are_looked_for_in_the_training_list(groceries):
    data = sets.load("grocery", groceries, seed=1)
    assert len(data.train.class_names) == 5 and data.validation is None
    assert data.test.class_names == data.gallery.class_names and len(data.test) == 10 and len(data.gallery) == 15
    assert not set(data.train.class_names) & set(data.test.class_names)
    assert {path.relative_to(groceries / "dataset").parts[0] for path in data.test.images} == {"test"}
    assert {path.relative_to(groceries / "dataset").parts[0] for path in data.gallery.images} == {"train"}
    named = sets.load("grocery", groceries, unseen=["Leek", "Lime"])
    assert named.test.class_names == ["Lime", "Leek"] and len(named.train) == 24
    with pytest.raises(UserError, match=r"--unseen Leak: no such class \(did you mean Leek"):
        sets.load("grocery", groceries, unseen=["Leak"])


def test_photographs_that_cannot_be_read_are_left_out_where_asked(broken):
    (broken / "train" / "Lemon" / "Lemon" / "Lemon_001.jpg").write_text("no picture")
    (broken / "train" / "Lime" / "Lime" / "Lime_002.jpg").unlink()
    with pytest.raises(UserError, match=r"Lime_002.jpg is not there, and .* lists it: ./get_data.sh grocery"):
        sets.load("grocery", broken.parent, protocol="seen")
    said = []
    data = sets.load("grocery", broken.parent, protocol="seen", on_error="skip", say=said.append)
    assert len(data.train) == 28 and len(data.train.skipped) == 2 and len(said) == 1


def edit(file, old, new):
    text = file.read_bytes().decode()
    assert old in text
    file.write_bytes(text.replace(old, new, 1).encode())


@pytest.mark.parametrize(("name", "old", "new", "says"), [
    ("train.txt", ", 0, 0", ", 10, 0", r"train.txt, line 1: class 10 of group 0 is not in classes.csv"),
    ("train.txt", ", 0, 0", ", 0, 1", r"train.txt, line 1: class 0 of group 1"),
    ("val.txt", ", 0, 0", ", -1, 0", r"val.txt, line 1: expected a path, the number of its class"),
    ("test.txt", ", 0, 0", "", r"test.txt, line 1: expected a path"),
    ("test.txt", "test/Apple", "../test/Apple", r"test.txt, line 1: '../test/Apple.*' is not a path inside the set"),
    ("test.txt", "_002.jpg", "_009.jpg", r"Royal-Gala_009.jpg is not there"),
    ("classes.csv", "/iconic-images", "/../iconic-images", r"classes.csv: '/../iconic.*is not a path inside"),
    ("classes.csv", "_Iconic.jpg", "_None.jpg", r"Royal-Gala_None.jpg is not there"),
    ("classes.csv", "_Description.txt", "_None.txt", r"Royal-Gala_None.txt is not as it should be \(No such file"),
    ("classes.csv", "Pink-Lady,1", "Pink-Lady,0", r"classes.csv .*class numbers are not 0 to 9, each once"),
    ("classes.csv", "Pink-Lady,1", "Royal-Gala,1", r"classes.csv .*two classes have the same name"),
    ("classes.csv", "Pink-Lady,1,Apple,0", "Pink-Lady,1,Apple,1", r"a coarse class has two numbers"),
    ("classes.csv", "Pink-Lady,1,Apple,0", "Pink-Lady,1,,0", r"row 'Pink-Lady' has an empty column"),
    ("classes.csv", "Class Name (str)", "Name", r"classes.csv .*its columns are not Class Name"),
])  # fmt: skip
def test_what_is_wrong_is_named(broken, name, old, new, says):
    edit(broken / name, old, new)
    with pytest.raises(UserError, match=says) as error:
        sets.load("grocery", broken.parent, protocol="seen")
    assert "\n" not in str(error.value)


def test_lists_and_descriptions_have_to_be_there(broken):
    text = broken / "iconic-images-and-descriptions" / "Leek" / "Leek" / "Leek_Description.txt"
    text.write_text("\n")
    with pytest.raises(UserError, match=r"Leek_Description.txt is not as it should be \(it is empty"):
        grocery.load(broken)
    (broken / "val.txt").write_text("\n")
    with pytest.raises(UserError, match="val.txt: pictures of classes none, names of 10"):
        grocery.load(broken)
    (broken / "val.txt").unlink()
    with pytest.raises(UserError, match="val.txt is not as it should be"):
        grocery.load(broken)
    (broken / "classes.csv").unlink()
    with pytest.raises(UserError, match=r"holds no Grocery Store set \(classes.csv\): ./get_data.sh grocery"):
        grocery.load(broken)


def test_the_set_itself(real_grocery):
    data = sets.load("grocery", real_grocery, protocol="seen")
    assert (len(data.train), len(data.validation), len(data.test)) == (2640, 296, 2485)
    assert len(data.train.class_names) == 81 == len(data.catalogue) and len(set(data.superclasses.values())) == 43
    assert min(np.bincount(data.train.labels)) == 16 and min(np.bincount(data.test.labels)) == 10
    assert data.captions["Pink-Lady"][0].startswith("Pink Lady reminds of Royal Gala")
    assert data.catalogue.read(80).ndim == 3
