"""Learning rates over a training, as factors of the initial one."""

from __future__ import annotations

import math
from collections.abc import Sequence


def step_factor(epoch: int, steps: Sequence[float], factor: float) -> float:
    """The learning rate's factor at `epoch`: `factor` to the power of the number of `steps` reached.

    Parameters
    ----------
    epoch : int
        From 0.
    steps : sequence of float
        Epochs at which the rate changes.
    factor : float
        Of each change, usually below one.

    Returns
    -------
    float
    """
    return factor ** sum(epoch >= step for step in steps)


def one_cycle(done: float, warm: float = 0.25, start: float = 0.04, end: float = 1e-5) -> float:
    """The learning rate's factor when the fraction `done` of a training is over: up, then down, each half a cosine.

    Parameters
    ----------
    done : float
        0..1.
    warm : float
        Fraction of the training in which the factor rises from `start` to 1; then it falls to `end`.
    start, end : float
        The first factor and the last.

    Returns
    -------
    float

    References
    ----------
    L. N. Smith: A disciplined approach to neural network hyper-parameters, part 1. 2018.
    """
    low, high, at = (start, 1.0, done / warm) if done < warm else (1.0, end, (done - warm) / (1 - warm))
    return high + (low - high) * (1 + math.cos(math.pi * min(at, 1.0))) / 2


def half_cosine(epoch: int, epochs: int) -> float:
    """The learning rate's factor at `epoch`: from 1 down to 0 after `epochs`, along half a cosine.

    Parameters
    ----------
    epoch : int
        From 0 on.
    epochs : int
        Epochs in all.

    References
    ----------
    I. Loshchilov, F. Hutter: SGDR: stochastic gradient descent with warm restarts. ICLR 2017, equation 5.
    """
    import numpy as np  # here alone: this module is read before wrong flags are refused

    return 0.5 + 0.5 * np.cos(np.pi * epoch / epochs)
