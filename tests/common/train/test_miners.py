"""Distance weighted sampling against its closed form."""

import mxnet as mx
import numpy as np
import pytest
from scipy.stats import chisquare

from common.train.miners import DistanceWeightedMiner

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
    ours = miner.weights(mx.nd, mx.nd.array(e), mx.nd.array(labels, dtype="int32")).asnumpy()
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
    rows = weights.weights(mx.nd, x, y).asnumpy()
    np.testing.assert_allclose(rows, np.where(labels[:, None] != labels, 0.25, 0), atol=1e-6)
    anchors, _, negatives = weights(x, y)
    assert np.all(labels[anchors.asnumpy()] != labels[negatives.asnumpy()])
