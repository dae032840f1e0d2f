"""Features of the networks that timm and transformers have weights of: equal to theirs, from the same random weights."""

import json
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from benchmarks.record_timm_vectors import EVERY, state, two_pictures
from common import backbones
from common.backbones import convert
from common.backbones.convert import torch
from common.export import engine

RECORDED = np.load(Path(__file__).resolve().parents[2] / "data" / "timm_features.npz")
QUICK = {
    "timm/mobilenetv2_0.5/64", "timm/resnet18_v1d/64", "timm/seresnet50/64", "timm/efficientnet_lite0/75",
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
    monkeypatch.setattr(convert.named, "read_torch", lambda path: arrays)
    (tmp_path / "net.safetensors").touch()
    net = backbones.create(name, str(tmp_path / "net.safetensors"), size=int(side))
    x = two_pictures(int(side))
    return net, mx.nd.array(x[:, :, ::-1, ::-1] if net.rotated else x)


@pytest.mark.parametrize("key", KEYS)
def test_features_equal(key, monkeypatch, tmp_path):
    net, x = parts(key, monkeypatch, tmp_path)
    found = net.pool(net.body(x)).asnumpy()[:, ::EVERY]
    assert np.abs(found - RECORDED[key]).max() < 1e-4 * np.abs(RECORDED[key]).max()


def test_what_is_recorded_tells_pictures_apart():
    for key in RECORDED.files:
        if not key.endswith("/shapes"):
            assert np.ptp(RECORDED[key], axis=0).max() > 0.01 * np.abs(RECORDED[key]).max(), key
