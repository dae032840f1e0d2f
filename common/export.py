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

from common import compat, int8
from common.errors import UserError
from common.files import atomic, flush, writing

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
    net.hybridize()
    net(mx.nd.zeros(shape, dtype=dtype, ctx=_context(net)))
    written = path.with_name(f"{path.name}-symbol.json"), path.with_name(f"{path.name}-0000.params")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            made = [Path(folder) / file.name for file in written]
            net.export(str(Path(folder) / path.name))
            for file, read in zip(made, (mx.sym.load, mx.nd.load)):
                read(str(file))  # MXNet says nothing where a full disk took the end
                flush(file)
            for file, target in zip(made, written):
                os.replace(file, target)
        flush(path.parent)
    return written


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
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    compat.onnx_mapping()
    _teach_slice()
    with tempfile.TemporaryDirectory() as folder:
        files = symbol(net, Path(folder) / "net", shape, dtype)
        with atomic(path) as beside:
            with _quiet(), _opset():
                mx.onnx.export_model(
                    *map(str, files), [tuple(shape)], np.dtype(dtype).type, str(beside),
                    dynamic=True, dynamic_input_shapes=[(None, *shape[1:])],
                )  # fmt: skip
            _tidy(beside)
    return path


def _tidy(path: Path) -> None:
    """Mend what MXNet's exporter writes.

    The parameters come off the list of inputs, where nothing can be fused; a dense layer without a bias loses the
    scalar zero it was given, which cannot be quantised; every operator gets a name; the file's version becomes the
    oldest that its operators need, so that older runtimes read it.
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
    model.ir_version = package.helper.find_min_ir_version_for(model.opset_import)
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

    The ranges of the activations are the smallest and largest values met; weights are made ready by `common.int8`. What
    comes after the last convolution stays in float32: it is small, and decides.

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

    with tempfile.TemporaryDirectory() as folder, atomic(target) as beside, _quiet():
        simple = Path(folder) / "simple.onnx"  # constants folded, batch norms fused: what can be quantised
        quantization.quant_pre_process(str(path), str(simple), skip_symbolic_shape=True)
        after = int8.prepare(simple, pictures)
        quantization.quantize_static(
            str(simple), str(beside), Reader(), per_channel=True, nodes_to_exclude=after,
            activation_type=quantization.QuantType.QUInt8,  # several times as fast as INT8 on x86, as fast on ARM
        )  # fmt: skip
    return Path(target)


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
