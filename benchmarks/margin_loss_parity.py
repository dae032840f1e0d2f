#!/usr/bin/env python3
"""Our margin loss and distance weighted sampling against pytorch-metric-learning's, on the same embeddings.

Compares the probability of every negative of every anchor, and, for the same triplets, the loss, its gradient by the
embeddings and its gradient by the boundaries. The regularisation nu is left at 0: there it is summed over the triplets,
here over the classes, as in the authors' code.

    .venv/bin/python benchmarks/margin_loss_parity.py --peer PYTHON_WITH_TORCH
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CASES = {  # embedding's width, pictures of a class, how far classes spread
    "loose, 128 wide": (128, 5, 0.3),
    "tight, 128 wide": (128, 5, 0.03),
    "loose, 16 wide": (16, 7, 0.5),
}
CLASSES = 14


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--peer", default=sys.executable, metavar="PYTHON", help="interpreter that has torch")
    p.add_argument("--file", help=argparse.SUPPRESS)
    return p.parse_args()


def draw(width: int, batch_k: int, spread: float) -> dict[str, np.ndarray]:
    """Unit vectors in classes that overlap, their labels, and a boundary for each class."""
    rng = np.random.default_rng(width + batch_k)
    centre = rng.normal(size=width) + rng.normal(size=(CLASSES, width)) * 0.8
    rows = np.repeat(centre, batch_k, axis=0) + spread * rng.normal(size=(CLASSES * batch_k, width))
    return {
        "embeddings": (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32),
        "labels": np.repeat(np.arange(CLASSES), batch_k),
        "beta": rng.uniform(0.8, 1.3, CLASSES).astype(np.float32),
    }


def ours(case: dict[str, np.ndarray], batch_k: int) -> dict[str, np.ndarray]:
    """Weights, triplets, loss and gradients of `common.train.miners` and `common.train.losses`."""
    import common  # noqa: F401  (first: MXNet needs the numpy alias it sets)
    from common.train.losses import MarginLoss
    from common.train.miners import DistanceWeightedMiner

    import mxnet as mx  # isort: skip

    x, y = mx.nd.array(case["embeddings"]), mx.nd.array(case["labels"], dtype="int32")
    miner, loss = DistanceWeightedMiner(x.shape[1], batch_k), MarginLoss(CLASSES)
    loss.initialize()
    loss.beta.set_data(mx.nd.array(case["beta"]))
    mx.random.seed(1)
    triplets = miner(x, y)
    x.attach_grad()
    with mx.autograd.record():
        value = loss(mx.nd.L2Normalization(x), y, triplets)  # theirs brings its input to unit length
    value.backward()
    return {
        "weights": miner.weights(mx.nd, x, y, x, y).asnumpy(),
        "triplets": np.stack([t.asnumpy() for t in triplets]),
        "loss": value.asnumpy(),
        "gradient": x.grad.asnumpy(),
        "gradient by beta": loss.beta.grad().asnumpy(),
    }


def peer(path: str) -> None:
    """Run by the other Python: the same of pytorch-metric-learning, written beside `path`."""
    import torch
    from pytorch_metric_learning import losses, miners
    from pytorch_metric_learning.miners import distance_weighted_miner as module

    case = np.load(path)
    x = torch.from_numpy(case["embeddings"]).requires_grad_()
    y = torch.from_numpy(case["labels"])
    captured = []
    module.lmu.get_random_triplet_indices = lambda labels, ref_labels, weights: captured.append(weights) or (y, y, y)
    miners.DistanceWeightedMiner()(x, y)
    loss = losses.MarginLoss(0.2, learn_beta=True, num_classes=CLASSES)
    loss.beta.data.copy_(torch.from_numpy(case["beta"]))
    value = loss(x, y, tuple(torch.from_numpy(case["triplets"]).long()))
    value.backward()
    result = {
        "weights": captured[0].detach().numpy(),
        "loss": value.detach().numpy(),
        "gradient": x.grad.numpy(),
        "gradient by beta": loss.beta.grad.numpy(),
    }
    np.savez(path + ".peer.npz", **result)


def main():
    args = parse_args()
    if args.file:
        peer(args.file)
        return
    worst = 0.0
    for name, (width, batch_k, spread) in CASES.items():
        case = draw(width, batch_k, spread)
        found = ours(case, batch_k)
        with tempfile.TemporaryDirectory() as folder:
            path = str(pathlib.Path(folder) / "case.npz")
            np.savez(path, **case, **found)
            subprocess.run([args.peer, __file__, "--file", path], check=True)
            theirs = np.load(path + ".peer.npz")
            gaps = {key: float(np.abs(found[key] - theirs[key]).max()) for key in theirs.files}
        print(f"{name}: loss {found['loss'].item():.5f}; largest difference of " + ", ".join(
            f"{key} {gap:.1e}" for key, gap in gaps.items()
        ))  # fmt: skip
        worst = max(worst, *gaps.values())
    sys.exit(worst > 1e-4)


if __name__ == "__main__":
    main()
