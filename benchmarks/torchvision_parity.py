#!/usr/bin/env python3
"""Features of the zoo's networks against torchvision itself: same weights, same photographs.

torchvision lives in an environment of its own, see benchmarks/requirements.txt. Each network gets random weights,
batch-norm statistics included, and is saved as .pth and as .safetensors; the suite reads both without torch. Prints
the largest difference relative to the largest feature, which must stay below 1e-3.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

NETWORKS = {  # the suite's name: torchvision's
    "vgg11": "vgg11",
    "vgg16": "vgg16",
    "vgg19": "vgg19",
    "vgg16_bn": "vgg16_bn",
    "resnet18_v1b": "resnet18",
    "resnet34_v1b": "resnet34",
    "resnet50_v1b": "resnet50",
    "resnet101_v1b": "resnet101",
    "squeezenet1.0": "squeezenet1_0",
    "squeezenet1.1": "squeezenet1_1",
    "mobilenetv2_1.0": "mobilenet_v2",
    "densenet121": "densenet121",
    "densenet169": "densenet169",
}
LIMIT = 1e-3


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", help="python with PyTorch, torchvision and safetensors")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    parser.add_argument("--torch-side", nargs=2, metavar=("NETWORK", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def torchvision_models():
    """``torchvision.models``, also beside a CPU build of PyTorch, where the operators of the usual wheel do not load.

    No network here calls any of them, but importing torchvision needs them to be declared.
    """
    import torch

    while True:
        try:
            import torchvision

            return torchvision.models
        except RuntimeError as error:
            missing = re.search(r"operator (torchvision::\w+) does not exist", str(error))
            if not missing:
                raise
            torch.library.define(missing[1], "() -> ()")
            for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[name]


def torch_side(name, folder, seed):
    """In torchvision's environment: ``net.pth``, ``net.safetensors``, ``features.npy`` for ``pictures.npy``."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    folder = pathlib.Path(folder)
    torch.manual_seed(seed)
    net = getattr(torchvision_models(), NETWORKS[name])(weights=None).eval()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for values in (layer.weight, layer.running_var):
                values.data.uniform_(0.5, 1.5)
            for values in (layer.bias, layer.running_mean):
                values.data.normal_(0, 0.1)
    torch.save(net.state_dict(), folder / "net.pth")
    save_file(net.state_dict(), folder / "net.safetensors")
    pictures = torch.from_numpy(np.load(folder / "pictures.npy")).permute(0, 3, 1, 2).float() / 255
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (pictures - mean[:, None, None]) / deviation[:, None, None]
    with torch.no_grad():
        if name.startswith("squeezenet"):  # its classifier is a convolution on the maps
            features = net.features(x).mean((2, 3))
        else:
            last = [layer for layer in net.modules() if isinstance(layer, torch.nn.Linear)][-1]
            taken = []
            last.register_forward_pre_hook(lambda layer, inputs: taken.append(inputs[0]))
            net(x)
            features = taken[0]
    np.save(folder / "features.npy", features.numpy())


def compare(name, python, seed):
    """The largest relative difference for one network by kind of file, and torchvision's features."""
    import common  # noqa: F401, I001  (before mxnet)
    import mxnet as mx
    import numpy as np
    from benchmarks.keras_parity import photographs
    from common import backbones

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        pictures = photographs(224)
        np.save(folder / "pictures.npy", pictures)
        command = [python, __file__, "--torch-side", name, str(folder), "--seed", str(seed)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        theirs = np.load(folder / "features.npy")
        found = {}
        for file in ("net.pth", "net.safetensors"):
            ours = backbones.create(name, str(folder / file))(mx.nd.array(pictures, dtype="uint8")).asnumpy()
            found[file] = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    return found, theirs


def main(args):
    print(f"{'network':16s} {'width':>5s} {'largest feature':>15s} {'.pth':>9s} {'.safetensors':>12s}")
    worst = 0.0
    for name in args.networks:
        found, theirs = compare(name, args.torch_python or sys.executable, args.seed)
        worst = max(worst, *found.values())
        figures = " ".join(f"{value:>{width}.2e}" for value, width in zip(found.values(), (9, 12)))
        print(f"{name:16s} {theirs.shape[1]:5d} {abs(theirs).max():15.4g} {figures}", flush=True)
    return 0 if worst < LIMIT else 1


if __name__ == "__main__":
    arguments = parse_args()
    if arguments.torch_side:
        torch_side(*arguments.torch_side, arguments.seed)
    else:
        sys.exit(main(arguments))
