"""Adam with decoupled weight decay.

Imports `mxnet.ndarray` and `mxnet.optimizer` alone, for the reason that `common.train.grouped` names.
"""

from __future__ import annotations

import math

from mxnet.ndarray import zeros
from mxnet.ndarray.contrib import multi_adamw_update
from mxnet.optimizer import Optimizer, register


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
        """One step of the parameter number `index`."""
        self._update_count(index)
        steps, (mean, variance) = self._index_update_count[index], state
        root = math.sqrt(1 - self.beta2**steps)
        # MXNet's operator corrects no bias: its rate and its epsilon do, and `eta` is the learning rate. The one for
        # many arrays runs on all cores, the other on one.
        multi_adamw_update(
            [weight], [grad], [mean], [variance], self.rescale_grad, [root / (1 - self.beta1**steps)],
            [self._get_wd(index)], [self._get_lr(index)], out=[weight], beta1=self.beta1, beta2=self.beta2,
            epsilon=self.epsilon * root, clip_gradient=-1 if self.clip_gradient is None else self.clip_gradient,
        )  # fmt: skip
