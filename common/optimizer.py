"""Parameter groups, each with its own optimizer, behind one `gluon.Trainer`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mxnet as mx
from mxnet import gluon


class Grouped(mx.optimizer.Optimizer):
    """An optimizer that hands each parameter to the optimizer of its group.

    Two Trainers on one distributed kvstore overwrite each other's keys; one Trainer with this optimizer does not.

    Parameters
    ----------
    groups : sequence of (list of gluon.Parameter, mx.optimizer.Optimizer)
    """

    def __init__(self, groups: Sequence[tuple]):
        super().__init__()
        self.optimizers = [optimizer for _, optimizer in groups]
        self._base_rates = [optimizer.lr for optimizer in self.optimizers]
        self._of = [optimizer for parameters, optimizer in groups for _ in parameters]  # by parameter index
        for optimizer in self.optimizers:
            optimizer.param_dict = dict(enumerate(p for parameters, _ in groups for p in parameters))

    def scale_rates(self, factor: float) -> None:
        """Set every group's learning rate to its initial one times `factor`."""
        for optimizer, rate in zip(self.optimizers, self._base_rates):
            optimizer.set_learning_rate(rate * factor)

    @property
    def learning_rate(self) -> float:
        """The first group's learning rate."""
        return self.optimizers[0].learning_rate

    def _set_current_context(self, device_id):
        super()._set_current_context(device_id)
        for optimizer in self.optimizers:
            optimizer._set_current_context(device_id)

    def create_state_multi_precision(self, index, weight):
        return self._of[index].create_state_multi_precision(index, weight)

    def update_multi_precision(self, index, weight, grad, state):
        optimizer = self._of[index]
        optimizer.rescale_grad = self.rescale_grad
        optimizer.update_multi_precision(index, weight, grad, state)


class _Trainer(gluon.Trainer):
    """Waits for the first values before any gradient is sent.

    Between machines, the first worker's values are fetched under the keys by which gradients are summed from then on.
    MXNet does not order a worker's first fetch before its first gradient: a late fetch brings a gradient instead.
    """

    def _init_params(self):
        super()._init_params()
        if self._kvstore is not None and "dist" in self._kvstore.type:
            mx.nd.waitall()


def trainer(groups: Sequence[tuple], kvstore="device") -> gluon.Trainer:
    """A Trainer over parameter groups.

    Parameters
    ----------
    groups : sequence of (parameters, name, options)
        `parameters` a list or ParameterDict; `name` of an `mx.optimizer`; `options` for it, such as
        ``{"learning_rate": 1e-3, "wd": 1e-4}``. Parameters that take no gradient are left out.
    kvstore : str or mx.kv.KVStore

    Returns
    -------
    gluon.Trainer
        Updates run where the weights are, not in the kvstore: a checkpoint can then hold every device's state.
        Only ``dist_async``, where the server owns the weights, updates in the kvstore.
    """
    chosen = []
    for parameters, name, options in groups:
        parameters = list(parameters.values()) if hasattr(parameters, "values") else list(parameters)
        parameters = [p for p in parameters if p.grad_req != "null"]
        if parameters:
            chosen.append((parameters, mx.optimizer.create(name, **options)))
    kind = kvstore if isinstance(kvstore, str) else kvstore.type
    return _Trainer(
        [p for parameters, _ in chosen for p in parameters],
        Grouped(chosen),
        kvstore=kvstore,
        update_on_kvstore="async" in kind,
    )


def step_factor(epoch: int, steps: Sequence[float], factor: float) -> float:
    """The learning rate's factor at `epoch`: `factor` once for each of `steps` that has been reached."""
    return factor ** sum(epoch >= step for step in steps)


def one_cycle(done: float, warm: float = 0.25, start: float = 0.04, end: float = 1e-5) -> float:
    """The learning rate's factor after the share `done` of a training: up, then down, each half a cosine.

    Parameters
    ----------
    done : float
        0..1.
    warm : float
        Share of the training in which it rises from `start` to 1; then it falls to `end`.

    References
    ----------
    L. N. Smith: A disciplined approach to neural network hyper-parameters, part 1. 2018.
    """
    low, high, at = (start, 1.0, done / warm) if done < warm else (1.0, end, (done - warm) / (1 - warm))
    return high + (low - high) * (1 + math.cos(math.pi * min(at, 1.0))) / 2
