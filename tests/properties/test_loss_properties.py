"""Losses: finite wherever unit vectors may lie, the same in any order, and as the formula says."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest
from drawn import labels, vectors
from hypothesis import given
from hypothesis import strategies as st
from mxnet import autograd

from common.train.losses import MarginLoss
from examples.im2vec import objectives
from examples.visual_semantic import losses
from examples.vse.losses import RankingLoss

ROOM = {"rtol": 1e-4, "atol": 1e-4}
CLASSES, DIM = 4, 3


def on_device(x):
    if isinstance(x, tuple):
        return tuple(map(on_device, x))
    return mx.nd.array(x, dtype="int32" if x.dtype.kind == "i" else "float32")


def taken(loss, *inputs):
    """The value of a loss and its gradient by each float input."""
    arrays = [on_device(x) for x in inputs]
    learned = [a for a in arrays if not isinstance(a, tuple) and a.dtype == np.float32]
    for array in learned:
        array.attach_grad()
    with autograd.record():
        value = loss(*arrays)
    value.backward()
    gradients = [a.grad.asnumpy() for a in learned]
    assert all(np.isfinite(g).all() for g in (value.asnumpy(), *gradients))
    return value.asnumpy(), gradients


def begun(block, **parameters):
    block.initialize()
    for name, value in parameters.items():
        getattr(block, name).set_data(mx.nd.array(value))
    return block


def parameter_gradients(block):
    return [p.grad().asnumpy() for p in block.collect_params().values() if p.grad_req != "null"]


@st.composite
def triplets(draw):
    n, t = draw(st.integers(2, 7)), draw(st.integers(1, 8))
    index = st.lists(st.integers(0, n - 1), min_size=t, max_size=t).map(np.array)
    beta = draw(st.lists(st.floats(-1, 3, width=32), min_size=CLASSES, max_size=CLASSES).map(np.array))
    return draw(vectors(n, DIM)), draw(labels(n, CLASSES)), draw(index), draw(index), draw(index), beta


@given(triplets(), st.sampled_from([0.0, 0.2, 1.0]), st.sampled_from([0.0, 0.5]), st.randoms(use_true_random=False))
def test_margin_loss(drawn, margin, nu, random):
    e, own, a, p, n, beta = drawn
    loss = begun(MarginLoss(CLASSES, margin, nu=nu), beta=beta)
    value, _ = taken(loss, e, own, (a, p, n))
    assert all(np.isfinite(g).all() for g in parameter_gradients(loss))

    def length(i, j):
        return np.sqrt(sum((x - y) ** 2 for x, y in zip(e[i].astype(float), e[j].astype(float))) + 1e-8)

    terms = [margin + length(i, j) - beta[own[i]] for i, j in zip(a, p)]
    terms += [margin + beta[own[i]] - length(i, j) for i, j in zip(a, n)]
    active = [term for term in terms if term > 0]
    if not any(abs(term) < 1e-5 for term in terms):  # the count of what is not zero hangs on the last digit there
        whole = sum(active) + nu * sum(beta[own[i]] for i in a) * bool(active)
        np.testing.assert_allclose(value, [whole / max(len(active), 1)], **ROOM)

    rows, turns = list(range(len(e))), list(range(len(a)))
    random.shuffle(rows)
    random.shuffle(turns)
    to = np.argsort(rows)
    moved, _ = taken(loss, e[rows], own[rows], (to[a][turns], to[p][turns], to[n][turns]))
    if not any(abs(term) < 1e-5 for term in terms):
        np.testing.assert_allclose(moved, value, **ROOM)


@st.composite
def pictures(draw):
    n = draw(st.integers(1, 6))
    return draw(vectors(n, DIM)), draw(labels(n, CLASSES)), draw(vectors(CLASSES, DIM))


def log_softmax(x):
    x = np.asarray(x, np.float64)
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


def slow_word_loss(name, e, own, words, margin, temperature):
    e, words = e.astype(np.float64), words.astype(np.float64)
    cosines, found = e @ words.T, []
    for i, c in enumerate(own):
        by_word = -log_softmax(cosines[i] / temperature)[c]
        if name == "cosine":
            found.append(1 - cosines[i, c])
        elif name == "hinge":
            found.append(sum(max(0, margin - cosines[i, c] + cosines[i, j]) for j in range(len(words)) if j != c))
        elif name == "softmax":
            found.append(by_word)
        else:
            compared = [i, *(k for k in range(len(own)) if own[k] != c)]
            found.append((by_word - log_softmax(cosines[compared, c] / temperature)[0]) / 2)
    return np.array(found)


@pytest.mark.parametrize("name", losses.LOSSES)
@given(pictures(), st.sampled_from([0.0, 0.1, 1.0]), st.sampled_from([1e-5, 1e-3, 0.1, 10.0]), st.data())
def test_word_losses(name, drawn, margin, temperature, data):
    e, own, words = drawn
    loss = losses.create(name, words, margin=margin, temperature=temperature)
    value, _ = taken(loss, e, own)
    room = {"rtol": 1e-4, "atol": 1e-4 + 1e-6 / temperature}  # a cosine's last digit, over the temperature
    np.testing.assert_allclose(value, slow_word_loss(name, e, own, words, margin, temperature), **room)
    order = np.array(data.draw(st.permutations(range(len(e)))))
    moved, _ = taken(loss, e[order], own[order])
    np.testing.assert_allclose(moved, value[order], **room)


@pytest.mark.parametrize("measure", ["cosine", "order"])
@pytest.mark.parametrize("hardest", [False, True])
@given(st.integers(1, 6), st.sampled_from([0.0, 0.2, 1.0]), st.data())
def test_ranking_loss(measure, hardest, n, margin, data):
    images, sentences = data.draw(vectors(n, DIM)), data.draw(vectors(n, DIM))
    loss = RankingLoss(margin, hardest, measure)
    value, _ = taken(loss, images, sentences)
    a, b = images.astype(np.float64), sentences.astype(np.float64)
    s = a @ b.T if measure == "cosine" else -np.linalg.norm(np.maximum(b[None] - a[:, None], 0), axis=2)
    whole = 0.0
    for i in range(n):
        for hinges in ([margin - s[i, i] + s[i, j] for j in range(n) if j != i],
                       [margin - s[i, i] + s[j, i] for j in range(n) if j != i]):  # fmt: skip
            positive = [max(0.0, hinge) for hinge in hinges]
            whole += max(positive, default=0.0) if hardest else sum(positive)
    np.testing.assert_allclose(value, [whole], **ROOM)
    order = np.array(data.draw(st.permutations(range(n))))
    np.testing.assert_allclose(taken(loss, images[order], sentences[order])[0], value, **ROOM)


@pytest.mark.parametrize("name", objectives.NAMES)
@given(st.integers(1, 6), st.sampled_from([0.0, 1.0, 30.0]), st.data())
def test_objectives(name, n, size, data):
    f, own = data.draw(vectors(n, DIM)), data.draw(labels(n, CLASSES))
    counts = data.draw(st.lists(st.integers(1, 9), min_size=CLASSES, max_size=CLASSES))
    groups = np.unique(data.draw(labels(CLASSES)), return_inverse=True)[1]
    v, u = (size * data.draw(vectors(CLASSES, DIM)).astype(np.float64) for _ in range(2))
    objective = objectives.create(name, counts, DIM, k=3, groups=groups)
    values = {"v": v, "u": u[: groups.max() + 1]} if name == "hierarchical" else {"v": v}
    objective = begun(objective, **values)

    if name == "negative":
        q = mx.nd.array((np.array(counts) ** 0.75 / (np.array(counts) ** 0.75).sum())[None])
        drawn = objective.draw(mx.nd, mx.nd.array(own, dtype="int32"), q)
        assert drawn.shape == (n, 3) and drawn.asnumpy().min() >= 0 and drawn.asnumpy().max() < CLASSES

        def loss(f, own):
            return objective.loss(mx.nd, f, own, drawn, objective.v.data())
    else:
        loss = objective

    value, _ = taken(loss, f, own)
    assert all(np.isfinite(g).all() for g in parameter_gradients(objective))
    for i, c in enumerate(own):
        logits = v @ f[i].astype(np.float64)
        if name == "negative":
            expected = np.logaddexp(0, -logits[c])
            expected += sum(np.logaddexp(0, logits[other]) for other in drawn.asnumpy()[i] if other != c)
        elif name == "softmax":
            expected = -log_softmax(logits)[c]
        else:
            within = np.flatnonzero(groups == groups[c])
            expected = -log_softmax(values["u"] @ f[i])[groups[c]] - log_softmax(logits[within])[list(within).index(c)]
        np.testing.assert_allclose(value[i], expected, **ROOM)
    scores = objective.scores(mx.nd.array(f)).asnumpy()
    assert scores.shape == (n, CLASSES) and np.isfinite(scores).all()
    if name == "hierarchical":  # scores and loss are the same log-probabilities
        np.testing.assert_allclose(scores[np.arange(n), own], -value, **ROOM)
