#!/usr/bin/env python3
"""Time and memory of recall@k, precision@k, MAP@R and of mAP for 60,000 embeddings of 128 numbers, beside others.

Each side runs in a process of its own. The memory is the most that the process held meanwhile, less what it held with
the data and the libraries loaded (Linux). scikit-learn's and faiss's neighbours give recall@k alone;
pytorch-metric-learning gives R-precision and MAP@R, and is asked one query in `PEER_SHARE`, once (a quarter of them
took more than 20 GB): the time is for as many as all. scikit-learn's average_precision_score takes one query at a time:
it is asked `PEER_QUERIES` of them, and the time is for as many as all.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import turns

KS = (1, 2, 4, 8, 16)
PEER_QUERIES = 500
PEER_SHARE = 20  # one query in so many is asked of pytorch-metric-learning
LEARNING = "pytorch-metric-learning"
WORK = {  # how far each ranking is looked at: what is found, and the sides that find it, ours first
    "k": ("recall@k alone", ("suite, recall@k", "scikit-learn", "faiss")),
    "r": ("recall@k, precision@k and MAP@R", ("suite", LEARNING)),
    "all": ("mAP too", ("suite, mAP too", "scikit-learn, mAP")),
}
LIMIT = 10  # seconds, for the second of these on two cores


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--size", type=int, default=60000, help="embeddings")
    p.add_argument("--dim", type=int, default=128)
    p.add_argument("--depths", nargs="+", choices=list(WORK), default=list(WORK), help="how far rankings are looked at")
    p.add_argument("--no-peer", action="store_true", help="the suite alone, without mAP")
    p.add_argument("--peer", metavar="PYTHON", help=f"interpreter that has {LEARNING}; without, it is not run")
    p.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    turns.add_arguments(p, rounds=1)
    return p.parse_args()


def draw(size: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors in classes of twelve."""
    rng = np.random.default_rng(0)
    labels = np.arange(size) // 12
    vectors = 1.5 * rng.standard_normal((size, dim), np.float32)
    for start in range(0, size, 12):
        vectors[start : start + 12] += rng.standard_normal(dim, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, labels


def suite(vectors: np.ndarray, labels: np.ndarray, depth: str = "r") -> dict[str, float]:
    """All metrics up to `depth` by `common.metrics`."""
    from common import metrics

    return metrics.search(vectors, labels, ks=KS, depth=depth).mean()


def scikit_learn(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """recall@k alone, from the neighbours by Euclidean distance: the same order on unit vectors."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(algorithm="brute", n_jobs=-1).fit(vectors)
    right = labels[found.kneighbors(n_neighbors=max(KS), return_distance=False)] == labels[:, None]
    return {f"recall@{k}": float(right[:, :k].any(axis=1).mean()) for k in KS}


def nearest(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The same by faiss, whose search finds each vector itself first."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    right = labels[index.search(vectors, max(KS) + 1)[1][:, 1:]] == labels[:, None]
    return {f"recall@{k}": float(right[:, :k].any(axis=1).mean()) for k in KS}


def metric_learning(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """R-precision and MAP@R by pytorch-metric-learning, and recall@1, by its names."""
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    torch.set_num_threads(turns.THREADS)
    names = {"precision_at_1": "recall@1", "r_precision": "r_precision", "mean_average_precision_at_r": "map@r"}
    calculator = AccuracyCalculator(include=tuple(names), device=torch.device("cpu"))
    vectors, labels = torch.from_numpy(vectors), torch.from_numpy(labels)
    asked = slice(len(vectors) // PEER_SHARE)  # the first ones: each is looked for without itself
    found = calculator.get_accuracy(vectors[asked], labels[asked], vectors, labels, ref_includes_query=True)
    return {names[name]: float(value) for name, value in found.items()}


def average_precision(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """mAP of some queries, each by average_precision_score."""
    from sklearn.metrics import average_precision_score

    found = []
    for query in np.linspace(0, len(vectors) - 1, min(PEER_QUERIES, len(vectors)), dtype=int):
        others = np.arange(len(vectors)) != query
        cosines = vectors @ vectors[query]
        found.append(average_precision_score(labels[others] == labels[query], cosines[others]))
    return {"map": float(np.mean(found))}


SIDES = {
    "suite": suite,
    "suite, recall@k": lambda vectors, labels: suite(vectors, labels, "k"),
    "scikit-learn": scikit_learn,
    "faiss": nearest,
    LEARNING: metric_learning,
    "suite, mAP too": lambda vectors, labels: suite(vectors, labels, "all"),
    "scikit-learn, mAP": average_precision,
}


def held(what: str) -> float:
    """Memory in MB as Linux has it: ``VmRSS`` now, ``VmHWM`` at the most."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+)", status)[1]) / 1024


def measure(side: str, size: int, dim: int) -> dict[str, float]:
    figures = SIDES[side]
    vectors, labels = draw(size, dim)
    figures(vectors[:240], labels[:240])  # loads the libraries
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the most so far is what is held now
    before, start, cpu = held("VmRSS"), time.perf_counter(), time.process_time()
    found = figures(vectors, labels)
    times = {"seconds": time.perf_counter() - start, "CPU seconds": time.process_time() - cpu}
    if figures is average_precision and size > PEER_QUERIES:
        times = {name: value * size / PEER_QUERIES for name, value in times.items()}
    if figures is metric_learning:
        times = {name: value * PEER_SHARE for name, value in times.items()}
    return {**found, **times, "MB": held("VmHWM") - before}


def main():
    args = parse_args()
    if args.side:
        print(json.dumps({args.side: measure(args.side, args.size, args.dim)}))
        return
    rows = []
    for depth in ["r"] if args.no_peer else args.depths:
        what, sides = WORK[depth]
        others = [] if args.no_peer else [side for side in sides[1:] if args.peer or side != LEARNING]
        own = ["--size", args.size, "--dim", args.dim]

        def command(side, own=own):
            return [args.peer if side == LEARNING else sys.executable, __file__, "--side", side, *own]

        slow = [command(side) for side in others if side == LEARNING]
        quick = [command(side) for side in (sides[0], *others) if side != LEARNING]
        found = turns.turns(quick, args.rounds, once=slow)
        for side, rounds in found.items():
            of = rounds[0]
            print(f"{side:<24}{of['seconds']:7.1f} s, {of['CPU seconds']:.1f} of CPU, {of['MB']:4.0f} MB: ", end="")
            print(", ".join(f"{k} {v:.4f}" for k, v in of.items() if "recall" in k or "map" in k))
        seconds = {side: [of["seconds"] for of in rounds] for side, rounds in found.items()}
        limit = LIMIT if depth == "r" and (args.size, args.dim) == (60000, 128) else None
        work = f"{what}, {args.size:,} x {args.dim}"
        part = f"{LEARNING}: one query in {PEER_SHARE}, the time {PEER_SHARE} times as long; "
        note = part if depth == "r" and slow else ""
        note += ", ".join(f"{side} {rounds[0]['MB']:.0f} MB above the data" for side, rounds in found.items())
        rows.append(turns.Row(work, "seconds", sides[0], seconds, more=False, limit=limit, note=note))
    turns.report(rows, args.json)


if __name__ == "__main__":
    main()
