"""A trained network for use elsewhere: Gluon symbol and parameters, ONNX, and INT8 of both."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import tempfile
import warnings
from pathlib import Path
from unittest import mock

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock

from common.errors import UserError

CALIBRATION = 64  # pictures that the ranges of an INT8 network are read from, where the caller has as many


def symbol(net: HybridBlock, path, shape: tuple[int, ...], dtype: str = "uint8") -> tuple[Path, Path]:
    """Write `net` as ``PATH-symbol.json`` and ``PATH-0000.params``, which `mx.gluon.SymbolBlock.imports` reads.

    Parameters
    ----------
    net : HybridBlock
        With values.
    path : path
        Without a suffix.
    shape : tuple of int
        Of an input batch, for instance (1, 224, 224, 3): any batch and the same picture size will do later.
    dtype : str
        Of the input.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    net.hybridize()
    net(mx.nd.zeros(shape, dtype=dtype, ctx=_context(net)))
    net.export(str(path))
    return path.with_name(f"{path.name}-symbol.json"), path.with_name(f"{path.name}-0000.params")


def onnx(net: HybridBlock, path, shape: tuple[int, ...], dtype: str = "uint8") -> Path:
    """Write `net` to the ONNX file `path`; the batch size stays free.

    Parameters
    ----------
    net, shape, dtype
        As for `symbol`.
    path : path
        Ends in ``.onnx``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _teach_slice()
    with tempfile.TemporaryDirectory() as folder:
        files = symbol(net, Path(folder) / "net", shape, dtype)
        with _quiet(), _opset():
            mx.onnx.export_model(
                *map(str, files), [tuple(shape)], np.dtype(dtype).type, str(path),
                dynamic=True, dynamic_input_shapes=[(None, *shape[1:])],
            )  # fmt: skip
    _tidy(path)
    return path


def _tidy(path: Path) -> None:
    """Mend what MXNet's exporter writes.

    The parameters come off the list of inputs, where nothing can be fused; a dense layer without a bias loses the
    scalar zero it was given, which cannot be quantised; every operator gets a name.
    """
    import onnx as package

    model = package.load(str(path))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
        if node.op_type == "Gemm" and len(node.input) == 3 and not weights[node.input[2]].dims:
            del node.input[2]
    package.checker.check_model(model)
    package.save(model, str(path))


@contextlib.contextmanager
def _opset(version: int = 13):
    """Have MXNet's exporter write the newest operator set it really knows, not the one that onnx offers.

    Its check of the graph assumes onnx's newest too: the caller checks the finished model instead.
    """
    with mock.patch("onnx.defs.onnx_opset_version", lambda: version), mock.patch("onnx.checker.check_graph"):
        yield


@functools.cache  # once
def _teach_slice() -> None:
    """Have MXNet's exporter write slices that read backwards (the first layer of networks that run turned)."""
    from mxnet.onnx.mx2onnx._export_onnx import MXNetGraph
    from mxnet.onnx.mx2onnx._op_translations._op_translations_opset12 import create_tensor, get_inputs
    from onnx import helper

    forwards = MXNetGraph.registry_[12]["slice"]

    def convert(node, **kwargs):
        name, inputs, attributes = get_inputs(node, kwargs)
        steps = re.findall(r"-?\d+|None", attributes.get("step", ""))
        axes = [axis for axis, step in enumerate(steps) if step == "-1"]
        if not axes:
            return forwards(node, **kwargs)
        parts = {"starts": [-1], "ends": [np.iinfo(np.int64).min], "steps": [-1]}
        for part, value in parts.items():
            create_tensor(value * len(axes), f"{name}_{part}", kwargs["initializer"])
        create_tensor(axes, f"{name}_axes", kwargs["initializer"])
        names = [f"{name}_{part}" for part in ("starts", "ends", "axes", "steps")]
        return [helper.make_node("Slice", [inputs[0], *names], [name], name=name)]

    MXNetGraph.registry_[12]["slice"] = convert


