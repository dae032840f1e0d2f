"""Parameters of other frameworks."""

import io
import json
import os
import pickle
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import mxnet as mx
import numpy as np
import pytest

from common import backbones
from common.backbones import convert
from common.backbones.architectures import keras_applications
from common.backbones.convert import keras, pickles, torch
from common.files.errors import UserError

DATA = Path(__file__).resolve().parents[2] / "data"
REPO = DATA.parents[1]


class Harmful:
    def __reduce__(self):
        return os.system, ("exit 1",)


@pytest.mark.parametrize("name", ["tiny_zip.pth", "tiny_legacy.pth"])
def test_pth_is_read_without_torch(name):
    """Written by torch.save, in the format of today and the one of before 1.6."""
    found = torch.read_torch(DATA / name)
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
    np.testing.assert_array_equal(torch.read_torch(tmp_path / "net.safetensors")["weight"], arrays["weight"])


def test_code_in_a_pickle_is_refused(tmp_path):
    path = tmp_path / "harmful.pth"
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(UserError, match="system, which no file of parameters needs"):
        torch.read_torch(path)
    with pytest.raises(UserError, match="system, which no file of parameters needs"):
        pickles.read_array_pickle(path)


def test_a_damaged_file_is_one_line(tmp_path):
    whole = (DATA / "tiny_legacy.pth").read_bytes()
    for length in (0, 10, 300, len(whole) - 8):
        path = tmp_path / "cut.pth"
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="cut.pth") as error:
            torch.read_torch(path)
        assert "\n" not in str(error.value)


