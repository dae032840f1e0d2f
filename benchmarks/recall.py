#!/usr/bin/env python3
"""Time and memory of recall@k and MAP@R for 60,000 embeddings of 128 numbers, beside scikit-learn's neighbours.

Each side runs in a process of its own. The memory is the largest that the process held, less what it held with the data
and the libraries loaded.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

KS = (1, 2, 4, 8, 16)


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--size", type=int, default=60000, help="embeddings")
    p.add_argument("--dim", type=int, default=128)
    p.add_argument("--side", choices=["suite", "scikit-learn"], help=argparse.SUPPRESS)
    return p.parse_args()


def draw(size: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors in classes of twelve."""
    rng = np.random.default_rng(0)
    labels = np.arange(size) // 12
    centres = rng.normal(size=(labels[-1] + 1, dim)).astype(np.float32)
    vectors = centres[labels] + 1.5 * rng.normal(size=(size, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


def suite(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """recall@k and MAP@R by `common.metrics`."""
    from common import metrics

    return metrics.search(vectors, labels, ks=KS, depth="r").mean()


def scikit_learn(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """recall@k alone, from the neighbours by Euclidean distance: the same order on unit vectors."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(algorithm="brute", n_jobs=-1).fit(vectors)
    right = labels[found.kneighbors(n_neighbors=max(KS), return_distance=False)] == labels[:, None]
    return {f"recall@{k}": float(right[:, :k].any(axis=1).mean()) for k in KS}


def peak() -> float:
    """The most memory this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(side: str, size: int, dim: int) -> dict[str, float]:
    import common  # noqa: F401  (pins the threads)

    figures = {"suite": suite, "scikit-learn": scikit_learn}[side]
    vectors, labels = draw(size, dim)
    figures(vectors[:240], labels[:240])  # loads the libraries
    before, start = peak(), time.perf_counter()
    found = figures(vectors, labels)
    return {**found, "seconds": time.perf_counter() - start, "MB": peak() - before}


def main():
    args = parse_args()
    if args.side:
        print(json.dumps(measure(args.side, args.size, args.dim)))
        return
    found = {}
    for side in ("suite", "scikit-learn"):
        command = [sys.executable, __file__, "--side", side, "--size", str(args.size), "--dim", str(args.dim)]
        found[side] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f"{side:<13}{found[side]['seconds']:6.1f} s, {found[side]['MB']:5.0f} MB above the data, ", end="")
        print(", ".join(f"{k} {v:.4f}" for k, v in found[side].items() if "@" in k))
    ratio = found["scikit-learn"]["seconds"] / found["suite"]["seconds"]
    print(f"ratio {ratio:.2f}, though the suite's time is for MAP@R too")


if __name__ == "__main__":
    main()
