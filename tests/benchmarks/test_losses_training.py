"""`benchmarks/losses_training.py`: in a few steps our side learns what pytorch-metric-learning's did."""

import numpy as np
import pytest

from benchmarks import losses_training
from common.files.paths import REPO

PEER = np.load(REPO / "tests/data/losses_training_torch.npz")
ROOM = {"emoji": 2e-4, "glyphs": 2e-3}  # PyTorch's running variance is the sum of squares by n - 1, Gluon's by n


@pytest.mark.parametrize("name", PEER.files)
def test_embeddings_after_training_are_those_of_the_peer(name):
    """Loss, miner, optimizer, rates of network and class vectors, schedule and batch norms at once."""
    data, loss = name.split(" ")
    case = losses_training.tiny(data)
    found, seconds = losses_training.mxnet_side(case, loss)
    assert seconds > 0
    np.testing.assert_allclose(found["test"], PEER[name], rtol=0, atol=ROOM[data])


def test_scores_of_both_sides_are_compared_seed_by_seed():
    scores = {"mxnet": [{"recall@1": 0.5}, {"recall@1": 0.7}], "torch": [{"recall@1": 0.4}, {"recall@1": 0.6}]}
    told = losses_training.compared(scores, "recall@1")
    assert told == "ours 0.6000 \u00b1 0.1414, theirs 0.5000 \u00b1 0.1414, apart 0.1000 \u00b1 0.0000"
    labels = np.array([0, 0, 1, 1])
    rows = np.array([[1, 0], [0.9, 0.4], [0, 1], [0.1, 0.9]])
    case = {"test labels": labels, "gallery labels": labels[::2]}
    assert losses_training.score(case, {"test": rows})["recall@1"] == 1
    assert losses_training.score(case, {"test": rows, "gallery": rows[::-1][::2]})["recall@1"] == 0
