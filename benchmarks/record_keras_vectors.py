#!/usr/bin/env python3
"""Record features of the seven Keras networks in Keras, for tests/common/backbones/test_keras_features.py.

Runs in the environment of benchmarks/requirements.txt. Weights come from a formula, so that the test can make them
again; beside the features, the file holds each network's layers and their shapes as Keras saves them in its .h5.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.keras_parity import NETWORKS, photographs

EVERY = 8  # which of the features are kept


def layer_weights(shapes: list, number: int) -> list[np.ndarray]:
    """Weights of a network's layer `number`, of the `shapes` that Keras has them in, batch-norm statistics included."""
    rng = np.random.default_rng(number)
    uniform = [rng.random(shape, np.float32) for shape in shapes]
    if len(shapes) >= 3 and all(len(shape) == 1 for shape in shapes):  # batch norm: (gamma,) beta, mean, variance
        positive = {len(shapes) - 1, len(shapes) - 4}
        return [u + 0.5 if i in positive else (u - 0.5) / 5 for i, u in enumerate(uniform)]
    return [(u - 0.5) / 5 if u.ndim == 1 else (u - 0.5) * 2 * math.sqrt(6 / _inputs(u.shape)) for u in uniform]


def _inputs(shape) -> int:
    """Numbers that one output of a kernel of this shape comes from; (h, w, channels, 1) is depthwise."""
    return math.prod(shape[:2] if len(shape) == 4 and shape[-1] == 1 else shape[:-1])


def two_pictures(size: int) -> np.ndarray:
    """The photographs that features are recorded of: (2, size, size, 3) uint8."""
    return photographs(size)[[0, 3]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path, help=".npz file to write")
    args = parser.parse_args()
    os.environ["KERAS_BACKEND"] = "torch"
    import h5py
    import keras

    result = {}
    for name, (module, constructor) in NETWORKS.items():
        module = getattr(keras.applications, module)
        keras.backend.clear_session()  # numbers of layers begin anew
        model = getattr(module, constructor)(weights=None, classifier_activation=None)
        with tempfile.TemporaryDirectory() as folder:
            model.save(pathlib.Path(folder) / "net.h5")
            with h5py.File(pathlib.Path(folder) / "net.h5") as file:
                root = file["model_weights"]
                layers = {layer: root[layer].attrs["weight_names"] for layer in root.attrs["layer_names"]}
                shapes = {layer: [root[layer][weight].shape for weight in found] for layer, found in layers.items()}
        shapes = {layer: found for layer, found in shapes.items() if found}
        for number, (layer, found) in enumerate(shapes.items()):
            model.get_layer(layer).set_weights(layer_weights(found, number))
        pooling = [layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)]
        features = keras.Model(model.input, (pooling[-1] if pooling else model.get_layer("fc2")).output)
        pictures = two_pictures(model.input_shape[1]).astype(np.float32)
        found = features.predict(module.preprocess_input(pictures), verbose=0).reshape(2, -1)
        result[name], result[f"{name}/layers"] = found[:, ::EVERY], np.array(json.dumps(shapes))
        print(name, found.shape, f"largest {np.abs(found).max():.4g}", flush=True)
    np.savez_compressed(args.output, **result)


if __name__ == "__main__":
    main()
