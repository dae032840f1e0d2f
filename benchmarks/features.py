#!/usr/bin/env python3
"""Images a second of SqueezeNet 1.1's features, float32 and INT8, beside PyTorch at its best with the same weights."""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

BATCH, ROUNDS = 64, 6


def parse_args():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--torch-python", default=sys.executable, help="the Python of benchmarks/requirements.txt")
    p.add_argument("--torch-side", metavar="WEIGHTS", help=argparse.SUPPRESS)
    return p.parse_args()


def fastest(run) -> float:
    """Images a second in the best of a few rounds, after one to warm up."""
    run()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return BATCH / min(times)


def torch_side(path: str) -> None:
    """Run by the other Python: the network of torchvision with `path`'s weights, channels last, traced, optimised."""
    import numpy as np
    import torch
    from torchvision.models import squeezenet1_1

    saved = np.load(path)
    net = squeezenet1_1().eval()
    own = [value for name, value in net.state_dict().items() if name.startswith("features")]
    for i, value in enumerate(own):
        value.copy_(torch.from_numpy(saved[f"w{i}"]))
    pool = torch.nn.Sequential(net.features, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    pool = pool.to(memory_format=torch.channels_last)
    x = torch.from_numpy(saved["x"]).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        best = torch.jit.optimize_for_inference(torch.jit.trace(pool, x))
        difference = np.abs(best(x).numpy() - saved["features"]).max() / np.abs(saved["features"]).max()
        print(fastest(lambda: best(x)), difference)


def main():
    args = parse_args()
    if args.torch_side:
        torch_side(args.torch_side)
        return
    import mxnet as mx
    import numpy as np

    from common import backbones, export

    net = backbones.create("squeezenet1.1", "imagenet")
    net.hybridize(static_alloc=True, static_shape=True)
    pictures = np.random.default_rng(0).integers(0, 256, (BATCH, 224, 224, 3), np.uint8)
    batch = mx.nd.array(pictures, dtype="uint8")
    arrays = {f"w{i}": p.data().asnumpy() for i, p in enumerate(net.body.collect_params().values())}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "weights.npz"
        np.savez(path, x=net.normalize(batch).asnumpy(), features=net(batch).asnumpy(), **arrays)
        float32 = fastest(lambda: net(batch).wait_to_read())
        small = export.quantize(net, pictures)
        int8 = fastest(lambda: small(batch).wait_to_read())
        command = [args.torch_python, __file__, "--torch-side", str(path)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    torch, difference = map(float, answer[-2:])
    print(f"largest difference of the features, relative: {difference:.1e}")
    print(f"PyTorch float32 {torch:6.1f} images a second")
    for name, speed in (("float32", float32), ("INT8", int8)):
        print(f"Gluon   {name:7s} {speed:6.1f} images a second, ratio {speed / torch:.2f}")


if __name__ == "__main__":
    main()
