"""Distance weighted sampling against its closed form; what the other miners choose, row by row."""

import mxnet as mx
import numpy as np
import pytest
from scipy.stats import chisquare

from common.train.miners import AllPairsMiner, DistanceWeightedMiner, SemihardMiner, UniformMiner

DIM = 8


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def closed_form(e, labels, cutoff=0.5, far=1.4):
    """Row by row: 1 / q(max(D, cutoff)) over the negatives nearer than `far`, uniform where there is none."""
    n, d = e.shape
    weights = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            distance = max(np.sqrt(max(((e[i] - e[j]) ** 2).sum(), 0)), cutoff)
            if labels[i] != labels[j] and distance < far:
                weights[i, j] = distance ** (2 - d) * (1 - distance**2 / 4) ** ((3 - d) / 2)
        if not weights[i].any():
            weights[i] = labels != labels[i]
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    e = unit(rng.normal(size=(12, DIM)) + 1.2)
    return e, np.repeat([5, 1, 7, 3], 3)


def test_weights_equal_the_closed_form(batch):
    e, labels = batch
    miner = DistanceWeightedMiner(DIM, 3)
    ours = miner.weights(mx.nd, *2 * (mx.nd.array(e), mx.nd.array(labels, dtype="int32"))).asnumpy()
    np.testing.assert_allclose(ours, closed_form(e.astype(np.float64), labels), atol=2e-5)


def test_draws_follow_the_weights():
    rng = np.random.default_rng(0)
    size, rounds = 40, 625  # 40 anchors, 4 negatives each, 625 times: 100,000 draws
    e, labels = unit(rng.normal(size=(size, DIM)) + 1.2), np.repeat(np.arange(8), 5)
    miner = DistanceWeightedMiner(DIM, 5)
    miner.hybridize(static_alloc=True, static_shape=True)
    mx.random.seed(4)
    x, y = mx.nd.array(e), mx.nd.array(labels, dtype="int32")
    counts = np.zeros((size, size))
    for _ in range(rounds):
        anchors, _, negatives = miner(x, y)
        np.add.at(counts, (anchors.asnumpy(), negatives.asnumpy()), 1)
    expected = closed_form(e.astype(np.float64), labels) * rounds * 4
    assert counts.sum() == pytest.approx(expected.sum())
    assert np.all(counts[expected == 0] == 0)
    for row in range(size):
        seen = expected[row] > 0
        assert chisquare(counts[row, seen], expected[row, seen]).pvalue > 1e-5


def test_pairs_name_every_positive_once_and_never_the_anchor(batch):
    e, labels = batch
    anchors, positives, negatives = (v.asnumpy() for v in DistanceWeightedMiner(DIM, 3)(
        mx.nd.array(e), mx.nd.array(labels, dtype="int32")
    ))  # fmt: skip
    expected = [(i, j) for i in range(12) for j in range(12) if i != j and labels[i] == labels[j]]
    assert sorted(zip(anchors, positives)) == expected
    assert np.all(labels[anchors] != labels[negatives])


@pytest.mark.parametrize("case", ["equal", "antipodal", "all far"])
def test_degenerate_embeddings_still_give_negatives(case):
    labels = np.repeat([0, 1], 4)
    if case == "equal":  # d(i, j) = 0 for all
        e = unit(np.ones((8, DIM)))
    elif case == "antipodal":
        e = unit(np.concatenate([np.ones((4, DIM)), -np.ones((4, DIM))]))
    else:
        e = np.repeat(np.eye(2, DIM, dtype=np.float32), 4, axis=0)  # sqrt(2) apart, past the cutoff
    weights = DistanceWeightedMiner(DIM, 4)
    x, y = mx.nd.array(e), mx.nd.array(labels, dtype="int32")
    rows = weights.weights(mx.nd, x, y, x, y).asnumpy()
    np.testing.assert_allclose(rows, np.where(labels[:, None] != labels, 0.25, 0), atol=1e-6)
    anchors, _, negatives = weights(x, y)
    assert np.all(labels[anchors.asnumpy()] != labels[negatives.asnumpy()])


def on_device(e, labels):
    return mx.nd.array(e), mx.nd.array(labels, dtype="int32")


def test_semihard_is_the_nearest_negative_beyond_the_positive(batch):
    e, labels = batch
    miner = SemihardMiner(3)
    miner.hybridize()
    found = list(zip(*(v.asnumpy() for v in miner(*on_device(e, labels)))))
    assert len(set(found)) == 12 * 2
    distance, kinds = np.linalg.norm(e[:, None] - e[None], axis=2), set()
    for a, p, n in found:
        assert a != p and labels[a] == labels[p]
        negatives = [j for j in range(12) if labels[j] != labels[a]]
        farther = [j for j in negatives if distance[a, j] > distance[a, p]]
        nearest_first = sorted(farther or negatives, key=lambda j: distance[a, j])
        assert n == nearest_first[0 if farther else -1]
        kinds.add(bool(farther))
    assert kinds == {True, False}


def test_uniform_draws_all_negatives_alike():
    labels = np.repeat([3, 0, 1], 3)
    e = unit(np.random.default_rng(0).normal(size=(9, DIM)))
    miner, counts = UniformMiner(3), np.zeros((9, 9))
    miner.hybridize()
    mx.random.seed(2)
    for _ in range(150):
        a, p, n = (v.asnumpy() for v in miner(*on_device(e, labels)))
        assert np.all(labels[a] == labels[p]) and np.all(a != p)
        np.add.at(counts, (a, n), 1)
    other = labels[:, None] != labels
    assert np.all(counts[~other] == 0)
    for row in range(9):
        assert chisquare(counts[row, other[row]]).pvalue > 1e-5


def test_all_pairs_leave_out_the_picture_itself(batch):
    e, labels = batch
    positive, negative = (v.asnumpy() for v in AllPairsMiner()(*on_device(e, labels)))
    same = labels[:, None] == labels
    np.testing.assert_array_equal(positive, same & ~np.eye(12, dtype=bool))
    np.testing.assert_array_equal(negative, ~same)


@pytest.mark.parametrize("kind", [SemihardMiner, UniformMiner, DistanceWeightedMiner])
def test_negatives_come_out_of_a_memory_too(kind, batch):
    """The second half was seen before; places that are still empty, labelled -1, are never drawn."""
    e, labels = batch
    miner = kind(DIM, 3) if kind is DistanceWeightedMiner else kind(3)
    old = unit(np.random.default_rng(1).normal(size=(40, DIM)) + 1.2)
    old_labels = np.where(np.arange(40) < 20, 9, -1)
    old[20:] = 0
    mx.random.seed(0)
    references = mx.nd.array(np.concatenate([e, old])), mx.nd.array(np.concatenate([labels, old_labels]))
    a, p, n = (v.asnumpy() for v in miner(*on_device(e, labels), *references))
    assert np.all(p < 12) and np.all(labels[a] == labels[p])
    drawn = np.concatenate([labels, old_labels])[n]
    assert np.all(drawn != labels[a]) and np.all(drawn >= 0) and np.any(n >= 12)
