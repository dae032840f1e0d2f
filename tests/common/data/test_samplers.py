"""Batches: balanced, exact under a seed, shared out."""

import numpy as np
import pytest

from common.data.samplers import ClassBalanced, Sequential, Shuffled, balanced_shape
from common.files.errors import UserError

LABELS = np.repeat(np.arange(11), 6)[np.random.default_rng(0).permutation(66)]


def test_sequential_gives_all_in_order():
    assert np.concatenate(Sequential(10, 4).epoch()).tolist() == list(range(10))
    assert [len(b) for b in Sequential(10, 4).epoch()] == [4, 4, 2]


def test_shuffled_is_a_permutation_that_changes_with_the_epoch():
    sampler = Shuffled(12, 4, seed=3)
    first, second = (np.concatenate(sampler.epoch(e)) for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(12))
    assert first.tolist() != second.tolist()
    assert first.tolist() == np.concatenate(Shuffled(12, 4, seed=3).epoch(0)).tolist()


def test_shuffled_workers_share_an_epoch_without_overlap():
    shares = [np.concatenate(Shuffled(24, 4, 1, rank, 3).epoch(5)) for rank in range(3)]
    assert sorted(np.concatenate(shares)) == list(range(24))


def test_class_balanced_parts_hold_k_of_each_class_side_by_side():
    sampler = ClassBalanced(LABELS, 12, 3, batches=9, seed=1, devices=2)
    for batch in sampler.epoch(2):
        for part in np.split(batch, 2):
            groups = LABELS[part].reshape(4, 3)
            assert np.all(groups == groups[:, :1])
            assert len(np.unique(groups[:, 0])) == 4
            assert len(np.unique(part)) == 12  # every class has enough pictures


def test_class_balanced_sees_every_class_equally_often():
    sampler = ClassBalanced(LABELS, 12, 3, batches=22, seed=7)
    seen = np.concatenate([LABELS[b][::3] for e in range(5) for b in sampler.epoch(e)])
    counts = np.bincount(seen)
    assert counts.max() - counts.min() <= 1


def test_class_balanced_repeats_exactly_in_any_order_of_epochs():
    forward, backward = ClassBalanced(LABELS, 12, 3, 5, seed=2), ClassBalanced(LABELS, 12, 3, 5, seed=2)
    late = backward.epoch(3)
    assert np.array_equal(forward.epoch(0), backward.epoch(0))
    assert np.array_equal(forward.epoch(3), late)
    assert not np.array_equal(forward.epoch(3), ClassBalanced(LABELS, 12, 3, 5, seed=9).epoch(3))


def test_workers_take_turns_in_one_sequence():
    whole = ClassBalanced(LABELS, 12, 3, batches=6, seed=1).epoch(0)
    parts = [ClassBalanced(LABELS, 12, 3, batches=3, seed=1, rank=r, num_workers=2).epoch(0) for r in range(2)]
    turns = [parts[i % 2][i // 2] for i in range(6)]
    assert [LABELS[b][::3].tolist() for b in turns] == [LABELS[b][::3].tolist() for b in whole]


def test_small_classes_repeat_pictures():
    labels = np.repeat(np.arange(4), 2)
    batch = ClassBalanced(labels, 10, 5, 1, seed=0).epoch(0)[0]
    assert len(batch) == 10 and all(len(np.unique(g)) == 2 for g in batch.reshape(2, 5))


@pytest.mark.parametrize(
    ("size", "k", "text"), [(10, 3, "multiple"), (60, 5, "at least 12 classes"), (4, 4, "2 classes")]
)
def test_impossible_batches_are_refused(size, k, text):
    with pytest.raises(UserError, match=text):
        ClassBalanced(LABELS, size, k, 1, seed=0)


@pytest.mark.parametrize(("counts", "given", "shape"), [
    ([60] * 100, (None, None), (70, 5)),  # as published
    ([5] * 14, (None, None), (70, 5)),
    ([4] * 100, (None, None), (68, 4)),  # no picture twice in a batch
    ([40] * 10, (None, None), (70, 7)),
    ([40] * 2, (None, None), (70, 35)),
    ([40, 3], (None, None), (70, 35)),
    ([1, 1], (None, None), (4, 2)),
    ([2] * 10, (None, None), (20, 2)),
    ([60] * 100, (None, 4), (68, 4)),
    ([60] * 3, (None, 4), (12, 4)),
    ([60] * 100, (40, None), (40, 5)),
    ([60] * 5, (72, None), (72, 18)),
    ([60] * 100, (64, None), (64, 4)),
    ([60] * 2, (70, 5), (70, 5)),  # what is given is not changed, though it cannot be
])  # fmt: skip
def test_a_batch_follows_the_classes(counts, given, shape):
    labels = np.repeat(np.arange(len(counts)), counts)
    assert balanced_shape(labels, *given) == shape
    if None in given:
        (batch,) = ClassBalanced(labels, *shape, batches=1, seed=0).epoch(0)
        assert len(batch) == shape[0] and len(np.unique(labels[batch])) == shape[0] // shape[1]
