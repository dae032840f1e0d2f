"""Parameters of other frameworks."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import mxnet as mx
import numpy as np
import pytest

from common import backbones, convert
from common.errors import UserError

DATA = Path(__file__).resolve().parents[1] / "data"
REPO = DATA.parents[1]


class Harmful:
    def __reduce__(self):
        return os.system, ("exit 1",)


@pytest.mark.parametrize("name", ["tiny_zip.pth", "tiny_legacy.pth"])
def test_pth_is_read_without_torch(name):
    """Written by torch.save, in the format of today and the one of before 1.6."""
    found = convert.read_torch(DATA / name)
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(found["weight"], whole)
    np.testing.assert_array_equal(found["turned"], whole.T)
    np.testing.assert_array_equal(found["part"], whole[1:, 1:3])
    np.testing.assert_array_equal(found["half"], np.array([0.5, -2], np.float16))
    assert found["count"] == 7 and found["parameter"].tolist() == [1, 1]


def test_safetensors_are_read(tmp_path):
    from safetensors.numpy import save_file

    arrays = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    save_file(arrays, tmp_path / "net.safetensors")
    np.testing.assert_array_equal(convert.read_torch(tmp_path / "net.safetensors")["weight"], arrays["weight"])


def test_code_in_a_pickle_is_refused(tmp_path):
    path = tmp_path / "harmful.pth"
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(UserError, match="system, which no file of parameters needs"):
        convert.read_torch(path)
    with pytest.raises(UserError, match="system, which no file of parameters needs"):
        convert.read_array_pickle(path)


def test_a_damaged_file_is_one_line(tmp_path):
    whole = (DATA / "tiny_legacy.pth").read_bytes()
    for length in (0, 10, 300, len(whole) - 8):
        path = tmp_path / "cut.pth"
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="cut.pth") as error:
            convert.read_torch(path)
        assert "\n" not in str(error.value)


def keras_file(path, layers, whole_model):
    """An .h5 file laid out as Keras writes it."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        root.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = [f"{name}/weight{i}:0".encode() for i in range(len(arrays))]
            for i, array in enumerate(arrays):
                group[f"{name}/weight{i}:0"] = array


def mobilenet_layers(rng):
    layers, before = {"input_1": [], "conv1": [rng.normal(size=(3, 3, 3, 32))]}, 32
    norm = lambda n: [rng.uniform(0.5, 1.5, n) for _ in range(4)]  # noqa: E731
    layers["conv1_bn"] = norm(32)
    for i, filters in enumerate((64, 128, 128, 256, 256, *[512] * 6, 1024, 1024), 1):
        layers[f"conv_dw_{i}"], layers[f"conv_dw_{i}_bn"] = [rng.normal(size=(3, 3, before, 1))], norm(before)
        layers[f"conv_pw_{i}"], layers[f"conv_pw_{i}_bn"] = [rng.normal(size=(1, 1, before, filters))], norm(filters)
        before = filters
    layers["conv_preds"] = [rng.normal(size=(1, 1, 1024, 1000)), rng.normal(size=1000)]
    return layers


@pytest.mark.parametrize("whole_model", [False, True])
def test_keras_layouts_become_gluons(tmp_path, whole_model):
    layers = mobilenet_layers(np.random.default_rng(0))
    keras_file(tmp_path / "net.h5", layers, whole_model)
    net = backbones.network("keras-mobilenet")
    convert.load(net, "keras-mobilenet", tmp_path / "net.h5")
    values = {name: p.data().asnumpy() for name, p in net._collect_params_with_prefix().items()}
    first = layers["conv1"][0].transpose(3, 2, 0, 1)[:, :, ::-1, ::-1]  # this network runs turned
    np.testing.assert_allclose(values["features.0.weight"], first, rtol=1e-6)
    deep = layers["conv_dw_1"][0].transpose(2, 3, 0, 1)[:, :, ::-1, ::-1]
    np.testing.assert_allclose(values["features.3.weight"], deep, rtol=1e-6)
    np.testing.assert_allclose(values["features.1.running_var"], layers["conv1_bn"][3], rtol=1e-6)
    np.testing.assert_allclose(values["output.weight"], layers["conv_preds"][0][0, 0].T, rtol=1e-6)


def test_layers_that_keras_numbered_come_in_its_order():
    names = ["conv2d_10", "conv2d_9", "conv2d", "conv2d_transpose_1", "batch_normalization_1"]
    assert convert._numbered("conv2d", names) == ["conv2d", "conv2d_9", "conv2d_10"]


def test_a_file_of_another_network_is_refused(tmp_path):
    layers = mobilenet_layers(np.random.default_rng(0))
    del layers["conv_dw_5"]
    keras_file(tmp_path / "net.h5", layers, False)
    with pytest.raises(UserError, match="no layer conv_dw_5: it belongs to another network"):
        backbones.create("keras-mobilenet", str(tmp_path / "net.h5"))
    with pytest.raises(UserError, match="fits the keras-... networks, not resnet50_v2"):
        backbones.create("resnet50_v2", str(tmp_path / "net.h5"))
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(UserError, match="no Keras .h5 file"):
        convert.read_keras(tmp_path / "text.h5")


def test_features_need_no_classifier_or_another_one(tmp_path):
    layers = mobilenet_layers(np.random.default_rng(0))
    keras_file(tmp_path / "whole.h5", layers, False)
    layers["conv_preds"] = [np.zeros((1, 1, 1024, 7)), np.zeros(7)]
    keras_file(tmp_path / "seven.h5", layers, True)
    del layers["conv_preds"]
    keras_file(tmp_path / "notop.h5", layers, False)
    x = mx.nd.array(np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3)), dtype="uint8")
    found = [backbones.create("keras-mobilenet", str(tmp_path / f"{name}.h5"))(x).asnumpy() for name in
             ("whole", "seven", "notop")]  # fmt: skip
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    with pytest.raises(UserError, match="no layer conv_preds"):
        backbones.create("keras-mobilenet", str(tmp_path / "notop.h5"), classifier=True)


def test_create_takes_a_keras_file_with_its_preprocessing(tmp_path):
    keras_file(tmp_path / "net.h5", mobilenet_layers(np.random.default_rng(0)), False)
    backbone = backbones.create("keras-mobilenet", str(tmp_path / "net.h5"))
    assert backbone.preprocessing.mean == (127.5, 127.5, 127.5) and backbone.source == "file net.h5"
    assert backbone(mx.nd.zeros((1, 64, 64, 3), dtype="uint8")).shape == (1, 1024)


@pytest.mark.parametrize("network", ["keras-mobilenet", "keras-inceptionv3"])
def test_features_equal_keras(network):
    """Runs where KERAS_PYTHON names an interpreter with Keras; benchmarks/keras_parity.py does all seven."""
    python = os.environ.get("KERAS_PYTHON")
    if not python:
        pytest.skip("KERAS_PYTHON names no interpreter with Keras")
    script = REPO / "benchmarks" / "keras_parity.py"
    command = [sys.executable, str(script), "--keras-python", python, "--networks", network]
    assert subprocess.run(command, capture_output=True).returncode == 0
