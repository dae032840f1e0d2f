"""A network in the form that is fastest and most exact in 8 bits: other operators and weights, the same numbers."""

from __future__ import annotations

import ast
import json

import mxnet as mx
import numpy as np
from mxnet.gluon import SymbolBlock

from common.files.errors import UserError

GEOMETRY = ("kernel", "pad", "stride", "dilate", "num_group")
ADDITIONS = ("elemwise_add", "broadcast_add")
OPAQUE = 255  # of a picture's fourth plane


class Node:
    """An operator or a parameter of a `Form`.

    Parameters
    ----------
    name, op : str
        `op` is ``null`` for a parameter.
    attrs : dict of str to str
    inputs : sequence of [Node, int, int]
        With the number of the output that is read, and what MXNet calls its version.

    Attributes
    ----------
    name, op, attrs, inputs
        As above.
    readers : list of Node
        In any order, one that reads twice twice.
    """

    def __init__(self, name: str, op: str, attrs: dict[str, str], inputs=()):
        self.name, self.op, self.attrs, self.inputs, self.readers = name, op, attrs, [*inputs], []
        for source, *_ in self.inputs:
            source.readers.append(self)

    @property
    def output(self) -> str:
        """What its first output is called among a symbol's internals."""
        return self.name + "_output" * (self.op != "null")

    def replace(self, other: Node) -> None:
        """Have what reads it read another node, but for that node itself."""
        for reader in [reader for reader in self.readers if reader is not other]:
            reader.inputs = [[other if node is self else node, *rest] for node, *rest in reader.inputs]
            other.readers.append(reader)
        self.readers = [reader for reader in self.readers if reader is other]


class Layer:
    """A convolution of a `Form`: what it reads, and its parameters.

    Attributes
    ----------
    node, source : Node
        Itself, and what it reads.
    options : dict
        Of `GEOMETRY`.
    is_plain : bool
        Not dilated, channels first, and with parameters that no other layer has.
    is_pointwise : bool
        Plain, of 1 by 1 windows that never look beyond the map, in one group.
    weight : str
    """

    def __init__(self, node: Node):
        self.node, ((self.source, output, _), *own) = node, node.inputs
        self.options = {key: ast.literal_eval(value) for key, value in node.attrs.items() if key in GEOMETRY}
        flat = set(self.options.get("dilate", (1, 1))) == {1} and node.attrs.get("layout") in ("NCHW", "None", None)
        alone = all(len(parameter.readers) == 1 for parameter, *_ in own)
        self.is_plain = flat and alone and not output and len(self.options["kernel"]) == 2
        inside = set(self.options.get("pad", (0, 0))) == {0} and set(self.options["kernel"]) == {1}
        self.is_pointwise = self.is_plain and inside and self.options.get("num_group", 1) == 1
        self.weight = own[0][0].name


