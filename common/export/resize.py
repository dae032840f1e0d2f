"""Resize and crop as operators of ONNX, in front of a network: it then takes one picture of any size."""

from __future__ import annotations

import numpy as np

FILTERS = ("area", "nearest", "bilinear", "bicubic")
CUBIC = -0.5  # Pillow's coefficient a (Keys 1981)


class _Graph:
    """Operators in the making; a value is called by its name."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, value, dtype) -> str:
        from onnx import numpy_helper

        name = f"resize_c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def real(self, value) -> str:
        return self.constant(value, np.float64)

    def whole(self, value) -> str:
        return self.constant(value, np.int64)

    def add(self, kind: str, *inputs: str, output: str = "", **attributes) -> str:
        from onnx import helper

        output = output or f"resize_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], f"resize_{kind}_{len(self.nodes)}", **attributes))
        return output

    def cast(self, value: str, dtype) -> str:
        from onnx import helper

        return self.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def column(self, value: str) -> str:
        return self.add("Unsqueeze", value, self.whole([1]))

    def steps(self, count: str) -> str:
        """0, 1, ... as float64."""
        return self.cast(self.add("Range", self.whole(0), count, self.whole(1)), np.float64)

    def levels(self, value: str) -> str:
        """Cut off at 0 and 255."""
        return self.add("Clip", value, *(self.constant(end, np.float32) for end in (0, 255)))

    def pillow_levels(self, value: str) -> str:
        """Rounded, a half upwards."""
        return self.levels(self.add("Floor", self.add("Add", value, self.constant(0.5, np.float32))))

    def between(self, value: str, low: str, high: str) -> str:
        return self.add("Min", self.add("Max", value, low), high)


def put_in_front(path, resize: int, crop: int, keep_aspect: bool, interpolation: str) -> None:
    """Change an ONNX file that takes (n, crop, crop, 3) so that it takes (1, H, W, 3) uint8 of any height and width.

    A side is resized by one product with a matrix of weights, which the graph makes from the picture's size: ONNX's
    own Resize has no averaging over areas, and its bilinear and bicubic filters are neither OpenCV's nor Pillow's.
    What is rounded is the suite's but for the last bits: levels differ by one at most, mostly not at all. Only of
    pictures that are higher than wide Pillow's newest versions resize the height first, and some levels differ more.

    Parameters
    ----------
    path : path
        Overwritten.
    resize, crop : int
        In pixels; what is resized is at least as large as the crop.
    keep_aspect : bool
        `resize` is the shorter side; otherwise both.
    interpolation : str
        One of `FILTERS`: ``area`` as `common.data.images.resize`, the others as Pillow.
    """
    import onnx

    model, graph = onnx.load(str(path)), _Graph()
    shape = graph.add("Shape", "data")
    height, width = (graph.add("Gather", shape, graph.whole(axis)) for axis in (1, 2))
    if keep_aspect:  # as common.data.images.short_size
        shorter = graph.cast(graph.add("Min", height, width), np.float64)
        scale = graph.add("Div", graph.real(resize), shorter)
        sides = [
            graph.add("Max", graph.whole(resize), graph.cast(
                graph.add("Round", graph.add("Mul", graph.cast(side, np.float64), scale)), np.int64))
            for side in (height, width)
        ]  # fmt: skip
    else:
        sides = [graph.whole(resize)] * 2
    shrinks = graph.add("And", *(graph.add("Less", new, old) for new, old in zip(sides, (height, width))))
    rows, columns = (
        graph.cast(_weights(graph, old, new, crop, interpolation, shrinks), np.float32)
        for old, new in zip((height, width), sides)
    )
    # (1, H, W, 3) -> (3, H, W): rows of weights from the left, columns from the right, which ends as (3, crop, crop)
    planes = graph.add("Transpose", graph.add("Squeeze", graph.cast("data", np.float32), graph.whole([0])),
                       perm=[2, 0, 1])  # fmt: skip
    across = graph.add("MatMul", planes, graph.add("Transpose", columns, perm=[1, 0]))
    if interpolation == "area":
        levels = graph.levels(graph.add("Round", graph.add("MatMul", rows, across)))  # as OpenCV, half to even
    else:
        levels = graph.pillow_levels(graph.add("MatMul", rows, graph.pillow_levels(across)))
    picture = graph.add("Unsqueeze", graph.add("Transpose", levels, perm=[1, 2, 0]), graph.whole([0]))
    graph.nodes.append(onnx.helper.make_node("Cast", [picture], ["resized"], "resized", to=onnx.TensorProto.UINT8))
    for node in model.graph.node:
        node.input[:] = ["resized" if name == "data" else name for name in node.input]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*graph.nodes, *rest])
    model.graph.initializer.extend(graph.constants)
    del model.graph.input[:]
    sizes = [1, "height", "width", 3]
    model.graph.input.append(onnx.helper.make_tensor_value_info("data", onnx.TensorProto.UINT8, sizes))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _weights(graph: _Graph, old: str, new: str, crop: int, interpolation: str, shrinks: str) -> str:
    """What each pixel of a side counts for those of the resized side that the crop keeps: (crop, old) float64."""
    length = graph.cast(old, np.float64)
    scale = graph.add("Div", length, graph.cast(new, np.float64))
    first = graph.add("Div", graph.add("Sub", new, graph.whole(crop)), graph.whole(2))
    kept = graph.add("Add", graph.column(graph.steps(graph.whole(crop))), graph.cast(first, np.float64))
    pixel = graph.add("Unsqueeze", graph.steps(old), graph.whole([0]))
    if interpolation == "area":
        return graph.add("Where", shrinks, _areas(graph, kept, pixel, scale, length),
                         _linear(graph, kept, pixel, scale, length))  # fmt: skip
    if interpolation == "nearest":
        middle = graph.add("Mul", graph.add("Add", kept, graph.real(0.5)), scale)
        return graph.cast(graph.add("Equal", graph.add("Floor", middle), pixel), np.float64)
    return _filtered(graph, kept, pixel, scale, length, interpolation)


def _areas(graph: _Graph, kept: str, pixel: str, scale: str, length: str) -> str:
    """How much of each new pixel, an interval of the old side, each old one covers: OpenCV's INTER_AREA."""
    one = graph.real(1)
    low, high = graph.add("Mul", kept, scale), graph.add("Mul", graph.add("Add", kept, one), scale)
    shared = graph.add("Sub", graph.add("Min", high, graph.add("Add", pixel, one)), graph.add("Max", low, pixel))
    share = graph.add("Max", shared, graph.real(0))
    return graph.add("Div", share, graph.add("ReduceSum", share, graph.whole([1]), keepdims=1))


