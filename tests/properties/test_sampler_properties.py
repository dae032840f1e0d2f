"""Samplers: every index valid, every sample covered, resumable anywhere, shares of workers disjoint."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.data.samplers import ClassBalanced, LengthBuckets, Sequential, Shuffled, balanced_shape
from common.files.errors import UserError

seeds = st.integers(0, 2**31 - 1)
epochs = st.integers(0, 6)
sizes = st.lists(st.integers(1, 9), min_size=1, max_size=8)  # of classes


def equal(first, second) -> bool:
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second))


@given(st.integers(0, 60), st.integers(1, 70))
def test_sequential_gives_all_in_order(n, batch_size):
    batches = Sequential(n, batch_size).epoch()
    assert [i for batch in batches for i in batch] == list(range(n))
    assert len(batches) == len(Sequential(n, batch_size))
    assert all(len(batch) == batch_size for batch in batches[:-1])


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 4), seeds, epochs)
def test_shuffled_shares_are_disjoint_and_leave_less_than_a_batch_of_all_workers(n, size, workers, seed, epoch):
    if n < size * workers:
        with pytest.raises(UserError, match="do not fill one batch"):
            Shuffled(n, size, seed, 0, workers)
        return
    shares = [Shuffled(n, size, seed, rank, workers) for rank in range(workers)]
    seen = []
    for share in shares:
        batches = share.epoch(epoch)
        assert len(batches) == len(share) == len(shares[0])
        assert all(len(batch) == size for batch in batches)
        assert equal(batches, Shuffled(n, size, seed, share.rank, workers).epoch(epoch))
        seen += np.concatenate(batches).tolist()
    assert len(seen) == len(set(seen)) and set(seen) <= set(range(n))
    assert n - len(seen) < size * workers


@given(st.integers(2, 12), st.integers(1, 4), seeds)
def test_shuffled_covers_every_sample_in_some_epoch(n, size, seed):
    assume(size <= n)
    sampler = Shuffled(n, size, seed)
    seen = {int(i) for epoch in range(200) for batch in sampler.epoch(epoch) for i in batch}
    assert seen == set(range(n))


@st.composite
def balanced(draw):
    """Labels in any order, of classes of any size and number, and a shape of batch that they allow."""
    counts = draw(st.lists(st.integers(1, 6), min_size=2, max_size=7))
    numbers = np.cumsum(draw(st.lists(st.integers(1, 5), min_size=len(counts), max_size=len(counts))))
    labels = draw(st.permutations(np.repeat(numbers, counts).tolist()))
    k, classes = draw(st.integers(2, 5)), draw(st.integers(2, len(counts)))
    return np.array(labels), k * classes, k


@given(balanced(), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), seeds, epochs)
def test_balanced_parts_hold_k_of_each_class(drawn, batches, devices, workers, seed, epoch):
    labels, size, k = drawn
    counts = dict(zip(*np.unique(labels, return_counts=True)))
    for rank in range(workers):
        found = ClassBalanced(labels, size, k, batches, seed, devices, rank, workers).epoch(epoch)
        assert len(found) == batches and all(len(batch) == devices * size for batch in found)
        for part in np.concatenate(found).reshape(-1, size):  # an index that is not valid fails below
            assert part.min() >= 0
            groups = labels[part].reshape(-1, k)
            assert np.all(groups == groups[:, :1])
            assert len(np.unique(groups[:, 0])) == size // k
            for group in part.reshape(-1, k):  # no picture comes again before all of its class have come
                times = np.unique(group, return_counts=True)[1]
                assert len(times) == min(k, counts[labels[group[0]]]) and times.max() == -(-k // len(times))


@given(balanced(), st.integers(1, 5), seeds, st.integers(1, 4))
def test_balanced_epochs_are_the_same_whichever_is_asked_for_first(drawn, batches, seed, epoch):
    labels, size, k = drawn
    through = ClassBalanced(labels, size, k, batches, seed)
    in_turn = [through.epoch(e) for e in range(epoch + 1)]
    assert equal(in_turn[-1], ClassBalanced(labels, size, k, batches, seed).epoch(epoch))
    assert equal(in_turn[0], through.epoch(0))


@given(balanced(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), seeds)
def test_balanced_workers_deal_out_one_sequence_that_names_all_classes_equally_often(
    drawn, batches, devices, workers, seed
):
    labels, size, k = drawn

    def classes(n, rank, of):
        found = ClassBalanced(labels, size, k, n, seed, devices, rank, of).epoch(0)
        return [labels[batch][::k].tolist() for batch in found]

    shares = [classes(batches, rank, workers) for rank in range(workers)]
    turns = [shares[turn % workers][turn // workers] for turn in range(batches * workers)]
    assert turns == classes(batches * workers, 0, 1)
    values = np.unique(labels)
    counts = np.zeros(len(values), int)
    for turn in turns:
        counts += np.bincount(np.searchsorted(values, turn), minlength=len(values))
    assert counts.max() - counts.min() <= 1


@given(sizes, st.none() | st.integers(1, 100), st.none() | st.integers(1, 20), seeds)
def test_the_shape_that_is_offered_can_be_drawn(counts, batch_size, batch_k, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    size, k = balanced_shape(labels, batch_size, batch_k)
    assert batch_size in (None, size) and batch_k in (None, k)
    if batch_size is batch_k is None and len(counts) > 1:
        (batch,) = ClassBalanced(labels, size, k, 1, seed).epoch(0)
        assert len(batch) == size


@st.composite
def sentences(draw):
    n = draw(st.integers(0, 30))
    lengths = draw(st.lists(st.integers(1, 12), min_size=n, max_size=n))
    groups = draw(st.none() | st.lists(st.integers(0, 6), min_size=n, max_size=n))
    return np.array(lengths, int), groups


@given(sentences(), st.integers(1, 7), st.integers(1, 4), seeds, epochs)
def test_buckets_take_each_sentence_once_and_each_group_once_a_batch(drawn, size, least, seed, epoch):
    lengths, groups = drawn
    buckets = LengthBuckets(lengths, size, groups, seed, least)
    batches = buckets.epoch(epoch)
    seen = [i for batch in batches for i in batch.tolist()]
    assert len(seen) == len(set(seen)) and set(seen) <= set(range(len(lengths)))
    assert all(min(least, size) <= len(batch) <= size for batch in batches)
    if groups is not None:
        assert all(len({groups[i] for i in batch}) == len(batch) for batch in batches)
    if min(least, size) == 1:
        assert len(seen) == len(lengths)
    elif groups is None:
        assert len(lengths) - len(seen) < min(least, size)
    assert equal(batches, LengthBuckets(lengths, size, groups, seed, least).epoch(epoch))


@given(sentences(), st.integers(2, 7), seeds)
def test_buckets_without_spread_differ_in_length_no_more_than_the_order_does(drawn, size, seed):
    lengths, _ = drawn
    batches = LengthBuckets(lengths, size, None, seed, min_size=1, spread=0.0).epoch(0)
    spans = sorted((lengths[batch].min(), lengths[batch].max()) for batch in batches)
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:]))


@given(sentences(), st.integers(1, 5), seeds)
def test_buckets_have_the_length_that_they_say(drawn, size, seed):
    lengths, _ = drawn
    buckets = LengthBuckets(lengths, size, None, seed)
    assert {len(buckets.epoch(epoch)) for epoch in range(4)} == {len(buckets)}
