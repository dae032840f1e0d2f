"""Parameters of other frameworks -> Gluon's: a converter for each layout. No foreign code is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from common.backbones import entries
from common.backbones.convert import keras, named, pickles, torch
from common.files.errors import UserError, reading

SUFFIXES = (*keras.SUFFIXES, *torch.SUFFIXES)  # files that a user may give


@dataclasses.dataclass(frozen=True)
class Converter:
    """How parameters are read that another framework wrote.

    Attributes
    ----------
    suffixes : tuple of str
        Of the files.
    load : function of (net, path, classifier)
        Fills the network `net` from the file `path`; where `classifier` is False the classifier may stay empty.
    """

    suffixes: tuple[str, ...]
    load: Callable


def _of_arrays(fill: Callable) -> Converter:
    """PyTorch's files, whose arrays alone `fill` needs: a function of (net, arrays, classifier)."""
    return Converter(torch.SUFFIXES, lambda net, path, classifier: fill(net, torch.read_torch(path), classifier))


CONVERTERS = {
    "keras": Converter(keras.SUFFIXES, keras.load),
    "torchvision": _of_arrays(torch.fill_torchvision),
    "efficientnet_lite": Converter(torch.SUFFIXES, torch.load_efficientnet_lite),
    "convnext": _of_arrays(named.fill_convnext),
    "vit": _of_arrays(named.fill_vit),
    "squeezenet": Converter(pickles.SUFFIXES, pickles.load_squeezenet),
}


def layout(name: str, suffix: str) -> str:
    """The key in `CONVERTERS` for a file given for a network.

    Parameters
    ----------
    name : str
        The network, see `common.backbones.list_backbones`.
    suffix : str
        Of the file: with the suffix of the network's own parameters it is taken for one of those, else for one of
        torchvision's or timm's.
    """
    entry = entries.find(name)
    own = entry.weights.converter if entry.weights else entry.converter
    return own if own and suffix in CONVERTERS[own].suffixes else "torchvision"


def load(net, name: str, path, classifier: bool = True) -> None:
    """Fill a network from a foreign file.

    Parameters
    ----------
    net : HybridBlock
        What `common.backbones.network` made.
    name : str
        Its name.
    path : path
        Keras's ``.h5`` or ``.keras``, PyTorch's ``.pth`` or ``.safetensors``, or SqueezeNet's ``.pkl``.
    classifier : bool
        False: the file may have another classifier or none (``include_top=False``), and the network's stays empty.

    Raises
    ------
    UserError
        The file cannot be read, or belongs to another network.
    """
    path = Path(path)
    try:
        with reading(path, f"parameters of {name} are wanted"):
            converter = CONVERTERS[layout(name, path.suffix)]
            if path.suffix in keras.SUFFIXES and path.suffix not in converter.suffixes:
                raise UserError(f"a Keras file fits the keras-... networks, not {name}")
            converter.load(net, path, classifier)
    except UserError as error:
        known = str(path) in str(error)
        raise (error if known else UserError(f"{path} does not fit --model {name}: {error}")) from error
