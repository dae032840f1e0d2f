"""Matryoshka training: the loss of several widths is the sum of the plain ones on cut embeddings, gradients too."""

import inspect

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from common import metrics
from common.data.samplers import ClassBalanced
from common.train import losses, miners, optimizer
from common.train.matryoshka import MatryoshkaLoss, MatryoshkaMiner

BASES = ("Loss", "PairLoss", "ClassLoss")
ALL = [getattr(losses, name) for name in losses.__all__ if name.endswith("Loss") and name not in BASES]
WIDTHS = (2, 5, 8)
LABELS = np.repeat(np.arange(4), 3).astype(np.int32)
MEMORY = np.array([0, 2, -1], np.int32)  # labels of what a memory adds; its last place is empty


def created(kind, width):
    takes = {"classes": 4, "embed_dim": width}
    return kind(**{name: takes[name] for name in takes if name in inspect.signature(kind).parameters})


def rows(seed, n):
    return metrics.unit(np.random.default_rng(seed).normal(size=(n, 8)))


def single(kind, weights, embeddings, pairs, references):
    """The plain loss of embeddings of its own width: value, gradient of the embeddings, gradients of what it learns."""
    loss = created(kind, embeddings.shape[1])
    loss.initialize()
    for name, parameter in loss._collect_params_with_prefix().items():
        parameter.set_data(mx.nd.array(weights[name]))
    x, y = mx.nd.array(embeddings), mx.nd.array(LABELS)
    x.attach_grad()
    among = () if references is None else (mx.nd.concat(x.detach(), mx.nd.array(references), dim=0),
                                           mx.nd.array(np.concatenate([LABELS, MEMORY])))  # fmt: skip
    with autograd.record():
        value = loss(x, y, pairs, *among).sum()
    value.backward()
    learned = {n: p.grad().asnumpy() for n, p in loss._collect_params_with_prefix().items()}
    return value.asscalar(), x.grad.asnumpy(), learned


@pytest.mark.parametrize(("kind", "remembers"), [
    *((kind, False) for kind in ALL), *((kind, True) for kind in ALL if kind.uses_pairs),
])  # fmt: skip
def test_value_and_gradients_are_the_sums_over_cut_embeddings(kind, remembers):
    embeddings, kept = rows(0, 12), rows(1, 3)
    inner = created(kind, WIDTHS[-1])
    loss = MatryoshkaLoss(inner, WIDTHS)
    mx.random.seed(2)
    loss.initialize()
    loss.hybridize(static_alloc=True, static_shape=True)
    x, y = mx.nd.array(embeddings), mx.nd.array(LABELS)
    x.attach_grad()
    among = (mx.nd.concat(x, mx.nd.array(kept), dim=0), mx.nd.array(np.concatenate([LABELS, MEMORY])))
    among = among if remembers else ()
    miner = MatryoshkaMiner([miners.AllPairsMiner() for _ in WIDTHS], WIDTHS)
    pairs = miner(x, y, *among) if kind.uses_pairs else None
    with autograd.record():
        value = loss(x, y, pairs, *among).sum()
    value.backward()
    held = {name: p.data().asnumpy() for name, p in inner._collect_params_with_prefix().items()}
    found = {name: p.grad().asnumpy() for name, p in inner._collect_params_with_prefix().items()}

    expected, gradient, learned = 0.0, np.zeros_like(embeddings), {n: np.zeros_like(v) for n, v in held.items()}
    for number, width in enumerate(WIDTHS):
        parts = {name: v[:, :width] if v.ndim == 2 else v for name, v in held.items()}  # MRL-E: prefixes of one set
        length = np.linalg.norm(embeddings[:, :width], axis=1, keepdims=True)
        unit = embeddings[:, :width] / length
        references = metrics.unit(kept[:, :width]) if remembers else None
        one, g, others = single(kind, parts, unit, pairs[number] if pairs else None, references)
        expected += one
        gradient[:, :width] += (g - (g * unit).sum(1, keepdims=True) * unit) / length  # through the division
        for name, g in others.items():
            learned[name][..., : g.shape[-1]] += g
    np.testing.assert_allclose(value.asscalar(), expected, rtol=1e-5)
    np.testing.assert_allclose(x.grad.asnumpy(), gradient, rtol=1e-3, atol=2e-5 * np.abs(gradient).max())
    for name, g in learned.items():
        np.testing.assert_allclose(found[name], g, rtol=1e-3, atol=2e-5 * max(np.abs(g).max(), 1e-3))


