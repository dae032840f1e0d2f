"""A package is written whole or not at all, whatever is in its way."""

import argparse
import json
import os

import mxnet as mx
import numpy as np
import onnx
import pytest

from common import backbones
from common.data.transforms import Eval, Views
from common.export import package
from common.files import disk
from common.files.errors import UserError


@pytest.fixture(scope="module")
def net():
    mx.random.seed(0)
    made = backbones.create("conv4", size=32)
    made.initialize(mx.init.Xavier())
    return made


def described(net, **more):
    return package.Package("embedding_learning", "conv4", net, package.Input.of(Eval(32, 32)), 64, **more)


def flags(folder, **more):
    usual = {
        "check": 10, "calibrate": 4, "int8_agreement": 0.985, "resize_in_graph": False, "name": None, "licence": None,
        "trained_on": None,
    }  # fmt: skip
    return argparse.Namespace(package=folder, seed=0, **{**usual, **more})


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_earlier_package_is_replaced_and_nothing_else(net, tmp_path):
    folder = tmp_path / "made" / "model"
    package.write(described(net, class_names=["a"], classes=np.ones((1, 64), np.float32)), flags(folder))
    assert set(contents(folder)) == {"model.onnx", "model.json", "MODEL_CARD.md", "classes.npy"}
    found = package.write(described(net), flags(folder, name="again", licence="MIT", trained_on="noise"))
    assert set(contents(folder)) == {"model.onnx", "model.json", "MODEL_CARD.md"}
    assert json.loads((folder / "model.json").read_text()) == found and found["name"] == "again"
    card = (folder / "MODEL_CARD.md").read_text()
    assert "# again" in card and "weights: MIT" in card and "noise, with conv4" in card
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    for place, says in ((other, "holds other files and no package"), (other / "mine.txt", "is a file")):
        with pytest.raises(UserError, match=says):
            package.write(described(net), flags(place))
    assert contents(other) == {"mine.txt": b"mine"} and len(list(tmp_path.iterdir())) == 2
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("share", [0, 1])
def test_how_much_int8_keeps_is_chosen(net, tmp_path, share):
    """0: every weight of a convolution is in 8 bits; 1: each calibration picture keeps its nearest other one."""
    pictures = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)  # all alike
    found = package.write(
        described(net), flags(tmp_path / "model", calibrate=20, int8_agreement=share), range(40),
        lambda some: pictures[some],
    )  # fmt: skip
    made = found["int8"]
    assert made["wanted"] == share and made["pictures"] == 20 and made["convolutions"] == 4
    used = np.random.default_rng(0).permutation(40)[:20]
    answers = []
    for name in ("model.onnx", "model-int8.onnx"):
        rows = package.Session(tmp_path / "model" / name)(pictures[used])
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        answers.append((rows @ rows.T - 9 * np.eye(20)).argmax(axis=1))
    same = int((answers[0] == answers[1]).sum())
    assert made["same_top1"] == same and (same == 20 if share else same < 20)
    weights = {
        tensor.name: tensor.data_type
        for tensor in onnx.load(str(tmp_path / "model" / "model-int8.onnx")).graph.initializer if len(tensor.dims) == 4
    }  # fmt: skip
    eight = list(weights.values()).count(onnx.TensorProto.INT8)
    assert eight == 4 - made["in_float32"] and (made["in_float32"] > 0 if share else eight == 4)
    assert f"(--int8-agreement {share})" in (tmp_path / "model" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("when", [0, 1])
def test_what_was_there_stays_where_the_system_refuses(net, tmp_path, monkeypatch, when):
    folder = tmp_path / "model"
    package.write(described(net), flags(folder))
    before, replace, calls = contents(folder), os.replace, []

    def refuse(source, target):
        if str(folder.name) in str(source) and os.path.isdir(source):
            calls.append(target)
            if len(calls) == when + 1:
                raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(disk.os, "replace", refuse)
    with pytest.raises(UserError, match="cannot write .*model: No space left"):
        package.write(described(net), flags(folder, name="other"))
    assert contents(folder) == before and [path.name for path in tmp_path.iterdir()] == ["model"]


def test_similarity_is_that_of_the_definitions():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(package.similarity(a, b, "cosine"), a @ b.T / lengths)
    np.testing.assert_allclose(package.similarity(a, b, "dot"), a @ b.T)
    squared = ((a[:, None] - b) ** 2).sum(axis=2)
    np.testing.assert_allclose(package.similarity(a, b, "euclidean"), -squared)


def test_a_network_of_several_views_does_not_resize_itself(net, tmp_path):
    seen = package.Input.of(Views(32, 32, False, (0.5,)))
    assert seen.shape == (1, 2, 32, 32, 3)
    with pytest.raises(UserError, match="--resize-in-graph: this model sees several views"):
        package.write(package.Package("x", "conv4", net, seen, 64), flags(tmp_path / "m", resize_in_graph=True))
    assert not list(tmp_path.iterdir())
