"""Which samples are trained on: every split is drawn with its seed and loses nothing."""

import numpy as np
import pytest

from common.data import splits
from common.data.imageset import ImageSet, Whole
from common.files.errors import UserError

LABELS = np.repeat(np.arange(6), [2, 5, 6, 7, 8, 1])


def pictures(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    return ImageSet(np.zeros((len(labels), 1, 1, 3), np.uint8), labels, [f"c{i}" for i in range(len(counts))])


@pytest.mark.parametrize(("fraction", "held"), [(0.1, 2), (0.5, 5), (0.7, 7)])
def test_held_out_classes_have_two_pictures_and_are_in_one_split(fraction, held):
    train, validation = splits.hold_out_classes(pictures([3] * 10 + [1] * 2), fraction, (5, 1))
    assert len(validation.class_names) == held and not {"c10", "c11"} & set(validation.class_names)
    assert sorted(train.class_names + validation.class_names) == sorted(f"c{i}" for i in range(12))
    again = splits.hold_out_classes(pictures([3] * 10 + [1] * 2), fraction, (5, 1))[1]
    assert again.class_names == validation.class_names


@pytest.mark.parametrize(("hold_out", "counts", "fraction"), [
    (splits.hold_out_classes, [3, 3, 3], 0.5),
    (splits.hold_out_classes, [1, 1, 1], 0.5),
    (splits.hold_out_pictures, [1, 1], 0.5),
    (splits.hold_out_pictures, [3, 3], 1),
])  # fmt: skip
def test_what_would_leave_nothing_to_train_on_is_refused(hold_out, counts, fraction):
    with pytest.raises(UserError, match="--validation-share .*: 0 holds out none"):
        hold_out(pictures(counts), fraction, 1)


def test_held_out_pictures_are_of_every_class():
    train, validation = splits.hold_out_pictures(pictures([4, 10, 1]), 0.25, 1)
    assert np.bincount(validation.labels).tolist() == [1, 2] and np.bincount(train.labels).tolist() == [3, 8, 1]


def test_classes_of_few_pictures_are_left_out_and_counted():
    said, whole = [], Whole(pictures([3, 1, 5, 2, 1, 1, 1]), {f"c{i}": "g" for i in range(7)})
    kept = splits.at_least(whole, 3, said.append)
    assert kept.images.class_names == ["c0", "c2"] and kept.images.labels.tolist() == [0] * 3 + [1] * 5
    assert kept.superclasses == {"c0": "g", "c2": "g"}
    assert said == [
        "5 classes of fewer than 3 pictures are left out (--min-per-class), 6 pictures: c1, c3, c4, ..."
    ]  # fmt: skip
    assert splits.at_least(kept, 3, said.append).images.class_names == ["c0", "c2"]
    assert said[1] == "0 classes of fewer than 3 pictures are left out (--min-per-class)"
    with pytest.raises(UserError, match="--min-per-class 4 leaves 1 of 7 classes, two are needed"):
        splits.at_least(whole, 4, said.append)


def test_classes_are_drawn_in_their_order():
    names = list("abcdefgh")
    drawn = splits.draw_classes(names, 3, seed=4)
    assert len(drawn) == 3 and drawn == sorted(drawn) == splits.draw_classes(names, 3, seed=4)
    assert any(splits.draw_classes(names, 3, seed=seed) != drawn for seed in range(9))


def test_a_stratified_split_has_all_samples_once():
    labels = np.tile(np.arange(3), 20)
    train, test = splits.split_stratified(labels, 0.25, seed=1)
    assert sorted([*train, *test]) == list(range(60)) and np.bincount(labels[test]).tolist() == [5, 5, 5]
    with pytest.raises(UserError, match="--test-share 1"):
        splits.split_stratified(LABELS, 1, seed=1)


@pytest.mark.parametrize("fraction", [0.1, 0.25])
def test_a_stratified_split_of_few_samples_leaves_the_only_one_of_a_class_to_learn_from(fraction):
    train, test = splits.split_stratified(LABELS, fraction, seed=1)
    assert sorted([*train, *test]) == list(range(len(LABELS)))
    assert 5 not in LABELS[test] and len(test) == max(5, int(np.ceil(fraction * 28)))


def test_every_sample_is_tested_in_one_fold():
    labels = np.tile(np.arange(3), 20)
    folds = splits.folds(labels, 4, seed=1)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(60))
    for train, test in folds:
        assert not set(train) & set(test) and np.bincount(labels[test]).tolist() == [5, 5, 5]


def test_halves_share_each_class():
    one, other = splits.split_halves(LABELS, seed=2)
    assert sorted([*one, *other]) == list(range(28)) and list(one) == sorted(one)  # the class of one is in neither
    assert np.bincount(LABELS[one]).tolist() == [1, 3, 3, 4, 4]
    assert np.bincount(LABELS[other]).tolist() == [1, 2, 3, 3, 4]
