"""A network in INT8 inside MXNet, for the CPU."""

from __future__ import annotations

import json

import cv2
import mxnet as mx
import numpy as np

from common import devices
from common.backbones import gptq
from common.backbones.int8_form import OPAQUE, Form, Layer, filled
from common.files.errors import UserError
from common.files.quiet import quiet

LEVELS = 127.5  # of MXNet's 8-bit numbers with a sign, though it stores none above 127
BYTES = 255.5  # of its numbers without a sign: a range that bytes as they are have
FORM = "gptq-bytes"  # how a network is quantised: features that were read in another way are others
CALIBRATION = 64  # pictures that the ranges of an INT8 network are read from, where the caller has as many


class Int8:
    """A network that reads pictures in 8 bits.

    Parameters
    ----------
    block : HybridBlock
        Of what a `common.backbones.int8_form.Form` reads.
    rotated : bool
        It sees pictures turned by 180 degrees.
    """

    def __init__(self, block, rotated: bool):
        self.block, self.rotated = block, rotated
        block.hybridize(static_alloc=True, static_shape=True)

    def __call__(self, pictures: mx.nd.NDArray) -> mx.nd.NDArray:
        """(n, H, W, 3) uint8 -> (n, width) float32."""
        return self.block(mx.nd.from_numpy(planes(devices.seen(pictures), self.rotated)))


def planes(pictures: np.ndarray, rotated: bool) -> np.ndarray:
    """Pictures as networks in 8 bits read them: turned where it is so, colour by colour, and a plane of `OPAQUE`.

    By OpenCV, which does in a tenth of the time what MXNet's operators for it took.

    Parameters
    ----------
    pictures : (n, H, W, 3) uint8
    rotated : bool

    Returns
    -------
    (n, 4, H, W) uint8
    """
    count, height, width, colours = pictures.shape
    result = np.empty((count, colours + 1, height, width), np.uint8)
    rows = pictures.reshape(count * height, width, colours)
    for colour, plane in enumerate(cv2.split(cv2.flip(rows, -1) if rotated else rows)):
        plane = plane.reshape(count, height, width)
        result[:, colour] = plane[::-1] if rotated else plane  # what turned them turned their order
    result[:, colours] = OPAQUE
    return result


def quantize(net, pictures: np.ndarray, batch_size: int = 16) -> Int8:
    """`net` in INT8, for the CPU: convolutions and dense layers, ranges from `pictures`.

    The ranges are the smallest and largest values met (MXNet's ``naive``). Its ``entropy`` cuts off what the linear
    bottlenecks of mobile networks need: EfficientNet-Lite0's features came out unrelated to the float32 ones.

    MXNet rounds a convolution's weights to the nearest step, `LEVELS` of which lead to the largest of each channel.
    Before that they are rounded to these steps by `common.backbones.gptq`, from what the convolutions see of
    `pictures`, so that MXNet finds them there; and what the outputs lose by that in the mean goes into the biases.
    What is quantised is a `common.backbones.int8_form.Form` of the network.

    Parameters
    ----------
    net : common.backbones.Backbone
        Left as it is.
    pictures : (n, H, W, 3) uint8
        A few dozen typical inputs.
    batch_size : int
        Of the calibration.

    Returns
    -------
    Int8
        Takes and gives what `net` does.

    Raises
    ------
    UserError
        There are no pictures; or the network's first layer is no convolution, or MXNet cannot read it in INT8.
    """
    from mxnet.contrib.quantization import quantize_net_v2

    if not len(pictures):
        raise UserError("INT8 needs pictures to read its ranges from: the data set is empty")
    size = min(batch_size, len(pictures))
    seen = planes(pictures[: len(pictures) // size * size], net.rotated)
    net.hybridize()  # in the form that is read
    form = Form(net)
    _round(form, seen)
    batches = mx.io.NDArrayIter(mx.nd.array(seen, dtype=seen.dtype), batch_size=size)
    with quiet():
        result = quantize_net_v2(
            form.block(), quantized_dtype="auto", calib_data=batches, calib_mode="naive", num_calib_examples=len(seen),
            exclude_layers=form.in_float32, exclude_operators=["BatchNorm"],  # those that are left after folding
        )  # fmt: skip
    result = Int8(_reading_bytes(result), net.rotated)
    try:
        result(devices.put(pictures[:1])).wait_to_read()
    except mx.MXNetError as error:  # MobileNetV3: its types of bytes do not fit each other
        raise UserError(f"--int8: MXNet cannot read {net.name_} in 8 bits: leave it out") from error
    return result


def _round(form: Form, pictures: np.ndarray) -> None:
    """Shift what can be shifted, and round the convolutions' weights, see `quantize`."""
    layers, bottlenecks = [layer for layer in form.layers if layer.is_plain], form.bottlenecks()
    names = list(dict.fromkeys([layer.source.output for layer in layers] + [node.output for node in bottlenecks]))
    inputs, rng = form.block(*names), np.random.default_rng(0)
    seen, least = [gptq.Moments() for _ in layers], {}
    for picture in pictures:
        found = inputs(mx.nd.array(picture[None], dtype=picture.dtype))
        values = dict(zip(names, found if len(names) > 1 else [found]))
        values = {name: value.asnumpy()[0] for name, value in values.items()}
        for layer, moments in zip(layers, seen):
            moments.add(_windows(layer, values[layer.source.output], rng))
        for node in bottlenecks:
            smallest = values[node.output].min(axis=(1, 2))
            least[node.name] = np.minimum(least.get(node.name, smallest), smallest)
    form.shift(least)
    for layer, moments in zip(layers, seen):
        if layer.source.name in least:
            moments.move(-least[layer.source.name])
        form.values[layer.weight], lost = gptq.rounded(form.values[layer.weight], moments, LEVELS)
        form.add_bias(layer, lost)


def _windows(layer: Layer, value: np.ndarray, rng) -> np.ndarray:
    """Some of a layer's inputs in one picture, of which `value` (C, H, W) is what it reads; see `gptq.windows`."""
    (down, across), kernel = layer.options.get("pad", (0, 0)), layer.options["kernel"]
    strides, groups = layer.options.get("stride", (1, 1)), layer.options.get("num_group", 1)
    return gptq.windows(value, kernel, (down, across) * 2, strides, groups, gptq.SAMPLES, rng)


def _reading_bytes(net: mx.gluon.SymbolBlock) -> mx.gluon.SymbolBlock:
    """The network without the way of its pictures, which are bytes, through float32 and back."""
    symbol = net(mx.sym.var("data", dtype="uint8"))
    graph = json.loads(symbol.tojson())
    nodes = graph["nodes"]
    for node in nodes:
        if node["op"] == "_contrib_quantize_v2" and nodes[node["inputs"][0][0]]["name"] == "bytes":
            node["inputs"] = nodes[node["inputs"][0][0]]["inputs"]
            node["attrs"].update(min_calib_range="0", max_calib_range=str(BYTES))
    values = {name: parameter.data() for name, parameter in net.collect_params().items()}
    return filled(mx.sym.load_json(json.dumps(graph)), values)
