"""An ONNX network in 8 bits: cross-layer equalisation, GPTQ, bias correction, and what is left in float32."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from common.backbones.gptq import SAMPLES, Moments, rounded, windows

ALPHA = 0.9  # exponent of the activations' range in a channel's scale; that of the weights' range is 1 - ALPHA
FLOOR = 0.2  # least range of a channel as a fraction of the widest: calibration underestimates rare channels
SENSITIVITY = 64  # pictures that the error of each layer is measured on
BATCH = 16
HALF_MAX = 6e4  # weights from here on have no 16 bit number (65504 is the largest)
ACTIVATIONS = ("Relu", "Clip")
HOMOGENEOUS = ("Relu", "MaxPool", "AveragePool")  # f(a x) = a f(x) for each channel and a > 0


class Quantiser:
    """A network made ready for 8 bits, in which any of the convolutions may stay in float32.

    First the channels' ranges are equalised, see `equalise`. Then the weights of the convolutions are rounded, see
    `common.backbones.gptq`, and their biases corrected by the mean of the error that is left (Nagel et al. 2019,
    section 4.2), without which networks of depthwise convolutions lose much. The ranges of the activations are the
    smallest and largest values met.

    Parameters
    ----------
    model : onnx.ModelProto
        Batch norms fused; its input is ``data``. It is equalised in place.
    pictures : (n, ...) array
        Some dozens or hundreds of typical inputs.

    Attributes
    ----------
    layers : list of str
        Names of the convolutions.
    """

    def __init__(self, model, pictures: np.ndarray):
        import onnx

        for number, node in enumerate(model.graph.node):
            node.name = f"{node.op_type}_{number}"  # fusing leaves some without a name
        equalise(model, pictures)
        self.model, self.pictures = model, pictures
        rounded_model = onnx.ModelProto.FromString(model.SerializeToString())
        self.layers = _round(rounded_model, pictures)
        self._rounded = {tensor.name: tensor for tensor in rounded_model.graph.initializer}
        self._ranges = _ranges(rounded_model, pictures)

    def choose(self, answers: Callable, wanted: float) -> tuple[list[str], int]:
        """The convolutions to leave in float32, so that INT8 gives the answers of float32: as few as are enough.

        They go by what each costs when it is the only one in 8 bits, the worst first: the squared error of the output.

        Parameters
        ----------
        answers : callable
            From outputs (n, d) to n classes.
        wanted : float
            Fraction of the pictures that must get the same class. 0: none is left in float32.

        Returns
        -------
        layers : list of str
        same : int
            How many of the pictures get the same class then; a few may not even with all in float32, whose weights
            are stored in 16 bits.
        """
        exact = run(self.model, self.pictures)
        expected, order = answers(exact), []

        def same(count: int) -> int:
            return int((answers(run(self.quantised(order[:count]), self.pictures)) == expected).sum())

        low, high, enough = 0, len(self.layers), wanted * len(expected)
        counts = {low: same(low)}
        if counts[low] >= enough:
            return [], counts[low]
        some = self.pictures[:SENSITIVITY]
        errors = {}
        for layer in self.layers:
            alone = self.quantised([other for other in self.layers if other != layer])
            errors[layer] = float(np.square(run(alone, some) - exact[: len(some)]).mean())
        order = sorted(self.layers, key=errors.get, reverse=True)
        while high - low > 1:
            middle = (low + high) // 2
            counts[middle] = same(middle)
            low, high = (low, middle) if counts[middle] >= enough else (middle, high)
        return order[:high], counts[high] if high in counts else same(high)

    def quantised(self, in_float32: Sequence[str] = ()):
        """The network as an onnx.ModelProto, with a step for each channel of the weights and UINT8 activations.

        Operators before the first convolution and after the last one stay in float32, where they are cheap and errors
        count most; others do where no convolution of 8 bits reads what they give. An activation function goes with its
        convolution, into which it is fused.

        Parameters
        ----------
        in_float32 : sequence of str
            Layers that stay as they are; their weights are stored in 16 bits.
        """
        import onnx
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

        model = onnx.ModelProto.FromString(self.model.SerializeToString())
        small = set(self.layers) - set(in_float32)
        changed = {name for node in model.graph.node if node.name in small for name in node.input[1:]}
        for tensor in model.graph.initializer:
            if tensor.name in changed:
                tensor.CopyFrom(self._rounded[tensor.name])
        if not small:
            return _halved(model)
        quantiser = QDQQuantizer(
            model, True, False, QuantType.QInt8,
            QuantType.QUInt8,  # several times as fast as INT8 on x86, as fast on ARM
            self._ranges, _nodes_of(model, small), [], [*QDQRegistry, *QLinearOpsRegistry], {},
        )  # fmt: skip
        quantiser.quantize_model()
        return _halved(quantiser.model.model)


def _halved(model):
    """`model` with the weights of float32 convolutions stored in 16 bits: a runtime widens them once, as it loads."""
    import onnx
    from onnx import numpy_helper

    names = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    casts = []
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if tensor.name not in names or value.dtype != np.float32 or np.abs(value).max(initial=0) >= HALF_MAX:
            continue
        stored = f"{tensor.name}_16bit"
        casts.append(onnx.helper.make_node("Cast", [stored], [tensor.name], f"{tensor.name}_widened", to=1))
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), stored))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def run(model, pictures: np.ndarray) -> np.ndarray:
    """The first output of a network for pictures (n, ...), read in batches: (n, d).

    Parameters
    ----------
    model : onnx.ModelProto
    pictures : array
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    batches = range(0, len(pictures), BATCH)
    return np.concatenate([session.run(None, {"data": pictures[i : i + BATCH]})[0] for i in batches])