class Form:
    """The features of a backbone as a graph that can be rewritten, and its parameters.

    It reads planes (n, 4, H, W) uint8: red, green, blue and one of `OPAQUE`, turned by 180 degrees where the network
    sees pictures turned. No step of the normalisation is left: the first convolution reads bytes, its fourth channel
    what the normalisation subtracts, so that beyond the border there is the 0 that the network was trained with.

    Parameters
    ----------
    backbone : common.backbones.Backbone
        Left as it is.

    Attributes
    ----------
    values : dict of str to array
        Of the parameters.
    in_float32 : list of str
        The operators that give means over places, whose digits would be lost in 8 bits.

    Raises
    ------
    UserError
        The first layer is no convolution.
    """

    def __init__(self, backbone):
        data = mx.sym.var("data", dtype="uint8")
        symbol = backbone.pool(backbone.body(mx.sym.cast(data, "float32", name="bytes")))
        parameters = backbone.collect_params()
        names = {*symbol.list_arguments(), *symbol.list_auxiliary_states()} - {"data"}
        self.values = {name: parameters[name].data().asnumpy() for name in names}
        found, self.nodes = json.loads(symbol.tojson()), []
        for node in found["nodes"]:
            inputs = [[self.nodes[number], *rest] for number, *rest in node["inputs"]]
            self.nodes.append(Node(node["name"], node["op"], node.get("attrs", {}), inputs))
        ((head, *self.output),) = found["heads"]
        self.head, self.in_float32, self.version = self.nodes[head], [], found["attrs"]
        self._fold()
        self._normalise(backbone)
        self._pool()
        self._sort()

    @property
    def layers(self) -> list[Layer]:
        """The convolutions, in order."""
        return [Layer(node) for node in self.nodes if node.op == "Convolution"]

    @property
    def symbol(self) -> mx.sym.Symbol:
        """What the graph is now."""
        self._sort()
        numbers = {id(node): number for number, node in enumerate(self.nodes)}
        nodes = [{"op": node.op, "name": node.name, "attrs": node.attrs,
                  "inputs": [[numbers[id(source)], *rest] for source, *rest in node.inputs]}
                 for node in self.nodes]  # fmt: skip
        variables = [number for number, node in enumerate(self.nodes) if node.op == "null"]
        graph = {"nodes": nodes, "arg_nodes": variables, "heads": [[numbers[id(self.head)], *self.output]]}
        return mx.sym.load_json(json.dumps({**graph, "attrs": self.version}))

    def block(self, *names: str) -> SymbolBlock:
        """The graph with its parameters; of `names`, what these outputs of operators are, instead."""
        symbol = self.symbol
        outputs = [symbol.get_internals()[name] for name in names] or symbol
        return filled(outputs, {name: mx.nd.array(value) for name, value in self.values.items()})

    def add_bias(self, layer: Layer, values: np.ndarray) -> None:
        """Add numbers to what a layer gives.

        Parameters
        ----------
        layer : Layer
        values : (channels,) array
        """
        node = layer.node
        if len(node.inputs) == 2:
            bias = Node(f"{node.name}_bias", "null", {"__shape__": str(values.shape), "__dtype__": "0"})
            bias.readers.append(node)
            node.inputs.append([bias, 0, 0])
            node.attrs["no_bias"] = "False"
            self.values[bias.name] = np.zeros(values.shape, np.float32)
        name = node.inputs[2][0].name
        self.values[name] = (self.values[name] + values).astype(np.float32)

    def _sort(self) -> None:
        """Keep the nodes that the output needs, in an order of computation."""
        order, seen = [], set()
        waiting = [(self.head, False)]
        while waiting:
            node, ready = waiting.pop()
            if ready:
                order.append(node)
            elif id(node) not in seen:
                seen.add(id(node))
                waiting += [(node, True), *((source, False) for source, *_ in reversed(node.inputs))]
        self.nodes = order
        for node in order:
            node.readers = []
        for node in order:
            for source, *_ in node.inputs:
                source.readers.append(node)

    def _affine(self, norm: Node) -> tuple[np.ndarray, np.ndarray]:
        """What a batch norm multiplies each channel by, and adds to it."""
        gamma, beta, mean, variance = (self.values[node.name].astype(np.float64) for node, *_ in norm.inputs[1:])
        gain = 1 / np.sqrt(variance + float(norm.attrs["eps"]))
        if norm.attrs.get("fix_gamma") == "False":
            gain = gain * gamma
        return gain, beta - mean * gain

    def _fold(self) -> None:
        """Multiply batch norms into the convolutions before them: whose last digits MXNet rounds is known then."""
        for layer in self.layers:
            norm, *others = layer.node.readers or [layer.node]
            if others or norm.op != "BatchNorm" or norm.attrs.get("axis", "1") != "1" or not layer.is_plain:
                continue
            gain, offset = self._affine(norm)
            if len(layer.node.inputs) > 2:
                bias = layer.node.inputs[2][0].name
                self.values[bias] = (self.values[bias] * gain).astype(np.float32)
            weight = self.values[layer.weight]
            self.values[layer.weight] = (weight * gain[:, None, None, None]).astype(np.float32)
            self.add_bias(layer, offset)
            self._replace(norm, layer.node)

    def _replace(self, old: Node, new: Node) -> None:
        old.replace(new)
        new.readers = [reader for reader in new.readers if reader is not old]
        self.head = new if old is self.head else self.head

    def _normalise(self, backbone) -> None:
        seen = backbone.preprocessing
        scale = np.float64(seen.scale)
        offset = -np.float64(seen.mean) * scale
        data = next(node for node in self.nodes if node.name == "bytes")
        first = data.readers
        if len(first) == 1 and first[0].op == "BatchNorm":  # that of a ResNet v2
            gain, constant = self._affine(first[0])
            scale, offset = scale * gain, offset * gain + constant
            self._replace(first[0], data)
            first = data.readers
        layers = [Layer(node) for node in first if node.op == "Convolution"]
        if len(first) != 1 or not layers or not layers[0].is_plain or layers[0].options.get("num_group", 1) > 1:
            raise UserError(f"--int8: the first layer of {backbone.name_} is no convolution: leave it out")
        name = layers[0].weight
        weight = self.values[name].astype(np.float64)
        constant = np.einsum("ochw,c->ohw", weight, offset) / OPAQUE
        if set(layers[0].options.get("pad", (0, 0))) == {0}:  # no window looks beyond the border
            self.add_bias(layers[0], constant.sum(axis=(1, 2)) * OPAQUE)
            constant = np.zeros_like(constant)
        weight = weight * scale[:, None, None]
        weight = np.concatenate([weight[:, :: -1 if seen.bgr else 1], constant[:, None]], axis=1)
        self.values[name] = weight.astype(np.float32)
        layers[0].node.inputs[1][0].attrs["__shape__"] = str(weight.shape)

    def _pool(self) -> None:
        """Means over places by oneDNN's operator, which is ten times as fast as MXNet's."""
        for node in self.nodes:
            listed = node.inputs[0][0] if node.op == "mean" else None
            if not listed or listed.op != "Reshape" or listed.attrs.get("shape") != "(0, 0, -1)":
                continue
            if node.attrs.get("axis") not in ("2", "(2,)") or node.attrs.get("keepdims", "False") != "False":
                continue
            options = {"global_pool": "True", "pool_type": "avg", "kernel": "(1, 1)"}
            pooled = Node(f"{node.name}_pool", "Pooling", options, listed.inputs)
            flat = Node(f"{node.name}_flat", "Flatten", {}, [[pooled, 0, 0]])
            self._replace(node, flat)
            self.in_float32 += [pooled.name, flat.name]

    def bottlenecks(self) -> list[Node]:
        """The nodes that `shift` can move: read by 1 by 1 convolutions, and by additions that can take it back."""
        return [node for node in self.nodes if self._is_bottleneck(node)]

    def _is_bottleneck(self, node: Node) -> bool:
        def takes_back(reader):
            if reader.op in ADDITIONS:
                return _branch(reader) not in (None, node)
            return reader.op == "Convolution" and reader.inputs[0][0] is node and Layer(reader).is_pointwise

        ends = _branch(node) is not None if node.op in ADDITIONS else _is_plain(node)
        read = any(reader.op == "Convolution" for reader in node.readers)
        return ends and read and node is not self.head and all(map(takes_back, node.readers))

    def shift(self, least: dict[str, np.ndarray]) -> None:
        """Move numbers of either sign so that they have one, and a byte holds twice as many steps of them.

        The layer before a bottleneck takes its least value off each channel, so that the ReLU that follows then cuts
        nothing off, and the 1 by 1 convolutions that read it add what this comes to. oneDNN 2.4 has faster
        kernels for bytes without a sign, too.

        Parameters
        ----------
        least : dict of str to (channels,) array
            By the names of `bottlenecks`, the smallest numbers that were met.
        """
        for node in list(self.nodes):
            own = -least[node.name] if node.name in least else 0
            if node.op in ADDITIONS and (branch := _branch(node)):
                own = own + sum(least.get(term.name, 0) for term, *_ in node.inputs if term is not branch)
                node = branch
            elif node.op == "Convolution" and (source := node.inputs[0][0].name) in least:
                own = own + self.values[node.inputs[1][0].name][:, :, 0, 0] @ least[source]
            if np.any(own):
                self.add_bias(Layer(node), own)
        for node in [node for node in self.nodes if node.name in least]:
            node.replace(Node(f"{node.name}_cut", "Activation", {"act_type": "relu"}, [[node, 0, 0]]))


def _is_plain(node: Node) -> bool:
    return node.op == "Convolution" and Layer(node).is_plain


def _branch(addition: Node) -> Node | None:
    """The first term of an addition that a layer gives to it alone: it can take back how others were moved."""
    terms = [node for node, *_ in addition.inputs if _is_plain(node) and len(node.readers) == 1]
    return terms[0] if terms else None


def filled(outputs, values: dict[str, mx.nd.NDArray]) -> SymbolBlock:
    """A block with its parameters.

    Parameters
    ----------
    outputs : Symbol or list of Symbol
        That read ``data``.
    values : dict of str to NDArray
        At least what they need.
    """
    block = SymbolBlock(outputs, mx.sym.var("data", dtype="uint8"))
    wanted = block.collect_params()
    wanted.load_dict({name: values[name] for name in wanted}, mx.cpu(), cast_dtype=True, dtype_source="saved")
    return block
