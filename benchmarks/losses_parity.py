#!/usr/bin/env python3
"""Our losses, miners and cross-batch memory against pytorch-metric-learning's, on the same embeddings.

Prints for each the value and the largest difference of value and gradients, relative to the largest number of them,
which has to stay below 1e-4. The peer computes in float64. The margin loss on triplets has margin_loss_parity.py.

    .venv/bin/python benchmarks/losses_parity.py --peer PYTHON_WITH_TORCH

`--record FILE.npz` keeps what the peer gave, which tests/common/train/test_losses_as_peer.py compares with.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

LIMIT = 1e-4
CLASSES, DIM, BATCH_K = 7, 12, 4
IN_BATCH = [5, 0, 3, 2, 6]  # classes; the others are not there
SPREADS = {"loose": 0.5, "tight": 0.25}  # of a class
# Name: our class and its parameters, the peer's and its. What both have by default is left out.
PAIRS = {
    "margin, all triplets": ("MarginLoss", {"classes": CLASSES}, "MarginLoss", {}),
    "contrastive": ("ContrastiveLoss", {"power": 1, "pos_margin": 0.1}, "ContrastiveLoss", {"pos_margin": 0.1}),
    "triplet, all": ("TripletLoss", {}, "TripletMarginLoss", {"margin": 0.2, "distance": "squared"}),
    "multi-similarity": ("MultiSimilarityLoss", {}, "MultiSimilarityLoss", {}),
    "nt-xent": ("NTXentLoss", {}, "NTXentLoss", {"temperature": 0.1}),
    "supcon": ("SupConLoss", {}, "SupConLoss", {}),
    "circle": ("CircleLoss", {}, "CircleLoss", {}),
    "lifted structure": ("LiftedStructureLoss", {"scale": 1.0}, "GeneralizedLiftedStructureLoss", {}),
    "n-pair": ("NPairLoss", {"scale": 1.0}, "NPairsLoss", {}),
    "fast-ap": ("FastAPLoss", {}, "FastAPLoss", {}),
    "smooth-ap": ("SmoothAPLoss", {}, "SmoothAPLoss", {}),
}
CLASS_VECTORS = {
    "proxy-nca++": ("ProxyNCALoss", {}, "ProxyNCALoss", {"softmax_scale": 9}),
    "proxy-anchor": ("ProxyAnchorLoss", {}, "ProxyAnchorLoss", {}),
    "soft-triple": ("SoftTripleLoss", {"centres": 2, "tau": 0.0}, "SoftTripleLoss", {"centers_per_class": 2}),
    "softmax": ("NormalisedSoftmaxLoss", {}, "NormalizedSoftmaxLoss", {}),
    "arcface": ("ArcFaceLoss", {"margin": np.radians(28.6)}, "ArcFaceLoss", {}),
    "cosface": ("CosFaceLoss", {}, "CosFaceLoss", {}),
    "sub-centre arcface": (
        "SubCentreArcFaceLoss", {"margin": np.radians(28.6), "centres": 2}, "SubCenterArcFaceLoss", {"sub_centers": 2},
    ),
}  # fmt: skip
MINED = ("MultiSimilarityMiner", "BatchHardMiner")
MEMORY, REMEMBERED = 2, ("contrastive", "multi-similarity")  # batches kept; each loss sees four


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--peer", default=sys.executable, metavar="PYTHON", help="interpreter that has torch")
    p.add_argument("--record", metavar="FILE", help="keep the peer's numbers, for the tests")
    p.add_argument("--file", help=argparse.SUPPRESS)
    return p.parse_args()


def draw() -> dict[str, np.ndarray]:
    """Embeddings of classes that overlap, labels, and class vectors for each number of them."""
    rng = np.random.default_rng(0)
    found = {"labels": np.repeat(IN_BATCH, BATCH_K)}
    for each in (1, 2):
        found[f"weight {each}"] = rng.normal(size=(CLASSES * each, DIM)).astype(np.float32)
    for name, spread in SPREADS.items():
        rows = np.repeat(rng.normal(size=(len(IN_BATCH), DIM)), BATCH_K, axis=0) + 0.5
        rows = rows[None] + 3 * spread * rng.normal(size=(4, *rows.shape))  # four batches
        found[name] = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return found


def batch_of(name: str, rows):
    """The rows that a loss sees: the peer's SmoothAP (2.9.0) takes the size of a class for the number of classes."""
    return rows[: BATCH_K**2] if name == "smooth-ap" else rows


def ours(case) -> dict[str, np.ndarray]:
    """All values and gradients of `common.train`, under the names that `peer` gives them."""
    import common  # noqa: F401  (first: MXNet needs the numpy alias it sets)
    from common.train import losses, miners
    from common.train.memory import CrossBatchMemory

    import mxnet as mx  # isort: skip

    labels, found = mx.nd.array(case["labels"], dtype="int32"), {}

    def note(name, loss, rows, pairs=None, *among):
        own = labels[: len(rows)]
        pairs = pairs or miners.AllPairsMiner()(own, own)
        loss.hybridize()
        x = mx.nd.array(rows)
        x.attach_grad()
        with mx.autograd.record():
            value = loss(mx.nd.L2Normalization(x), own, pairs, *among)  # theirs brings its input to unit length
        value.backward()
        found[f"{name}: value"], found[f"{name}: gradient"] = value.asnumpy()[0], x.grad.asnumpy()

    for spread in SPREADS:
        batches = case[spread]
        for name, (kind, options, _, _) in PAIRS.items():
            loss = getattr(losses, kind)(**options)
            loss.initialize()
            note(f"{name}, {spread}", loss, batch_of(name, batches[0]))
        for name, (kind, options, _, _) in CLASS_VECTORS.items():
            loss = getattr(losses, kind)(CLASSES, DIM, **options)
            loss.initialize()
            loss.weight.set_data(mx.nd.array(case[f"weight {loss.each}"]))
            note(f"{name}, {spread}", loss, batches[0])
            found[f"{name}, {spread}: gradient by weight"] = loss.weight.grad().asnumpy()
        for kind in MINED:
            pairs = getattr(miners, kind)()(mx.nd.array(batches[0]), labels)
            for number, array in enumerate(pairs):
                found[f"{kind}, {spread}: {number}"] = array.asnumpy()
        for name in REMEMBERED:
            kind, options, _, _ = PAIRS[name]
            memory = CrossBatchMemory((MEMORY - 1) * len(labels), DIM)
            memory.initialize()
            miner = miners.MultiSimilarityMiner() if name == "multi-similarity" else miners.AllPairsMiner()
            for number, rows in enumerate(batches):
                x = mx.nd.array(rows)
                among = memory(x, labels)
                pairs = miner(x, labels, *among)
                note(f"{name}, {spread}, memory {number}", getattr(losses, kind)(**options), rows, pairs, *among)
    return found


