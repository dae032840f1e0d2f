"""Batches of classes that belong together: of one group, or near each other."""

import numpy as np
import pytest

from common.data.samplers import ClassBalanced, GroupedClasses, NearClasses

CLASSES = 23
LABELS = np.repeat(np.arange(CLASSES), 6)[np.random.default_rng(0).permutation(6 * CLASSES)]
GROUPS = [f"g{label % 3}" for label in range(CLASSES)]  # of eight, eight and seven classes
LINE = np.random.default_rng(1).permutation(CLASSES)[:, None] * 1.0  # classes on a line


def grouped(batches=50, seed=4, **more):
    return GroupedClasses(GROUPS, LABELS, 12, 3, batches, seed, **more)


def near(batches=50, seed=4, **more):
    sampler = NearClasses(LABELS, 12, 3, batches, seed, **more)
    sampler.means = LINE
    return sampler


def classes(sampler, epoch=0):
    """The classes of each batch, in their order."""
    return np.array([LABELS[batch][::3] for batch in sampler.epoch(epoch)])


@pytest.mark.parametrize("kind", [grouped, near])
def test_batches_are_balanced_and_repeat_exactly(kind):
    sampler = kind()
    for batch in sampler.epoch(2):
        labels = LABELS[batch].reshape(4, 3)
        assert np.all(labels == labels[:, :1]) and len(np.unique(labels)) == 4 and len(np.unique(batch)) == 12
    counts = np.bincount(np.concatenate([classes(sampler, epoch).ravel() for epoch in range(3)]))
    assert counts.max() - counts.min() <= 1
    late, again = kind(), kind()
    assert np.array_equal(late.epoch(2), sampler.epoch(2)) and np.array_equal(again.epoch(0), late.epoch(0))
    assert not np.array_equal(kind(seed=5).epoch(0), again.epoch(0))
    whole, parts = kind(6), [kind(3, rank=rank, num_workers=2) for rank in range(2)]
    turns = [classes(parts[i % 2])[i // 2] for i in range(6)]
    assert np.array_equal(turns, classes(whole))


def test_a_batch_has_the_classes_of_few_groups():
    numbers = np.array([label % 3 for label in range(CLASSES)])
    found = [len(set(numbers[batch])) for batch in classes(grouped(200))]
    assert np.mean(np.array(found) == 1) > 0.5 and max(found) <= 3
    others = [len(set(numbers[batch])) for batch in classes(ClassBalanced(LABELS, 12, 3, 200, 4))]
    assert np.mean(np.array(others) == 1) < 0.1


def test_a_round_takes_one_group_after_another():
    names = classes(grouped(23)).ravel() % 3
    first = names[:CLASSES]
    assert np.count_nonzero(np.diff(first)) == 2 and sorted(np.bincount(first)) == [7, 8, 8]


def test_a_batch_has_the_nearest_of_those_that_the_round_has_left():
    """Slow and obvious: each slice of the first round, whose first class is by chance."""
    left = set(range(CLASSES))
    for batch in classes(near(5)):
        first = batch[0]
        expected = sorted(left, key=lambda label: abs(LINE[label, 0] - LINE[first, 0]))[:4]
        assert first in left and sorted(abs(LINE[batch, 0] - LINE[first, 0])) == [
            abs(LINE[label, 0] - LINE[first, 0]) for label in expected
        ]
        left -= set(batch)
    spread = [np.ptp(LINE[batch]) for batch in classes(near(200))]
    others = [np.ptp(LINE[batch]) for batch in classes(ClassBalanced(LABELS, 12, 3, 200, 4))]
    assert np.median(spread) < 0.5 * np.median(others)
