"""Keras's files of weights, read without Keras: ``.h5`` of Keras 2, ``.weights.h5`` and ``.keras`` of Keras 3."""

from __future__ import annotations

import contextlib
import io
import re
import zipfile
from pathlib import Path

import numpy as np

from common.backbones.convert.values import fill
from common.files import outside
from common.files.errors import UserError, reading

SUFFIXES = (".h5", ".keras")
NO_KERAS = "a whole Keras file of weights is wanted: get it again, or save it by model.save_weights"
MEMBER = "model.weights.h5"  # of a .keras archive


def read_keras(path) -> dict[str, list[np.ndarray]]:
    """The arrays of each layer of a Keras file (weights or whole model), in Keras's order.

    The order is the same in all versions of Keras, the arrays' names are not.

    Raises
    ------
    UserError
        Not such a file.
    """
    import h5py

    path = Path(path)
    with reading(path, NO_KERAS), _opened(path) as content, h5py.File(content, "r") as file:
        layers: dict[str, list[np.ndarray]] = {}
        total = 0
        for name, found in _layers(file):
            data_sets = [_data_set(file, data_set) for data_set in found]
            total += sum(data_set.nbytes for data_set in data_sets)
            outside.check_growth("it", total, path.stat().st_size)
            if name in layers and layers[name] and data_sets:
                raise ValueError(f"two of its layers are called {name}")
            layers[name] = [np.asarray(data_set) for data_set in data_sets] or layers.get(name, [])
        return layers


def _opened(path: Path):
    """The ``.h5`` file itself, or the one in a ``.keras`` archive; nothing else of that is read."""
    if path.suffix != ".keras":
        return contextlib.nullcontext(path)
    with zipfile.ZipFile(path) as archive:
        outside.check_growth("it", archive.getinfo(MEMBER).file_size, path.stat().st_size)
        return io.BytesIO(archive.read(MEMBER))


def _layers(file):
    """Each layer's name and what it holds, in the order of the file."""
    root = file.get("model_weights", file)
    if "layer_names" in root.attrs:  # Keras 2's layout
        for name in map(_text, np.atleast_1d(root.attrs["layer_names"])):
            yield name, [root[name][_text(weight)] for weight in np.atleast_1d(root[name].attrs["weight_names"])]
        return
    if "layers" not in file:
        raise ValueError("it has no layers")
    yield from _layers_below(file["layers"])


def _layers_below(group):
    """The layers of Keras 3's layout, also of models in it: ``vars`` has a layer's name, and its arrays by number."""
    import h5py

    for child in group.values():
        if not isinstance(child, h5py.Group):
            continue
        arrays = child.get("vars")
        if isinstance(arrays, h5py.Group) and len(arrays):
            if "name" not in arrays.attrs:
                raise ValueError(f"{child.name} does not say its layer's name: save it by Keras 3.4 or newer")
            yield _text(arrays.attrs["name"]), [arrays[number] for number in sorted(arrays, key=int)]
        yield from _layers_below(child)


def _data_set(file, found):
    """`found` if it is a data set of numbers that lies in `file` itself, and not behind a link to another."""
    import h5py

    if not isinstance(found, h5py.Dataset) or found.shape is None or found.dtype.kind not in "fiub":
        raise ValueError(f"{found.name} holds no numbers")
    if found.file.filename != file.filename or found.external or found.is_virtual:
        raise ValueError(f"{found.name} lies in another file")
    return found


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else value


def load(net, path, classifier: bool = True) -> None:
    """Fill a network of `common.backbones.architectures.keras_applications` from a file.

    Parameters
    ----------
    net : HybridBlock
    path : path
        Weights or a whole model.
    classifier : bool
        False: the file may have another classifier or none, and the network's stays empty.

    Raises
    ------
    UserError
        The file cannot be read, or belongs to another network.
    """
    fill_layers(net, read_keras(path), classifier)


def fill_layers(net, layers: dict[str, list[np.ndarray]], classifier: bool = True) -> None:
    """Fill a network of `common.backbones.architectures.keras_applications` from Keras's layers.

    A layer of the network without a Keras name takes the next one that Keras numbered (``conv2d``, ``conv2d_1``, ...).

    Parameters
    ----------
    net : HybridBlock
    layers : dict of str to list of array
        What `read_keras` gave.
    classifier : bool
        False: the classifier stays empty.

    Raises
    ------
    UserError
        A layer is missing or has another shape: the file belongs to another network.
    """
    from mxnet.gluon import nn

    numbered = {
        nn.Conv2D: iter(_numbered("conv2d", layers)),
        nn.BatchNorm: iter(_numbered("batch_normalization", layers)),
    }
    rotated = getattr(net, "rotated", False)
    arrays, left_out = {}, set()
    for path, layer in _leaves_of(net, ""):
        if layer is net.output and not classifier:
            left_out.update(path + key for key in layer._collect_params_with_prefix())
            continue
        name = layer.keras or next(numbered[type(layer)], f"another {type(layer).__name__}")
        if name not in layers:
            raise UserError(f"the Keras file has no layer {name}: it belongs to another network")
        arrays.update({path + key: value for key, value in _gluon(layer, layers[name], rotated)})
    fill(net, arrays, left_out)


def _numbered(kind: str, layers) -> list[str]:
    """Layers that Keras named itself, in the order in which it made them."""
    found = [name for name in layers if re.fullmatch(rf"{kind}(_\d+)?", name)]
    return sorted(found, key=lambda name: int(name[len(kind) + 1 :] or 0))


def _leaves_of(block, path: str):
    """The layers below `block` that have a `keras` name, with their paths, in the order of registration."""
    for name, child in block._children.items():
        if hasattr(child, "keras"):
            yield f"{path}{name}.", child
        else:
            yield from _leaves_of(child, f"{path}{name}.")


def _gluon(layer, weights: list[np.ndarray], rotated: bool):
    """Gluon's names and layouts for one Keras layer's `weights`; kernels rotated by 180 degrees where `rotated`."""
    from mxnet.gluon import nn

    if isinstance(layer, nn.BatchNorm):
        gamma = weights[:-3] or [np.ones_like(weights[-1])]
        yield from zip(("gamma", "beta", "running_mean", "running_var"), [*gamma, *weights[-3:]])
    elif hasattr(layer, "point"):  # a separable convolution
        yield "deep.weight", weights[0].transpose(2, 3, 0, 1)
        yield "point.weight", weights[1].transpose(3, 2, 0, 1)
    else:
        kernel = weights[0]
        if kernel.ndim == 4:
            deep = getattr(layer, "_kwargs", {}).get("num_group", 1) > 1
            kernel = kernel.transpose(2, 3, 0, 1) if deep else kernel.transpose(3, 2, 0, 1)
            kernel = kernel[:, :, ::-1, ::-1] if rotated else kernel
        yield "weight", _dense(layer, kernel)
        yield from zip(["bias"], weights[1:])


def _dense(layer, kernel: np.ndarray) -> np.ndarray:
    """A dense layer's kernel, which Keras keeps as (in, out); the input of VGG's first are (7, 7, 512) maps."""
    if layer.keras == "fc1":
        pixels, filters = kernel.shape[0] // 512, kernel.shape[1]
        return kernel.reshape(pixels, 512, filters).transpose(2, 1, 0).reshape(filters, -1)
    if layer.keras == "conv_preds":  # MobileNet's classifier: a 1x1 convolution on one pixel
        return kernel[:, :, 0, 0]
    return kernel if kernel.ndim == 4 else kernel.T
