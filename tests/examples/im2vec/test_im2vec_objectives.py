"""Objectives against plain NumPy: values, gradients, and what is drawn."""

import numpy as np
import pytest
from scipy import stats

import common  # noqa: F401  (before mxnet)

mx = pytest.importorskip("mxnet")
from mxnet import autograd

from common.files.errors import UserError
from examples.im2vec import objectives

N, CLASSES, DIM, K = 6, 5, 4, 3
GROUPS = [1, 0, 1, 2, 0]
RNG = np.random.default_rng(0)
F = RNG.normal(size=(N, DIM)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 4, 2])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def made(name, **options):
    """An objective with random vectors."""
    objective = objectives.create(name, options.pop("counts", [4] * CLASSES), DIM, **options)
    objective.initialize()
    for parameter in objective.collect_params().values():
        if parameter.grad_req != "null":
            parameter.set_data(mx.nd.array(np.random.default_rng(1).normal(size=parameter.shape)))
    return objective


def values(objective, name):
    return getattr(objective, name).data().asnumpy().astype(np.float64)


def with_gradients(call, objective, names):
    """Loss of each picture, and the gradients of their sum by f and by the named parameters."""
    f = mx.nd.array(F)
    f.attach_grad()
    with autograd.record():
        loss = call(f)
    loss.backward()
    return loss.asnumpy(), f.grad.asnumpy(), *[getattr(objective, name).grad().asnumpy() for name in names]


def negative_reference(v, negatives):
    loss, by_f, by_v = np.zeros(N), np.zeros((N, DIM)), np.zeros_like(v)
    for i, (f, y) in enumerate(zip(F.astype(np.float64), LABELS)):
        loss[i] -= np.log(sigmoid(f @ v[y]))
        by_f[i] -= sigmoid(-f @ v[y]) * v[y]
        by_v[y] -= sigmoid(-f @ v[y]) * f
        for c in negatives[i]:
            if c != y:
                loss[i] -= np.log(sigmoid(-f @ v[c]))
                by_f[i] += sigmoid(f @ v[c]) * v[c]
                by_v[c] += sigmoid(f @ v[c]) * f
    return loss, by_f, by_v


def test_negative_sampling_equals_its_formula_and_gradients():
    objective = made("negative", k=K)
    negatives = RNG.integers(0, CLASSES, (N, K))
    negatives[0, 0] = LABELS[0]  # a draw that hits the picture's own class is skipped

    def call(f):
        return objective.loss(
            mx.nd, f, mx.nd.array(LABELS, dtype="int32"), mx.nd.array(negatives, dtype="int32"), objective.v.data()
        )

    expected = negative_reference(values(objective, "v"), negatives)
    for got, want in zip(with_gradients(call, objective, ["v"]), expected):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_negative_sampling_survives_large_products():
    objective = made("negative", k=K)
    objective.v.set_data(mx.nd.array(RNG.normal(size=(CLASSES, DIM)) * 200))
    loss = objective(mx.nd.array(F), mx.nd.array(LABELS, dtype="int32")).asnumpy()
    assert np.isfinite(loss).all() and loss.max() > 20


@pytest.mark.parametrize("hybrid", [False, True])
def test_negatives_are_drawn_by_frequency_to_the_three_quarters(hybrid):
    counts = [1, 10, 100, 1000]
    objective = made("negative", counts=counts, k=50)
    if hybrid:
        objective.hybridize(static_alloc=True, static_shape=True)
        objective(mx.nd.zeros((2, DIM)), mx.nd.array([0, 1], dtype="int32"))
    drawn = objective.draw(mx.nd, mx.nd.zeros((2000,), dtype="int32"), objective.q.data()).asnumpy()
    assert drawn.shape == (2000, 50)
    weights = np.array(counts) ** 0.75
    expected = weights / weights.sum() * drawn.size
    assert stats.chisquare(np.bincount(drawn.ravel(), minlength=4), expected * 1.0).pvalue > 1e-3


def test_hybridised_negative_sampling_is_repeatable_and_draws_anew_each_step():
    objective = made("negative", k=K)
    objective.hybridize(static_alloc=True, static_shape=True)
    f, y = mx.nd.array(F), mx.nd.array(LABELS, dtype="int32")
    runs = []
    for _ in range(2):
        mx.random.seed(7)
        runs.append([objective(f, y).asnumpy() for _ in range(3)])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0][0], runs[0][1])


