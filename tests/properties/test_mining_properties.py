"""The miner: probabilities of rows that sum to one, never a negative of the own class, pairs that exist."""

from __future__ import annotations

import mxnet as mx
import numpy as np
from drawn import vectors
from hypothesis import given
from hypothesis import strategies as st

from common.train.miners import DistanceWeightedMiner


@st.composite
def batches(draw):
    k, classes, dim = draw(st.integers(2, 4)), draw(st.integers(2, 4)), draw(st.integers(1, 5))
    names = draw(st.permutations(range(7)))[:classes]
    return draw(vectors(k * classes, dim)), np.repeat(names, k), k


dims = st.sampled_from([1, 2, 3, 8, 128, 2048, 65536])  # what the miner is told; its powers of distances are huge
cutoffs = st.tuples(st.sampled_from([0.01, 0.5, 1.0]), st.sampled_from([0.3, 1.4, 2.5]))


@given(batches(), dims, cutoffs)
def test_weights_are_probabilities_of_other_classes(drawn, dim, cutoff):
    e, own, k = drawn
    weights = DistanceWeightedMiner(dim, k, *cutoff).weights(mx.nd, *2 * (mx.nd.array(e), mx.nd.array(own))).asnumpy()
    assert np.isfinite(weights).all() and weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert not weights[own[:, None] == own].any()
    length = np.sqrt(np.clip(2 - 2 * e.astype(np.float64) @ e.T, cutoff[0] ** 2, 4))
    for row, far, same in zip(weights, length >= cutoff[1] + 1e-4, own[:, None] == own):
        if not (far | same).all() and not np.any(np.abs(length - cutoff[1]) < 1e-4):
            assert not row[far].any()  # as long as a nearer one is there


@given(batches(), dims, cutoffs, st.integers(0, 2**31 - 1))
def test_pairs_are_of_one_class_and_negatives_of_another(drawn, dim, cutoff, seed):
    e, own, k = drawn
    mx.random.seed(seed)
    found = DistanceWeightedMiner(dim, k, *cutoff)(mx.nd.array(e), mx.nd.array(own, dtype="int32"))
    anchors, positives, negatives = (rows.asnumpy() for rows in found)
    assert len(anchors) == len(positives) == len(negatives) == len(e) * (k - 1)
    assert all(rows.min() >= 0 and rows.max() < len(e) for rows in (anchors, positives, negatives))
    assert np.all(own[anchors] == own[positives]) and np.all(own[anchors] != own[negatives])
    pairs = sorted(zip(anchors.tolist(), positives.tolist()))  # each of its class once, but itself
    assert pairs == [(i, j) for i in range(len(e)) for j in range(len(e)) if i != j and own[i] == own[j]]
