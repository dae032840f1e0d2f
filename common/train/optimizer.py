"""Parameter groups, each with its own optimizer, behind one `gluon.Trainer`."""

from __future__ import annotations

from collections.abc import Sequence

import mxnet as mx
from mxnet import gluon

from common.train.grouped import Grouped


class _Trainer(gluon.Trainer):
    """Starts in good order between machines."""

    def _init_kvstore(self):
        super()._init_kvstore()
        if self._update_on_kvstore:
            self._optimizer.send = self._kvstore.set_optimizer

    def _init_params(self):
        """Wait for the first values before any gradient is sent.

        The first worker's values are fetched under the keys by which gradients are summed from then on. MXNet does not
        order a worker's first fetch before its first gradient: a late fetch brings a gradient instead.
        """
        distributed = self._kvstore is not None and "dist" in self._kvstore.type
        if distributed:  # the first worker's values leave at once, not after the step that is still being computed
            mx.nd.waitall()
        super()._init_params()
        if distributed:
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
