"""Networks that timm and transformers have weights of: the same features, from the same random weights."""

import json
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from benchmarks.record_timm_vectors import EVERY, state, two_pictures
from common import backbones
from common.backbones import convert
from common.backbones.architectures import vit
from common.backbones.convert import torch
from common.export import engine
from common.files.errors import UserError

RECORDED = np.load(Path(__file__).resolve().parents[2] / "data" / "timm_features.npz")
QUICK = {
    "timm/mobilenetv2_1.0/64", "timm/resnet50_v1d/64", "timm/seresnet50/64", "timm/efficientnet_lite0/75",
    "timm/timm-efficientnet_lite0/64",
    "timm/convnext_tiny/64", "timm/vit_small_patch14_dinov2/70", "timm/vit_small_patch14_reg4_dinov2/56",
    "timm/vit_base_patch32_clip_224/320", "transformers/convnext_tiny/64", "transformers/vit_small_patch14_dinov2/56",
    "transformers/vit_small_patch14_reg4_dinov2/56", "transformers/vit_base_patch32_clip_quickgelu_224/224",
}  # fmt: skip
KEYS = [
    pytest.param(key, marks=() if key in QUICK else pytest.mark.slow)
    for key in RECORDED.files if not key.endswith("/shapes")
]  # fmt: skip


def parts(key, monkeypatch, tmp_path):
    """A network with the recorded weights, and the pictures as it takes them behind the normalisation."""
    _, name, side = key.split("/")
    arrays = state(json.loads(str(RECORDED[f"{key}/shapes"])))
    monkeypatch.setattr(torch, "read_torch", lambda path: arrays)  # hundreds of MB need not go through a file
    (tmp_path / "net.safetensors").touch()
    net = backbones.create(name, str(tmp_path / "net.safetensors"), size=int(side))
    x = two_pictures(int(side))
    return net, mx.nd.array(x[:, :, ::-1, ::-1] if net.rotated else x)


@pytest.mark.parametrize("key", KEYS)
def test_features_equal(key, monkeypatch, tmp_path):
    net, x = parts(key, monkeypatch, tmp_path)
    found = net.pool(net.body(x)).asnumpy()[:, ::EVERY]
    assert np.abs(found - RECORDED[key]).max() < 1e-4 * np.abs(RECORDED[key]).max()


SYMMETRIC, TENSORFLOW = "timm-efficientnet_lite0", "efficientnet_lite0"
FOLDER = "models--timm--efficientnet_lite0.ra_in1k/snapshots/1f"


@pytest.mark.parametrize(("file", "architecture", "fits", "told"), [
    ("model.safetensors", "efficientnet_lite0", SYMMETRIC, "config.json"),
    ("model.safetensors", "tf_efficientnet_lite0", TENSORFLOW, "config.json"),
    ("efficientnet_lite0_ra-37913777.pth", None, SYMMETRIC, "the name efficientnet_lite0_ra"),
    ("tf_efficientnet_lite0.in1k.safetensors", None, TENSORFLOW, "the name tf_efficientnet_lite0"),
    (f"{FOLDER}/model.safetensors", None, SYMMETRIC, "the name models--timm--efficientnet_lite0.ra_in1k"),
])  # fmt: skip
def test_a_file_of_another_padding_is_refused(monkeypatch, tmp_path, capsys, file, architecture, fits, told):
    """timm's parameters of both EfficientNet-Lites have the same names and shapes."""
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    if architecture:
        path.with_name("config.json").write_text(json.dumps({"architecture": architecture}))
    monkeypatch.setattr(torch, "read_torch", lambda _: {"conv_stem.weight": np.zeros((32, 3, 3, 3))})
    other = TENSORFLOW if fits == SYMMETRIC else SYMMETRIC
    with pytest.raises(UserError, match=rf"was trained with .*padding.*, as {told}.* tells: give .*--model"):
        convert.load(backbones.network(other), other, path)
    with pytest.raises(UserError, match="the file has 1 arrays"):  # read on
        convert.load(backbones.network(fits), fits, path)
    assert "note" not in capsys.readouterr().err


