#!/usr/bin/env python3
"""How fast EfficientNet-Lite0 is fine-tuned on the CPU, beside PyTorch.

Both take full steps of all layers on the same random 8-bit pictures: normalisation, network, dense layer,
cross-entropy, backward, AdamW. Each side runs in a process of its own, in turn, and gives its fastest step; the CPU
seconds of a step say more than pictures a second where other programs run. PyTorch is tried in both memory layouts.

    .venv/bin/python benchmarks/fine_tuning.py --peer PYTHON_WITH_TORCH
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import turns

BATCH, CLASSES = 32, 81


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--peer", metavar="PYTHON", help="interpreter that has torch and timm; without, ours alone")
    p.add_argument("--size", type=int, default=128, help="side of the pictures in pixels")
    p.add_argument("--threads", type=int, default=turns.THREADS)
    p.add_argument("--steps", type=int, default=5, help="in a round")
    p.add_argument("--freeze-batch-norm", action="store_true")
    p.add_argument("--as-it-reads", action="store_true", help="ours also in the form of the network that is read")
    p.add_argument("--side", choices=["mxnet", "torch"], help=argparse.SUPPRESS)
    turns.add_arguments(p, rounds=2)
    return p.parse_args()


def pictures(size: int):
    """Pictures (32, size, size, 3) uint8 and their labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (BATCH, size, size, 3), np.uint8), rng.integers(0, CLASSES, BATCH)


def network(size: int, freeze_batch_norm: bool, quick: bool = True):
    """Network and dense layer, as transfer's train.py has them."""
    from common import backbones  # first: MXNet needs the numpy alias that common sets

    import mxnet as mx  # isort: skip

    net, head = backbones.create("efficientnet_lite0", size=size), mx.gluon.nn.Dense(CLASSES, in_units=1280)
    for block in (net, head):
        block.initialize(mx.init.Xavier(magnitude=2))
    net.follow_batches()
    if freeze_batch_norm:
        net.freeze_batch_norm()
    net.normalize.collect_params().setattr("grad_req", "null")
    for block in (net, head):
        block.hybridize()
    if quick:
        net.speed_up_training()
    return net, head


def mxnet_step(size: int, freeze_batch_norm: bool, quick: bool = True):
    """The step of transfer's train.py; without `quick`, of the network in the form that is read."""
    net, head = network(size, freeze_batch_norm, quick)
    from common import devices
    from common.train import optimizer

    import mxnet as mx  # isort: skip
    from mxnet import autograd, gluon  # isort: skip

    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    parameters = [*net.collect_params().values(), *head.collect_params().values()]
    updater = optimizer.trainer([(parameters, "adamw", {"learning_rate": 1e-4})])
    images, labels = pictures(size)

    def step():
        x, y = devices.put(images), devices.put(labels, dtype="float32")  # as train.py does
        with autograd.record():
            value = loss(head(net(x)), y)
        value.backward()
        updater.step(BATCH)
        mx.nd.waitall()

    return step


def torch_step(size: int, freeze_batch_norm: bool, layout: str):
    """The same for PyTorch, in a memory layout."""
    from benchmarks.torchvision_parity import torchvision_models

    torchvision_models()  # which timm imports
    import timm
    import torch

    memory = getattr(torch, layout)
    net = timm.create_model("tf_efficientnet_lite0", num_classes=CLASSES).to(memory_format=memory).train()
    if freeze_batch_norm:
        for block in net.modules():
            if isinstance(block, torch.nn.BatchNorm2d):
                block.eval().requires_grad_(False)
    adamw = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], 1e-4, fused=True)
    images, labels = (torch.from_numpy(array) for array in pictures(size))

    def step():
        x = images.permute(0, 3, 1, 2).float().sub_(127).div_(128).contiguous(memory_format=memory)
        adamw.zero_grad()
        torch.nn.functional.cross_entropy(net(x), labels).backward()
        adamw.step()

    return step


def measure(step, steps: int) -> tuple[float, float]:
    """Seconds of the clock and of the CPU of the fastest of `steps` steps, after two to warm up."""
    for _ in range(2):
        step()
    clock = cpu = float("inf")
    for _ in range(steps):
        began, used = time.perf_counter(), time.process_time()
        step()
        clock, cpu = min(clock, time.perf_counter() - began), min(cpu, time.process_time() - used)
    return clock, cpu


def one_side(args) -> dict[str, tuple[float, float]]:
    """What one process measures, by name."""
    if args.side == "mxnet":
        forms = {"MXNet": True, **({"MXNet as it reads": False} if args.as_it_reads else {})}
        steps = {name: mxnet_step(args.size, args.freeze_batch_norm, quick) for name, quick in forms.items()}
    else:
        import torch

        torch.set_num_threads(args.threads)
        steps = {f"PyTorch {name}": torch_step(args.size, args.freeze_batch_norm, name) for name in turns.LAYOUTS}
    return {name: measure(step, args.steps) for name, step in steps.items()}


def main():
    args = parse_args()
    if args.side:
        print(json.dumps(one_side(args)))
        return
    sides = [("mxnet", sys.executable), *([("torch", args.peer)] if args.peer else [])]
    commands = [[python, *sys.argv, "--side", side] for side, python in sides]
    found = turns.turns(commands, args.rounds, args.threads)
    work = f"fine-tuning step, EfficientNet-Lite0, {args.size} px, batch {BATCH}"
    work += ", frozen batch norms" if args.freeze_batch_norm else ""
    speeds = {name: [BATCH / clock for clock, _ in values] for name, values in found.items()}
    used = {name: [cpu for _, cpu in values] for name, values in found.items()}
    turns.report([turns.Row(work, "pictures a second", "MXNet", speeds, times=1.1)], args.json)
    turns.report([turns.Row(work, "CPU seconds a step", "MXNet", used, more=False)])
    print(f"{args.threads} threads, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
