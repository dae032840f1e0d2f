"""Weights of an ONNX network prepared for 8 bits: cross-layer equalisation, GPTQ, bias correction."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.backbones.gptq import SAMPLES, Moments, rounded, windows

ALPHA = 0.9  # exponent of the activations' range in a channel's scale; that of the weights' range is 1 - ALPHA
FLOOR = 0.2  # least range of a channel as a fraction of the widest: calibration underestimates rare channels
HOMOGENEOUS = ("Relu", "MaxPool", "AveragePool")  # f(a x) = a f(x) for each channel and a > 0


def prepare(path, pictures: np.ndarray) -> list[str]:
    """Change the weights of the ONNX file `path`, batch norms fused; what it computes stays nearly the same.

    First the channels' ranges are equalised, see `equalise`. Then the weights are rounded, see
    `common.backbones.gptq`, and the biases corrected by the mean of the error that is left (Nagel et al. 2019, section
    4.2), without which networks of depthwise convolutions lose much.

    Parameters
    ----------
    path : path
        Overwritten.
    pictures : (n, H, W, 3) array
        Some dozens or hundreds of typical inputs.

    Returns
    -------
    list of str
        The names of the operators after the last convolution.
    """
    import onnx

    model = onnx.load(str(path))
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"  # fusing leaves some without a name
    equalise(model, pictures)
    _round(model, pictures)
    onnx.save(model, str(path))
    nodes = list(model.graph.node)
    last = max(number for number, node in enumerate(nodes) if node.op_type == "Conv")
    return [node.name for node in nodes[last + 1 :]]


class _Layers:
    """The convolutions and dense layers of a model, with their weights and biases as arrays that can be changed."""

    def __init__(self, model):
        from onnx import numpy_helper

        self.model = model
        values = {tensor.name: tensor for tensor in model.graph.initializer}
        self.nodes = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm") and n.input[1] in values]
        self.weights = {n.name: numpy_helper.to_array(values[n.input[1]]).copy() for n in self.nodes}
        self.biases = {n.name: numpy_helper.to_array(values[n.input[2]]).copy() for n in self.nodes if len(n.input) > 2}

    def store(self) -> None:
        """Write the arrays back into the model."""
        from onnx import numpy_helper

        values = {tensor.name: tensor for tensor in self.model.graph.initializer}
        for node in self.nodes:
            for name, arrays in zip(node.input[1:], (self.weights, self.biases)):
                values[name].CopyFrom(numpy_helper.from_array(arrays[node.name].astype(np.float32), name))

    def inputs(self, pictures: np.ndarray) -> Iterator[dict]:
        """The layers' inputs for each picture: arrays by the name of the value."""
        import onnx
        import onnxruntime

        seen = onnx.ModelProto.FromString(self.model.SerializeToString())
        names = list(dict.fromkeys(node.input[0] for node in self.nodes))
        for name in set(names) - {value.name for value in seen.graph.output}:
            seen.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        session = onnxruntime.InferenceSession(seen.SerializeToString(), providers=["CPUExecutionProvider"])
        for picture in pictures:
            yield dict(zip(names, session.run(names, {"data": picture[None]})))


def equalise(model, pictures: np.ndarray) -> None:
    """Equalise the ranges of activations over the channels, so that one 8-bit step resolves each of them.

    A channel that only convolutions read, through ReLU and pooling alone, is divided by a factor where it is computed
    and multiplied by it where it is read: the network computes the same (cross-layer equalisation, Nagel et al. 2019,
    section 4.1). The factor is ``range ** ALPHA / weight ** (1 - ALPHA)``, with the largest weight that reads the
    channel (Xiao et al. 2023, SmoothQuant, equation 4): each row of weights has a step of its own, a column has none.

    Parameters
    ----------
    model : onnx.ModelProto
        Changed in place.
    pictures : (n, H, W, 3) array
        Typical inputs, to measure the ranges on.
    """
    layers = _Layers(model)
    reading = _readings(model, layers)
    factors = {name: np.zeros((2, len(layers.weights[name]))) for name, _ in sum((found for _, found in reading), [])}
    ranges: dict[str, np.ndarray] = {}
    for values in layers.inputs(pictures):
        for name in {node.input[0] for node, _ in reading}:
            ranges[name] = np.maximum(ranges.get(name, 0), np.abs(values[name]).max(axis=(0, 2, 3)))
    for node, found in reading:
        both = np.stack([ranges[node.input[0]], np.abs(layers.weights[node.name]).max(axis=(0, 2, 3))], axis=1)
        for (name, channel), largest in zip(found, both):
            factors[name][:, channel] = np.maximum(factors[name][:, channel], largest)
    for name, both in factors.items():
        activation, weight = np.maximum(np.maximum(both, FLOOR * both.max(axis=1, keepdims=True)), 1e-12)
        factor = factors[name] = activation**ALPHA / weight ** (1 - ALPHA)
        layers.weights[name] = layers.weights[name] / factor[:, None, None, None]
        if name in layers.biases:
            layers.biases[name] = layers.biases[name] / factor
    for node, found in reading:
        by_channel = np.array([factors[name][channel] for name, channel in found])
        layers.weights[node.name] = layers.weights[node.name] * by_channel[None, :, None, None]
    layers.store()


