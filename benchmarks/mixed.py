#!/usr/bin/env python3
"""CPU time of a training step in float32 and in 16 bits (--amp), one thread, random pictures and weights.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/mixed.py
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

NETWORKS = {  # side in pixels, pictures in a batch
    "resnet20": (32, 64), "conv4": (32, 70), "squeezenet1.1": (128, 16), "resnet18_v1": (128, 16),
    "efficientnet_lite0": (128, 16),
}  # fmt: skip


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("networks", nargs="*", default=list(NETWORKS), help=f"of {', '.join(NETWORKS)}; default is all")
    p.add_argument("--steps", type=int, default=4, help="of which the fastest counts, after two to warm up")
    return p.parse_args()


def seconds(name: str, steps: int, lowered: bool) -> float:
    import mxnet as mx
    import numpy as np
    from mxnet import autograd

    from common import backbones
    from common.backbones import training_form
    from common.train import mixed, optimizer
    from examples.im2vec import model

    side, batch = NETWORKS[name]
    mx.random.seed(0)
    net = model.ResNet20() if name == "resnet20" else backbones.create(name, None, ctx=mx.cpu(), size=side)
    net.initialize(mx.init.MSRAPrelu(slope=0))
    net.hybridize(static_alloc=True, static_shape=True)
    training_form.speed_up_training(net)
    trainer = optimizer.trainer([(net.collect_params(), "sgd", {"learning_rate": 1e-4})])
    mixed.start(lowered, trainer, net, net)
    pictures = mx.nd.array(np.random.default_rng(0).integers(0, 256, (batch, side, side, 3)), dtype="uint8")
    found = []
    for _ in range(2 + steps):
        begun = time.process_time()
        with autograd.record():
            loss = (net(pictures) ** 2).mean(axis=1)
        trainer.backward([loss])
        trainer.step(batch)
        mx.nd.waitall()
        found.append(time.process_time() - begun)
    return min(found[2:])


def main():
    args = parse_args()
    import common  # noqa: F401  (first: MXNet needs what it sets)

    for name in args.networks:
        whole, half = (seconds(name, args.steps, lowered) for lowered in (False, True))
        side, batch = NETWORKS[name]
        times = f"float32 {whole:.3f} s, 16 bits {half:.3f} s ({whole / half:.2f} times as fast)"
        print(f"{name}, {side} px, batch {batch}: {times}", flush=True)


if __name__ == "__main__":
    main()