def test_each_width_has_pairs_of_its_own():
    embeddings = rows(3, 12)
    kinds = [miners.BatchHardMiner() for _ in WIDTHS]
    miner = MatryoshkaMiner(kinds, WIDTHS)
    miner.hybridize()
    y = mx.nd.array(LABELS)
    found = miner(mx.nd.array(embeddings), y)
    chosen = []
    for width, pairs in zip(WIDTHS, found):
        cosines = metrics.unit(embeddings[:, :width]) @ metrics.unit(embeddings[:, :width]).T
        same = LABELS[:, None] == LABELS
        anchors, positives, negatives = (p.asnumpy() for p in pairs)
        np.testing.assert_array_equal(anchors, np.arange(12))
        np.testing.assert_array_equal(negatives, np.where(same, -9, cosines).argmax(1))
        np.testing.assert_array_equal(positives, np.where(same & ~np.eye(12, dtype=bool), cosines, 9).argmin(1))
        chosen.append(tuple(negatives))
    assert len(set(chosen)) == len(WIDTHS)


def test_the_gradient_is_the_slope():
    """By central differences, through all of it; the loss is smooth."""
    loss = MatryoshkaLoss(losses.NormalisedSoftmaxLoss(4, 8, temperature=0.5), WIDTHS)
    mx.random.seed(0)
    loss.initialize()
    x, y = mx.nd.array(rows(5, 12)), mx.nd.array(LABELS)
    x.attach_grad()
    with autograd.record():
        value = loss(x, y)
    value.backward()
    rng = np.random.default_rng(0)
    for _ in range(5):
        step = mx.nd.array(rng.normal(size=x.shape) * 1e-2)
        slope = (loss(x + step, y) - loss(x - step, y)).asscalar() / 2
        assert abs(slope - (x.grad * step).sum().asscalar()) < 2e-3 * abs(x.grad * step).sum().asscalar()


def trained(kind, wrap):
    """Recall@1 of 40 unseen classes by 4 and by all 32 numbers of a dense layer on vectors, learned on 40 others."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(80), 10)
    features = np.concatenate([rng.normal(size=(80, 8))[labels] + 0.4 * rng.normal(size=(800, 8)),
                               rng.normal(size=(800, 40))], axis=1).astype(np.float32)  # fmt: skip
    seen, widths = labels < 40, (4, 32)
    mx.random.seed(0)
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(32, in_units=48), gluon.nn.HybridLambda("L2Normalization"))
    net.initialize(mx.init.Xavier())
    takes = {"classes": 40, "embed_dim": 32}
    loss = kind(**{name: takes[name] for name in takes if name in inspect.signature(kind).parameters})
    miner = miners.AllPairsMiner()
    if wrap:
        loss, miner = MatryoshkaLoss(loss, widths), MatryoshkaMiner([miner, miner], widths)
    loss.initialize()
    for block in (net, loss, miner):
        block.hybridize()
    trainer = optimizer.trainer([(block.collect_params(), "adam", {"learning_rate": 0.01}) for block in (net, loss)])
    for indices in ClassBalanced(labels[seen], 40, 4, batches=100, seed=0).epoch(0):
        x, y = mx.nd.array(features[seen][indices]), mx.nd.array(labels[seen][indices], dtype="int32")
        with autograd.record():
            embeddings = net(x)
            with autograd.pause():
                pairs = miner(embeddings, y)
            value = loss(embeddings, y, pairs)
        value.backward()
        trainer.step(1)
    found = net(mx.nd.array(features[~seen])).asnumpy()
    by = {width: metrics.recall_at_k(metrics.unit(found[:, :width]), labels[~seen])["recall@1"] for width in widths}
    return by[4], by[32]


@pytest.mark.parametrize("kind", [losses.MarginLoss, losses.SupConLoss])
def test_the_first_numbers_serve_alone(kind):
    plain, matryoshka = (trained(kind, wrap) for wrap in (False, True))
    assert matryoshka[0] > plain[0] + 0.1 and matryoshka[1] > plain[1] - 0.02, (plain, matryoshka)
