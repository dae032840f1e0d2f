#!/usr/bin/env python3
"""What share of the machine's limit a training step reaches: ours and, with ``--torch-python``, PyTorch's.

The limit is a roofline (Williams et al. 2009) of two rates measured in this process: products of large matrices, by the
fastest of NumPy's, SciPy's and oneDNN's, and a triad of arrays far larger than the caches. A convolution or dense layer
takes three products a step (the first one two); each reads and writes its two maps once. So does each gate of a
recurrent layer, whose weights are read once. A batch norm reads its input
once more, for its statistics, and in the backward pass reads input and gradient twice; all other element-wise work
counts as fused, and the optimizer as seven passes over the weights. A layer's least time is the larger of its two, a
step's the sum over layers. Everything in CPU seconds of one thread, which other programs on the machine spoil least.

    .venv/bin/python benchmarks/roofline.py [--torch-python PYTHON_WITH_TORCH]
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import turns

BATCHES = {
    "conv4 32 px": 70, "resnet18_v1 128 px": 70, "efficientnet_lite0 128 px": 32, "resnet20 32 px": 128,
    "vse lstm": 128, "vse gru": 128,
}  # fmt: skip
STEPS = tuple(BATCHES)
LAYOUT = "channels_last"  # of PyTorch, the faster in nearly every step
GATES = {"lstm": 4, "gru": 3}


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--torch-python", metavar="PYTHON", help="interpreter that has torch and the other peers")
    p.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS, metavar="NAME", help=f"of {', '.join(STEPS)}")
    p.add_argument("--side", choices=["mxnet", "torch"], help=argparse.SUPPRESS)
    turns.add_arguments(p, rounds=1)
    return p.parse_args()


def fastest(work, repeats: int = 7) -> float:
    """CPU seconds of the fastest of some repetitions."""
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def rates(size: int = 1024, length: int = 1 << 24) -> tuple[float, float, str]:
    """Operations a second of a product of (size, size) matrices, bytes a second of a triad, and whose product"""
    import numpy as np
    from scipy.linalg.blas import sgemm

    import common  # noqa: F401  (MXNet needs the numpy alias that it sets)

    import mxnet as mx  # isort: skip

    a = np.random.default_rng(0).random((size, size), np.float32)
    b = mx.nd.array(a)
    products = {
        "NumPy": lambda: a @ a,
        "SciPy": lambda: sgemm(1, a.T, a.T),
        "oneDNN": lambda: mx.nd.FullyConnected(b, b, num_hidden=size, no_bias=True).wait_to_read(),
    }
    seconds = {name: fastest(product) for name, product in products.items()}
    name = min(seconds, key=seconds.get)
    x, y, z = (np.ones(length, np.float32) for _ in range(3))

    def triad():  # two passes in NumPy: read x, write z; read z and y, write z
        np.multiply(x, 3, out=z)
        np.add(z, y, out=z)

    return 2 * size**3 / seconds[name], 5 * x.nbytes / fastest(triad), name


def symbol(step: str):
    """Network of a step as a symbol, and the shape of its input batch."""
    name, size = step.split()[0], int(step.split()[1])
    from common import backbones

    import mxnet as mx  # isort: skip

    data = mx.sym.var("data")
    if name == "resnet20":
        from examples.im2vec import model

        out = model.create("resnet20", 64)(data)
    elif name == "efficientnet_lite0":
        from benchmarks import fine_tuning

        net, head = fine_tuning.network(size, False, quick=False)
        out = head(net(data))
    else:
        from benchmarks import embedding_training
        from examples.embedding_learning.model import EmbeddingNet

        out = EmbeddingNet(backbones.create(name, size=size), embedding_training.DIM)(data)
    return out, (BATCHES[step], size, size, 3)


def least(out, shape: tuple[int, ...], operations: float, moved: float) -> dict[str, float]:
    """GFLOP and GB of a step, and the fewest seconds it takes at these rates."""
    import numpy as np

    inner = out.get_internals()
    shapes = dict(zip(inner.list_outputs(), inner.infer_shape(data=shape)[1]))
    nodes = json.loads(out.tojson())["nodes"]
    size = {}
    for index, node in enumerate(nodes):
        found = shapes.get(node["name"]) or shapes.get(f"{node['name']}_output") or ()
        size[index] = int(np.prod(found))
    flop = byte = seconds = 0.0
    weights = sum(size[i] for i, node in enumerate(nodes) if node["op"] == "null") - int(np.prod(shape))
    first = True
    for index, node in enumerate(nodes):
        into = size[node["inputs"][0][0]] if node["inputs"] else 0
        if node["op"] in ("Convolution", "FullyConnected"):
            kernel = size[node["inputs"][1][0]]
            filters = int(node["attrs"].get("num_filter", node["attrs"].get("num_hidden", 0)))
            products = 2 if first else 3
            first = False
            work, traffic = products * 2 * size[index] * kernel / filters, 4 * products * (into + size[index] + kernel)
        elif node["op"] == "BatchNorm" and node["attrs"].get("use_global_stats") != "True":
            work, traffic = 0, 4 * 5 * into
        else:
            continue
        flop, byte, seconds = flop + work, byte + traffic, seconds + max(work / operations, traffic / moved)
    updates = 4 * 7 * weights
    return {"GFLOP": flop / 1e9, "GB": (byte + updates) / 1e9, "least": seconds + updates / moved}


def least_recurrent(encoder: str, operations: float, moved: float) -> dict[str, float]:
    """The same of a step of vse: sentences by a recurrent layer, features by a dense one, all cosines, Adam."""
    args, (train, vocabulary) = vse_flags(encoder), vse_data()
    words = args.batch_size * len(vocabulary.encode(" ".join(train.texts).split())) / len(train.texts)
    gates, wide = GATES[encoder] * args.dim, train.features.shape[1]
    layers = [  # rows, inputs, outputs, products
        (words, args.dim_word, gates, 3),
        (words, args.dim, gates, 3),
        (args.batch_size, wide, args.dim, 2),
        (args.batch_size, args.dim, args.batch_size, 3),
    ]
    flop = byte = seconds = 0.0
    for rows, inputs, outputs, products in layers:
        work = products * 2 * rows * inputs * outputs
        traffic = 4 * products * (rows * (inputs + outputs) + inputs * outputs)
        flop, byte, seconds = flop + work, byte + traffic, seconds + max(work / operations, traffic / moved)
    weights = len(vocabulary) * args.dim_word + gates * (args.dim_word + args.dim) + wide * args.dim
    updates = 4 * 7 * weights
    return {"GFLOP": flop / 1e9, "GB": (byte + updates) / 1e9, "least": seconds + updates / moved}


def vse_flags(encoder: str):
    from benchmarks import vse_training

    return vse_training.parse_args(["--encoder", encoder, "--updates", "15"])


def vse_data():
    """Drawn sentences and their vocabulary."""
    from benchmarks import vse_training
    from common.text.vocabulary import Vocabulary, tokenise

    train = vse_training.drawn()
    return train, Vocabulary.build(map(tokenise, train.texts))


def measured(step: str, side: str) -> dict[str, float]:
    """CPU seconds a step takes in this process, by name, as the step's own benchmark makes it."""
    name, size = step.split()[:2]
    if side == "torch":
        import torch

        torch.set_num_threads(1)
    from benchmarks import embedding_training, fine_tuning, im2vec_training, vse_training

    time.perf_counter = time.process_time  # they time by the clock
    if name == "efficientnet_lite0":
        if side == "mxnet":
            return {"MXNet": fine_tuning.measure(fine_tuning.mxnet_step(int(size), False), 3)[1]}
        return {f"PyTorch {LAYOUT}": fine_tuning.measure(fine_tuning.torch_step(int(size), False, LAYOUT), 3)[1]}
    if name == "vse":
        train, vocabulary = vse_data()
        args = vse_flags(size)
        clock, *_ = (vse_training.suite if side == "mxnet" else vse_training.peer)(args, train, None, vocabulary)
        words = BATCHES[step] * len(vocabulary.encode(" ".join(train.texts).split())) / len(train.texts)
        return {"MXNet" if side == "mxnet" else "PyTorch": words / max(clock.rates)}
    layouts = {"layouts": [LAYOUT]} if side == "torch" else {}
    if name == "resnet20":
        im2vec_training.STEPS = 2
        speeds = getattr(im2vec_training, f"{side}_speed")(BATCHES[step], 1, **layouts)
    else:
        speeds = getattr(embedding_training, f"{side}_speed")(name, 5 if name == "conv4" else 1, **layouts)
    return {name: BATCHES[step] / speed for name, speed in speeds.items()}