def _nodes_of(model, small: set[str]) -> list[str]:
    """The operators to quantise where the convolutions `small` are of 8 bits, see `Quantiser.quantised`."""
    made = {output: node for node in model.graph.node for output in node.output}
    readers: dict[str, list] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    inside: dict[str, bool] = {}  # whether a convolution comes before it, and one of 8 bits reads it through others
    for node in model.graph.node:
        sources = [made[name] for name in node.input if name in made]
        inside[node.name] = any(source.op_type == "Conv" or inside[source.name] for source in sources)
    for node in reversed(model.graph.node):
        following = [reader for output in node.output for reader in readers.get(output, [])]
        leads = any(r.name in small if r.op_type == "Conv" else inside[r.name] for r in following)
        inside[node.name] = inside[node.name] and leads
    chosen = []
    for node in model.graph.node:
        source = made.get(node.input[0]) if node.input else None
        if node.op_type == "Conv":
            wanted = node.name in small
        elif node.op_type in ACTIVATIONS and source is not None and source.op_type == "Conv":
            wanted = source.name in small
        else:
            wanted = inside[node.name]
        if wanted:
            chosen.append(node.name)
    return chosen


def _ranges(model, pictures: np.ndarray):
    """The smallest and largest value of each tensor over the pictures, as onnxruntime's quantiser takes them."""
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.batches = iter([{"data": picture[None]} for picture in pictures])

        def get_next(self):
            return next(self.batches, None)

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.onnx"
        onnx.save(model, str(file))
        calibrator = quantization.create_calibrator(
            str(file), augmented_model_path=str(Path(folder) / "seen.onnx"),
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )  # fmt: skip
        calibrator.collect_data(Reader())
        return calibrator.compute_data()


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


def _round(model, pictures: np.ndarray) -> list[str]:
    """Round the convolutions' weights by their inputs at random positions of the pictures, and correct the biases.

    Returns the names of the convolutions. Dense layers stay as they are: they are left in float32.
    """
    layers, rng = _Layers(model), np.random.default_rng(0)
    nodes = [node for node in layers.nodes if node.op_type == "Conv"]
    seen = {node.name: Moments() for node in nodes}
    for values in layers.inputs(pictures):
        for node in nodes:
            kernel = layers.weights[node.name].shape[2:]
            seen[node.name].add(patches(values[node.input[0]], node, kernel, SAMPLES, rng))
    for name, moments in seen.items():
        layers.weights[name], lost = rounded(layers.weights[name], moments)
        if name in layers.biases:
            layers.biases[name] = layers.biases[name] + lost
    layers.store()
    return list(seen)


def patches(value: np.ndarray, node, kernel: tuple[int, ...], samples: int, rng) -> np.ndarray:
    """The inputs that a convolution multiplies with its weights, at random positions.

    Parameters
    ----------
    value : (1, C, H, W) array
        The layer's input.
    node : onnx.NodeProto
        The layer.
    kernel : tuple of int
        Its height and width.
    samples : int
        Positions to draw.
    rng : numpy.random.Generator

    Returns
    -------
    (samples, groups, k) array
    """
    pads, strides = _option(node, "pads", [0] * 4), _option(node, "strides", [1, 1])
    return windows(value[0], kernel, pads, strides, _option(node, "group", 1), samples, rng)


def _option(node, name: str, default):
    from onnx import helper

    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)
