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


def checkpoint(tensors: str) -> bytes:
    """`torch.save` of a dict around a state dict: the pickle of `state`, with the given text in its place."""
    return pth({"a/data.pkl": tensors, "a/data/0": np.float32([3, 4]).tobytes()})


def wrapped(*keys: bytes) -> bytes:
    """The pickle of `state` as the value of these keys, one in the other, beside a number."""
    inner = state()[2:-1]
    for key in keys:
        inner = b"}(" + pickle.dumps("epoch", 2)[2:-3] + b"K\x07" + pickle.dumps(key, 2)[2:-3] + inner + b"u"
    return b"\x80\x02" + inner + b"."


@pytest.mark.parametrize("keys", [("state_dict",), ("model",), ("model_state",), ("state_dict", "model")])
def test_a_checkpoint_around_a_state_dict_is_read(tmp_path, keys):
    (tmp_path / "net.pth").write_bytes(checkpoint(wrapped(*keys)))
    assert {name: a.tolist() for name, a in torch.read_torch(tmp_path / "net.pth").items()} == {"w": [3, 4]}


def test_a_checkpoint_without_tensors_says_what_it_has(tmp_path):
    (tmp_path / "net.pth").write_bytes(checkpoint(wrapped("weights")))
    with pytest.raises(UserError, match="it holds epoch, weights, and neither tensors nor a dict called state_"):
        torch.read_torch(tmp_path / "net.pth")


def test_bfloat16_in_a_pickle_and_the_prefix_of_many_devices(tmp_path):
    of_devices = state().replace(b"X\x01\0\0\0w", b"X\x08\0\0\0module.w")
    of_devices = of_devices.replace(b"FloatStorage", b"BFloat16Storage")
    (tmp_path / "net.pth").write_bytes(pth({"a/data.pkl": of_devices, "a/data/0": b"\x80\x3f\x20\xc0"}))
    found = torch.read_torch(tmp_path / "net.pth")
    assert list(found) == ["w"] and found["w"].dtype == np.float32 and found["w"].tolist() == [1, -2.5]


def test_a_torchscript_archive_is_attributes_and_no_code(tmp_path):
    """As `torch.jit.save` writes it, which OpenAI's CLIP comes in: objects of classes that the archive defines."""
    module = b"c__torch__.Net\nModule\n)\x81}(" + pickle.dumps("visual", 2)[2:-3]
    inner = b"c__torch__.Net\nTower\n)\x81" + state()[2:-1] + b"b"
    (tmp_path / "net.pt").write_bytes(
        pth({"a/data.pkl": b"\x80\x02" + module + inner + b"ub.", "a/data/0": np.float32([3, 4]).tobytes()})
    )
    assert {name: a.tolist() for name, a in torch.read_torch(tmp_path / "net.pt").items()} == {"visual.w": [3, 4]}


def resnet18(**changed):
    """torchvision's names and shapes of a ResNet-18, with values."""
    rng, shapes = np.random.default_rng(0), {"conv1.weight": (64, 3, 7, 7), "bn1": 64}
    for stage, width in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            before, place = (width if block or stage == 1 else width // 2), f"layer{stage}.{block}"
            shapes.update({f"{place}.conv1.weight": (width, before, 3, 3), f"{place}.bn1": width})
            shapes.update({f"{place}.conv2.weight": (width, width, 3, 3), f"{place}.bn2": width})
            if before != width:
                shapes.update({f"{place}.downsample.0.weight": (width, before, 1, 1), f"{place}.downsample.1": width})
    shapes.update({"fc.weight": (1000, 512), "fc.bias": (1000,), **changed})
    arrays = {}
    for name, shape in shapes.items():
        kinds = ("weight", "bias", "running_mean", "running_var") if isinstance(shape, int) else ()
        arrays.update({f"{name}.{kind}": rng.uniform(0.5, 1, shape).astype(np.float32) for kind in kinds})
        if shape and not kinds:
            arrays[name] = rng.normal(0, 0.05, shape).astype(np.float32)
    return arrays


def test_a_pytorch_file_needs_no_classifier_or_another_one(tmp_path):
    from safetensors.numpy import save_file

    x = mx.nd.array(np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3)), dtype="uint8")
    features = []
    for name, head in {
        "whole": {}, "seven": {"fc.weight": (7, 512), "fc.bias": (7,)}, "none": {"fc.weight": (), "fc.bias": ()},
        "half": {},
    }.items():  # fmt: skip
        arrays = resnet18(**head)
        if name == "half":
            arrays = {f"module.{key}": array.astype(np.float16) for key, array in arrays.items()}
        save_file(arrays, tmp_path / f"{name}.safetensors")
        features.append(backbones.create("resnet18_v1b", str(tmp_path / f"{name}.safetensors"))(x).asnumpy())
    np.testing.assert_array_equal(features[1], features[0])
    np.testing.assert_array_equal(features[2], features[0])
    assert 0 < np.abs(features[3] - features[0]).max() < 0.02 * np.abs(features[0]).max()
    with pytest.raises(UserError, match=r"none.safetensors does not fit --model resnet18_v1b: .* no classifier"):
        backbones.create("resnet18_v1b", str(tmp_path / "none.safetensors"), classifier=True)


