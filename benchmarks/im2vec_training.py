#!/usr/bin/env python3
"""How fast im2vec's ResNet-20 trains on the CPU, beside a PyTorch ResNet-20 of the same shape.

Both take full steps (forward, softmax loss, backward, SGD with momentum) on the same random pictures. Each side runs in
a process of its own, in turn, and gives the fastest of three times eight steps. PyTorch is tried in both memory
layouts.

    .venv/bin/python benchmarks/im2vec_training.py --peer PYTHON_WITH_TORCH
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import turns

STEPS = 8


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--peer", default=sys.executable, metavar="PYTHON", help="interpreter that has torch")
    p.add_argument("--batch-size", type=int, default=128)
    p.add_argument("--threads", type=int, default=turns.THREADS)
    p.add_argument("--side", choices=["mxnet", "torch"], help=argparse.SUPPRESS)
    turns.add_arguments(p, rounds=3)
    return p.parse_args()


def mxnet_speed(batch: int, threads: int) -> dict[str, float]:
    """Pictures a second, best of three times `STEPS` steps; `threads` are the environment's."""
    from common.backbones import training_form  # first: MXNet needs the numpy alias that common sets
    from common.train import optimizer
    from examples.im2vec import model, objectives

    import mxnet as mx  # isort: skip
    import numpy as np  # isort: skip
    from mxnet import autograd  # isort: skip

    net, objective = model.create("resnet20", 64), objectives.create("softmax", [1] * 10, 64)
    objective.initialize()
    for block in (net, objective):
        block.hybridize(static_alloc=True, static_shape=True)
    training_form.speed_up_training(net.backbone)
    options = {"learning_rate": 0.01, "momentum": 0.9, "wd": 5e-4}
    groups = [(block.collect_params(), "sgd", options) for block in (net, objective)]
    updater = optimizer.trainer(groups)
    rng = np.random.default_rng(0)
    x = mx.nd.array(rng.integers(0, 256, (batch, 32, 32, 3)), dtype="uint8")
    y = mx.nd.array(rng.integers(0, 10, batch), dtype="int32")

    def step():
        with autograd.record():
            loss = objective(net(x), y)
        loss.backward()
        updater.step(batch)
        return loss

    def wait():
        mx.nd.waitall()

    return {"MXNet": batch * turns.steps_a_second(step, wait, STEPS)}


def torch_speed(batch: int, threads: int, layouts=turns.LAYOUTS) -> dict[str, float]:
    """The same for PyTorch, by memory layout."""
    import torch
    from torch import nn

    class Residual(nn.Module):
        def __init__(self, before, channels, stride):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(before, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
                nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels),
            )  # fmt: skip
            self.fit = nn.Identity()
            if stride != 1 or channels != before:
                self.fit = nn.Sequential(nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

        def forward(self, x):
            return torch.relu(self.body(x) + self.fit(x))

    torch.set_num_threads(threads)
    speeds = {}
    for layout in layouts:
        layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
        before = 16
        for channels in (16, 32, 64):
            for _ in range(3):
                layers.append(Residual(before, channels, 1 if channels == before else 2))
                before = channels
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 64, bias=False)]
        memory = getattr(torch, layout)
        net = nn.Sequential(*layers, nn.Linear(64, 10, bias=False)).to(memory_format=memory)
        optimiser = torch.optim.SGD(net.parameters(), 0.01, 0.9, weight_decay=5e-4)
        x, y = torch.randn(batch, 3, 32, 32).to(memory_format=memory), torch.randint(0, 10, (batch,))

        def step(net=net, optimiser=optimiser, x=x, y=y):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimiser.step()

        speeds[f"PyTorch {layout}"] = batch * turns.steps_a_second(step, lambda: None, STEPS)
    return speeds


def main():
    args = parse_args()
    if args.side:
        speed = {"mxnet": mxnet_speed, "torch": torch_speed}[args.side]
        print(json.dumps(speed(args.batch_size, args.threads)))
        return
    own = ["--batch-size", args.batch_size, "--threads", args.threads]
    sides = [("mxnet", sys.executable), ("torch", args.peer)]
    commands = [[python, __file__, "--side", side, *own] for side, python in sides]
    work = f"training step, ResNet-20, 32 px, batch {args.batch_size}"
    speeds = turns.turns(commands, args.rounds, args.threads)
    turns.report([turns.Row(work, "pictures a second", "MXNet", speeds, times=1.15)], args.json)


if __name__ == "__main__":
    main()
