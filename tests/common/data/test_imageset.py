"""What every data set gives: pictures, labels and splits."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data import sets
from common.data.imageset import ImageSet
from common.data.splits import split_domains, split_seen, split_unseen
from common.files.errors import UserError


@pytest.mark.slow
def test_select_renumbers_and_refuses_unknown_names(cifar_folder):
    data = sets.load("folder", cifar_folder, protocol="seen").train
    two = data.select(["truck", "cat"])
    assert two.class_names == ["truck", "cat"] and len(two) == 1600
    assert {path.parent.name for path in two.subset(two.labels == 0).images} == {"truck"}
    with pytest.raises(UserError, match="did you mean truck"):
        data.select(["trucks"])


@pytest.fixture
def files(tmp_path):
    """Six pictures of three classes by two people, each of one grey; those of the second person lie in a box."""
    paths = []
    for index in range(6):
        picture = np.full((20, 30, 3), 255 if index % 2 else 10 * index, np.uint8)
        picture[5:9, 4:10] = 10 * index
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(picture).save(paths[-1])
    boxes = np.array([[0, 0, 30, 20], [4, 5, 6, 4]] * 3, float)
    return ImageSet(paths, np.repeat([0, 1, 2], 2), ["a", "b", "c"], boxes, np.tile([0, 1], 3), ["one", "two"])


def test_pictures_are_cut_to_their_boxes(files):
    assert [files.read(i).shape for i in range(2)] == [(20, 30, 3), (4, 6, 3)]
    assert files.read(3, min_side=2).shape == (4, 6, 3)  # a box is of the picture as it is
    for threads in (1, 3):
        array = files.array(8, threads)
        assert array.shape == (6, 8, 8, 3) and array.dtype == np.uint8
        np.testing.assert_array_equal(array[:, 2, 2, 0][1::2], [10, 30, 50])


def test_an_array_is_its_own_reading():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    held = ImageSet(pixels, np.arange(4), list("abcd"))
    assert held.in_memory and held.array(8) is pixels and held.array(4).shape == (4, 4, 4, 3)
    np.testing.assert_array_equal(held.read(2, min_side=1), pixels[2])


def test_sets_are_joined_with_what_they_have_in_common(files):
    bad = (Path("bad.png"), "broken")
    first, second = (dataclasses.replace(files.subset(chosen), skipped=[bad]) for chosen in ([4, 1], [0]))
    whole = ImageSet.concat([first, second])
    assert [path.stem for path in whole.images] == ["4", "1", "0"] and whole.skipped == [bad]
    for name in ("labels", "boxes", "domains"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(files, name)[[4, 1, 0]])
    assert whole.class_names == files.class_names and whole.domain_names == files.domain_names
    plain = dataclasses.replace(second, boxes=None, domains=None, domain_names=None)
    mixed = ImageSet.concat([first, plain])
    assert mixed.boxes is mixed.domains is mixed.domain_names is None


def test_joined_pixels_stay_in_memory():
    held = ImageSet(np.arange(12, dtype=np.uint8).reshape(4, 1, 1, 3), np.arange(4), list("abcd"))
    whole = ImageSet.concat([held.subset([2, 3]), held.subset([])])
    assert whole.in_memory and whole.images[:, 0, 0, 0].tolist() == [6, 9] and whole.labels.tolist() == [2, 3]


@pytest.mark.parametrize("chosen", [[4, 1], np.array([False, True, False, False, True, False])])
def test_subsets_keep_what_belongs_together(files, chosen):
    part = files.subset(chosen)
    order = [int(path.stem) for path in part.images]
    assert order == (chosen if isinstance(chosen, list) else [1, 4])
    np.testing.assert_array_equal(part.labels, files.labels[order])
    np.testing.assert_array_equal(part.boxes, files.boxes[order])
    np.testing.assert_array_equal(part.domains, files.domains[order])
    assert part.class_names == files.class_names and len(part) == 2


def test_unseen_classes_are_named_or_half(files):
    train, test = split_unseen(files, ["b"], seed=0)
    assert (train.class_names, test.class_names) == (["a", "c"], ["b"])
    assert train.labels.tolist() == [0, 0, 1, 1] and [path.stem for path in test.images] == ["2", "3"]
    splits = {tuple(split_unseen(files, None, seed)[1].class_names) for seed in range(20)}
    assert len(splits) > 1 and all(len(names) == 2 for names in splits)
    with pytest.raises(UserError, match="--unseen d: no such class"):
        split_unseen(files, ["d"], 0)
    with pytest.raises(UserError, match="0 seen and 3 unseen classes: each part needs some"):
        split_unseen(files, ["a", "b", "c"], 0)


def test_a_share_of_each_class_is_held_back():
    whole = ImageSet(np.zeros((33, 1, 1, 3), np.uint8), np.repeat([0, 1, 2], [10, 20, 3]), list("abc"))
    train, test = split_seen(whole, 0.2, seed=1)
    assert np.bincount(test.labels).tolist() == [2, 4, 1] and np.bincount(train.labels).tolist() == [8, 16, 2]
    train, test = split_seen(whole.subset([0, 1, 10, 30, 31]), 0.2, seed=1)  # the only one is not held back
    assert sorted(train.labels) == [0, 1, 2] and sorted(test.labels) == [0, 2]
    with pytest.raises(UserError, match="none of 3 classes has two pictures"):
        split_seen(whole.subset([0, 10, 30]), 0.2, seed=1)


def test_the_last_domains_are_held_back(files):
    train, test = split_domains(files, 1)
    assert set(train.domains) == {0} and set(test.domains) == {1} and len(train) == len(test) == 3