def onnx_int8(path, target, pictures: np.ndarray) -> Path:
    """Quantise the ONNX file `path` to `target`: INT8 weights a channel, UINT8 activations.

    The ranges of the activations are the smallest and largest values met. The error of each weight's rounding is made
    good by the weights that are still to be rounded (GPTQ, Frantar et al. 2023), and what is left of it by the biases
    (Nagel et al. 2019, section 4.2), without which networks of depthwise convolutions lose much. What comes after the
    last convolution stays in float32: it is small, and decides.

    Parameters
    ----------
    pictures : (n, H, W, 3) array
        Some dozens or hundreds of typical inputs.
    """
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.batches = iter([{"data": picture[None]} for picture in pictures])

        def get_next(self):
            return next(self.batches, None)

    with tempfile.TemporaryDirectory() as folder, _quiet():
        simple = Path(folder) / "simple.onnx"  # constants folded, batch norms fused: what can be quantised
        quantization.quant_pre_process(str(path), str(simple), skip_symbolic_shape=True)
        after = _round_weights(simple, pictures)
        quantization.quantize_static(
            str(simple), str(target), Reader(), per_channel=True, nodes_to_exclude=after,
            activation_type=quantization.QuantType.QUInt8,  # several times as fast as INT8 on x86, as fast on ARM
        )  # fmt: skip
    return Path(target)


def _round_weights(path: Path, pictures: np.ndarray) -> list[str]:
    """Round the weights in the ONNX file `path` as INT8 will, and correct the biases.

    Returns the names of the operators after the last convolution.
    """
    import onnx as package
    from onnx import numpy_helper

    model = package.load(str(path))
    nodes, values = list(model.graph.node), {tensor.name: tensor for tensor in model.graph.initializer}
    for number, node in enumerate(nodes):
        node.name = f"{node.op_type}_{number}"  # fusing left some without
    layers = [node for node in nodes if node.op_type in ("Conv", "Gemm") and node.input[1] in values]
    weights = {node.name: numpy_helper.to_array(values[node.input[1]]) for node in layers}
    for node, inputs in zip(layers, _inputs(model, layers, weights, pictures)):
        weight = weights[node.name]
        by_group = weight.reshape(inputs.shape[1], -1, inputs.shape[2])
        rounded = _rounded(by_group, inputs)
        moved = np.einsum("gok,gk->go", by_group - rounded, inputs.mean(axis=0)).reshape(-1)
        values[node.input[1]].CopyFrom(numpy_helper.from_array(rounded.reshape(weight.shape), node.input[1]))
        if len(node.input) > 2:
            bias = numpy_helper.to_array(values[node.input[2]]) + moved
            values[node.input[2]].CopyFrom(numpy_helper.from_array(bias.astype(np.float32), node.input[2]))
    package.save(model, str(path))
    last = max(number for number, node in enumerate(nodes) if node.op_type == "Conv")
    return [node.name for node in nodes[last + 1 :]]


def _rounded(weight: np.ndarray, inputs: np.ndarray, damping: float = 0.01) -> np.ndarray:
    """Weights of 8 bits whose products with `inputs`, less their mean, are nearly those of `weight`.

    Column after column is rounded to the nearest step, and the columns after it take over its error as the inverse
    covariance of the inputs says (Frantar et al. 2023, equation 3). The step is the largest weight of a row / 127, and
    that weight stays as it is, so that whoever quantises the result finds the same step.

    Parameters
    ----------
    weight : (groups, out, k) array
    inputs : (n, groups, k) array
    damping : float
        Added to the variances, as a share of their mean.
    """
    left, steps = weight.astype(np.float64), np.maximum(np.abs(weight).max(axis=2), 1e-12) / 127
    centred = inputs - inputs.mean(axis=0)
    covariance = np.einsum("ngk,ngl->gkl", centred, centred, optimize=True) / len(inputs)
    mean = np.maximum(np.trace(covariance, axis1=1, axis2=2) / weight.shape[2], 1e-12)
    covariance += damping * mean[:, None, None] * np.eye(weight.shape[2])
    spread = np.linalg.cholesky(np.linalg.inv(covariance)).swapaxes(1, 2)
    result, largest = np.empty_like(weight), np.abs(weight).argmax(axis=2)
    for k in range(weight.shape[2]):
        rounded = np.clip(np.round(left[:, :, k] / steps), -127, 127) * steps
        rounded = np.where(largest == k, weight[:, :, k], rounded)
        error = (left[:, :, k] - rounded) / spread[:, k, k, None]
        left[:, :, k:] -= error[:, :, None] * spread[:, None, k, k:]
        result[:, :, k] = rounded
    return result


