"""Arrays by name -> a network's parameters."""

from __future__ import annotations

import numpy as np

from common.files.errors import UserError


def fill(net, arrays: dict[str, np.ndarray], without=()) -> None:
    """Set the parameters of a network.

    Parameters
    ----------
    net : HybridBlock
    arrays : dict of str to array
        By the structural names of ``_collect_params_with_prefix``; converted to float32.
    without : container of str
        Names of parameters that stay empty.

    Raises
    ------
    UserError
        A parameter is missing, has another shape, or values that are not finite.
    """
    import mxnet as mx

    parameters = net._collect_params_with_prefix()
    for name, parameter in parameters.items():
        if name in without:
            continue
        if name not in arrays:
            raise UserError(f"the file has no values for {name}: it belongs to another network")
        value = np.asarray(arrays[name], np.float32)
        known = [n or m for n, m in zip(parameter.shape, value.shape)]  # 0: not known before the first forward
        if len(parameter.shape) != value.ndim or tuple(known) != value.shape:
            raise UserError(f"{name} is {value.shape} in the file and {parameter.shape} in the network")
        if not np.isfinite(value).all():
            raise UserError(f"the file's {name} holds numbers that are not finite: get it again")
        parameter.shape = value.shape
        parameter.initialize(mx.init.Zero(), mx.cpu(), force_reinit=True)
        parameter.set_data(mx.nd.array(value))


def by_order(net, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Name arrays that come in the order of computation.

    Parameters
    ----------
    net : HybridBlock
        A network that registers its layers in that order too.
    arrays : list of array

    Returns
    -------
    dict of str to array
        By the structural names of the network's parameters.

    Raises
    ------
    UserError
        The network has more or fewer parameters.
    """
    names = list(net._collect_params_with_prefix())
    if len(names) != len(arrays):
        raise UserError(f"the file has {len(arrays)} arrays, the network {len(names)} parameters")
    return dict(zip(names, arrays))
