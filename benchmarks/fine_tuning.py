#!/usr/bin/env python3
"""How fast EfficientNet-Lite0 is fine-tuned on the CPU, beside PyTorch.

Both take full steps of all layers on the same random 8-bit pictures: normalisation, network, dense layer,
cross-entropy, backward, AdamW. Each side runs in a process of its own, in turn, and its best round counts; the CPU
seconds of a step say more than pictures a second where other programs run. PyTorch is tried in both memory layouts.

    .venv/bin/python benchmarks/fine_tuning.py --peer PYTHON_WITH_TORCH
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

BATCH, CLASSES = 32, 81


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--peer", metavar="PYTHON", help="interpreter that has torch and timm; without, ours alone")
    p.add_argument("--size", type=int, default=128, help="side of the pictures in pixels")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--steps", type=int, default=5, help="in a round")
    p.add_argument("--rounds", type=int, default=2, help="processes of each side, run in turn")
    p.add_argument("--freeze-batch-norm", action="store_true")
    p.add_argument("--side", choices=["mxnet", "torch"], help=argparse.SUPPRESS)
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
    from common.train import optimizer

    import mxnet as mx  # isort: skip
    from mxnet import autograd, gluon  # isort: skip

    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    parameters = [*net.collect_params().values(), *head.collect_params().values()]
    updater = optimizer.trainer([(parameters, "adamw", {"learning_rate": 1e-4})])
    images, labels = pictures(size)

    def step():
        x, y = mx.nd.array(images, dtype="uint8"), mx.nd.array(labels)
        with autograd.record():
            value = loss(head(net(x)), y)
        value.backward()
        updater.step(BATCH)
        mx.nd.waitall()

    return step


def torch_step(size: int, freeze_batch_norm: bool, layout: str):
    """The same for PyTorch, in a memory layout."""
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
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    if args.side == "mxnet":
        forms = {"MXNet": True, "MXNet as it reads": False}
        steps = {name: mxnet_step(args.size, args.freeze_batch_norm, quick) for name, quick in forms.items()}
    else:
        import torch

        torch.set_num_threads(args.threads)
        layouts = ("contiguous_format", "channels_last")
        steps = {f"PyTorch {name}": torch_step(args.size, args.freeze_batch_norm, name) for name in layouts}
    return {name: measure(step, args.steps) for name, step in steps.items()}


def main():
    args = parse_args()
    if args.side:
        print(json.dumps(one_side(args)))
        return
    found: dict[str, tuple[float, float]] = {}
    for _ in range(args.rounds):
        for side, python in (("mxnet", sys.executable), ("torch", args.peer)):
            if not python:
                continue
            done = subprocess.run([python, *sys.argv, "--side", side], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"error: the {side} side failed: {done.stderr.strip().splitlines()[-1]}")
            for name, values in json.loads(done.stdout.splitlines()[-1]).items():
                found[name] = tuple(map(min, values, found.get(name, values)))
    machine = f"{args.threads} threads, load {os.getloadavg()[0]:.1f}"
    print(f"EfficientNet-Lite0 at {args.size} px, batches of {BATCH}, {machine}")
    for name, (clock, cpu) in found.items():
        ratio = "" if name == "MXNet" else f", ours is {cpu / found['MXNet'][1]:.2f} times as fast by the CPU"
        print(f"  {name:<26}{BATCH / clock:7.1f} pictures a second, {cpu:6.3f} CPU seconds a step{ratio}")


if __name__ == "__main__":
    main()
