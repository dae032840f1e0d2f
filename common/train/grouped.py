"""An optimizer for each group of parameters.

Imports `mxnet.optimizer` alone: a parameter server imports this module while `mxnet` itself is being imported there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from mxnet.optimizer import Optimizer


class Grouped(Optimizer):
    """An optimizer that hands each parameter to the optimizer of its group.

    Two Trainers on one distributed kvstore overwrite each other's keys; one Trainer with this optimizer does not.

    Parameters
    ----------
    groups : sequence of (list of gluon.Parameter, mx.optimizer.Optimizer)

    Attributes
    ----------
    optimizers : list of mx.optimizer.Optimizer
        One a group, in the order given.
    send : callable (Grouped) or None
        Sends this optimizer to the servers that update with it (``dist_async``), again whenever its rates change.
    serving : Grouped or None
        Of the class: in a server, the optimizer that arrived last.
    """

    serving: Grouped | None = None

    def __init__(self, groups: Sequence[tuple]):
        super().__init__()
        self.optimizers = [optimizer for _, optimizer in groups]
        self.send: Callable[[Grouped], None] | None = None
        self._states: dict | None = None
        self._base_rates = [optimizer.lr for optimizer in self.optimizers]
        self._by_index = [optimizer for parameters, optimizer in groups for _ in parameters]
        self.aggregate_num = len(self._by_index)  # parameters that MXNet hands over at once
        for optimizer in self.optimizers:
            optimizer.param_dict = dict(enumerate(p for parameters, _ in groups for p in parameters))

    def scale_rates(self, factor: float) -> None:
        """Set every group's learning rate to its initial one times `factor`."""
        rates = [rate * factor for rate in self._base_rates]
        changed = rates != [optimizer.lr for optimizer in self.optimizers]
        for optimizer, rate in zip(self.optimizers, rates):
            optimizer.set_learning_rate(rate)
        if changed and self.send:
            self.send(self)

    @property
    def learning_rate(self) -> float:
        """The first group's learning rate."""
        return self.optimizers[0].learning_rate

    def _set_current_context(self, device_id):
        super()._set_current_context(device_id)
        for optimizer in self.optimizers:
            optimizer._set_current_context(device_id)

    def create_state_multi_precision(self, index, weight):
        if self._states is None:
            return self._by_index[index].create_state_multi_precision(index, weight)
        if index not in self._states:
            self._states[index] = self._by_index[index].create_state_multi_precision(index, weight)
        return self._states[index]

    def update_multi_precision(self, index, weight, grad, state):
        if not isinstance(index, (list, tuple)):
            index, weight, grad, state = [index], [weight], [grad], [state]
        rows = zip(index, weight, grad, state)
        for optimizer, own in itertools.groupby(rows, lambda row: self._by_index[row[0]]):
            optimizer.rescale_grad = self.rescale_grad
            if getattr(optimizer, "takes_many", False) and not optimizer.multi_precision:
                optimizer.update(*zip(*own))
            else:
                for row in own:
                    optimizer.update_multi_precision(*row)

    def __getstate__(self):
        for optimizer in self.optimizers:  # `param_dict` is not pickled: send its multipliers of rate and decay
            optimizer.lr_mult = {index: p.lr_mult for index, p in optimizer.param_dict.items()}
            optimizer.wd_mult = {index: p.wd_mult for index, p in optimizer.param_dict.items()}
        return {**super().__getstate__(), "send": None, "_states": None}

    def __setstate__(self, state):
        """A re-sent optimizer inherits the momenta and update counts of its predecessor in the server."""
        super().__setstate__(state)
        before, Grouped.serving = Grouped.serving, self
        self._states = before._states if before else {}
        for new, old in zip(self.optimizers, before.optimizers if before else ()):
            new.num_update = old.num_update
            new._all_index_update_counts = old._all_index_update_counts
            new._index_update_count = old._index_update_count
