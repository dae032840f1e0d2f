"""Features of the seven Keras networks: equal to those that Keras gave for the same weights and photographs."""

import json
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from benchmarks.record_keras_vectors import EVERY, layer_weights, two_pictures
from common import backbones
from common.backbones.convert import keras

RECORDED = np.load(Path(__file__).resolve().parents[2] / "data" / "keras_features.npz")
NETWORKS = [name for name in RECORDED.files if "/" not in name]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_features_equal_kerass(name, tmp_path, monkeypatch):
    shapes = json.loads(str(RECORDED[f"{name}/layers"]))
    layers = {layer: layer_weights(found, number) for number, (layer, found) in enumerate(shapes.items())}
    monkeypatch.setattr(keras, "read_keras", lambda path: layers)  # up to 575 MB need not go through a file
    (tmp_path / "net.h5").touch()
    backbone = backbones.create(name, str(tmp_path / "net.h5"))
    found = backbone(mx.nd.array(two_pictures(backbone.input_size), dtype="uint8")).asnumpy()[:, ::EVERY]
    assert np.abs(found - RECORDED[name]).max() < 1e-4 * np.abs(RECORDED[name]).max()


def test_all_seven_are_recorded():
    assert len(NETWORKS) == 7
    assert all(np.ptp(RECORDED[name], axis=0).max() > 0.01 * np.abs(RECORDED[name]).max() for name in NETWORKS)