def test_negative_sampling_learns_the_shifted_log_probability():
    """At its minimum f . v_c = log p(c|x) - log(k q_c) (Levy and Goldberg 2014): `scores` takes q off again."""
    counts = [10, 30, 60]
    objective = objectives.create("negative", counts, 3, k=20)
    objective.initialize()
    labels = mx.nd.array(np.repeat([0, 1, 2], counts), dtype="int32")
    f = mx.nd.ones((100, 3))  # no picture says anything: p(c|x) is the share of the class
    trainer = mx.gluon.Trainer(objective.collect_params(), "adam", {"learning_rate": 0.05})
    mx.random.seed(0)
    for _ in range(300):
        with autograd.record():
            loss = objective(f, labels)
        loss.backward()
        trainer.step(100)
    learned = softmax(objective.scores(f).asnumpy()[0])
    # draws of the own class are skipped, so a class meets its noise only in the others' pictures
    p, q = np.array(counts) / 100, objective.q.data().asnumpy()[0]
    expected = p / (20 * q * (1 - p)) * q
    np.testing.assert_allclose(learned, expected / expected.sum(), atol=0.03)


def test_softmax_equals_its_formula_and_gradients():
    objective = made("softmax")
    v = values(objective, "v")
    p = np.stack([softmax(v @ f) for f in F])
    slope = p.copy()
    slope[np.arange(N), LABELS] -= 1
    got = with_gradients(lambda f: objective(f, mx.nd.array(LABELS, dtype="int32")), objective, ["v"])
    np.testing.assert_allclose(got[0], -np.log(p[np.arange(N), LABELS]), atol=1e-5)
    np.testing.assert_allclose(got[1], slope @ v, atol=1e-5)
    np.testing.assert_allclose(got[2], slope.T @ F, atol=1e-5)


def tree_probability(f, u, v):
    """p(c|x) of each class, one node at a time."""
    groups = softmax(u @ f)
    p = np.zeros(CLASSES)
    for g in range(len(u)):
        members = [c for c in range(CLASSES) if GROUPS[c] == g]
        p[members] = groups[g] * softmax(v[members] @ f)
    return p


def test_hierarchical_softmax_is_a_distribution_over_the_tree():
    objective = made("hierarchical", groups=GROUPS)
    u, v = values(objective, "u"), values(objective, "v")
    p = np.stack([tree_probability(f, u, v) for f in F])
    np.testing.assert_allclose(p.sum(axis=1), 1)
    loss = objective(mx.nd.array(F), mx.nd.array(LABELS, dtype="int32")).asnumpy()
    np.testing.assert_allclose(loss, -np.log(p[np.arange(N), LABELS]), atol=1e-5)
    np.testing.assert_allclose(objective.scores(mx.nd.array(F)).asnumpy(), np.log(p), atol=1e-5)
    np.testing.assert_allclose(objective.class_vectors(), u[GROUPS] + v, atol=1e-6)


def test_hierarchical_gradients_equal_finite_differences():
    objective = made("hierarchical", groups=GROUPS)
    u, v = values(objective, "u"), values(objective, "v")

    def total(f, u, v):
        return -sum(np.log(tree_probability(row, u, v)[y]) for row, y in zip(f, LABELS))

    found = with_gradients(lambda f: objective(f, mx.nd.array(LABELS, dtype="int32")), objective, ["u", "v"])[1:]
    arrays = [F.astype(np.float64), u, v]
    for which, gradient in enumerate(found):
        for place in np.ndindex(gradient.shape):
            moved = []
            for step in (1e-5, -1e-5):
                changed = [a.copy() for a in arrays]
                changed[which][place] += step
                moved.append(total(*changed))
            assert gradient[place] == pytest.approx((moved[0] - moved[1]) / 2e-5, abs=2e-4)


def test_hierarchical_needs_groups():
    with pytest.raises(UserError, match="--objective hierarchical needs groups"):
        objectives.create("hierarchical", [1, 2], DIM)


def test_the_vectors_learn_from_the_first_step_that_a_class_is_seldom_right():
    """f(x) has a mean to start from, so one small step moves all f . v_c below zero; see `model.Im2Vec`."""
    from examples.im2vec import model

    mx.random.seed(0)
    net, objective = model.create("resnet20"), objectives.create("negative", [5] * 50, 64)
    objective.initialize()
    pixels = mx.nd.array(np.random.default_rng(0).integers(0, 256, (100, 16, 16, 3)), dtype="uint8")
    labels = mx.nd.array(np.arange(100) % 50, dtype="int32")
    trainer = mx.gluon.Trainer(objective.collect_params(), "sgd", {"learning_rate": 0.1})
    with autograd.record():
        loss = objective(net(pixels), labels)
    loss.backward()
    trainer.step(100)
    with autograd.train_mode():
        products = mx.nd.dot(net(pixels), objective.v.data(), transpose_b=True).asnumpy()
    assert (products < 0).mean() > 0.9
