#!/usr/bin/env python3
"""Features of the seven Keras networks against Keras itself: same weights, same photographs.

Keras (3, on PyTorch) lives in an environment of its own, see benchmarks/requirements.txt. Each network gets random
weights, batch-norm statistics included; Keras saves its .h5 and its features, the suite converts the file and
computes the same. Prints the largest difference relative to the largest feature, which must stay below 1e-3.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

NETWORKS = {  # the suite's name: Keras's module and class
    "keras-vgg16": ("vgg16", "VGG16"),
    "keras-vgg19": ("vgg19", "VGG19"),
    "keras-resnet50": ("resnet50", "ResNet50"),
    "keras-mobilenet": ("mobilenet", "MobileNet"),
    "keras-xception": ("xception", "Xception"),
    "keras-inceptionv3": ("inception_v3", "InceptionV3"),
    "keras-inceptionresnetv2": ("inception_resnet_v2", "InceptionResNetV2"),
}
LIMIT = 1e-3


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keras-python", help="python with Keras and PyTorch")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    parser.add_argument("--keras-side", nargs=2, metavar=("NETWORK", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def keras_side(name, folder, seed):
    """In Keras's environment: write ``net.h5`` and ``features.npy`` for the pictures in ``pictures.npy``."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    import numpy as np

    folder = pathlib.Path(folder)
    keras.utils.set_random_seed(seed)
    module, constructor = NETWORKS[name]
    module = getattr(keras.applications, module)
    model = getattr(module, constructor)(weights=None, classifier_activation=None)
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([_statistics(rng, variable) for variable in layer.weights])
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
    model.save(folder / "net.h5")
    pooling = [layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)]
    features = keras.Model(model.input, (pooling[-1] if pooling else model.get_layer("fc2")).output)
    pictures = np.load(folder / "pictures.npy").astype(np.float32)
    result = features.predict(module.preprocess_input(pictures), verbose=0)
    np.save(folder / "features.npy", result.reshape(len(pictures), -1))


def _statistics(rng, variable):
    if variable.name in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, variable.shape)
    return rng.normal(0, 0.1, variable.shape)


def photographs(size):
    """Scikit-learn's two photographs, whole and their middles, at `size` pixels."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    pictures = [Image.fromarray(picture) for picture in load_sample_images().images]
    pictures += [picture.crop((160, 60, 480, 380)) for picture in pictures]
    return np.stack([np.asarray(picture.resize((size, size), Image.Resampling.NEAREST)) for picture in pictures])


def compare(name, python, seed):
    """The largest relative difference for one network, and its width."""
    import common  # noqa: F401, I001  (before mxnet)
    import mxnet as mx
    import numpy as np
    from common import backbones
    from common.backbones import convert, entries

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        pictures = photographs(backbones.input_size(name))
        np.save(folder / "pictures.npy", pictures)
        command = [python, __file__, "--keras-side", name, str(folder), "--seed", str(seed)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        net = backbones.network(name)
        convert.load(net, name, folder / "net.h5")
        net.save_parameters(str(folder / "net.params"))
        backbone = backbones.create(name, str(folder / "net.params"), preprocessing=entries.find(name).preprocessing)
        ours = backbone(mx.nd.array(pictures, dtype="uint8")).asnumpy()
        theirs = np.load(folder / "features.npy")
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max()), ours, theirs


def main(args):
    print(f"{'network':26s} {'width':>5s} {'largest feature':>15s} {'relative difference':>20s}")
    worst = 0.0
    for name in args.networks:
        difference, ours, theirs = compare(name, args.keras_python or sys.executable, args.seed)
        worst = max(worst, difference)
        print(f"{name:26s} {ours.shape[1]:5d} {abs(theirs).max():15.4g} {difference:20.2e}", flush=True)
    return 0 if worst < LIMIT else 1


if __name__ == "__main__":
    arguments = parse_args()
    if arguments.keras_side:
        keras_side(*arguments.keras_side, arguments.seed)
    else:
        sys.exit(main(arguments))
