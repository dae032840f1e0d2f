"""Which learning rate to take: raise it from batch to batch, and see where the loss falls fastest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np

from common.files.errors import UserError

SMOOTHING = 0.9
TOO_HIGH = 4.0  # times the lowest loss so far: the test ends


def run(
    step: Callable, set_rate: Callable[[float], None], batches: Callable[[int, int], Iterator], low: float = 1e-6,
    high: float = 10.0, steps: int = 100,
) -> tuple[list[float], list[float]]:  # fmt: skip
    """Train with learning rates from `low` to `high`, each a constant factor above the one before.

    The parameters are spoilt afterwards.

    Parameters
    ----------
    step : callable (batch) -> dict with ``loss``, an NDArray or a list of them
        One update of the parameters.
    set_rate : callable (rate)
        Sets the learning rate of the next update.
    batches : callable (epoch, first) -> iterable
        As `common.train.trainer.fit` takes it; epochs follow one another until there are enough batches.
    low, high : float
        The first learning rate and the last.
    steps : int
        Batches.

    Returns
    -------
    rates, losses : lists of float
        The losses smoothed; both end early where the loss goes beyond four times its lowest.

    References
    ----------
    L. N. Smith: Cyclical Learning Rates for Training Neural Networks. WACV 2017.
    """
    rates, losses, average, lowest = [], [], 0.0, math.inf
    endless = itertools.chain.from_iterable(batches(epoch, 0) for epoch in itertools.count())
    for number, batch in enumerate(itertools.islice(endless, steps)):
        rate = low * (high / low) ** (number / max(steps - 1, 1))
        set_rate(rate)
        value = step(batch)["loss"]
        parts = value if isinstance(value, (list, tuple)) else [value]
        loss = sum(float(part.mean().asscalar()) for part in parts) / len(parts)
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smooth = average / (1 - SMOOTHING ** (number + 1))
        if not math.isfinite(loss) or smooth > TOO_HIGH * lowest:
            break
        lowest = min(lowest, smooth)
        rates.append(rate)
        losses.append(smooth)
    return rates, losses


def suggest(rates: list[float], losses: list[float]) -> float:
    """The rate at which the loss falls fastest over the logarithm of the rate.

    Parameters
    ----------
    rates, losses : lists of float
        What `run` gives.

    Returns
    -------
    float

    Raises
    ------
    UserError
        The loss never falls, or was lost after fewer than five batches.
    """
    if len(rates) < 5:
        raise UserError(f"the range test lost the loss after {len(rates)} batches: the data or the flags are off")
    before = int(np.argmin(losses)) + 1  # what comes after the lowest loss is on its way up
    slopes = np.gradient(np.array(losses), np.log(rates))[:before]
    if slopes.min() >= 0:
        raise UserError("the loss falls at no learning rate of the range test: nothing can be suggested")
    return float(rates[int(np.argmin(slopes))])
