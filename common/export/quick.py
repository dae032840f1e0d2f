"""An exported network in the form that onnxruntime reads fastest: other operators, the same numbers but rounding."""

from __future__ import annotations

import math

import numpy as np

FORM = 1  # changes with what is written here, so that graphs of another form are made again
BY_CHANNEL = ("Cast", "Transpose", "BatchNormalization", "Clip", "Relu", "Add")  # see all places of a map alike
REVERSED = np.iinfo(np.int64).min  # the end of a slice backwards


def rewrite(model):
    """Rewrite a network that reads (batch, side, side, 3), as `common.export.onnx` writes it.

    The batch gets a name, so that two maps are known to be of one shape, and sums are added up by the convolutions.
    The mean over places becomes a pooling operator. A 1 by 1 convolution of two joined maps becomes the sum of two
    convolutions, so that nothing is joined. Where pictures are turned by 180 degrees, the kernels are turned instead.

    Parameters
    ----------
    model : onnx.ModelProto
        Changed in place.
    """
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    _pool(model)
    _slice(model)
    _split(model)
    _turn(model)
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _constants(model) -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _readers(model) -> dict[str, list]:
    readers: dict[str, list] = {value.name: [None] for value in model.graph.output}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _options(node) -> dict:
    from onnx import helper

    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _store(model, name: str, value: np.ndarray) -> str:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name


def _replace(model, old: list, new: list) -> None:
    """Put operators in the place of the first of others."""
    nodes = list(model.graph.node)
    first = nodes.index(old[0])
    nodes[first:first] = new
    del model.graph.node[:]
    model.graph.node.extend(node for node in nodes if node not in old)


def _pool(model) -> None:
    from onnx import helper

    constants = _constants(model)
    flat = {node.output[0]: node.input[0] for node in model.graph.node
            if node.op_type == "Reshape" and np.array_equal(constants.get(node.input[1]), (0, 0, -1))}  # fmt: skip
    for node in list(model.graph.node):
        options = _options(node)
        if node.op_type != "ReduceMean" or node.input[0] not in flat or options.get("keepdims", 1):
            continue
        if options.get("axes") == [2]:
            name = node.output[0]
            pooled = helper.make_node(
                "GlobalAveragePool", [flat[node.input[0]]], [f"{name}_pooled"], name=f"{name}_pool"
            )
            _replace(model, [node], [pooled, helper.make_node("Flatten", pooled.output, [name], name=f"{name}_flat")])


def _slice(model) -> None:
    """Reverse pixels and colours without making a list of the pixels, whose shape says nothing of the batch's."""
    from onnx import helper

    constants, nodes = _constants(model), list(model.graph.node)[:4]
    if [node.op_type for node in nodes] != ["Reshape", "Slice", "Shape", "Reshape"]:
        return
    listed, cut, shape, back = nodes
    axes = [{1: (1, 2), 2: (3,)}[int(axis)] for axis in constants[cut.input[3]]]
    axes = [axis for some in axes for axis in some]
    name = back.output[0]
    parts = [("starts", [-1]), ("ends", [REVERSED]), ("axes", None), ("steps", [-1])]
    inputs = [_store(model, f"{name}_{part}", np.array(value * len(axes) if value else axes, np.int64))
              for part, value in parts]  # fmt: skip
    _replace(model, nodes, [helper.make_node("Slice", [listed.input[0], *inputs], [name], name=f"{name}_slice")])


def _split(model) -> None:
    import onnx
    from onnx import helper

    constants, readers = _constants(model), _readers(model)
    shapes = _shapes(onnx.shape_inference.infer_shapes(model))
    for joined in [node for node in model.graph.node if node.op_type == "Concat" and len(node.input) == 2]:
        chain = [joined]
        while (after := readers.get(chain[-1].output[0], [])) and len(after) == 1 and after[0] is not None:
            chain.append(after[0])
            if chain[-1].op_type != "MaxPool":
                break
        *between, conv = chain
        options = _options(conv)
        kernel = constants.get(conv.input[1]) if conv.op_type == "Conv" else None
        first = shapes.get(joined.input[0], [])[1:2]
        if kernel is None or math.prod(kernel.shape[2:]) > 1 or options.get("group", 1) > 1 or not any(first):
            continue
        made, sums = [], []
        for number, (part, some) in enumerate(zip(joined.input, np.split(kernel, first, axis=1))):
            for node in between[1:]:
                output = f"{node.output[0]}_{number}"
                made.append(helper.make_node(node.op_type, [part], [output], name=output, **_options(node)))
                part = output
            output, weight = f"{conv.output[0]}_{number}", _store(model, f"{conv.input[1]}_{number}", some)
            bias = conv.input[2:] if number else []
            made.append(helper.make_node("Conv", [part, weight, *bias], [output], name=output, **options))
            sums.append(output)
        made.append(helper.make_node("Add", sums, [conv.output[0]], name=f"{conv.output[0]}_sum"))
        _replace(model, chain[::-1], made)


def _turn(model) -> None:
    """Read pictures as they are with kernels turned by 180 degrees, in place of turned pictures."""
    import onnx
    from onnx import numpy_helper

    constants, first = _constants(model), model.graph.node[0]
    if first.op_type != "Slice" or list(constants[first.input[3]]) != [1, 2]:
        return
    maps, windows = set(first.output), []
    for node in model.graph.node:
        if not maps & set(node.input) or node is first or node.op_type == "GlobalAveragePool":
            continue
        options = _options(node)
        if node.op_type in ("Conv", "MaxPool") and "auto_pad" not in options and not options.get("ceil_mode"):
            windows.append((node, options))
        elif node.op_type != "Shape" and node.op_type not in BY_CHANNEL and not _flattened(model, node):
            return
        if node.op_type in (*BY_CHANNEL, "Conv", "MaxPool"):
            maps |= set(node.output)
    sides = _shapes(onnx.shape_inference.infer_shapes(model))
    pads = []
    for node, options in windows:  # what a window sees beyond the far side, it sees beyond the near one when turned
        if not {"pads", "strides", "kernel_shape"} <= options.keys() or max(options.get("dilations", [1])) > 1:
            return
        near, far = np.split(np.array(options["pads"]), 2)
        side, kernel, strides = (np.array(some) for some in (
            sides.get(node.input[0], [])[2:], options["kernel_shape"], options["strides"]))  # fmt: skip
        if len(side) != 2 or not all(side):
            return
        seen = (side + near + far - kernel) // strides * strides + kernel
        pads.append([*(seen - side - near), *near])
    if any(pad < 0 for some in pads for pad in some):  # a window that leaves out what lies at the far side
        return
    for (node, _), pad in zip(windows, pads):
        next(item for item in node.attribute if item.name == "pads").ints[:] = map(int, pad)
    kernels = {node.input[1] for node, _ in windows if node.op_type == "Conv"}
    for tensor in model.graph.initializer:
        if tensor.name in kernels:
            turned = np.ascontiguousarray(constants[tensor.name][:, :, ::-1, ::-1])
            tensor.CopyFrom(numpy_helper.from_array(turned, tensor.name))
    for node in model.graph.node:
        node.input[:] = [first.input[0] if name == first.output[0] else name for name in node.input]
    model.graph.node.remove(first)


def _flattened(model, node) -> bool:
    """Whether maps become a list that is only asked for its shape: what `_pool` leaves of a mean."""
    return node.op_type == "Reshape" and all(
        reader is not None and reader.op_type == "Shape" for reader in _readers(model).get(node.output[0], [])
    )


def _shapes(model) -> dict[str, list[int]]:
    """The sizes that are known of each value; 0: not known."""
    values = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    return {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in values}
