"""Both branches for other programs: pictures to vectors as one block, sentences as an ONNX file."""

from __future__ import annotations

import numpy as np
from mxnet.gluon import HybridBlock

from common.files.disk import atomic
from examples.vse.model import VSE

GATES = {"gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}  # ONNX has z, r, h and i, o, f, c; MXNet r, z, n and i, f, c, o


class Tower(HybridBlock):
    """Pictures (n, H, W, 3) -> (n, dim): the backbone, and the branch on its features."""

    def __init__(self, backbone, images):
        super().__init__()
        with self.name_scope():
            self.backbone, self.images = backbone, images

    def hybrid_forward(self, F, x):
        return self.images(self.backbone(x))


def write_sentences(net: VSE, path) -> None:
    """Write the sentence branch of a model that compares by the cosine.

    Its inputs are ``words``, (length, n) int64, numbers of words with the end's, and ``lengths`` (n,) int32; what
    stands after a sentence's end is not read. Its output is ``embedding`` (n, dim).

    Parameters
    ----------
    net : VSE
    path : path
        Of the file to write.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    branch = net.sentences
    nodes, values = [], {"table": _value(branch.words.weight)}

    def add(kind: str, inputs: list[str], *outputs: str, **attributes) -> None:
        nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    add("Gather", ["table", "words"], "vectors")
    if branch.encoder == "bow":
        _add_sum(add, values)
    else:
        _add_recurrence(add, values, branch)
    values.update(axis=np.array([1]), eps=np.float32(1e-8))
    add("Mul", ["state", "state"], "squares")
    add("ReduceSum", ["squares", "axis"], "sum")
    add("Add", ["sum", "eps"], "some")
    add("Sqrt", ["some"], "norm")
    add("Div", ["state", "norm"], "embedding" if not net.metadata["use_abs"] else "signed")
    if net.metadata["use_abs"]:
        add("Abs", ["signed"], "embedding")
    graph = helper.make_graph(
        nodes, "sentences",
        [helper.make_tensor_value_info("words", TensorProto.INT64, ["length", "n"]),
         helper.make_tensor_value_info("lengths", TensorProto.INT32, ["n"])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", branch.dim])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 14)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=helper.find_min_ir_version_for(opset))
    onnx.checker.check_model(model)
    with atomic(path) as beside:
        onnx.save(model, str(beside))


def _value(parameter) -> np.ndarray:
    return parameter.data(parameter.list_ctx()[0]).asnumpy().astype(np.float32)


def _add_sum(add, values: dict) -> None:
    """The sum of the words up to each sentence's end."""
    values.update(zero=np.array(0), one=np.array(1), first=np.array([0]), last=np.array([2]))
    add("Shape", ["words"], "shape")
    add("Gather", ["shape", "zero"], "length")
    add("Range", ["zero", "length", "one"], "steps")
    add("Unsqueeze", ["steps", "axis"], "column")
    add("Cast", ["lengths"], "ends", to=7)
    add("Less", ["column", "ends"], "inside")
    add("Cast", ["inside"], "mask", to=1)
    add("Unsqueeze", ["mask", "last"], "weights")
    add("Mul", ["vectors", "weights"], "kept")
    add("ReduceSum", ["kept", "first"], "state", keepdims=0)


def _add_recurrence(add, values: dict, branch) -> None:
    """The last state; of both directions their mean."""
    directions = ("l0", "r0") if branch.bidirectional else ("l0",)
    gates = list(GATES[branch.encoder])

    def ordered(name: str) -> np.ndarray:
        found = [_value(getattr(branch.rnn, f"{direction}_{name}")) for direction in directions]
        return np.stack([value.reshape(len(gates), branch.dim, -1)[gates].reshape(value.shape) for value in found])

    values.update(w=ordered("i2h_weight"), r=ordered("h2h_weight"),
                  b=np.concatenate([ordered("i2h_bias"), ordered("h2h_bias")], axis=1))  # fmt: skip
    options = {"hidden_size": branch.dim, "direction": "bidirectional" if branch.bidirectional else "forward"}
    if branch.encoder == "gru":
        options["linear_before_reset"] = 1
    add(branch.encoder.upper(), ["vectors", "w", "r", "b", "lengths"], "", "last", **options)
    add("ReduceMean", ["last"], "state", axes=[0], keepdims=0)
