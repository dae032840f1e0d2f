"""Batches: balanced, exact under a seed, shared out."""

import collections

import numpy as np
import pytest

from common.data import samplers
from common.data.samplers import ClassBalanced, Sequential, Shuffled, balanced, balanced_shape, fitting
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


SKEWED = np.repeat([3, 0, 7, 5], [1, 40, 6, 13])


@pytest.mark.parametrize("seed", range(5))
def test_balanced_draws_are_those_of_a_loop(seed):
    """Each class in turn, each of its samples in turn, till there are as many as samples."""
    drawn = balanced(SKEWED, np.random.default_rng(seed))
    classes, quotas = [0, 3, 5, 7], collections.Counter()
    while sum(quotas.values()) < len(SKEWED):
        quotas[classes[sum(quotas.values()) % len(classes)]] += 1
    assert quotas == {0: 15, 3: 15, 5: 15, 7: 15}
    assert collections.Counter(SKEWED[drawn].tolist()) == dict(quotas)
    times = collections.Counter(drawn.tolist())
    for label, quota in quotas.items():
        members = np.flatnonzero(label == SKEWED)
        fewest = quota // len(members)
        wanted = [fewest + (n < quota % len(members)) for n in range(len(members))]
        assert sorted(times[i] for i in members) == sorted(wanted)
    assert drawn.tolist() != balanced(SKEWED, np.random.default_rng(seed + 1)).tolist()
    rest = SKEWED[1:]  # 59 of three classes
    assert sorted(np.bincount(rest[balanced(rest, np.random.default_rng(seed))])) == [0, 0, 0, 0, 0, 19, 20, 20]


def test_shuffled_by_class_sees_all_of_a_large_class_in_time():
    sampler = Shuffled(60, 12, seed=3, labels=SKEWED)
    epochs = [np.concatenate(sampler.epoch(e)) for e in range(12)]
    for drawn in epochs:
        assert np.bincount(SKEWED[drawn], minlength=8).tolist() == [15, 0, 0, 15, 0, 15, 0, 15]
    assert set(np.concatenate(epochs)) == set(range(60))
    assert np.array_equal(epochs[4], np.concatenate(Shuffled(60, 12, seed=3, labels=SKEWED).epoch(4)))
    shares = [np.concatenate(Shuffled(60, 12, 3, rank, 2, SKEWED).epoch(4)) for rank in range(2)]
    assert sorted(np.concatenate(shares)) == sorted(epochs[4][:48])


@pytest.mark.parametrize(("wanted", "samples", "devices", "workers", "batch"), [
    (None, 10**6, 1, 1, 64), (None, 64, 1, 1, 64), (None, 5, 1, 1, 5), (None, 65, 3, 1, 63), (None, 9, 2, 2, 4),
    (32, 1000, 1, 1, 32), (32, 20, 1, 1, 20),
])  # fmt: skip
def test_a_batch_is_as_large_as_there_are_samples_for(wanted, samples, devices, workers, batch):
    assert fitting(wanted, samples, devices, workers) == batch
    assert len(Shuffled(samples, batch, 0, 0, workers).epoch(0)[0]) == batch


def test_files_of_records_are_read_one_after_the_other_by_one_worker_each():
    places = np.stack([np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6)], axis=1)
    places = places[np.random.default_rng(0).permutation(24)]
    shares = [np.concatenate(Shuffled(24, 4, 1, rank, 3, places=places).epoch(5)) for rank in range(3)]
    assert sorted(np.concatenate(shares)) == list(range(24))
    of_worker = [set(places[share, 0]) for share in shares]
    assert [len(files) for files in of_worker] == [2, 2, 2] and len(set.union(*of_worker)) == 6
    other = np.concatenate(Shuffled(24, 4, 1, 0, 3, places=places).epoch(6))
    assert set(places[other, 0]) != of_worker[0] or other.tolist() != shares[0].tolist()


def test_the_next_of_files_of_records_is_among_the_buffer(monkeypatch):
    monkeypatch.setattr(samplers, "BUFFER", 50)
    places = np.stack([np.repeat(np.arange(10), 100), np.tile(np.arange(100), 10)], axis=1)
    order = np.concatenate(Shuffled(1000, 10, 1, places=places).epoch(0))
    in_files = samplers.by_shard(places, np.random.default_rng([1, 0]))
    where = np.empty(1000, int)
    where[in_files] = np.arange(1000)
    moved = where[order] - np.arange(1000)
    assert sorted(order) == list(range(1000)) and 25 < np.abs(moved).max() < 50
