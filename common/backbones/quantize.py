"""A network in INT8 inside MXNet, for the CPU."""

from __future__ import annotations

import ast
import collections
import contextlib
import json
from collections.abc import Iterator

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock, SymbolBlock

from common.backbones import gptq
from common.files.errors import UserError
from common.files.quiet import quiet

GEOMETRY = ("kernel", "pad", "stride", "dilate", "num_group")
LEVELS = 127.5  # of MXNet's 8-bit numbers with a sign, though it stores none above 127
ROUNDING = "gptq"  # how weights are rounded: features that were read in another way are others
CALIBRATION = 64  # pictures that the ranges of an INT8 network are read from, where the caller has as many


def quantize(net: HybridBlock, pictures: np.ndarray, batch_size: int = 16) -> HybridBlock:
    """`net` in INT8, for the CPU: convolutions and dense layers, ranges from `pictures`.

    The ranges are the smallest and largest values met (MXNet's ``naive``). Its ``entropy`` cuts off what the linear
    bottlenecks of mobile networks need: EfficientNet-Lite0's features came out unrelated to the float32 ones.

    MXNet rounds a convolution's weights to the nearest step, `LEVELS` of which lead to the largest of each channel.
    Before that they are rounded to these steps by `common.backbones.gptq`, from what the convolutions see of
    `pictures`, so that MXNet finds them there; and what the outputs lose by that in the mean goes into the biases or
    batch norms.

    Parameters
    ----------
    net : HybridBlock
        Takes uint8 pictures; left as it is.
    pictures : (n, H, W, 3) uint8
        A few dozen typical inputs.
    batch_size : int
        Of the calibration.

    Returns
    -------
    HybridBlock
        Takes and gives what `net` does.

    Raises
    ------
    UserError
        There are no pictures.
    """
    from mxnet.contrib.quantization import quantize_net_v2

    if not len(pictures):
        raise UserError("INT8 needs pictures to read its ranges from: the data set is empty")
    size = min(batch_size, len(pictures))
    pictures = pictures[: len(pictures) // size * size]
    batches = mx.io.NDArrayIter(mx.nd.array(pictures, dtype=pictures.dtype), batch_size=size)
    net.hybridize()
    net(mx.nd.array(pictures[:size], dtype=pictures.dtype))
    with _rounded(net, pictures), quiet():
        result = quantize_net_v2(
            net, quantized_dtype="auto", calib_data=batches, calib_mode="naive", num_calib_examples=len(pictures),
            exclude_operators=["BatchNorm"],  # the normalisation; all others are folded into convolutions by then
        )  # fmt: skip
    result.hybridize(static_alloc=True, static_shape=True)
    return result


@contextlib.contextmanager
def _rounded(net: HybridBlock, pictures: np.ndarray) -> Iterator[None]:
    """The convolutions' weights rounded, see `quantize`; afterwards they are as they were."""
    data, parameters = mx.sym.var("data", dtype=pictures.dtype), net.collect_params()
    symbol = net(data)
    nodes = json.loads(symbol.tojson())["nodes"]
    layers = [_Layer(nodes, number) for number, node in enumerate(nodes) if node["op"] == "Convolution"]
    layers = [layer for layer in layers if layer.is_plain]
    names, internals = list(dict.fromkeys(layer.input for layer in layers)), symbol.get_internals()
    inputs = SymbolBlock([internals[name] for name in names], data, parameters)
    seen, rng = [gptq.Moments() for _ in layers], np.random.default_rng(0)
    for picture in pictures:
        found = inputs(mx.nd.array(picture[None], dtype=picture.dtype))
        values = dict(zip(names, found if len(names) > 1 else [found]))
        values = {name: value.asnumpy()[0] for name, value in values.items()}
        for layer, moments in zip(layers, seen):
            moments.add(layer.windows(values[layer.input], rng))
    before: dict = {}
    try:
        for layer, moments in zip(layers, seen):
            weight = parameters[layer.weight]
            before[weight] = weight.data().copy()
            value, lost = gptq.rounded(before[weight].asnumpy(), moments, LEVELS)
            weight.set_data(mx.nd.array(value))
            if layer.shift:
                shift = parameters[layer.shift]
                before[shift] = shift.data().copy()
                shift.set_data(before[shift] + layer.sign * mx.nd.array(lost))
        yield
    finally:
        for parameter, value in before.items():
            parameter.set_data(value)


class _Layer:
    """A convolution of a symbol, `nodes` of its JSON: what it reads, and the parameters that its weights are made of.

    Attributes
    ----------
    is_plain : bool
        Not dilated, channels first, and with weights that no other layer has.
    input, weight : str
        Names of an output, and of a parameter.
    shift, sign : str or None, int
        The parameter by which its outputs are moved, its bias or the mean of the batch norm that alone reads it.
    """

    def __init__(self, nodes: list[dict], number: int):
        node, readers = nodes[number], collections.defaultdict(list)
        for reader in nodes:
            for source, *_ in reader["inputs"]:
                readers[source].append(reader)
        self.options = {key: ast.literal_eval(value) for key, value in node["attrs"].items() if key in GEOMETRY}
        (data, output, *_), (weight, *_), *bias = node["inputs"]
        self.input, self.weight = nodes[data]["name"] + "_output" * (nodes[data]["op"] != "null"), nodes[weight]["name"]
        layout = node["attrs"].get("layout", "None")
        flat = set(self.options.get("dilate", (1, 1))) == {1} and layout in ("NCHW", "None")
        self.is_plain = flat and not output and len(readers[weight]) == 1
        following = readers[number]
        self.shift, self.sign = None, 1
        if bias:
            self.shift = nodes[bias[0][0]]["name"]
        elif len(following) == 1 and following[0]["op"] == "BatchNorm":
            self.shift, self.sign = nodes[following[0]["inputs"][3][0]]["name"], -1

    def windows(self, value: np.ndarray, rng) -> np.ndarray:
        """Some of its inputs in one picture, of which `value` (C, H, W) is what it reads; see `gptq.windows`."""
        (down, across), kernel = self.options.get("pad", (0, 0)), self.options["kernel"]
        strides, groups = self.options.get("stride", (1, 1)), self.options.get("num_group", 1)
        return gptq.windows(value, kernel, (down, across) * 2, strides, groups, gptq.SAMPLES, rng)
