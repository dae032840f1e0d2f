"""Every loss behind every miner stays finite, value and gradients, whatever a batch is like, in float16 too."""

import inspect

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from common.train import losses, miners
from common.train.memory import CrossBatchMemory

SIZE, DIM, BATCH_K = 8, 4, 2
rng = np.random.default_rng(0)
ROWS = rng.normal(size=(SIZE, DIM))
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)
TWO_OF_EACH = np.repeat(np.arange(4), 2)
BATCHES = {
    "one class only": (ROWS, np.zeros(SIZE)),
    "one picture a class": (ROWS, np.arange(SIZE)),
    "identical vectors": (np.repeat(ROWS[:1], SIZE, axis=0), TWO_OF_EACH),
    "opposite vectors": (ROWS[:1] * np.tile([[1], [-1]], (4, 1)), TWO_OF_EACH),
    "a zero vector": (np.concatenate([np.zeros((1, DIM)), ROWS[1:]]), TWO_OF_EACH),
    "all zero": (np.zeros((SIZE, DIM)), TWO_OF_EACH),
}
LOSSES = [name for name in losses.__all__ if name.endswith("Loss") and name not in ("Loss", "PairLoss", "ClassLoss")]
MINERS = [name for name in miners.__all__ if name != "Miner"]


def created(kind, **sizes):
    return kind(**{name: sizes[name] for name in inspect.signature(kind).parameters if name in sizes})


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_finite(name, dtype):
    loss = created(getattr(losses, name), classes=SIZE, embed_dim=DIM)
    mx.random.seed(0)
    loss.initialize()
    loss.hybridize()
    made = [created(getattr(miners, m), embed_dim=DIM, batch_k=BATCH_K) for m in MINERS] if loss.uses_pairs else [None]
    for miner in made:
        for case, (rows, labels) in BATCHES.items():
            x, y = mx.nd.array(rows, dtype=dtype), mx.nd.array(labels, dtype="int32")
            x.attach_grad()
            pairs = miner(x, y) if miner else None
            with autograd.record():
                value = loss(x, y, pairs)
            value.backward()
            assert np.dtype(x.grad.dtype) == dtype
            learned = [p.grad().asnumpy() for p in loss.collect_params().values()]
            for array in (value.asnumpy(), x.grad.asnumpy(), *learned):
                assert np.isfinite(array).all(), (name, type(miner).__name__, case)
        loss.hybridize()  # another miner: another structure of its arguments


@pytest.mark.parametrize("name", ["MultiSimilarityLoss", "TripletLoss", "MarginLoss"])
def test_with_an_empty_memory_too(name):
    loss = created(getattr(losses, name), classes=SIZE)
    loss.initialize()
    for miner in (created(getattr(miners, m), embed_dim=DIM, batch_k=BATCH_K) for m in MINERS):
        for case, (rows, labels) in BATCHES.items():
            memory = CrossBatchMemory(3, DIM)
            memory.initialize()
            x, y = mx.nd.array(rows), mx.nd.array(labels, dtype="int32")
            x.attach_grad()
            among = memory(x, y)
            pairs = miner(x, y, *among)
            with autograd.record():
                value = loss(x, y, pairs, *among)
            value.backward()
            assert np.isfinite(value.asscalar()) and np.isfinite(x.grad.asnumpy()).all(), (type(miner).__name__, case)
