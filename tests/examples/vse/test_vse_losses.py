"""The ranking losses against the formula written out in NumPy."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest

from examples.vse import model


@pytest.mark.parametrize("hardest", [False, True])
def test_loss_equals_numpy(hardest):
    rng = np.random.default_rng(0)
    images, sentences = rng.standard_normal((2, 6, 8)).astype(np.float32)
    scores = images @ sentences.T
    pairs, others = np.diag(scores), 1 - np.eye(6)
    rows = np.maximum(0.2 + scores - pairs[:, None], 0) * others
    columns = np.maximum(0.2 + scores - pairs[None], 0) * others
    expected = rows.max(1).sum() + columns.max(0).sum() if hardest else (rows + columns).sum()
    found = model.RankingLoss(0.2, hardest)(mx.nd.array(images), mx.nd.array(sentences))
    assert found.asscalar() == pytest.approx(expected, rel=1e-5)
