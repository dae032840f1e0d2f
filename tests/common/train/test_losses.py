"""The margin loss against NumPy."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from common.train.losses import MarginLoss


def reference(e, labels, a, p, n, beta, margin, nu):
    """Wu et al. 2017, equations 4 to 6, term by term; returns the loss and its gradients."""
    total, active = 0.0, 0
    grad_e, grad_beta = np.zeros_like(e), np.zeros_like(beta)
    for i, j, k in zip(a, p, n):
        c = labels[i]
        total += nu * beta[c]
        grad_beta[c] += nu
        for other, sign in ((j, 1), (k, -1)):
            difference = e[i] - e[other]
            d = np.sqrt((difference**2).sum() + 1e-8)
            value = margin + sign * (d - beta[c])
            if value > 0:
                total, active = total + value, active + 1
                grad_e[i] += sign * difference / d
                grad_e[other] -= sign * difference / d
                grad_beta[c] -= sign
    active = max(active, 1)
    return total / active, grad_e / active, grad_beta / active


@pytest.mark.parametrize("nu", [0.0, 0.05])
@pytest.mark.parametrize("hybrid", [False, True])
def test_value_and_gradients_equal_numpy(nu, hybrid):
    rng = np.random.default_rng(1)
    e = rng.normal(size=(12, 6)).astype(np.float32)
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    labels = np.repeat([2, 0, 3, 1], 3)
    a, p, n = rng.integers(0, 12, (3, 20))
    loss = MarginLoss(0.2, nu, classes=4, beta=1.1)
    loss.initialize()
    loss.beta.set_data(mx.nd.array([0.9, 1.0, 1.1, 1.3]))
    if hybrid:
        loss.hybridize()
    x = mx.nd.array(e)
    x.attach_grad()
    arrays = [mx.nd.array(v, dtype="int32") for v in (labels, a, p, n)]
    with autograd.record():
        value = loss(x, *arrays)
    value.backward()
    beta = np.array([0.9, 1.0, 1.1, 1.3])
    expected, grad_e, grad_beta = reference(e.astype(np.float64), labels, a, p, n, beta, 0.2, nu)
    assert value.asscalar() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(x.grad.asnumpy(), grad_e, atol=1e-5)
    np.testing.assert_allclose(loss.beta.grad().asnumpy(), grad_beta, atol=1e-5)


def test_only_boundaries_of_anchors_are_regularised():
    """Two triplets anchored in class 1 of three: its boundary counts twice, the others do not."""
    e = mx.nd.array([[1, 0], [0, 1], [1, 0], [0.6, 0.8]])
    loss = MarginLoss(0.2, 0.5, classes=3)
    loss.initialize()
    loss.beta.set_data(mx.nd.array([5.0, 1.2, 7.0]))
    plain = MarginLoss(0.2, 0.0, classes=3)
    plain.initialize()
    plain.beta.set_data(loss.beta.data())
    index = [mx.nd.array(v, dtype="int32") for v in ([1, 1, 0, 2], [0, 1], [1, 0], [2, 3])]
    with autograd.record():
        value = loss(e, *index)
    value.backward()
    active = 2 + 2  # every distance is on the wrong side
    d = [np.sqrt(2), 0.0, np.sqrt(2), np.sqrt(0.4)]
    terms = [0.2 + d[0] - 1.2, 0.2 + 1.2 - d[1], 0.2 + d[2] - 1.2, 0.2 + 1.2 - d[3]]
    assert value.asscalar() == pytest.approx((sum(terms) + 0.5 * 2 * 1.2) / active, abs=1e-4)
    assert (value - plain(e, *index)).asscalar() == pytest.approx(0.5 * 2 * 1.2 / active, rel=1e-5)
    np.testing.assert_allclose(loss.beta.grad().asnumpy(), [0, 0.5 * 2 / active, 0], atol=1e-6)


@pytest.mark.parametrize("nu", [0.0, 0.5])
def test_no_active_pair_gives_zero_and_finite_gradients(nu):
    e = mx.nd.array([[1, 0], [1, 0], [-1, 0], [-1, 0]])
    e.attach_grad()
    loss = MarginLoss(0.2, nu, classes=2, beta=1.0)
    loss.initialize()
    index = [mx.nd.array(v, dtype="int32") for v in ([0, 0, 1, 1], [0, 2], [1, 3], [2, 0])]
    with autograd.record():
        value = loss(e, *index)
    value.backward()
    assert value.asscalar() == 0
    assert np.all(e.grad.asnumpy() == 0)


def test_fixed_boundary_takes_no_gradient():
    loss = MarginLoss(0.2, 0.0, classes=3, learn_beta=False)
    assert loss.beta.grad_req == "null"
