"""Which learning rate to take: raise it from batch to batch, and see where the loss falls fastest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np

from common.files.errors import UserError

SMOOTHING = 0.9
TOO_HIGH = 4.0  # times the lowest loss so far: the test ends


class RangeTest:
    """A short training with learning rates from `low` to `high`, each a constant factor above the one before.

    A training loop takes it in place of its `common.train.session.Session`, and `schedule` in place of its schedule.
    The network is of no use afterwards.

    Parameters
    ----------
    lr : float
        The initial learning rate, of which `schedule` gives factors.
    low, high : float
        The first and the last learning rate.
    steps : int
        Batches; epochs follow one another until there are enough.

    Attributes
    ----------
    rates, losses : lists of float
        One of each a batch, the losses smoothed; both end early where the loss goes beyond four times its lowest.

    References
    ----------
    L. N. Smith: Cyclical Learning Rates for Training Neural Networks. WACV 2017.
    """

    def __init__(self, lr: float, low: float = 1e-6, high: float = 10.0, steps: int = 100):
        self.lr, self.low, self.high, self.steps = lr, low, high, steps
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.metrics: dict = {}
        self._average, self._lowest = 0.0, math.inf
        self._is_over = False

    def epochs(self, count: int) -> Iterator[int]:
        """The numbers of as many epochs as the test takes, whatever the `count` of the training would be."""
        return itertools.takewhile(lambda _: not self._is_over, itertools.count())

    def batches(self, loader, epoch: int) -> Iterator:
        """The batches of an epoch, up to where the test is over.

        Parameters
        ----------
        loader
            Has ``epoch(number)``, see `common.data.loader.Loader`.
        epoch : int
        """
        for batch in loader.epoch(epoch):
            yield batch
            if self._is_over:
                break

    def schedule(self, done: float) -> float:
        """The factor of the learning rate for the next batch; how much of a training is `done` makes no difference."""
        return self._rate() / self.lr

    def _rate(self) -> float:
        return self.low * (self.high / self.low) ** (len(self.rates) / max(self.steps - 1, 1))

    def add(self, loss) -> None:
        """Note the loss of a batch, an NDArray or a list of one a device."""
        parts = loss if isinstance(loss, (list, tuple)) else [loss]
        value = sum(float(part.mean().asscalar()) for part in parts) / len(parts)
        self._average = SMOOTHING * self._average + (1 - SMOOTHING) * value
        smooth = self._average / (1 - SMOOTHING ** (len(self.rates) + 1))
        if not math.isfinite(value) or smooth > TOO_HIGH * self._lowest:
            self._is_over = True
            return
        self._lowest = min(self._lowest, smooth)
        self.rates.append(self._rate())
        self.losses.append(smooth)
        self._is_over = len(self.rates) == self.steps

    def close_epoch(self, metrics: Mapping | None = None, save=None) -> None:
        """Nothing is kept of an epoch.

        Parameters
        ----------
        metrics : mapping, optional
        save : callable, optional
            Both are for a training's session.
        """


def suggest(rates: list[float], losses: list[float]) -> float:
    """The learning rate at which the loss falls fastest over the logarithm of the rate.

    Parameters
    ----------
    rates, losses : lists of float
        Of a `RangeTest`.

    Returns
    -------
    float
        One of `rates`.

    Raises
    ------
    UserError
        There are fewer than five, or the loss never falls.
    """
    if len(rates) < 5:
        raise UserError(f"the range test lost the loss after {len(rates)} batches: the data or the flags are off")
    before = int(np.argmin(losses)) + 1  # what comes after the lowest loss is on its way up
    slopes = np.gradient(np.array(losses), np.log(rates))[:before]
    if slopes.min() >= 0:
        raise UserError("the loss falls at no learning rate of the range test: nothing can be suggested")
    return float(rates[int(np.argmin(slopes))])