@pytest.mark.parametrize(("changed", "line"), [
    ({"layer2.0.conv1.weight": (128, 64, 1, 1)},
     r"layer2.0.conv1.weight is \(128, 64, 1, 1\) in the file and \(128, 64, 3, 3\) in the network; it is of another"),
    ({"layer4.1.bn2": (), "fc.weight": (), "fc.bias": ()}, r"and nothing for layer4.1.bn2.gamma, \(512,\)"),
    ({"layer4.2.conv1.weight": (512, 512, 3, 3)}, r"layer4.2.conv1.weight, \(512, 512, 3, 3\), where the network ends"),
])  # fmt: skip
def test_what_does_not_fit_is_named_with_its_shape(changed, line):
    with pytest.raises(UserError, match=line):
        torch.fill_torchvision(backbones.network("resnet18_v1b"), resnet18(**changed), classifier=False)


def keras3_file(path, layers):
    """A file laid out as Keras 3 writes it: layers by kind and number, their names beside the arrays."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for number, (name, arrays) in enumerate(layers.items()):
            group = file.create_group(f"layers/layer_{number}/vars")
            group.attrs["name"] = name
            for i, array in enumerate(arrays):
                group[str(i)] = array
        file.create_group("optimizer/vars")["0"] = np.ones(3)
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "{}")
            archive.writestr("model.weights.h5", content.getvalue())
    else:
        path.write_bytes(content.getvalue())


@pytest.mark.parametrize("name", ["net.keras", "net.weights.h5"])
def test_keras_3_is_read_as_keras_2_is(tmp_path, name):
    layers = mobilenet_layers(np.random.default_rng(0))
    keras_file(tmp_path / "net.h5", layers, False)
    keras3_file(tmp_path / name, layers)
    old, new = keras.read_keras(tmp_path / "net.h5"), keras.read_keras(tmp_path / name)
    assert {key for key, arrays in old.items() if arrays} == set(new)
    for key, arrays in new.items():
        assert all(np.array_equal(a, b) for a, b in zip(arrays, old[key], strict=True))
    backbone = backbones.create("keras-mobilenet", str(tmp_path / name))
    assert backbone.preprocessing.mean == (127.5, 127.5, 127.5)


def test_a_broken_keras_3_file_is_one_line(tmp_path):
    keras3_file(tmp_path / "net.keras", {"dense": [np.ones(3)]})
    whole = (tmp_path / "net.keras").read_bytes()
    for content in (b"", whole[:200], pth({"config.json": b"{}"}), pth({"model.weights.h5": bytes(200_000_000)})):
        one_line(keras.read_keras, tmp_path / "net.keras", content)
    with h5py.File(tmp_path / "net.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.ones(3)
    with pytest.raises(UserError, match="does not say its layer's name"):
        keras.read_keras(tmp_path / "net.weights.h5")


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
    with pytest.raises(UserError, match="text.h5 is not as it should be .*a whole Keras file"):
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