def main():
    args = parse_args()
    if args.side:
        print(json.dumps(measured(args.steps[0], args.side)))
        return
    *limits, library = rates()
    said = f"Matrix products {limits[0] / 1e9:.0f} GFLOP/s ({library}), memory {limits[1] / 1e9:.1f} GB/s, one thread."
    print(said)
    lines = []
    for step in args.steps:
        kind, name = step.split()[:2]
        needed = least_recurrent(name, *limits) if kind == "vse" else least(*symbol(step), *limits)
        print(f"{step}, {BATCHES[step]} pictures: {needed['GFLOP']:.1f} GFLOP, {needed['GB']:.2f} GB,", end=" ")
        print(f"at least {needed['least']:.3f} s")
        sides = [("mxnet", sys.executable), *([("torch", args.torch_python)] if args.torch_python else [])]
        commands = [[python, __file__, "--side", side, "--steps", step] for side, python in sides]
        work = [f"{step}, batch {BATCHES[step]}", *(f"{needed[of]:.3g}" for of in ("GFLOP", "GB", "least"))]
        for name, rounds in turns.turns(commands, args.rounds, threads=1).items():
            share = needed["least"] / min(rounds)
            print(f"  {name:<28}{min(rounds):7.3f} s, {share:4.0%} of the roofline", flush=True)
            lines.append([*work, name, f"{min(rounds):.3g}", f"{share:.0%}"])
    print(f"load of the machine {os.getloadavg()[0]:.1f}")
    heads = ("step", "GFLOP", "GB", "least seconds", "side", "CPU seconds", "of the roofline")
    about = " What counts is said at the top of `roofline.py`.\n\n"
    turns.report([], args.json, "## The machine's limit\n\n" + said + about + turns.table(heads, lines))


if __name__ == "__main__":
    main()