def _readings(model, layers: _Layers) -> list[tuple]:
    """The convolutions whose input may be scaled, each with the layer and channel that computes each input channel."""
    made = {output: node for node in model.graph.node for output in node.output}
    readers: dict[str, list] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in model.graph.output}

    def sources(name: str) -> list[tuple[str, int]]:
        """Layer and channel that computes each channel of a value; empty where an operator in between mixes them."""
        node = made.get(name)
        if node is None:
            return []
        if node.op_type == "Conv" and node.name in layers.weights:
            return [(node.name, channel) for channel in range(len(layers.weights[node.name]))]
        if node.op_type in HOMOGENEOUS:
            return sources(node.input[0])
        parts = [sources(part) for part in node.input] if node.op_type == "Concat" else [[]]
        return sum(parts, []) if all(parts) else []

    def read_by_convolutions(name: str) -> bool:
        """Whether nothing else sees a value."""
        if name in outputs or name not in readers:
            return False
        return all(
            node.input[0] == name and node.name in layers.weights and _option(node, "group", 1) == 1
            if node.op_type == "Conv"
            else node.op_type in (*HOMOGENEOUS, "Concat") and read_by_convolutions(node.output[0])
            for node in readers[name]
        )

    free = {node.name for node in layers.nodes if node.op_type == "Conv" and read_by_convolutions(node.output[0])}
    reading = [(node, sources(node.input[0])) for node in layers.nodes if node.op_type == "Conv"]
    while bound := [found for _, found in reading if found and not {name for name, _ in found} <= free]:
        free -= {name for found in bound for name, _ in found}  # a reader of theirs reads a layer that is not free too
        reading = [(node, found) for node, found in reading if found not in bound]
    return [(node, found) for node, found in reading if found]


def _round(model, pictures: np.ndarray) -> None:
    """Round the weights by the layers' inputs at random positions of the pictures, and correct the biases."""
    layers, rng = _Layers(model), np.random.default_rng(0)
    seen = {node.name: Moments() for node in layers.nodes}
    for values in layers.inputs(pictures):
        for node in layers.nodes:
            kernel = layers.weights[node.name].shape[2:]
            seen[node.name].add(patches(values[node.input[0]], node, kernel, SAMPLES, rng))
    for name, moments in seen.items():
        layers.weights[name], lost = rounded(layers.weights[name], moments)
        if name in layers.biases:
            layers.biases[name] = layers.biases[name] + lost
    layers.store()


def patches(value: np.ndarray, node, kernel: tuple[int, ...], samples: int, rng) -> np.ndarray:
    """The inputs that a convolution multiplies with its weights, at random positions.

    Parameters
    ----------
    value : (1, C, H, W) array
        The layer's input; (1, C) of a dense layer, which has one position.
    node : onnx.NodeProto
        The layer.
    kernel : tuple of int
        Its height and width; empty for a dense layer.
    samples : int
        Positions to draw.
    rng : numpy.random.Generator

    Returns
    -------
    (samples, groups, k) array
    """
    if not kernel:
        return value[:, None]
    pads, strides = _option(node, "pads", [0] * 4), _option(node, "strides", [1, 1])
    return windows(value[0], kernel, pads, strides, _option(node, "group", 1), samples, rng)


def _option(node, name: str, default):
    from onnx import helper

    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)
