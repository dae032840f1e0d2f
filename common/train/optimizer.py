"""Parameter groups, each with its own optimizer, behind one `gluon.Trainer`."""

from __future__ import annotations

from collections.abc import Sequence

import mxnet as mx
from mxnet import autograd, gluon

from common import devices
from common.train import adamw, workers  # noqa: F401  (the first registers itself)
from common.train.grouped import Grouped
from common.train.mixed import LossScale


class _Trainer(gluon.Trainer):
    """Between machines: has keys of its own, so that one kvstore serves several Trainers; sends compressed gradients.

    And orders the broadcast of the initial weights before the first push.

    Attributes
    ----------
    loss_scale : common.train.mixed.LossScale or None
        Of mixed precision, which `common.train.mixed.start` begins.
    """

    loss_scale: LossScale | None = None

    @property
    def scale(self) -> float:
        """The factor of all gradients until the update, which takes it off."""
        return self.loss_scale.value if self.loss_scale else 1.0

    def backward(self, losses: Sequence[mx.nd.NDArray]) -> None:
        """The gradients of all parameters from recorded losses, times `scale`.

        Parameters
        ----------
        losses : sequence of NDArray
            One a device.
        """
        scaled = [mx.nd.ones_like(loss) * self.scale for loss in losses] if self.loss_scale else None
        self._scale = 1 / self.scale
        autograd.backward(losses, scaled)

    def _update(self, ignore_stale_grad=False):
        """As in MXNet; in mixed precision a step whose gradients are not finite is left out."""
        if self.loss_scale:
            finite = self._is_finite()
            self.loss_scale.update(finite)
            if not finite:
                return
        super()._update(ignore_stale_grad)

    def _is_finite(self) -> bool:
        """Whether the gradients are; they are the same sums on every device and every worker."""
        gradients = [p.list_grad()[0] for p in self._params if p.grad_req != "null"]
        # Nought, or not a number. MXNet's `multi_all_finite` does not take arrays that oneDNN keeps in its own order.
        return mx.nd.add_n(*((gradient - gradient).sum() for gradient in gradients)).asscalar() == 0

    def __init__(self, *args, kvstore, **options):
        super().__init__(*args, kvstore=kvstore, **options)
        distributed = isinstance(kvstore, mx.kv.KVStore) and "dist" in kvstore.type
        self._first = workers.reserve(kvstore, len(self._params)) if distributed else 0
        self._param2idx = {name: self._first + index for name, index in self._param2idx.items()}
        self._apart = self._first > 0 or (distributed and devices.threshold(kvstore) is not None)

    def _allreduce_grads(self):
        """As in MXNet, which has the indices for keys, and `pushpull`, which refuses to compress."""
        if not self._apart:
            super()._allreduce_grads()
            return
        for index, p in enumerate(self._params):
            key, out = self._first + index, p.list_data() if self._update_on_kvstore else p.list_grad()
            self._kvstore.push(key, p.list_grad(), priority=-index)
            self._kvstore.pull(key, out, priority=-index)

    def _init_kvstore(self):
        super()._init_kvstore()
        if self._update_on_kvstore:
            self._optimizer.send = self._kvstore.set_optimizer

    def _init_params(self):
        """Wait until every worker has the initial weights of rank 0.

        They are pulled under the keys by which gradients are summed from then on, and MXNet does not order a worker's
        first pull before another's first push: a late pull would bring a gradient.
        """
        distributed = self._kvstore is not None and "dist" in self._kvstore.type
        if distributed:  # flush the engine, so that rank 0 broadcasts now, not after the queued first step
            mx.nd.waitall()
        super()._init_params()
        if distributed:
            mx.nd.waitall()


def trainer(groups: Sequence[tuple], kvstore="device") -> gluon.Trainer:
    """A Trainer over parameter groups.

    Parameters
    ----------
    groups : sequence of (parameters, name, options)
        `parameters` a list or ParameterDict; `name` of an `mx.optimizer` or ``adamw``; `options` for it, such as
        ``{"learning_rate": 1e-3, "wd": 1e-4}``. Parameters that take no gradient are left out.
    kvstore : str or mx.kv.KVStore
        Sums the gradients of devices and workers.

    Returns
    -------
    gluon.Trainer
        Updates run where the weights are, not in the kvstore: a checkpoint can then hold every device's state.
        Only ``dist_async``, where the server owns the weights, updates in the kvstore. Its ``optimizer`` is a
        `common.train.grouped.Grouped`.
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
