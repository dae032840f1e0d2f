#!/usr/bin/env python3
"""How fast embedding_learning trains on the CPU, beside PyTorch with pytorch-metric-learning.

Both take full steps on the same random 8-bit pictures: normalisation, network, unit length, distance weighted mining,
margin loss, backward, Adam for the network and SGD for the boundaries. Batches hold 14 classes with 5 pictures of each.
Each side runs in a process of its own, in turn, and gives the fastest of three times a few steps. PyTorch is tried in
both memory layouts.

    .venv/bin/python benchmarks/embedding_training.py --peer PYTHON_WITH_TORCH
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import turns

BATCH, BATCH_K, DIM, CLASSES = 70, 5, 128, 1025
NAMES = {"conv4": "conv4", "resnet18_v1": "ResNet-18"}
SIZES = {"conv4": 32, "resnet18_v1": 128}  # pixels
STEPS = {"conv4": 20, "resnet18_v1": 2}  # in a round


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--peer", default=sys.executable, metavar="PYTHON", help="interpreter that has torch")
    p.add_argument("--models", nargs="+", choices=list(SIZES), default=list(SIZES))
    p.add_argument("--steps", type=int, help="in a round (default: by network)")
    p.add_argument("--side", choices=["mxnet", "torch"], help=argparse.SUPPRESS)
    turns.add_arguments(p, rounds=2)
    return p.parse_args()


def batch(size: int):
    """Pictures (70, size, size, 3) uint8 and their labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = np.repeat(rng.permutation(CLASSES)[: BATCH // BATCH_K], BATCH_K)
    return rng.integers(0, 256, (BATCH, size, size, 3), np.uint8), labels


def mxnet_speed(name: str, steps: int | None = None) -> dict[str, float]:
    """Pictures a second of the example's step."""
    from common import backbones, devices  # first: MXNet needs the numpy alias that common sets
    from common.train import optimizer
    from common.train.losses import MarginLoss
    from common.train.miners import DistanceWeightedMiner
    from examples.embedding_learning.model import EmbeddingNet

    import mxnet as mx  # isort: skip
    from mxnet import autograd  # isort: skip

    net = EmbeddingNet(backbones.create(name, size=SIZES[name]), DIM)
    miner, loss = DistanceWeightedMiner(DIM, BATCH_K), MarginLoss(CLASSES)
    for block in (net, loss):
        block.initialize(mx.init.Xavier(magnitude=2))
    for block in (net, miner, loss):
        block.hybridize(static_alloc=True, static_shape=True)
    net.backbone.speed_up_training()
    adam = {"learning_rate": 1e-4, "wd": 1e-4, "epsilon": 1e-7}
    sgd = {"learning_rate": 0.1, "momentum": 0.9}
    updater = optimizer.trainer([(net.collect_params(), "adam", adam), (loss.collect_params(), "sgd", sgd)])
    pictures, labels = batch(SIZES[name])

    def step():
        x, y = devices.put(pictures), devices.put(labels, dtype="int32")  # as train.py does
        with autograd.record():
            embeddings = net(x)
            with autograd.pause():
                pairs = miner(embeddings, y)
            value = loss(embeddings, y, pairs)
        value.backward()
        updater.step(BATCH)

    return {"MXNet": BATCH * turns.steps_a_second(step, mx.nd.waitall, steps or STEPS[name])}


def torch_speed(name: str, steps: int | None = None, layouts=turns.LAYOUTS) -> dict[str, float]:
    """The same for PyTorch, by memory layout."""
    import torch
    from pytorch_metric_learning.losses import MarginLoss
    from pytorch_metric_learning.miners import DistanceWeightedMiner

    torch.set_num_threads(turns.THREADS)
    pictures, labels = (torch.from_numpy(array) for array in batch(SIZES[name]))
    mean = 255 * torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    scale = 1 / (255 * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))
    speeds = {}
    for variant in layouts:
        layout = getattr(torch, variant)
        net = torch_network(name).to(memory_format=layout)
        miner, loss = DistanceWeightedMiner(), MarginLoss(0.2, learn_beta=True, num_classes=CLASSES)
        adam = torch.optim.Adam(net.parameters(), 1e-4, weight_decay=1e-4, eps=1e-7, fused=True)
        sgd = torch.optim.SGD(loss.parameters(), 0.1, momentum=0.9)

        def step(net=net, miner=miner, loss=loss, adam=adam, sgd=sgd, layout=layout):
            x = pictures.permute(0, 3, 1, 2).float().sub_(mean).mul_(scale).contiguous(memory_format=layout)
            adam.zero_grad()
            sgd.zero_grad()
            embeddings = torch.nn.functional.normalize(net(x))
            loss(embeddings, labels, miner(embeddings, labels)).backward()
            adam.step()
            sgd.step()

        speeds[f"PyTorch {variant}"] = BATCH * turns.steps_a_second(step, lambda: None, steps or STEPS[name])
    return speeds


def torch_network(name: str):
    """The network of `name` in PyTorch, ending in the embedding's dense layer."""
    from torch import nn

    if name == "resnet18_v1":
        from benchmarks.torchvision_parity import torchvision_models

        return torchvision_models().resnet18(num_classes=DIM)
    layers, before = [], 3
    for channels in (32, 64, 128, 128):
        layers += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(True), nn.MaxPool2d(2)]
        before = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 2 * 2, DIM))


def main():
    args = parse_args()
    if args.side:
        speed = {"mxnet": mxnet_speed, "torch": torch_speed}[args.side]
        print(json.dumps(speed(args.models[0], args.steps)))
        return
    rows = []
    for model in args.models:
        own = [__file__, "--models", model, *(["--steps", args.steps] if args.steps else [])]
        sides = [[python, *own, "--side", side] for side, python in (("mxnet", sys.executable), ("torch", args.peer))]
        work = f"training step, {NAMES[model]}, {SIZES[model]} px, batch {BATCH}"
        rows.append(turns.Row(work, "pictures a second", "MXNet", turns.turns(sides, args.rounds), times=1.15))
    turns.report(rows, args.json)


if __name__ == "__main__":
    main()
