"""Weights made ready for 8 bits."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from common.backbones import gptq
from common.export import int8


def network(read_sum=False, narrowest=0.3):
    """Two convolutions side by side, their channels of very different ranges, read together by a third.

    With `read_sum` an addition reads one of the two, too. The narrowest channel is about `narrowest` of the widest.
    """
    rng = np.random.default_rng(0)
    scales = np.geomspace(narrowest, 1, 6).reshape(6, 1, 1, 1)
    arrays = {
        "a": rng.normal(size=(6, 3, 3, 3)) * scales, "a_bias": rng.normal(size=6) * scales.reshape(-1),
        "b": rng.normal(size=(6, 3, 1, 1)) * scales[::-1], "c": rng.normal(size=(4, 12, 3, 3)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["data", "a", "a_bias"], ["a_out"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["data", "b"], ["b_out"]),
        helper.make_node("Concat", ["a_out", "b_out"], ["both"], axis=1),
        helper.make_node("Relu", ["both"], ["bent"]),
        helper.make_node("MaxPool", ["bent"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pooled", "c"], ["c_out"]),
        helper.make_node("Add" if read_sum else "Relu", ["b_out", "b_out"] if read_sum else ["c_out"], ["last"]),
    ]
    for number, node in enumerate(nodes):
        node.name = f"n{number}"
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("data", 1, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info(name, 1, None) for name in ("c_out", "last")],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])


def run(model, pictures, names=None):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(names, {"data": pictures})


def spread(model, pictures):
    """How many times the widest channel's range is the narrowest's, where the third convolution reads."""
    seen = onnx.ModelProto.FromString(model.SerializeToString())
    seen.graph.output.append(helper.make_tensor_value_info("pooled", 1, None))
    ranges = run(seen, pictures, ["pooled"])[0].max(axis=(0, 2, 3))
    return ranges.max() / ranges.min()


def test_equalised_channels_are_of_like_ranges_and_the_network_computes_the_same():
    pictures = np.random.default_rng(1).normal(size=(20, 3, 8, 8)).astype(np.float32)
    model = network()
    expected, before = run(model, pictures), spread(model, pictures)
    int8.equalise(model, pictures)
    for found, wanted in zip(run(model, pictures), expected):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    assert before > 20 and spread(model, pictures) < 5


def test_a_hardly_seen_channel_keeps_room():
    """It may be wide in other pictures: it is not widened as far as what was seen of it would have it."""
    pictures = np.random.default_rng(1).normal(size=(20, 3, 8, 8)).astype(np.float32)
    model = network(narrowest=1e-4)
    before = spread(model, pictures)
    int8.equalise(model, pictures)
    assert 1 < before / spread(model, pictures) < 20  # four times 1 / FLOOR: the weights that read it count, too


def test_channels_that_something_else_reads_stay_as_they_are():
    """And so do those that are read together with them."""
    pictures = np.random.default_rng(1).normal(size=(5, 3, 8, 8)).astype(np.float32)
    model = network(read_sum=True)
    before = [tensor.SerializeToString() for tensor in model.graph.initializer]
    int8.equalise(model, pictures)
    assert [tensor.SerializeToString() for tensor in model.graph.initializer] == before


def kinds_by_name(model):
    """The operators that read values of 8 bits."""
    made = {output: node for node in model.graph.node for output in node.output}
    return {
        node.name for node in model.graph.node
        if node.op_type != "QuantizeLinear" and made.get(node.input[0]) is not None
        and made[node.input[0]].op_type == "DequantizeLinear"
    }  # fmt: skip


def test_layers_are_left_in_float32_as_they_were_until_the_answers_are_those_wanted():
    pictures = np.random.default_rng(1).normal(size=(60, 3, 8, 8)).astype(np.float32)
    model = network()
    expected = run(model, pictures)[0]
    quantiser = int8.Quantiser(model, pictures)
    a, b, c = quantiser.layers

    def answers(rows):
        return (rows.reshape(len(rows), -1) @ np.random.default_rng(2).normal(size=(16, 50))).argmax(axis=1)

    def error(*kept):
        return float(np.square(int8.run(quantiser.quantised(kept), pictures) - expected).mean())

    same = {len(kept): int((answers(int8.run(quantiser.quantised(kept), pictures)) == answers(expected)).sum())
            for kept in ([], [a, b, c])}  # fmt: skip
    assert same[0] < same[3] == 60
    assert quantiser.choose(answers, wanted=0) == ([], same[0])
    kept, reached = quantiser.choose(answers, wanted=(same[0] + 1) / 60)
    assert len(kept) > 0 and same[0] < reached
    kept_all, reached_all = quantiser.choose(answers, wanted=1)
    assert kept_all[: len(kept)] == kept and reached_all == 60
    alone = {layer: error(*(other for other in (a, b, c) if other != layer)) for layer in (a, b, c)}
    assert kept == sorted(alone, key=alone.get, reverse=True)[: len(kept)]
    found = int8.run(quantiser.quantised([a, b, c]), pictures)
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())
    assert error() > error(a, b) > 0
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantiser.quantised([a, b]).graph.initializer}
    for tensor in quantiser.model.graph.initializer:
        if tensor.name in ("a", "b"):
            exact = numpy_helper.to_array(tensor)
            np.testing.assert_array_equal(weights[f"{tensor.name}_16bit"], exact.astype(np.float16))


def test_what_no_convolution_of_8_bits_reads_stays_in_float32():
    pictures = np.random.default_rng(1).normal(size=(20, 3, 8, 8)).astype(np.float32)
    quantiser = int8.Quantiser(network(), pictures)
    a, b, c = quantiser.layers

    def of(kept):
        return {name.partition("_")[0] for name in kinds_by_name(quantiser.quantised(kept))}

    assert of([]) == {"Conv", "Concat", "Relu", "MaxPool"}
    assert of([a, b, c]) == set()
    assert of([c]) == {"Conv", "Concat"}  # the first two, and what takes their values back


@pytest.mark.parametrize("groups", [1, 3])
def test_weights_rounded_to_eight_bits_keep_their_products(groups):
    """On its grid, the largest weight as it was, and the products nearer than by rounding each weight for itself."""
    rng = np.random.default_rng(0)
    weight = rng.standard_t(3, (groups, 6, 20)).astype(np.float32)
    mixed = rng.normal(size=(groups, 20, 20)) * np.geomspace(1, 0.05, 20)[:, None]
    inputs = np.einsum("ngj,gjk->ngk", rng.normal(size=(1400, groups, 20)), mixed) + 5
    moments = gptq.Moments()
    for rows in np.array_split(inputs, 7):
        moments.add(rows)
    np.testing.assert_allclose(moments.mean, inputs.mean(axis=0))
    for group, covariance in enumerate(moments.covariance):
        np.testing.assert_allclose(covariance, np.cov(inputs[:, group].T, bias=True), atol=1e-9)
    rounded = gptq.gptq(weight, moments.covariance)
    step = np.abs(weight).max(axis=2, keepdims=True) / 127
    np.testing.assert_allclose(rounded / step, np.round(rounded / step), atol=1e-3)
    np.testing.assert_allclose(np.abs(rounded).max(axis=2), np.abs(weight).max(axis=2))

    def error(other):
        lost = np.einsum("ngk,gok->ngo", inputs - inputs.mean(axis=0), weight - other)
        return float(np.square(lost).mean())

    assert error(rounded) < 0.4 * error(np.round(weight / step) * step)


def test_what_a_convolution_sees_is_found_under_its_kernel():
    """Products of the places found with the weights are values of the convolution, groups, strides and pads too."""
    rng = np.random.default_rng(1)
    value, weight = rng.normal(size=(1, 4, 7, 9)).astype(np.float32), rng.normal(size=(6, 2, 3, 3)).astype(np.float32)
    options = {"group": 2, "strides": [2, 1], "pads": [1, 0, 1, 2]}
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], **options)
    info = [onnx.helper.make_tensor_value_info(name, 1, None) for name in "xwy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", info[:2], info[2:]), ir_version=8,
                                   opset_imports=[onnx.helper.make_opsetid("", 13)])  # fmt: skip
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": value, "w": weight})[0]
    patches = int8.patches(value, node, (3, 3), 50, rng)
    found = np.einsum("ngk,gok->ngo", patches, weight.reshape(2, 3, -1)).reshape(50, 6)
    everywhere = expected[0].reshape(6, -1).T
    nearest = np.abs(found[:, None] - everywhere[None]).max(axis=2).min(axis=1)
    np.testing.assert_allclose(nearest, 0, atol=1e-4)
