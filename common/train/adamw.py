"""Adam with decoupled weight decay.

Imports `mxnet.ndarray` and `mxnet.optimizer` alone, for the reason that `common.train.grouped` names.
"""

from __future__ import annotations

import itertools
import math

from mxnet.ndarray import zeros
from mxnet.ndarray.contrib import multi_adamw_update
from mxnet.optimizer import Optimizer, register

MANY = 45  # arrays in one call of MXNet's operator, which takes 50
LARGE = 1 << 16  # numbers in an array that is worth a call, in which all cores have their share of it


@register
class AdamW(Optimizer):
    r"""Adam whose weight decay shrinks the weights themselves instead of joining their gradients.

    .. math:: w_t = w_{t-1} - \eta \Big(\frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon} + \lambda w_{t-1}\Big)

    with the bias-corrected means `\hat m` of the gradients and `\hat v` of their squares, as PyTorch's AdamW computes
    it: the learning rate `\eta` scales the decay `\lambda` too.

    Parameters
    ----------
    learning_rate : float
    beta1, beta2 : float
        Decay rates of the two means.
    epsilon : float
    wd : float
        :math:`\lambda`, of every parameter times its own ``wd_mult``.
    **options
        See `mxnet.optimizer.Optimizer`.

    References
    ----------
    I. Loshchilov, F. Hutter: Decoupled Weight Decay Regularization. ICLR 2019, algorithm 2.
    """

    takes_many = True  # for `common.train.grouped.Grouped`

    def __init__(
        self, learning_rate: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
        wd: float = 0.01, **options,
    ):  # fmt: skip
        super().__init__(learning_rate=learning_rate, wd=wd, **options)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def create_state(self, index, weight):
        """The means of the gradients and of their squares, zeros."""
        return tuple(zeros(weight.shape, weight.context, dtype=weight.dtype) for _ in range(2))

    def update(self, index, weight, grad, state):
        """One step of the parameter number `index`, or of those of a list of numbers.

        A call takes a twentieth of a millisecond, longer than most arrays: the small ones are updated many at a time.
        """
        if not isinstance(index, (list, tuple)):
            index, weight, grad, state = [index], [weight], [grad], [state]
        self._update_count(index)
        rows = [(self._index_update_count[number], array.size > LARGE, number, array, *rest)
                for number, array, *rest in zip(index, weight, grad, state)]  # fmt: skip
        for (steps, large), same in itertools.groupby(sorted(rows, key=lambda row: row[:3]), lambda row: row[:2]):
            same = [row[2:] for row in same]
            many = 1 if large else MANY
            for start in range(0, len(same), many):
                self._update(steps, *zip(*same[start : start + many]))

    def _update(self, steps: int, index, weights, gradients, states) -> None:
        """A step of parameters that had as many `steps` each, this one included."""
        root = math.sqrt(1 - self.beta2**steps)
        # MXNet's operator corrects no bias: its rate and its epsilon do, and `eta` is the learning rate. The one for
        # many arrays runs on all cores, the other on one.
        multi_adamw_update(
            weights, gradients, *zip(*states), self.rescale_grad, [root / (1 - self.beta1**steps)] * len(index),
            self._get_wds(index), self._get_lrs(index), out=weights, beta1=self.beta1, beta2=self.beta2,
            epsilon=self.epsilon * root, clip_gradient=-1 if self.clip_gradient is None else self.clip_gradient,
        )  # fmt: skip