def _inputs(model, layers: list, weights: dict, pictures: np.ndarray, places: int = 16) -> list[np.ndarray]:
    """What each layer multiplies its weights with, at random places in `pictures`: (n, groups, k) for each."""
    import onnx as package
    import onnxruntime

    seen = package.ModelProto.FromString(model.SerializeToString())
    names = list(dict.fromkeys(node.input[0] for node in layers))
    for name in set(names) - {value.name for value in seen.graph.output}:
        seen.graph.output.append(package.helper.make_tensor_value_info(name, package.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(seen.SerializeToString(), providers=["CPUExecutionProvider"])
    rng, found = np.random.default_rng(0), [[] for _ in layers]
    for picture in pictures:
        values = dict(zip(names, session.run(names, {"data": picture[None]})))
        for node, rows in zip(layers, found):
            rows.append(_patches(values[node.input[0]], node, weights[node.name].shape[2:], places, rng))
    return [np.concatenate(rows) for rows in found]


def _patches(value: np.ndarray, node, kernel: tuple[int, ...], places: int, rng) -> np.ndarray:
    """The input of a convolution (1, C, H, W), or dense layer (1, C), under its kernel: (n, groups, k)."""
    import onnx as package

    if not kernel:
        return value[:, None]
    options = {item.name: package.helper.get_attribute_value(item) for item in node.attribute}
    top, left, bottom, right = options.get("pads", [0] * 4)
    down, across = options.get("strides", [1, 1])
    padded = np.pad(value[0], ((0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))[:, ::down, ::across]
    rows, columns = (rng.integers(0, side, places) for side in windows.shape[1:3])
    return windows[:, rows, columns].swapaxes(0, 1).reshape(places, options.get("group", 1), -1)


def quantize(net: HybridBlock, pictures: np.ndarray, batch_size: int = 16) -> HybridBlock:
    """`net` in INT8, for the CPU: convolutions and dense layers, ranges from `pictures`.

    The ranges are the smallest and largest values met (MXNet's ``naive``). Its ``entropy`` cuts off what the linear
    bottlenecks of mobile networks need: EfficientNet-Lite0's features came out unrelated to the float32 ones.

    Parameters
    ----------
    net : HybridBlock
        Takes uint8 pictures; left as it is.
    pictures : (n, H, W, 3) uint8
        A few dozen typical inputs.

    Returns
    -------
    HybridBlock
        Takes and gives what `net` does.
    """
    from mxnet.contrib.quantization import quantize_net_v2

    if not len(pictures):
        raise UserError("INT8 needs pictures to read its ranges from: the data set is empty")
    size = min(batch_size, len(pictures))
    pictures = pictures[: len(pictures) // size * size]
    batches = mx.io.NDArrayIter(mx.nd.array(pictures, dtype=pictures.dtype), batch_size=size)
    net.hybridize()
    net(mx.nd.array(pictures[:size], dtype=pictures.dtype))
    with _quiet():
        result = quantize_net_v2(
            net, quantized_dtype="auto", calib_data=batches, calib_mode="naive", num_calib_examples=len(pictures),
            exclude_operators=["BatchNorm"],  # the normalisation; all others are part of a convolution by then
        )  # fmt: skip
    result.hybridize(static_alloc=True, static_shape=True)
    return result


def _context(net: HybridBlock) -> mx.Context:
    return next(iter(net.collect_params().values())).list_ctx()[0]


@contextlib.contextmanager
def _quiet():
    """Without the pages that the exporters write to standard output and error, from Python and from C++."""
    with warnings.catch_warnings(), contextlib.ExitStack() as stack, open(os.devnull, "w") as nowhere:
        warnings.simplefilter("ignore")
        for stream in (1, 2):
            kept = os.dup(stream)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, stream)
            os.dup2(nowhere.fileno(), stream)
        yield
