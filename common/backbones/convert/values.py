"""Arrays by name -> a network's parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common.files.errors import UserError

CLASSIFIERS = ("output", "fc", "classifier", "head", "last_linear")  # what networks and files call the last layer
ANOTHER = "it is of another network: give the --model that it was trained as"


def fill(net, arrays: Mapping[str, np.ndarray], without=(), called: Mapping[str, str] | None = None) -> None:
    """Set the parameters of a network.

    Parameters
    ----------
    net : HybridBlock
    arrays : mapping of str to array
        By the structural names of ``_collect_params_with_prefix``; converted to float32.
    without : container of str
        Names of parameters that stay empty.
    called : mapping of str to str, optional
        What the file calls each of them, for messages.

    Raises
    ------
    UserError
        A parameter is missing, has another shape, or values that are not finite; none was set then.
    """
    import mxnet as mx

    called, values = called or {}, {}
    parameters = {name: p for name, p in net._collect_params_with_prefix().items() if name not in without}
    for name, parameter in parameters.items():
        theirs = called.get(name, name)
        if name not in arrays:
            raise UserError(f"the file has no {theirs}, where {parameter.shape} is needed; {ANOTHER}")
        value = values[name] = np.asarray(arrays[name], np.float32)
        if not _fits(value, parameter):
            of_network = _known(value, parameter) if value.ndim == len(parameter.shape) else parameter.shape
            raise UserError(f"{theirs} is {value.shape} in the file and {of_network} in the network; {ANOTHER}")
        if not np.isfinite(value).all():
            raise UserError(f"the file's {theirs} holds numbers that are not finite: get it again")
    for name, parameter in parameters.items():
        parameter.shape = values[name].shape
        parameter.initialize(mx.init.Zero(), mx.cpu(), force_reinit=True)
        parameter.set_data(mx.nd.array(values[name]))


def _fits(value: np.ndarray, parameter) -> bool:
    return len(parameter.shape) == value.ndim and _known(value, parameter) == value.shape


def _known(value: np.ndarray, parameter) -> tuple[int, ...]:
    """The parameter's shape; what of it is not known before the first forward (0) as the value has it."""
    return tuple(n or m for n, m in zip(parameter.shape, value.shape))


def of_classifier(net) -> list[str]:
    """The structural names of the parameters of a network's classifier, which are its last.

    Parameters
    ----------
    net : HybridBlock
    """
    return [name for name in net._collect_params_with_prefix() if name.split(".")[0] in CLASSIFIERS]


def fill_by_order(net, arrays: Mapping[str, np.ndarray], classifier: bool = True) -> None:
    """Set the parameters of a network that registers its layers in the order of computation.

    Parameters
    ----------
    net : HybridBlock
    arrays : mapping of str to array
        In that order too, by the names that the file has for them.
    classifier : bool
        False: the classifier stays empty, and the file may have another one or none.

    Raises
    ------
    UserError
        They are more or fewer, or of other shapes.
    """
    parameters, head = net._collect_params_with_prefix(), set(of_classifier(net))
    wanted = [name for name in parameters if classifier or name not in head]
    found, rest = list(arrays)[: len(wanted)], list(arrays)[len(wanted) :]
    called = dict(zip(wanted, found))
    unlike = next((name for name in called if not _fits(arrays[called[name]], parameters[name])), None)
    if unlike is None and len(found) < len(wanted):
        needed = wanted[len(found)]
        what = "no classifier" if needed in head else f"nothing for {needed}, {parameters[needed].shape}"
        raise UserError(f"the file has {len(found)} arrays, and {what}; {ANOTHER}")
    more = next((name for name in rest if classifier or name.split(".")[0] not in CLASSIFIERS), None)
    if unlike is None and more is not None:
        raise UserError(f"the file has {more}, {arrays[more].shape}, where the network ends; {ANOTHER}")
    fill(net, {name: arrays[theirs] for name, theirs in called.items()}, head if not classifier else (), called)
