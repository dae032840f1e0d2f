"""The range test on a loss whose best learning rate is known."""

import math

import mxnet as mx
import pytest

from common.files.errors import UserError
from common.train import range_test


class Bowl:
    """loss = curve w^2 / 2 by plain gradient descent: w <- w (1 - rate curve) grows beyond rate 2 / curve."""

    def __init__(self, curve):
        self.curve, self.w, self.rate = curve, 1.0, 0.0

    def step(self, batch):
        loss = self.curve * self.w**2 / 2
        self.w *= 1 - self.rate * self.curve
        return {"loss": mx.nd.array([loss])}

    def set_rate(self, rate):
        self.rate = rate


def run(bowl, **options):
    return range_test.run(bowl.step, bowl.set_rate, lambda epoch, first: range(7), **options)


@pytest.mark.parametrize("curve", [10.0, 1000.0])
def test_the_rate_suggested_is_below_the_one_that_diverges(curve):
    rates, losses = run(Bowl(curve))
    assert rates[0] == 1e-6 and len(rates) == len(losses) < 100  # it ended when the loss was lost
    ratios = [b / a for a, b in zip(rates, rates[1:])]
    assert all(math.isclose(ratio, ratios[0], rel_tol=1e-6) for ratio in ratios)
    assert 0.003 / curve < range_test.suggest(rates, losses) < 2 / curve


def test_losses_on_several_devices_are_averaged():
    _, losses = range_test.run(
        lambda batch: {"loss": [mx.nd.array([1.0, 3.0]), mx.nd.array([6.0])]}, lambda r: None, lambda e, f: [0], steps=3
    )
    assert losses == pytest.approx([4, 4, 4])


def test_a_loss_that_does_not_fall_suggests_nothing():
    with pytest.raises(UserError, match="falls at no learning rate"):
        range_test.suggest([1e-5, 1e-4, 1e-3, 1e-2, 1e-1], [1.0, 1.1, 1.2, 1.3, 1.4])
    with pytest.raises(UserError, match="lost the loss after 1 batches"):
        range_test.suggest([1e-5], [1.0])
