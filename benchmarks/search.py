#!/usr/bin/env python3
"""Queries a second of the exact and the HNSW index, beside scikit-learn's NearestNeighbors; with --peer, hnswlib's too.

hnswlib builds its graph with as many links and candidates as ours, and searches with the fewest candidates that find
--recall of the nearest, or what ours finds where that is less. Both graphs are built once, and searched in turn, each
in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import turns

CANDIDATES = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--size", type=int, default=60000, help="vectors in the gallery")
    p.add_argument("--dim", type=int, default=128)
    p.add_argument("--queries", type=int, default=1000)
    p.add_argument("-k", type=int, default=10)
    p.add_argument("--peer", metavar="PYTHON", help="interpreter that has hnswlib: compare the graphs alone")
    p.add_argument("--recall", type=float, default=0.999, help="of the nearest, that has to be found")
    p.add_argument("--side", choices=["build", "hnswlib-build", "query", "hnswlib-query"], help=argparse.SUPPRESS)
    p.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    turns.add_arguments(p, rounds=3)
    return p.parse_args()


def draw(args) -> tuple[np.ndarray, np.ndarray]:
    """Gallery and queries; embeddings come in clusters."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((1000, args.dim), np.float32)

    def some(n):
        vectors = centres[rng.integers(0, 1000, n)] + rng.standard_normal((n, args.dim), np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return some(args.size), some(args.queries)


def rate(query, queries: np.ndarray) -> tuple[float, np.ndarray]:
    """Queries a second, best of three, and what was found."""
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        found = query(queries)
        best = min(best, time.perf_counter() - start)
    return len(queries) / best, found


def share(found: np.ndarray, truth: np.ndarray) -> float:
    """How many of the nearest were found."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, truth)]))


def one_side(args) -> dict:
    """What a process of the comparison with hnswlib measures."""
    gallery, queries, truth = (np.load(args.folder / f"{name}.npy") for name in ("gallery", "queries", "truth"))
    start = time.perf_counter()
    if args.side == "build":
        from common.search.index import Index

        index = Index.build(gallery, kind="hnsw")
        seconds = time.perf_counter() - start
        index.save(args.folder / "ours.faiss")
        return {"seconds": seconds, "links": index.index.hnsw.nb_neighbors(1), "build": index.index.hnsw.efConstruction}
    if args.side == "query":
        from common.search.index import Index

        index = Index.load(args.folder / "ours.faiss")
        speed, found = rate(lambda q: index.query(q, args.k)[1], queries)
        return {"suite": speed, "found": share(found, truth)}
    import hnswlib

    index = hnswlib.Index("ip", args.dim)
    index.set_num_threads(turns.THREADS)
    if args.side == "hnswlib-build":
        like = json.loads((args.folder / "ours.json").read_text())
        index.init_index(len(gallery), M=like["links"], ef_construction=like["build"])
        index.add_items(gallery, num_threads=turns.THREADS)
        seconds = time.perf_counter() - start
        index.save_index(str(args.folder / "theirs.hnsw"))
        return {"seconds": seconds}
    index.load_index(str(args.folder / "theirs.hnsw"), len(gallery))
    index.set_num_threads(turns.THREADS)
    for candidates in (ef for ef in CANDIDATES if ef >= args.k):
        index.set_ef(candidates)
        found = share(index.knn_query(queries, args.k)[0], truth)
        if found >= args.recall:
            break
    speed, _ = rate(lambda q: index.knn_query(q, args.k)[0], queries)
    return {"hnswlib": speed, "their found": found, "candidates": candidates}


def graphs(args) -> list[turns.Row]:
    """Ours and hnswlib's graph: how fast they are built, and searched."""
    from common.search.index import Index

    gallery, queries = draw(args)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        truth = Index.build(gallery).query(queries, args.k)[1]
        for part, values in (("gallery", gallery), ("queries", queries), ("truth", truth)):
            np.save(folder / f"{part}.npy", values)
        own = ["--dim", args.dim, "-k", args.k, "--folder", folder]

        def side(which, python=sys.executable, asked=args.recall):
            return [python, __file__, "--side", which, *own, "--recall", asked]

        ours = turns.run(side("build"))
        (folder / "ours.json").write_text(json.dumps(ours))
        theirs = turns.run(side("hnswlib-build", args.peer))
        recall = turns.run(side("query"))["found"]
        asked = min(recall, args.recall)  # what both reach
        found = turns.turns([side("query"), side("hnswlib-query", args.peer, asked)], args.rounds)
    theirs_found, candidates = found.pop("their found")[0], found.pop("candidates")[0]
    found.pop("found")
    note = f"of the nearest {args.k}: suite finds {recall:.4f}, hnswlib {theirs_found:.4f} ({candidates} candidates)"
    work, built = f"{args.size:,} x {args.dim}", {"suite": [ours["seconds"]], "hnswlib": [theirs["seconds"]]}
    return [
        turns.Row(f"search {work}, recall {asked:.3f}", "queries a second", "suite", found, times=1, note=note),
        turns.Row(f"graph of {work} built", "seconds", "suite", built, more=False),
    ]


def beside_scikit_learn(args):
    """Queries a second of all kinds of index."""
    from sklearn.neighbors import NearestNeighbors

    from common.search.index import Index

    gallery, queries = draw(args)
    peer = NearestNeighbors(n_neighbors=args.k, metric="cosine", algorithm="brute", n_jobs=-1).fit(gallery)
    reference, truth = rate(lambda q: peer.kneighbors(q, return_distance=False), queries)
    print(f"{args.size} x {args.dim}, {args.queries} queries, k {args.k}")
    print(f"{'scikit-learn':<14}{reference:>9.0f} queries/s")
    for kind in ("exact", "hnsw"):
        start = time.perf_counter()
        index = Index.build(gallery, kind=kind)
        built = time.perf_counter() - start
        speed, found = rate(lambda q, index=index: index.query(q, args.k)[1], queries)
        print(
            f"{kind:<14}{speed:>9.0f} queries/s, ratio {speed / reference:6.1f}, finds {share(found, truth):.4f}, "
            f"built {built:.1f} s"
        )


def main():
    args = parse_args()
    if args.side:
        print(json.dumps(one_side(args)))
    elif args.peer:
        turns.report(graphs(args), args.json)
    else:
        beside_scikit_learn(args)


if __name__ == "__main__":
    main()