def safetensors(header, body=b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def tensor(shape, span, dtype="F32"):
    return {"weight": {"dtype": dtype, "shape": shape, "data_offsets": span}}


@pytest.mark.parametrize("content", [
    b"", b"junk", safetensors(b"{"), safetensors([]), (2**62).to_bytes(8, "little") + b"{}", bytes(1000),
    safetensors(tensor([2], [0, 4]), bytes(4)), safetensors(tensor([2**62], [0, 8]), bytes(8)),
    safetensors(tensor([-1], [0, 4]), bytes(4)), safetensors(tensor([2], [0, 8]), bytes(5)),
    safetensors(tensor([2], [0, 8], "F4"), bytes(8)), safetensors(tensor("x", [0, 8]), bytes(8)),
    safetensors(tensor([8], [0, 8], "F8_E4M3"), bytes(8)),
])  # fmt: skip
def test_a_broken_safetensors_file_is_one_line(tmp_path, content):
    one_line(torch.read_torch, tmp_path / "net.safetensors", content)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth", "net.h5"])
def test_six_gigabytes_of_zeros_are_refused_unread(tmp_path, name):
    with open(tmp_path / name, "wb") as file:
        file.truncate(6 << 30)  # a hole: it takes no room
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=name):
        (keras.read_keras if name.endswith(".h5") else torch.read_torch)(tmp_path / name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kilobytes


def one_line(read, path, content):
    path.write_bytes(content)
    with pytest.raises(UserError, match=path.name) as error:
        read(path)
    assert "\n" not in str(error.value)


def test_safetensors_of_bfloat16_come_as_float32(tmp_path):
    (tmp_path / "net.safetensors").write_bytes(safetensors(tensor([2], [0, 4], "BF16"), b"\x80\x3f\x20\xc0"))
    found = torch.read_torch(tmp_path / "net.safetensors")["weight"]
    assert found.dtype == np.float32 and found.tolist() == [1, -2.5]


def state(offset=0, size=(2,), stride=(1,), count=2) -> bytes:
    """A pickle of a state dict of one tensor, as torch.save writes it."""
    sizes = [b"(" + b"".join(pickle.dumps(n, 2)[2:-1] for n in numbers) + b"t" for numbers in (size, stride)]
    return (
        b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
        b"X\x01\0\0\x000X\x03\0\0\0cpu" + pickle.dumps(count, 2)[2:-1] + b"tQ" + pickle.dumps(offset, 2)[2:-1]
        + sizes[0] + sizes[1] + b"\x89NtRs."
    )  # fmt: skip


def pth(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def test_the_state_that_these_tests_break_is_read(tmp_path):
    (tmp_path / "net.pth").write_bytes(pth({"a/data.pkl": state(), "a/data/0": np.float32([3, 4]).tobytes()}))
    assert torch.read_torch(tmp_path / "net.pth")["w"].tolist() == [3, 4]


@pytest.mark.parametrize("members", [
    {}, {"a/version": b"3"}, {"data.pkl": b""}, {"a/data.pkl": state()},  # no data.pkl, or not its storage
    {"a/data.pkl": state(size=(10**12,), stride=(0,)), "a/data/0": bytes(8)},  # all its 4 TB are one number
    {"a/data.pkl": state(size=(10**6, 10**6), stride=(0, 0)), "a/data/0": bytes(8)},
    {"a/data.pkl": state(offset=-4), "a/data/0": bytes(8)}, {"a/data.pkl": state(offset=9), "a/data/0": bytes(8)},
    {"a/data.pkl": state(stride=(-1,)), "a/data/0": bytes(8)}, {"a/data.pkl": state(), "a/data/0": bytes(5)},
    {"a/data.pkl": b"]."}, {"a/data.pkl": b"\x80\x02]r\xff\xff\xff\x7f."},  # no dict; a table of 2**31 objects
    {"a/data.pkl": state(), "a/data/0": bytes(200_000_000)},  # 200 MB of zeros in 200 kB
])  # fmt: skip
def test_a_broken_pth_is_one_line(tmp_path, members):
    one_line(torch.read_torch, tmp_path / "net.pth", pth(members))


def test_a_legacy_pth_that_claims_more_than_it_holds_is_one_line(tmp_path):
    whole = (DATA / "tiny_legacy.pth").read_bytes()
    count = whole.rindex((12).to_bytes(8, "little"))
    for claimed in (-5, 2**60, 13):
        content = whole[:count] + claimed.to_bytes(8, "little", signed=True) + whole[count + 8 :]
        one_line(torch.read_torch, tmp_path / "net.pth", content)


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
    first = layers["conv1"][0].transpose(3, 2, 0, 1)[:, :, ::-1, ::-1]  # this network runs rotated
    np.testing.assert_allclose(values["features.0.weight"], first, rtol=1e-6)
    deep = layers["conv_dw_1"][0].transpose(2, 3, 0, 1)[:, :, ::-1, ::-1]
    np.testing.assert_allclose(values["features.3.weight"], deep, rtol=1e-6)
    np.testing.assert_allclose(values["features.1.running_var"], layers["conv1_bn"][3], rtol=1e-6)
    np.testing.assert_allclose(values["output.weight"], layers["conv_preds"][0][0, 0].T, rtol=1e-6)


def test_layers_that_keras_numbered_come_in_its_order():
    """Keras numbers on within a process, and a file's groups are sorted by name: conv2d_10 comes before conv2d_9."""
    net = keras_applications.Network(*(keras_applications.conv(1, 1) for _ in range(3)))
    layers = {f"conv2d{tail}": [np.full((1, 1, 1, 1), value)] for tail, value in (("_10", 3), ("_9", 2), ("", 1))}
    layers["conv2d_transpose_1"] = layers["batch_normalization_1"] = [np.zeros((1, 1, 1, 1))]
    keras.fill_layers(net, layers, classifier=False)
    assert [layer.weight.data().asscalar() for layer in net.features[:3]] == [1, 2, 3]


def test_a_file_of_another_network_is_refused(tmp_path):
    layers = mobilenet_layers(np.random.default_rng(0))
    del layers["conv_dw_5"]
    keras_file(tmp_path / "net.h5", layers, False)
    with pytest.raises(UserError, match="no layer conv_dw_5: it belongs to another network"):
        backbones.create("keras-mobilenet", str(tmp_path / "net.h5"))
    with pytest.raises(UserError, match="fits the keras-... networks, not resnet50_v2"):
        backbones.create("resnet50_v2", str(tmp_path / "net.h5"))
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(UserError, match="text.h5 is not as it should be .*a whole Keras .h5 file"):
        keras.read_keras(tmp_path / "text.h5")


def broken_keras(kind, file):
    group = file.create_group("dense")
    group["kernel"] = np.ones((2, 3), np.float32)
    names = {"no layer": [b"other"], "one number": 7}.get(kind, [b"dense"])
    file.attrs["layer_names"] = names
    group.attrs["weight_names"] = [b"missing" if kind == "no weight" else b"kernel"]
    if kind != "no layer":
        del group["kernel"]
    if kind == "a group":
        group.create_group("kernel")
    elif kind == "texts":
        group["kernel"] = ["a", "b"]
    elif kind == "huge":
        group.create_dataset("kernel", (2**20, 2**20), np.float32)  # never written: all fill values
    elif kind == "empty":
        group["kernel"] = h5py.Empty("f4")
    elif kind == "another file":
        group["kernel"] = h5py.ExternalLink("other.h5", "/x")
    elif kind == "raw bytes":
        group.create_dataset("kernel", (4,), np.uint8, external=[("secret.txt", 0, 4)])


@pytest.mark.parametrize("kind", [
    "no layer", "no weight", "a group", "texts", "huge", "empty", "another file", "raw bytes", "one number",
])  # fmt: skip
def test_a_keras_file_of_odd_structure_is_one_line(tmp_path, kind):
    (tmp_path / "secret.txt").write_text("secret")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    with h5py.File(tmp_path / "net.h5", "w") as file:
        broken_keras(kind, file)
    one_line(keras.read_keras, tmp_path / "net.h5", (tmp_path / "net.h5").read_bytes())


def test_parameters_that_are_not_finite_are_refused(tmp_path):
    layers = mobilenet_layers(np.random.default_rng(0))
    layers["conv_dw_5_bn"][2][3] = np.nan
    keras_file(tmp_path / "net.h5", layers, False)
    with pytest.raises(UserError, match="net.h5.*running_mean holds numbers that are not finite"):
        backbones.create("keras-mobilenet", str(tmp_path / "net.h5"))


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


def test_filling_a_network_draws_no_random_number():
    """A run that converts parameters at its first start draws what later ones draw."""
    from common.backbones.convert import values

    net = mx.gluon.nn.Dense(3, in_units=2)
    mx.random.seed(1)
    wanted = mx.nd.random.uniform(shape=(4,)).asnumpy()
    mx.random.seed(1)
    values.fill(net, {"weight": np.ones((3, 2)), "bias": np.full(3, 2)})
    np.testing.assert_array_equal(mx.nd.random.uniform(shape=(4,)).asnumpy(), wanted)
    assert net(mx.nd.ones((1, 2))).asnumpy().tolist() == [[4, 4, 4]]