def peer(path: str) -> None:
    """Run by the other Python: the same of pytorch-metric-learning, written beside `path`."""
    import torch
    from pytorch_metric_learning import distances, losses, miners

    case, found = np.load(path), {}
    labels = torch.from_numpy(case["labels"])

    def made(kind, options):
        more = {"distance": distances.LpDistance(power=2)} if "distance" in options else {}
        return getattr(losses, kind)(**{**options, **more})

    def note(name, loss, rows):
        x = torch.from_numpy(rows).double().requires_grad_()
        value = loss(x, labels[: len(rows)])
        value.backward()
        found[f"{name}: value"], found[f"{name}: gradient"] = value.detach().numpy(), x.grad.numpy()

    for spread in SPREADS:
        batches = case[spread]
        for name, (_, _, kind, options) in PAIRS.items():
            if name == "n-pair":
                _n_pair(f"{name}, {spread}", made(kind, options), batches[0], found, torch, labels)
            else:
                note(f"{name}, {spread}", made(kind, options), batch_of(name, batches[0]))
        for name, (_, _, kind, options) in CLASS_VECTORS.items():
            loss = made(kind, {**options, "num_classes": CLASSES, "embedding_size": DIM})
            ((_, weight),) = loss.named_parameters()
            rows = case[f"weight {weight.numel() // (CLASSES * DIM)}"]
            is_by_column = weight.shape[0] == DIM
            weight.data = torch.from_numpy(rows.T.copy() if is_by_column else rows).double()
            note(f"{name}, {spread}", loss, batches[0])
            ((_, weight),) = loss.named_parameters()
            gradient = weight.grad.numpy()
            found[f"{name}, {spread}: gradient by weight"] = gradient.T if is_by_column else gradient
        for kind in MINED:
            pairs = [p.numpy() for p in getattr(miners, kind)()(torch.from_numpy(batches[0]), labels)]
            if len(pairs) == 4:
                masks = np.zeros((2, len(labels), len(labels)), np.float32)
                masks[0][pairs[0], pairs[1]] = masks[1][pairs[2], pairs[3]] = 1
                pairs = masks
            for number, array in enumerate(pairs):
                found[f"{kind}, {spread}: {number}"] = array
        for name in REMEMBERED:
            _, _, kind, options = PAIRS[name]
            miner = miners.MultiSimilarityMiner() if name == "multi-similarity" else None
            loss = losses.CrossBatchMemory(made(kind, options), DIM, MEMORY * len(labels), miner)
            for number, rows in enumerate(batches):
                note(f"{name}, {spread}, memory {number}", loss, rows)
    np.savez(path + ".peer.npz", **found)


def _n_pair(name, loss, rows, found, torch, labels):
    """Theirs takes one pair of each class: the mean over the pairs that ours takes in turn."""
    values, gradients, nobody = [], [], torch.empty(0, dtype=torch.long)
    for turn in range(BATCH_K - 1):
        x = torch.from_numpy(rows).double().requires_grad_()
        anchors = torch.arange(turn, len(labels), BATCH_K)
        value = loss(torch.nn.functional.normalize(x), labels, (anchors, anchors + 1, nobody, nobody))
        value.backward()
        values.append(value.item())
        gradients.append(x.grad.numpy())
    found[f"{name}: value"], found[f"{name}: gradient"] = np.mean(values), np.mean(gradients, axis=0)


def gap(mine: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, relative to the largest number."""
    return float(np.abs(mine - theirs).max() / max(np.abs(theirs).max(), 1e-12))


def main():
    args = parse_args()
    if args.file:
        peer(args.file)
        return
    case = draw()
    found = ours(case)
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "case.npz")
        np.savez(path, **case)
        subprocess.run([args.peer, __file__, "--file", path], check=True)
        theirs = dict(np.load(path + ".peer.npz"))
    gaps: dict[str, list[float]] = {}
    for key, value in theirs.items():
        gaps.setdefault(key.partition(":")[0], []).append(gap(found[key], value))
    for name, each in gaps.items():
        value = f"value {found[f'{name}: value']:10.5f}" if f"{name}: value" in found else f"{'':16s}"
        print(f"{name:36s} {value}  relative differences " + ", ".join(f"{one:.0e}" for one in each))
    if args.record:
        cases = {"pairs": PAIRS, "class vectors": CLASS_VECTORS}
        small = {key: value.astype(np.float32) for key, value in theirs.items()}
        np.savez_compressed(args.record, cases=json.dumps(cases), **case, **small)
    sys.exit(max(map(max, gaps.values())) > LIMIT)


if __name__ == "__main__":
    main()
