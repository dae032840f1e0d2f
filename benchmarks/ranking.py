#!/usr/bin/env python3
"""Ranking 5,000 pictures and 25,000 sentences by blocks, beside the loop over queries of the 2014 and vsepp codes."""

import argparse
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import common  # noqa: F401  (pins the threads)
from common.metrics import image_sentence, ranks_both, unit


def loop(images: np.ndarray, sentences: np.ndarray, queries: int):
    """Both directions the published way, a picture and its sentences at a time; the first `queries`."""
    i2t, t2i = np.zeros(queries), np.zeros(5 * queries)
    for i in range(queries):
        order = np.argsort(np.dot(images[i : i + 1], sentences.T).flatten())[::-1]
        i2t[i] = min(np.where(order == j)[0][0] for j in range(5 * i, 5 * i + 5))
        scores = np.dot(sentences[5 * i : 5 * i + 5], images.T)
        for j, row in enumerate(scores):
            t2i[5 * i + j] = np.where(np.argsort(row)[::-1] == i)[0][0]
    return i2t + 1, t2i + 1


def rank(args):
    """Time both on the same embeddings."""
    rng = np.random.default_rng(0)
    images = unit(rng.normal(size=(args.images, args.dim)))
    noise = rng.normal(size=(5 * args.images, args.dim)).astype(np.float32)
    sentences = unit(np.repeat(images, 5, axis=0) + 0.35 * noise)
    labels = np.arange(args.images)
    queries = min(args.loop_queries, args.images)

    start = time.perf_counter()
    by_loop = loop(images, sentences, queries)
    looped = (time.perf_counter() - start) * args.images / queries
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        ours = ranks_both(images, sentences, labels, np.repeat(labels, 5))
        best = min(best, time.perf_counter() - start)
    same = [np.mean(ours[way][: len(found)] == found) for way, found in enumerate(by_loop)]
    figures = image_sentence(images, sentences, labels, np.repeat(labels, 5))
    print(f"{args.images} x {5 * args.images}, {args.dim} numbers each, both directions; rsum {figures['rsum']:.1f}")
    print(f"loop over queries {looped:8.2f} s (measured on {queries} pictures)")
    print(f"blocks            {best:8.2f} s (best of 3); equal ranks {same[0]:.4f}, {same[1]:.4f}")
    print(f"ratio             {looped / best:8.1f}", flush=True)


def encode(args):
    """Time the encoding of all captions of a token file by an untrained network."""
    from common.text.vocabulary import Vocabulary, tokenise
    from examples.vse import layouts, model

    texts = [text for group in layouts.read_tokens(pathlib.Path(args.captions)).values() for text in group]
    sizes = {"dim_image": 1, "dim": args.dim, "dim_word": 300, "bidirectional": False, "measure": "cosine"}
    for encoder in ("lstm", "gru"):
        net = model.VSE({**sizes, "encoder": encoder}, Vocabulary.build(map(tokenise, texts)))
        net.initialize()
        net.encode_sentences(texts[:1000])
        start = time.perf_counter()
        net.encode_sentences(texts)
        seconds = time.perf_counter() - start
        alone = texts[: args.loop_queries]
        start = time.perf_counter()
        for text in alone:
            net.encode_sentences([text])
        singly = (time.perf_counter() - start) * len(texts) / len(alone)
        print(
            f"{encoder}: {len(texts)} captions encoded in {seconds:.1f} s, {len(texts) / seconds:.0f} a second;"
            f" one at a time {singly:.0f} s (measured on {len(alone)}), ratio {singly / seconds:.1f}"
        )


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--images", type=int, default=5000)
    p.add_argument("--dim", type=int, default=1024)
    p.add_argument("--loop-queries", type=int, default=1000, help="pictures or captions of the loops; time is scaled")
    p.add_argument("--captions", help="a token file as Flickr8k's: time the encoding of its captions too")
    args = p.parse_args()
    rank(args)
    if args.captions:
        encode(args)


if __name__ == "__main__":
    main()
