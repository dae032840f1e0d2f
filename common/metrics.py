"""How good embeddings are: retrieval and clustering. Similarity is the inner product of unit vectors (cosine)."""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np

BLOCK = 4096  # queries searched at once


def unit(vectors: np.ndarray) -> np.ndarray:
    """The rows of (n, d) `vectors` at length one, float32; zero rows stay zero."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def neighbours(embeddings: np.ndarray, k: int, gallery: np.ndarray | None = None):
    """The `k` most similar gallery vectors of each query, best first, in blocks of queries.

    Parameters
    ----------
    embeddings : (n, d) array
        The queries. They are also the gallery when none is given, and then no query finds itself.
    k : int
        At most the gallery's size (less one without a gallery of its own).
    gallery : (m, d) array, optional

    Yields
    ------
    start : int
        The first query of the block.
    similarity : (b, k) float32
    index : (b, k) int64
        Places in the gallery.
    """
    queries = unit(embeddings)
    own = gallery is None
    base = queries if own else unit(gallery)
    k = min(k, len(base) - own)
    index = faiss.IndexFlatIP(base.shape[1])
    index.add(base)
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK]
        similarity, found = index.search(block, k + own)
        if own:
            keep = found != np.arange(start, start + len(block))[:, None]
            keep[keep.all(axis=1), -1] = False  # itself not among them: identical vectors stand before it
            similarity, found = similarity[keep].reshape(-1, k), found[keep].reshape(-1, k)
        yield start, similarity, found


def recall_at_k(
    embeddings: np.ndarray,
    labels: np.ndarray,
    ks: Sequence[int] = (1, 2, 4, 8, 16),
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
) -> dict[str, float]:
    """The share of queries with a picture of their class among the `k` nearest (Song et al. 2016).

    A tie between a right and a wrong picture counts as wrong, whatever order they were found in.

    Parameters
    ----------
    embeddings : (n, d) array
    labels : (n,) int array
    ks : sequence of int
    gallery, gallery_labels : (m, d) and (m,), optional
        Where to search; default the queries themselves, each without itself.

    Returns
    -------
    dict of str to float
        ``"recall@1"`` and so on, 0..1.
    """
    labels = np.asarray(labels)
    base_labels = labels if gallery is None else np.asarray(gallery_labels)
    ranks = np.empty(len(labels))
    queries = unit(embeddings)
    base = queries if gallery is None else unit(gallery)
    for start, similarity, found in neighbours(embeddings, max(ks) + 1, gallery):
        own = labels[start : start + len(found), None]
        right = base_labels[found] == own
        best = np.where(right, similarity, -np.inf).max(axis=1, keepdims=True)
        rank = 1 + np.sum(~right & (similarity >= best), axis=1)
        rank = np.where(right.any(axis=1), rank, np.inf)
        # Where the best right one ties with the last one found, more ties may lie beyond: count them all.
        for row in np.flatnonzero((best[:, 0] <= similarity[:, -1]) & right.any(axis=1)):
            scores = base @ queries[start + row]
            rank[row] = 1 + np.sum((scores >= best[row, 0]) & (base_labels != own[row]))
        ranks[start : start + len(found)] = rank
    return {f"recall@{k}": float(np.mean(ranks <= k)) for k in ks}


def map_at_r(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """MAP@R and R-precision (Musgrave et al. 2020, section 3.2).

    `R` is the number of other pictures of the query's class; only the first `R` found count. Queries alone in their
    class are left out.

    Returns
    -------
    dict of str to float
        ``"map@r"`` and ``"r_precision"``, 0..1.
    """
    labels = np.asarray(labels)
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    r = counts[inverse] - 1
    largest = int(r.max())
    average, precision = np.zeros(len(labels)), np.zeros(len(labels))
    for start, _, found in neighbours(embeddings, largest):
        block = slice(start, start + len(found))
        place = np.arange(1, found.shape[1] + 1)
        right = (labels[found] == labels[block, None]) & (place <= r[block, None])
        precision_at = np.cumsum(right, axis=1) / place
        average[block] = np.sum(precision_at * right, axis=1) / np.maximum(r[block], 1)
        precision[block] = np.sum(right, axis=1) / np.maximum(r[block], 1)
    counted = r > 0
    return {"map@r": float(average[counted].mean()), "r_precision": float(precision[counted].mean())}


def nmi(embeddings: np.ndarray, labels: np.ndarray, seed: int = 0) -> float:
    """Normalised mutual information of k-means clusters (as many as classes) and the classes, 0..1."""
    from sklearn.metrics import normalized_mutual_info_score

    vectors = unit(embeddings)
    kmeans = faiss.Kmeans(vectors.shape[1], len(np.unique(labels)), seed=seed, niter=20, min_points_per_centroid=1)
    kmeans.train(vectors)
    _, cluster = kmeans.index.search(vectors, 1)
    return float(normalized_mutual_info_score(labels, cluster[:, 0]))
