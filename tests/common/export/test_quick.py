"""The form of a network that onnxruntime reads fastest, beside the form that the exporter writes."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from common.export import quick

BATCH = 3


def exported(side, axes, last_stride=1):
    """A network in the operators that `common.export.onnx` writes: turned pictures, two branches, a mean."""
    rng, nodes, constants = np.random.default_rng(0), [], {}

    def add(kind, inputs, output, **options):
        for name, value in inputs.items():
            if value is not None:
                constants[name] = numpy_helper.from_array(np.asarray(value), name)
        nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **options))

    def conv(source, output, channels, kernel, stride=1):
        weight = rng.normal(size=(*channels, kernel, kernel)).astype(np.float32)
        bias = rng.normal(size=channels[0]).astype(np.float32)
        add("Conv", {source: None, f"{output}_w": weight, f"{output}_b": bias}, output, dilations=[1, 1], group=1,
            kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4, strides=[stride] * 2)  # fmt: skip

    steps = np.full(len(axes), -1)
    parts = {"starts": steps, "ends": np.full(len(axes), quick.REVERSED), "axes": np.array(axes), "steps": steps}
    add("Reshape", {"data": None, "pixels": np.array([0, -1, 3])}, "listed")
    add("Slice", {"listed": None, **parts}, "reversed")
    add("Shape", {"data": None}, "shape")
    add("Reshape", {"reversed": None, "shape": None}, "turned")
    add("Cast", {"turned": None}, "cast", to=1)
    add("Transpose", {"cast": None}, "maps", perm=[0, 3, 1, 2])
    conv("maps", "stem", (4, 3), 5, 2)
    conv("stem", "one", (5, 4), 1)
    conv("stem", "three", (6, 4), 3)
    add("Relu", {"three": None}, "rectified")
    add("Concat", {"one": None, "rectified": None}, "joined", axis=1)
    add("MaxPool", {"joined": None}, "pooled", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    conv("pooled", "squeezed", (7, 11), 1, last_stride)
    add("Reshape", {"squeezed": None, "flat": np.array([0, 0, -1])}, "places")
    add("ReduceMean", {"places": None}, "features", axes=[2], keepdims=0)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "network", [value("data", onnx.TensorProto.UINT8, [None, side, side, 3])],
        [value("features", onnx.TensorProto.FLOAT, [None, 7])], list(constants.values()),
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def run(model, pictures):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"data": pictures})[0]


@pytest.mark.parametrize(("side", "axes", "last_stride", "slices"), [
    (16, [1], 1, 0), (17, [1], 1, 0), (18, [1], 1, 0), (19, [1], 1, 0),
    (16, [1, 2], 1, 1), (16, [2], 1, 1),  # colours reversed, too
    (16, [1], 2, 1),  # 4 places, of which the last is left out: nothing can be padded away
])  # fmt: skip
def test_the_same_numbers_by_other_operators(side, axes, last_stride, slices):
    model = exported(side, axes, last_stride)
    pictures = np.random.default_rng(1).integers(0, 256, (BATCH, side, side, 3)).astype(np.uint8)
    expected = run(model, pictures)
    quick.rewrite(model)
    onnx.checker.check_model(model, full_check=True)
    found = run(model, pictures)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Slice") == slices and "Concat" not in kinds and "ReduceMean" not in kinds
    assert kinds.count("MaxPool") == 2 and kinds.count("Conv") == 5
    assert {tensor.name for tensor in model.graph.initializer} <= {name for n in model.graph.node for name in n.input}


def test_what_tells_places_apart_keeps_turned_pictures():
    model = exported(16, [1])
    by_place = numpy_helper.from_array(
        np.random.default_rng(2).normal(size=(1, 4, 8, 8)).astype(np.float32), "by_place"
    )
    model.graph.initializer.append(by_place)
    stem = next(node for node in model.graph.node if node.name == "stem")
    for node in model.graph.node:
        node.input[:] = ["placed" if name == "stem" else name for name in node.input]
    model.graph.node.insert(list(model.graph.node).index(stem) + 1,
                            helper.make_node("Mul", ["stem", "by_place"], ["placed"], name="placed"))  # fmt: skip
    pictures = np.random.default_rng(1).integers(0, 256, (BATCH, 16, 16, 3)).astype(np.uint8)
    expected = run(model, pictures)
    quick.rewrite(model)
    assert [node.op_type for node in model.graph.node].count("Slice") == 1
    np.testing.assert_allclose(run(model, pictures), expected, rtol=1e-5, atol=1e-3)
