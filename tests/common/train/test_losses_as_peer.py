"""Losses, miners and the memory against pytorch-metric-learning's numbers, and what the peer lacks against NumPy.

`benchmarks/losses_parity.py --record tests/data/losses_torch.npz` recorded them.
"""

import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from common.files.paths import REPO
from common.train import losses, miners
from common.train.memory import CrossBatchMemory

PEER = dict(np.load(REPO / "tests" / "data" / "losses_torch.npz"))
CASES = json.loads(str(PEER["cases"]))
LABELS = PEER["labels"]
SPREADS = ("loose", "tight")
ROOM = 1e-4  # of the largest number


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def on_device(labels):
    return mx.nd.array(labels, dtype="int32")


def taken(loss, rows, labels, pairs=None, *among):
    """Value and gradient by the embeddings, before they were brought to unit length."""
    x = mx.nd.array(rows)
    x.attach_grad()
    with autograd.record():
        value = loss(mx.nd.L2Normalization(x), on_device(labels), pairs, *among)
    value.backward()
    return value.asscalar(), x.grad.asnumpy()


def everything(labels):
    return miners.AllPairsMiner()(on_device(labels), on_device(labels))


def assert_as_peer(name, value, gradient):
    assert value == pytest.approx(PEER[f"{name}: value"], rel=ROOM)
    expected = PEER[f"{name}: gradient"]
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=ROOM * np.abs(expected).max())


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("name", CASES["pairs"])
def test_losses_of_pairs(name, spread):
    kind, options, _, _ = CASES["pairs"][name]
    loss = getattr(losses, kind)(**options)
    loss.initialize()
    rows = PEER[spread][0][: len(PEER[f"{name}, {spread}: gradient"])]
    labels = LABELS[: len(rows)]
    assert_as_peer(f"{name}, {spread}", *taken(loss, rows, labels, everything(labels)))


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("name", CASES["class vectors"])
def test_losses_of_class_vectors(name, spread):
    kind, options, _, _ = CASES["class vectors"][name]
    rows = PEER[spread][0]
    loss = getattr(losses, kind)(7, rows.shape[1], **options)
    loss.initialize()
    loss.weight.set_data(mx.nd.array(PEER[f"weight {loss.each}"]))
    assert_as_peer(f"{name}, {spread}", *taken(loss, rows, LABELS))
    expected = PEER[f"{name}, {spread}: gradient by weight"]
    found = loss.weight.grad().asnumpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROOM * np.abs(expected).max())


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("kind", ["MultiSimilarityMiner", "BatchHardMiner"])
def test_miners(kind, spread):
    found = getattr(miners, kind)()(mx.nd.array(PEER[spread][0]), on_device(LABELS))
    for number, array in enumerate(found):
        np.testing.assert_array_equal(array.asnumpy(), PEER[f"{kind}, {spread}: {number}"])


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize(("name", "miner"), [
    ("contrastive", miners.AllPairsMiner()), ("multi-similarity", miners.MultiSimilarityMiner()),
])  # fmt: skip
def test_cross_batch_memory(name, miner, spread):
    """Of one batch beside the present one: empty at first, full then, and older ones are gone."""
    kind, options, _, _ = CASES["pairs"][name]
    loss, memory = getattr(losses, kind)(**options), CrossBatchMemory(len(LABELS), PEER[spread].shape[-1])
    memory.initialize()
    for block in (loss, miner):
        block.hybridize(static_alloc=True, static_shape=True)
    for number, rows in enumerate(PEER[spread]):
        among = memory(mx.nd.array(rows), on_device(LABELS))
        pairs = miner(mx.nd.array(rows), on_device(LABELS), *among)
        assert_as_peer(f"{name}, {spread}, memory {number}", *taken(loss, rows, LABELS, pairs, *among))


def test_a_memory_keeps_the_newest():
    memory, seen = CrossBatchMemory(5, 2), np.arange(16, dtype=np.float32).reshape(8, 2)
    memory.initialize()
    for start in (0, 2, 4, 6):
        references, labels = memory(mx.nd.array(seen[start : start + 2]), on_device([start, start + 1]))
    np.testing.assert_array_equal(labels.asnumpy(), [6, 7, 4, 5, 2, 3, 0])
    np.testing.assert_array_equal(references.asnumpy(), seen[[6, 7, 4, 5, 2, 3, 0]])
    np.testing.assert_array_equal(memory.labels.data().asnumpy(), [6, 7, 4, 5, 2])


def assert_slope(slow, rows, gradient, step=1e-5):
    """A gradient against finite differences of a slow implementation, of the rows before they were of unit length."""
    rows, expected = rows.astype(np.float64), np.zeros(rows.shape)
    for place in np.ndindex(rows.shape):
        ends = []
        for sign in (1, -1):
            moved = rows.copy()
            moved[place] += sign * step
            ends.append(slow(moved / np.linalg.norm(moved, axis=1, keepdims=True)))
        expected[place] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def squared_contrastive(e, labels):
    near, far = [], []
    for i in range(len(e)):
        for j in range(len(e)):
            d = np.linalg.norm(e[i] - e[j])
            if i != j and labels[i] == labels[j]:
                near.append(d**2)
            elif labels[i] != labels[j] and d < 1:
                far.append((1 - d) ** 2)
    return np.mean(near) + np.mean(far)


