"""A trained network as an ONNX file, in float32 or INT8."""

from __future__ import annotations

import contextlib
import functools
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock

from common import compat
from common.export import int8
from common.files.disk import atomic, with_folder
from common.files.quiet import quiet


def write(net: HybridBlock | Callable, path, shape: tuple[int, ...], dtype: str = "uint8") -> Path:
    """Write `net` to the ONNX file `path`, for batches of any size.

    Parameters
    ----------
    net : HybridBlock, or a method of a block
        With values, of which those of the first device are written; it is not run, and stays hybridized as it is.
    path : path
        Ends in ``.onnx``. Its folder is made where it is not there.
    shape : tuple of int
        Of an input batch, for instance (1, 224, 224, 3): the written network takes any number of pictures of that size.
    dtype : str
        Of the input.

    Raises
    ------
    UserError
        The file cannot be written; an older one of that name is kept.
    """
    path = with_folder(path)
    compat.onnx_mapping()
    _teach()
    block = getattr(net, "__self__", net)
    with _as_it_is_read(block):
        symbol, parameters = net(mx.sym.var("data")), block.collect_params()
    if isinstance(symbol, (list, tuple)):
        symbol = mx.sym.Group(list(symbol))
    values = {name: _first(parameters[name]) for name in symbol.list_inputs() if name != "data"}
    with atomic(path) as tmp:
        with quiet(), _opset(), _raw_tensors():
            mx.onnx.export_model(
                symbol, values, [tuple(shape)], np.dtype(dtype).type, str(tmp),
                dynamic=True, dynamic_input_shapes=[(None, *shape[1:])],
            )  # fmt: skip
        _tidy(tmp, [name.removesuffix("_output") for name in symbol.list_outputs()])
    return path


def _first(parameter):
    return parameter.data(parameter.list_ctx()[0])


@contextlib.contextmanager
def _as_it_is_read(block):
    """The layers written as before `common.backbones.Backbone.speed_up_training`, in operators that ONNX has."""
    quick: list = []
    block.apply(lambda layer: quick.append(layer) if getattr(layer, "quick", False) else None)
    for layer in quick:
        layer.quick = False
    try:
        yield
    finally:
        for layer in quick:
            layer.quick = True


def _tidy(path: Path, outputs: list[str]) -> None:
    """Correct what MXNet's exporter writes.

    The parameters come off the list of inputs, where nothing can be fused; a dense layer without a bias loses the
    scalar zero it was given, which cannot be quantised; every operator gets a name; several outputs come in the
    network's order; the file's version becomes the oldest that its operators need, so that older runtimes read it.
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
    found = sorted(model.graph.output, key=lambda value: outputs.index(value.name) if len(outputs) > 1 else 0)
    del model.graph.output[:]
    model.graph.output.extend(found)
    model.ir_version = package.helper.find_min_ir_version_for(model.opset_import)
    package.checker.check_model(model)
    package.save(model, str(path))


@contextlib.contextmanager
def _opset(version: int = 13):
    """Have MXNet's exporter write the newest operator set it really knows, not the one that onnx offers.

    The exporter's own checker assumes the newest opset, so it is disabled, and `_tidy` checks the finished model.
    """
    with mock.patch("onnx.defs.onnx_opset_version", lambda: version), mock.patch("onnx.checker.check_graph"):
        yield


@contextlib.contextmanager
def _raw_tensors():
    """Have MXNet's exporter write weights as bytes: the lists of numbers that it makes take several times as long."""
    from onnx import TensorProto, helper, numpy_helper

    plain = helper.make_tensor

    def make(name, data_type, dims, vals, raw=False):
        if data_type != TensorProto.FLOAT or raw:
            return plain(name, data_type, dims, vals, raw)
        return numpy_helper.from_array(np.asarray(vals, np.float32).reshape(dims), name)

    with mock.patch("onnx.helper.make_tensor", make):
        yield


@functools.cache  # once
def _teach() -> None:
    """Have MXNet's exporter write what it lacks.

    Slices with negative steps (the first layer of networks with `rotated` input), and rows brought to length one.
    """
    from mxnet.onnx.mx2onnx._export_onnx import MXNetGraph
    from mxnet.onnx.mx2onnx._op_translations._op_translations_opset12 import create_tensor, get_inputs
    from onnx import helper

    known = MXNetGraph.registry_[12]
    forwards, by_channel = known["slice"], known["L2Normalization"]

    def convert_slice(node, **kwargs):
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

    def convert_unit(node, **kwargs):
        name, inputs, attributes = get_inputs(node, kwargs)
        if attributes.get("mode", "instance") != "instance":
            return by_channel(node, **kwargs)
        create_tensor([1], f"{name}_axis", kwargs["initializer"])
        create_tensor([float(attributes.get("eps", 1e-10))], f"{name}_eps", kwargs["initializer"], dtype="float32")
        return [
            helper.make_node("Shape", inputs, [f"{name}_shape"], name=f"{name}_shape"),
            helper.make_node("Flatten", inputs, [f"{name}_rows"], name=f"{name}_flatten"),
            helper.make_node("Mul", [f"{name}_rows"] * 2, [f"{name}_squares"], name=f"{name}_mul"),
            helper.make_node("ReduceSum", [f"{name}_squares", f"{name}_axis"], [f"{name}_sum"], name=f"{name}_reduce"),
            helper.make_node("Add", [f"{name}_sum", f"{name}_eps"], [f"{name}_some"], name=f"{name}_add"),
            helper.make_node("Sqrt", [f"{name}_some"], [f"{name}_length"], name=f"{name}_sqrt"),
            helper.make_node("Div", [f"{name}_rows", f"{name}_length"], [f"{name}_unit"], name=f"{name}_div"),
            helper.make_node("Reshape", [f"{name}_unit", f"{name}_shape"], [name], name=name),
        ]

    known["slice"], known["L2Normalization"] = convert_slice, convert_unit


def write_int8(path, target, pictures: np.ndarray, answers: Callable | None = None, wanted: float = 0) -> dict:
    """Quantise the ONNX file `path` to `target`, see `common.export.int8`.

    Parameters
    ----------
    path : path
        Of the float32 network.
    target : path
        Of the file to write; its folder is there.
    pictures : (n, H, W, 3) array
        Some dozens or hundreds of typical inputs.
    answers : callable, optional
        From outputs (n, d) to n classes.
    wanted : float
        Fraction of the pictures that must keep their class: convolutions are left in float32 until they do. 0: none is.

    Returns
    -------
    dict
        How many ``convolutions`` there are and are ``in_float32``, the share ``wanted``, and ``same_top1`` of how
        many ``pictures``, None without `answers`.

    Raises
    ------
    UserError
        The file cannot be written; an older one of that name is kept.
    """
    import onnx as package
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory() as folder, atomic(target) as tmp, quiet():
        simple = Path(folder) / "simple.onnx"  # constants folded, batch norms fused
        quantization.quant_pre_process(str(path), str(simple), skip_symbolic_shape=True)
        quantiser = int8.Quantiser(package.load(str(simple)), pictures)
        kept, same = quantiser.choose(answers, wanted) if answers else ([], None)
        package.save(quantiser.quantised(kept), str(tmp))
    layers = len(quantiser.layers)
    return {
        "convolutions": layers, "in_float32": len(kept), "wanted": wanted, "pictures": len(pictures), "same_top1": same,
    }  # fmt: skip
