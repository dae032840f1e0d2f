"""The range test on a loss whose best learning rate is known."""

import math

import mxnet as mx
import pytest

from common.files.errors import UserError
from common.train.range_test import RangeTest, suggest


class Loader:
    """Epochs of seven batches."""

    def epoch(self, number, start=0):
        return iter(range(start, 7))


def descend(curve, test):
    """Gradient descent on loss = curve w^2 / 2, in a training's loop: w grows beyond a learning rate of 2 / curve."""
    w = 1.0
    for epoch in test.epochs(1):
        for number in test.batches(Loader(), epoch):
            rate = 0.5 * test.schedule((epoch + number / 7) / 1)
            test.add(loss=mx.nd.array([curve * w**2 / 2]))
            w *= 1 - rate * curve
        test.close_epoch({}, save=None)
    return test.rates, test.losses


@pytest.mark.parametrize("curve", [10.0, 1000.0])
def test_the_rate_suggested_is_below_the_one_that_diverges(curve):
    rates, losses = descend(curve, RangeTest(0.5))
    assert rates[0] == 1e-6 and len(rates) == len(losses) < 100  # it ended when the loss was lost
    ratios = [b / a for a, b in zip(rates, rates[1:])]
    assert all(math.isclose(ratio, ratios[0], rel_tol=1e-6) for ratio in ratios)
    assert 0.003 / curve < suggest(rates, losses) < 2 / curve


def test_it_takes_as_many_batches_as_it_was_asked_for():
    rates, _ = descend(1e-3, RangeTest(0.5, low=0.1, high=10, steps=10))
    assert len(rates) == 10 and (rates[0], rates[-1]) == pytest.approx((0.1, 10))


def test_losses_on_several_devices_are_averaged():
    test = RangeTest(1.0, steps=3)
    for _ in range(3):
        test.add(loss=[mx.nd.array([1.0, 3.0]), mx.nd.array([6.0])])
    assert test.losses == pytest.approx([4, 4, 4])
    assert list(test.epochs(5)) == []  # that were all


def test_a_loss_that_does_not_fall_suggests_nothing():
    with pytest.raises(UserError, match="falls at no learning rate"):
        suggest([1e-5, 1e-4, 1e-3, 1e-2, 1e-1], [1.0, 1.1, 1.2, 1.3, 1.4])
    with pytest.raises(UserError, match="lost the loss after 1 batches"):
        suggest([1e-5], [1.0])
