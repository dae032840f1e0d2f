#!/usr/bin/env python3
"""Queries a second of the exact and the HNSW index, beside scikit-learn's NearestNeighbors."""

import argparse
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import common  # noqa: F401  (pins the threads)
from common.metrics import unit
from common.search.index import Index


def rate(query, queries: np.ndarray) -> tuple[float, np.ndarray]:
    """Queries a second, best of three, and what was found."""
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        found = query(queries)
        best = min(best, time.perf_counter() - start)
    return len(queries) / best, found


def main():
    from sklearn.neighbors import NearestNeighbors

    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--size", type=int, default=60000, help="vectors in the gallery")
    p.add_argument("--dim", type=int, default=128)
    p.add_argument("--queries", type=int, default=1000)
    p.add_argument("-k", type=int, default=10)
    args = p.parse_args()
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(1000, args.dim))  # embeddings come in clusters

    def draw(n):
        return unit(centres[rng.integers(0, 1000, n)] + rng.normal(size=(n, args.dim)))

    gallery, queries = draw(args.size), draw(args.queries)
    peer = NearestNeighbors(n_neighbors=args.k, metric="cosine", algorithm="brute", n_jobs=-1).fit(gallery)
    reference, truth = rate(lambda q: peer.kneighbors(q, return_distance=False), queries)
    print(f"{args.size} x {args.dim}, {args.queries} queries, k {args.k}")
    print(f"{'scikit-learn':<14}{reference:>9.0f} queries/s")
    for kind in ("exact", "hnsw"):
        start = time.perf_counter()
        index = Index.build(gallery, kind=kind)
        built = time.perf_counter() - start
        speed, found = rate(lambda q, index=index: index.query(q, args.k)[1], queries)
        hits = np.mean([len(set(a) & set(b)) / args.k for a, b in zip(found, truth)])
        print(
            f"{kind:<14}{speed:>9.0f} queries/s, ratio {speed / reference:6.1f}, finds {hits:.4f}, built {built:.1f} s"
        )


if __name__ == "__main__":
    main()
