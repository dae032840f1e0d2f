"""What all losses share, and the margin loss against NumPy."""

import inspect

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from common import metrics
from common.data.samplers import ClassBalanced
from common.train import losses, miners, optimizer
from common.train.losses import Loss, MarginLoss

BASES = ("Loss", "PairLoss", "ClassLoss")
ALL = [getattr(losses, name) for name in losses.__all__ if name.endswith("Loss") and name not in BASES]
NEEDED = {"classes": 3, "embed_dim": 2}


@pytest.fixture
def batch():
    """Three classes of two, in the plane; each embedding anchors the other of its class and one of another."""
    rng = np.random.default_rng(3)
    e = mx.nd.array(rng.normal(size=(6, 2)))
    e.attach_grad()
    labels = mx.nd.array([0, 0, 1, 1, 2, 2], dtype="int32")
    pairs = tuple(mx.nd.array(rows, dtype="int32") for rows in (range(6), [1, 0, 3, 2, 5, 4], [2, 4, 0, 5, 1, 3]))
    return e, labels, pairs


def created(kind):
    """A loss with its defaults; what has none is the number of classes and the width of the embeddings."""
    signature = inspect.signature(kind).parameters
    return kind(**{name: NEEDED[name] for name, p in signature.items() if p.default is inspect.Parameter.empty})


@pytest.mark.parametrize("kind", ALL)
def test_every_loss_is_called_alike_and_has_defaults(kind, batch):
    e, labels, pairs = batch
    found = []
    for hybrid in (False, True):
        loss = created(kind)
        mx.random.seed(1)
        loss.initialize()
        loss.hybridize(hybrid)
        with autograd.record():
            value = loss(e, labels, pairs if loss.uses_pairs else None)
        value.backward()
        assert value.shape in {(1,), (len(e),)}
        found.append((value.asnumpy(), e.grad.asnumpy()))
    for plain, hybrid in zip(*found):
        assert np.isfinite(plain).all()
        np.testing.assert_allclose(plain, hybrid, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ALL)
def test_every_loss_learns(kind):
    """A dense layer on vectors, of whose numbers a quarter tell the classes apart."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 15)
    rows = np.concatenate([rng.normal(size=(12, 6))[labels] + 0.6 * rng.normal(size=(180, 6)),
                           rng.normal(size=(180, 18))], axis=1).astype(np.float32)  # fmt: skip
    mx.random.seed(0)
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(8, in_units=24), gluon.nn.HybridLambda("L2Normalization"))
    net.initialize(mx.init.Xavier())
    takes = {"classes": 12, "embed_dim": 8}
    loss = kind(**{name: takes[name] for name in takes if name in inspect.signature(kind).parameters})
    loss.initialize()
    miner = miners.AllPairsMiner()
    for block in (net, loss, miner):
        block.hybridize()
    trainer = optimizer.trainer([(block.collect_params(), "adam", {"learning_rate": 0.05}) for block in (net, loss)])
    before = metrics.recall_at_k(net(mx.nd.array(rows)).asnumpy(), labels)["recall@1"]
    for indices in ClassBalanced(labels, 40, 5, batches=80, seed=0).epoch(0):
        x, y = mx.nd.array(rows[indices]), mx.nd.array(labels[indices], dtype="int32")
        with autograd.record():
            embeddings = net(x)
            value = loss(embeddings, y, miner(embeddings, y) if loss.uses_pairs else None)
        value.backward()
        trainer.step(1)
    after = metrics.recall_at_k(net(mx.nd.array(rows)).asnumpy(), labels)["recall@1"]
    assert after > before + 0.2, (before, after)


def of_classes(kind, start):
    """Recall@1 of unseen classes before and after 150 steps on many classes whose features are mostly one mean."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(260), 5)
    rows = (4 + rng.normal(size=(260, 24))[labels] + 0.7 * rng.normal(size=(1300, 24))).astype(np.float32)
    seen = labels < 200
    mx.random.seed(0)
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(16, in_units=24), gluon.nn.HybridLambda("L2Normalization"))
    net.initialize(mx.init.Xavier())
    loss = kind(classes=200, embed_dim=16)
    loss.initialize()
    if start:
        loss.start_at(net(mx.nd.array(rows[seen])).asnumpy(), labels[seen])
    for block in (net, loss):
        block.hybridize()
    trainer = optimizer.trainer([(block.collect_params(), "adam", {"learning_rate": 0.01}) for block in (net, loss)])
    found = []
    for steps in (0, 150):
        for indices in ClassBalanced(labels[seen], 20, 5, steps, seed=0).epoch(0):
            with autograd.record():
                value = loss(net(mx.nd.array(rows[indices])), mx.nd.array(labels[indices], dtype="int32"))
            value.backward()
            trainer.step(20)
        found.append(metrics.recall_at_k(net(mx.nd.array(rows[~seen])).asnumpy(), labels[~seen])["recall@1"])
    return found