def n_pair(e, labels, scale=16.0):
    """Each class's pictures in their order: one is the anchor of the next, others' next are the negatives."""
    terms = []
    for turn in range(3):
        pairs = [np.flatnonzero(labels == c)[turn : turn + 2] for c in np.unique(labels)]
        for a, p in pairs:
            terms.append(np.log(sum(np.exp(scale * (e[a] @ e[other] - e[a] @ e[p])) for _, other in pairs)))
    return np.mean(terms)


def smooth_ap(e, labels):
    """Classes of other sizes than their number, which the peer confuses; an anchor is one of its own positives."""
    s = e @ e.T

    def rank(a, i, among):
        return 1 + sum(1 / (1 + np.exp((s[a, i] - s[a, j]) / 0.01)) for j in among if j != i)

    found = []
    for a in range(len(e)):
        own = np.flatnonzero(labels == labels[a])
        found.append(1 - np.mean([rank(a, i, own) / rank(a, i, range(len(e))) for i in own]))
    return np.mean(found)


@pytest.mark.parametrize(("loss", "slow"), [
    (losses.ContrastiveLoss(power=2), squared_contrastive), (losses.NPairLoss(), n_pair),
    (losses.SmoothAPLoss(), smooth_ap),
])  # fmt: skip
def test_what_the_peer_lacks_equals_numpy(loss, slow):
    rng = np.random.default_rng(5)
    labels = np.repeat([4, 0, 2], 4)
    rows = unit(rng.normal(size=(12, 3)) + 0.3 * labels[:, None])
    value, gradient = taken(loss, rows, labels, everything(labels))
    assert value == pytest.approx(slow(rows.astype(np.float64), labels), rel=ROOM)
    assert_slope(lambda e: slow(e, labels), rows, gradient)


def test_centres_of_a_class_are_drawn_together():
    """SoftTriple's regularisation: section 3.3, term by term."""
    rows, weight = PEER["loose"][0], PEER["weight 2"][:6]
    with_tau, without = (losses.SoftTripleLoss(2, rows.shape[1], centres=3, tau=tau) for tau in (0.2, 0.0))
    values = []
    for loss in (with_tau, without):
        loss.initialize()
        loss.weight.set_data(mx.nd.array(weight))
        values.append(taken(loss, rows, LABELS % 2)[0])
    w = unit(weight).astype(np.float64).reshape(2, 3, -1)
    apart = sum(np.linalg.norm(w[c, k] - w[c, j]) for c in range(2) for k in range(3) for j in range(k))
    assert values[0] - values[1] == pytest.approx(0.2 * apart / (2 * 3 * 2), rel=1e-3)


def test_the_margin_loss_of_masks_is_that_of_all_their_triplets():
    rng = np.random.default_rng(2)
    rows, labels = unit(rng.normal(size=(6, 3))), np.array([0, 0, 0, 1, 1, 2])
    triplets = [(a, p, n) for a in range(6) for p in range(6) for n in range(6)
                if a != p and labels[a] == labels[p] != labels[n]]  # fmt: skip
    found = []
    for pairs in (everything(labels), tuple(map(on_device, zip(*triplets)))):
        loss = losses.MarginLoss(3, nu=0.3)
        loss.initialize()
        found.append((*taken(loss, rows, labels, pairs), loss.beta.grad().asnumpy()))
    for of_masks, of_triplets in zip(*found):
        np.testing.assert_allclose(of_masks, of_triplets, rtol=1e-4, atol=1e-6)


def test_the_triplet_loss_of_masks_is_that_of_all_their_triplets():
    rows, labels = PEER["loose"][0][:8], np.array([0, 0, 0, 1, 1, 2, 2, 2])
    triplets = [(a, p, n) for a in range(8) for p in range(8) for n in range(8)
                if a != p and labels[a] == labels[p] != labels[n]]  # fmt: skip
    loss = losses.TripletLoss()
    value, gradient = taken(loss, rows, labels, everything(labels))
    triplets += [(0, 0, 5), (0, 1, 2), (0, 4, 5)]  # which are none
    again, other = taken(loss, rows, labels, tuple(map(on_device, zip(*triplets))))
    assert value == pytest.approx(again, rel=1e-5)
    np.testing.assert_allclose(gradient, other, rtol=1e-4, atol=1e-6)


def test_a_pair_of_triplets_counts_once_as_a_mask():
    """(0, 1) was drawn twice, (2, 3) is no positive pair, and the memory's empty place nobody's negative."""
    from common.train.pairs import masks

    labels, reference_labels = on_device([0, 0, 1, 2]), on_device([0, 0, 1, 2, -1])
    triplets = tuple(map(on_device, ([0, 0, 1, 2], [1, 1, 0, 3], [2, 4, 3, 0])))
    positive, negative = (m.asnumpy() for m in masks(mx.nd, triplets, labels, reference_labels))
    assert np.argwhere(positive).tolist() == [[0, 1], [1, 0]]
    assert np.argwhere(negative).tolist() == [[0, 2], [1, 3], [2, 0]]