def _linear(graph: _Graph, kept: str, pixel: str, scale: str, length: str) -> str:
    """The two nearest old pixels, whatever the scale: OpenCV's INTER_LINEAR."""
    half, one = graph.real(0.5), graph.real(1)
    middle = graph.add("Sub", graph.add("Mul", graph.add("Add", kept, half), scale), half)
    middle = graph.between(middle, graph.real(0), graph.add("Sub", length, one))
    away = graph.add("Abs", graph.add("Sub", middle, pixel))
    return graph.add("Max", graph.add("Sub", one, away), graph.real(0))


def _filtered(graph: _Graph, kept: str, pixel: str, scale: str, length: str, interpolation: str) -> str:
    """Pillow's BILINEAR and BICUBIC, stretched by the scale where a side shrinks, and cut off at the edges."""
    half, one = graph.real(0.5), graph.real(1)
    middle = graph.add("Mul", graph.add("Add", kept, half), scale)
    stretch = graph.add("Max", scale, one)
    x = graph.add("Abs", graph.add("Div", graph.add("Sub", graph.add("Add", pixel, half), middle), stretch))
    if interpolation == "bilinear":
        weight = graph.add("Max", graph.add("Sub", one, x), graph.real(0))
    else:

        def polynomial(*coefficients: float) -> str:  # Horner's scheme
            value = graph.real(coefficients[0])
            for coefficient in coefficients[1:]:
                value = graph.add("Add", graph.add("Mul", value, x), graph.real(coefficient))
            return value

        inner = polynomial(CUBIC + 2, -(CUBIC + 3), 0, 1)
        outer = polynomial(CUBIC, -5 * CUBIC, 8 * CUBIC, -4 * CUBIC)
        outer = graph.add("Where", graph.add("Less", x, graph.real(2)), outer, graph.real(0))
        weight = graph.add("Where", graph.add("Less", x, one), inner, outer)
        radius = graph.add("Mul", graph.real(2), stretch)
        weight = _inside(graph, weight, middle, radius, pixel)
    return graph.add("Div", weight, graph.add("ReduceSum", weight, graph.whole([1]), keepdims=1))


def _inside(graph: _Graph, weight: str, middle: str, radius: str, pixel: str) -> str:
    """Only pixels of the window that Pillow rounds to whole pixels."""
    half = graph.real(0.5)
    low = graph.add("Floor", graph.add("Add", graph.add("Sub", middle, radius), half))
    high = graph.add("Floor", graph.add("Add", graph.add("Add", middle, radius), half))
    inside = graph.add("And", graph.add("GreaterOrEqual", pixel, low), graph.add("Less", pixel, high))
    return graph.add("Where", inside, weight, graph.real(0))