@pytest.mark.parametrize(("name", "notes"), [(TENSORFLOW, 1), (SYMMETRIC, 0)])
def test_an_untold_padding_is_said(monkeypatch, tmp_path, capsys, name, notes):
    path = tmp_path / "efficientnet_lite0.pth"  # as the suite calls Google's, and timm its own
    path.touch()
    monkeypatch.setattr(torch, "read_torch", lambda _: {"conv_stem.weight": np.zeros((32, 3, 3, 3))})
    with pytest.raises(UserError, match="the file has 1 arrays"):
        convert.load(backbones.network(name), name, path)
    assert capsys.readouterr().err.count("TensorFlow's is taken") == notes


def test_the_packages_files_are_of_tensorflows_padding(monkeypatch, tmp_path):
    (tmp_path / "net.pth").touch()
    monkeypatch.setattr(torch, "read_torch", lambda _: {"_conv_stem.weight": np.zeros((32, 3, 3, 3))})
    with pytest.raises(UserError, match="TensorFlow's padding, as its layout tells: give the --model without timm-"):
        convert.load(backbones.network(SYMMETRIC), SYMMETRIC, tmp_path / "net.pth")


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"])
def test_hugging_faces_files_have_older_names(name, monkeypatch, tmp_path):
    """transformers 5 calls the parameters of DINOv2 otherwise than the files on the hub do."""
    old = {"attention.o_proj": "attention.output.dense"}
    old.update({f"attention.{k[0]}_proj": f"attention.attention.{k}" for k in ("query", "key", "value")})
    key = f"transformers/{name}/56"
    arrays = {}
    for own, array in state(json.loads(str(RECORDED[f"{key}/shapes"]))).items():
        found = next((new for new in old if new in own), None)
        arrays["dinov2." + (own.replace(found, old[found]) if found else own)] = array
    net = backbones.network(name, 56)
    convert.named.fill_vit(net, arrays)  # whole: the network has no classifier either
    found = net.features(mx.nd.array(two_pictures(56))).asnumpy()[:, ::EVERY]
    assert np.abs(found - RECORDED[key]).max() < 1e-4 * np.abs(RECORDED[key]).max()


def test_a_vision_transformer_is_a_network_like_all_others(tmp_path, monkeypatch):
    """Hybridized, read by onnxruntime, its patches as maps; its parameters fit another size of pictures."""
    name = "vit_small_patch14_dinov2"
    net = backbones.create(name, size=56)
    net.initialize()
    x = mx.nd.array(np.random.default_rng(0).integers(0, 256, (2, 56, 56, 3)), dtype="uint8")
    eager = net(x).asnumpy()
    assert eager.shape == (2, net.width) == (2, 384) and net.input_size == 56 and net.fixed_size
    assert net.feature_maps(x).shape == (2, 384, 4, 4)
    net.hybridize(static_alloc=True, static_shape=True)
    np.testing.assert_allclose(net(x).asnumpy(), eager, rtol=1e-4, atol=1e-5)
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path))
    np.testing.assert_allclose(engine.onnxruntime(net, 56)(x).asnumpy(), eager, rtol=1e-3, atol=1e-4)
    whole = backbones.network(name, 56)
    whole.initialize()
    whole.save_parameters(str(tmp_path / "net.params"))
    larger = backbones.create(name, str(tmp_path / "net.params"), size=70)
    assert larger(mx.nd.zeros((1, 70, 70, 3), dtype="uint8")).shape == (1, 384)
    with pytest.raises(UserError, match="--image-size 8 is too small: the network sees pictures in patches of 14"):
        backbones.create(name, size=8)


@pytest.mark.parametrize(("old", "new"), [(37, 5), (37, 16), (7, 10), (16, 16)])
def test_positions_are_interpolated_as_pillow_does_it(old, new):
    maps = np.random.default_rng(0).normal(size=(old, old)).astype(np.float32)
    expected = Image.fromarray(maps).resize((new, new), Image.Resampling.BICUBIC)
    found = vit.resampled(maps.reshape(1, -1, 1), new).reshape(new, new)
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-5)


def test_what_is_recorded_tells_pictures_apart():
    for key in RECORDED.files:
        if not key.endswith("/shapes"):
            assert np.ptp(RECORDED[key], axis=0).max() > 0.01 * np.abs(RECORDED[key]).max(), key
