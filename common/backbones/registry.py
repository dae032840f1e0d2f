"""The networks by name: those of MXNet's model zoo, of gluoncv, and of the suite."""

from __future__ import annotations

import functools
import re
from importlib import import_module

from mxnet.gluon import HybridBlock
from mxnet.gluon.model_zoo import vision

from common.backbones import entries
from common.files.errors import UserError, near

ZOO = (
    [f"resnet{n}_v{v}" for v in (1, 2) for n in (18, 34, 50, 101, 152)]
    + [f"vgg{n}{bn}" for bn in ("", "_bn") for n in (11, 13, 16, 19)]
    + ["alexnet", "inceptionv3", "squeezenet1.0", "squeezenet1.1"]
    + [f"densenet{n}" for n in (121, 161, 169, 201)]
    + [f"mobilenet{v}{width}" for v in ("", "v2_") for width in ("1.0", "0.75", "0.5", "0.25")]
)
OTHER_TASKS = re.compile(  # what gluoncv's list has besides classification of ImageNet's and CIFAR's pictures
    "yolo|ssd|rcnn|fcn|psp|deeplab|pose|center|kinetics|sthsth|hmdb|ucf|siam|icnet|danet|alpha|monodepth"
    "|fastscnn|custom|int8|hrnet.*_s$|_gn$"  # _gn: its group norm cannot be hybridized
)


@functools.cache
def _gluoncv_names() -> tuple[str, ...]:
    from gluoncv.model_zoo import get_model_list

    return tuple(name for name in get_model_list() if not OTHER_TASKS.search(name))


def list_backbones(pretrained: bool = False) -> list[str]:
    """The names of all networks, or of those with parameters outside of the Gluon model store, in alphabetical order.

    Parameters
    ----------
    pretrained : bool
        Only those whose parameters a package or a host of their own gives.

    Returns
    -------
    list of str
    """
    if pretrained:
        return sorted(name for name, entry in entries.ENTRIES.items() if entry.weights)
    return sorted({*entries.ENTRIES, *ZOO, *_gluoncv_names()})


def has(name: str) -> bool:
    """Whether `name` is one of `list_backbones`; gluoncv is asked last, since its import takes a while."""
    return name in [*entries.ENTRIES, *ZOO] or name in _gluoncv_names()


def _check(name: str) -> None:
    if not has(name):
        raise UserError(f"--model {name}: no such network{near(name, list_backbones())}")


def network(name: str, size: int | None = None) -> HybridBlock:
    """The whole network called `name`, classifier included, without values.

    Parameters
    ----------
    name : str
        See `list_backbones`.
    size : int, optional
        Side in pixels of the pictures it will see, which Xception as Keras has it needs to know.

    Returns
    -------
    HybridBlock
        From normalised (n, 3, size, size) to logits; conv4 has no classifier.

    Raises
    ------
    UserError
        No such network; the message has the near names.
    """
    _check(name)
    entry = entries.find(name)
    if entry.constructor:
        module, function, *arguments = entry.constructor
        make = getattr(import_module(f"common.backbones.architectures.{module}"), function)
        return make(*arguments, size) if entry.takes_size else make(*arguments)
    if name in ZOO:
        return vision.get_model(name)
    from gluoncv import model_zoo

    more = {"pretrained_base": False} if name == "googlenet" else {}
    return model_zoo.get_model(name, pretrained=False, **more)


def input_size(name: str) -> int:
    """Side in pixels of the pictures that network `name` was made for.

    Raises
    ------
    UserError
        No such network.
    """
    _check(name)
    return entries.find(name).input_size