OF_CLASSES = [kind for kind in ALL if issubclass(kind, losses.ClassLoss)]


@pytest.mark.parametrize("kind", OF_CLASSES)
def test_class_vectors_that_start_where_the_classes_lie_learn_from_batches_of_few_classes(kind):
    before, after = of_classes(kind, start=True)
    assert after > before + 0.03, (before, after)  # from random ones all but SoftTriple's end below


@pytest.mark.parametrize("kind", [losses.ContrastiveLoss, losses.LiftedStructureLoss])
def test_losses_of_all_pairs_do_not_draw_all_embeddings_together(kind):
    """By squares (contrastive), or a scale of 1 (lifted structure), they did, and recall@1 rose by 0.06 at most."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(260), 5)
    rows = (1 + rng.normal(size=(260, 24))[labels] + 0.7 * rng.normal(size=(1300, 24))).astype(np.float32)
    seen = labels < 200
    mx.random.seed(0)
    net, loss, miner = gluon.nn.HybridSequential(), kind(), miners.AllPairsMiner()
    net.add(gluon.nn.Dense(16, in_units=24), gluon.nn.HybridLambda("L2Normalization"))
    net.initialize(mx.init.Xavier())
    for block in (net, loss, miner):
        block.hybridize()
    trainer, found = optimizer.trainer([(net.collect_params(), "adam", {"learning_rate": 0.01})]), []
    for steps in (0, 100):
        for indices in ClassBalanced(labels[seen], 40, 5, steps, seed=0).epoch(0):
            y = mx.nd.array(labels[indices], dtype="int32")
            with autograd.record():
                embeddings = net(mx.nd.array(rows[indices]))
                value = loss(embeddings, y, miner(embeddings, y))
            value.backward()
            trainer.step(40)
        unseen = net(mx.nd.array(rows[~seen])).asnumpy()
        found.append(metrics.recall_at_k(unseen, labels[~seen])["recall@1"])
    assert found[1] > found[0] + 0.12, found
    assert np.linalg.norm(unseen.mean(axis=0)) < 0.5


def test_class_vectors_start_at_the_means_seen_from_the_mean_of_all():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(12, 5)) + 2
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = np.arange(12) % 3
    loss = losses.SoftTripleLoss(4, 5, centres=2)
    loss.initialize()
    random = loss.weight.data().asnumpy()
    loss.start_at(rows, labels)
    moved = (loss.weight.data().asnumpy() - random).reshape(4, 2, 5)
    means = np.stack([rows[labels == c].mean(0) / np.linalg.norm(rows[labels == c].mean(0)) for c in range(3)])
    expected = means - means.mean(0)
    expected *= 8 / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(moved[:3], np.stack([expected, expected], 1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved[3], 8 * random[6:], rtol=1e-4)  # a class that is not there keeps its direction


def test_a_loss_that_uses_pairs_asks_for_them(batch):
    loss = MarginLoss(3)
    loss.initialize()
    with pytest.raises(ValueError, match="MarginLoss needs the pairs"):
        loss(*batch[:2])


@pytest.mark.parametrize("hybrid", [False, True])
def test_a_loss_without_pairs_leaves_them_aside(batch, hybrid):
    class Squares(Loss):
        uses_pairs = False

        def hybrid_forward(self, F, embeddings, labels):
            return F.sum(F.square(embeddings), axis=1) * F.cast(labels, "float32")

    loss = Squares()
    loss.hybridize(hybrid)
    np.testing.assert_array_equal(loss(*batch).asnumpy(), loss(*batch[:2]).asnumpy())


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
    loss = MarginLoss(4, beta=1.1, nu=nu)
    loss.initialize()
    loss.beta.set_data(mx.nd.array([0.9, 1.0, 1.1, 1.3]))
    if hybrid:
        loss.hybridize()
    x = mx.nd.array(e)
    x.attach_grad()
    own, *pairs = (mx.nd.array(v, dtype="int32") for v in (labels, a, p, n))
    with autograd.record():
        value = loss(x, own, pairs)
    value.backward()
    beta = np.array([0.9, 1.0, 1.1, 1.3])
    expected, grad_e, grad_beta = reference(e.astype(np.float64), labels, a, p, n, beta, 0.2, nu)
    assert value.asscalar() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(x.grad.asnumpy(), grad_e, atol=1e-5)
    np.testing.assert_allclose(loss.beta.grad().asnumpy(), grad_beta, atol=1e-5)


def test_only_boundaries_of_anchors_are_regularised():
    """Two triplets anchored in class 1 of three: its boundary counts twice, the others do not."""
    e = mx.nd.array([[1, 0], [0, 1], [1, 0], [0.6, 0.8]])
    loss = MarginLoss(3, nu=0.5)
    loss.initialize()
    loss.beta.set_data(mx.nd.array([5.0, 1.2, 7.0]))
    plain = MarginLoss(3)
    plain.initialize()
    plain.beta.set_data(loss.beta.data())
    labels, *pairs = (mx.nd.array(v, dtype="int32") for v in ([1, 1, 0, 2], [0, 1], [1, 0], [2, 3]))
    with autograd.record():
        value = loss(e, labels, pairs)
    value.backward()
    active = 2 + 2  # every distance is on the wrong side
    d = [np.sqrt(2), 0.0, np.sqrt(2), np.sqrt(0.4)]
    terms = [0.2 + d[0] - 1.2, 0.2 + 1.2 - d[1], 0.2 + d[2] - 1.2, 0.2 + 1.2 - d[3]]
    assert value.asscalar() == pytest.approx((sum(terms) + 0.5 * 2 * 1.2) / active, abs=1e-4)
    assert (value - plain(e, labels, pairs)).asscalar() == pytest.approx(0.5 * 2 * 1.2 / active, rel=1e-5)
    np.testing.assert_allclose(loss.beta.grad().asnumpy(), [0, 0.5 * 2 / active, 0], atol=1e-6)


@pytest.mark.parametrize("nu", [0.0, 0.5])
def test_no_active_pair_gives_zero_and_finite_gradients(nu):
    e = mx.nd.array([[1, 0], [1, 0], [-1, 0], [-1, 0]])
    e.attach_grad()
    loss = MarginLoss(2, beta=1.0, nu=nu)
    loss.initialize()
    labels, *pairs = (mx.nd.array(v, dtype="int32") for v in ([0, 0, 1, 1], [0, 2], [1, 3], [2, 0]))
    with autograd.record():
        value = loss(e, labels, pairs)
    value.backward()
    assert value.asscalar() == 0
    assert np.all(e.grad.asnumpy() == 0)


def test_fixed_boundary_takes_no_gradient():
    loss = MarginLoss(3, learn_beta=False)
    assert loss.beta.grad_req == "null"
