"""Retrieval by embedding: recall@k, MAP@R and R-precision.

Similarity is the inner product of unit vectors (cosine). Everything runs through faiss in blocks of queries, so that
no (queries, gallery) matrix is ever held.

Ties count against the embedding: a wrong picture as similar as a right one stands before it. "As similar" is within
`TIE`, because the cosine of the same two vectors differs in its last digits with their position in a matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import faiss
import numpy as np

from common.files import finite

TIE = 5e-7  # cosines closer than this are equal: the rounding of float32 inner products of unit vectors
BLOCK = 4096  # queries searched at once, at the most
CELLS = 1 << 22  # of a block times what is looked at for each query: bounds the memory


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, d) at length one, float32; zeros stay zeros."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def neighbours(
    embeddings: np.ndarray, k: int, gallery: np.ndarray | None = None, own: np.ndarray | None = None
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The `k` most similar gallery vectors of each query, best first, in blocks of queries.

    Parameters
    ----------
    embeddings : (n, d) array
        The queries. They are also the gallery when none is given, and then no query finds itself.
    k : int
        Cut to the number of gallery vectors that a query can find.
    gallery : (m, d) array, optional
    own : (n,) int array, optional
        Each query's index in the gallery, where it does not find itself; -1: it is not there. Default is -1 for all.

    Yields
    ------
    start : int
        The first query of the block.
    similarity : (b, k) float32
    indices : (b, k) int64
        In the gallery; -1 where a query can find fewer than others.

    Raises
    ------
    UserError
        Embeddings that are not finite.
    """
    queries = unit(finite.check(embeddings, "the embeddings", finite.NO_FIGURE))
    base = queries if gallery is None else unit(finite.check(gallery, "the gallery's embeddings", finite.NO_FIGURE))
    own = _own(len(queries), gallery, own)
    k = min(k, len(base) - int((own >= 0).all()))
    itself = int((own >= 0).any())  # is looked for too, and taken out
    index = faiss.IndexFlatIP(base.shape[1])
    index.add(base)
    size = _block(k)
    for start in range(0, len(queries), size):
        block = queries[start : start + size]
        similarity, found = index.search(block, k + itself)  # faiss gives -1 where there are no more
        if itself:
            keep = found != np.where(own >= 0, own, len(base))[start : start + len(block), None]
            keep[keep.all(axis=1), -1] = False  # itself not among them: identical vectors stand before it
            similarity, found = similarity[keep].reshape(len(block), k), found[keep].reshape(len(block), k)
        yield start, similarity, found


def recall_at_k(
    embeddings: np.ndarray,
    labels: np.ndarray,
    ks: Sequence[int] = (1, 2, 4, 8, 16),
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    own: np.ndarray | None = None,
) -> dict[str, float]:
    """The fraction of queries with a picture of their class among the `k` nearest (Song et al. 2016, section 5).

    A query whose class has no other picture in the gallery counts as not found. A tie counts as wrong (see the module).

    Parameters
    ----------
    embeddings : (n, d) array
    labels : (n,) int array
    ks : sequence of int
    gallery, gallery_labels : (m, d) and (m,), optional
        Where to search; default the queries themselves, each without itself.
    own : (n,) int array, optional
        As in `neighbours`.

    Returns
    -------
    dict of str to float
        ``"recall@1"`` and so on, 0..1.

    Raises
    ------
    UserError
        Embeddings that are not finite.
    """
    return recall(first_right(embeddings, labels, max(ks), gallery, gallery_labels, own), ks)


def recall(ranks: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
    """recall@k of queries whose right pictures have these ranks, see `first_right`.

    Parameters
    ----------
    ranks : (n,) array
        Up to the largest of `ks` at least.
    ks : sequence of int

    Returns
    -------
    dict of str to float
        ``"recall@1"`` and so on, 0..1.
    """
    return {f"recall@{k}": float(np.mean(ranks <= k)) for k in ks}


def first_right(
    embeddings: np.ndarray,
    labels: np.ndarray,
    k: int,
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    own: np.ndarray | None = None,
) -> np.ndarray:
    """The rank, from 1, of the first picture of its class that each query finds. A tie counts as wrong.

    Parameters
    ----------
    embeddings, labels, gallery, gallery_labels, own
        As in `recall_at_k`.
    k : int
        Ranks up to this one are looked for.

    Returns
    -------
    (n,) float
        Infinite where there is none among the `k` nearest.

    Raises
    ------
    UserError
        Embeddings that are not finite.
    """
    labels = np.asarray(labels)
    base_labels = labels if gallery is None else np.asarray(gallery_labels)
    own = _own(len(labels), gallery, own)
    rank = np.full(len(labels), np.inf)
    if len(base_labels) == 1 and (own >= 0).all():  # nothing to find
        finite.check(embeddings, "the embeddings", finite.NO_FIGURE)
        return rank
    unclear = []  # queries with ties that reach beyond what was looked at
    for start, similarity, found in neighbours(embeddings, k + 1, gallery, own):
        block = slice(start, start + len(found))
        right = (base_labels[found] == labels[block, None]) & (found >= 0)
        best = np.where(right, similarity, -np.inf).max(axis=1)
        rank[block] = np.where(right.any(axis=1), _rank(similarity, right, best), np.inf)
        unclear.append(start + np.flatnonzero(right.any(axis=1) & (best - TIE <= similarity[:, -1])))
    for rows, similarity, right in _in_full(embeddings, labels, np.concatenate(unclear), gallery, base_labels, own):
        rank[rows] = _rank(similarity, right, np.where(right, similarity, -np.inf).max(axis=1))
    return np.where(rank <= k, rank, np.inf)


def map_at_r(
    embeddings: np.ndarray,
    labels: np.ndarray,
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    own: np.ndarray | None = None,
) -> dict[str, float]:
    """MAP@R and R-precision (Musgrave et al. 2020, section 3.2).

    `R` is the number of (other) gallery pictures of the query's class; only the first `R` found count. Queries with no
    such picture are left out. A tie counts as wrong (see the module).

    Parameters
    ----------
    embeddings, labels, gallery, gallery_labels, own
        As in `recall_at_k`.

    Returns
    -------
    dict of str to float
        ``"map@r"`` and ``"r_precision"``, 0..1; NaN when no query has a right picture.

    Raises
    ------
    UserError
        Embeddings that are not finite.
    """
    labels = np.asarray(labels)
    base_labels = labels if gallery is None else np.asarray(gallery_labels)
    own = _own(len(labels), gallery, own)
    values, counts = np.unique(base_labels, return_counts=True)
    place = np.searchsorted(values, labels).clip(max=len(values) - 1)
    r = np.where(values[place] == labels, counts[place], 0) - (own >= 0)
    r = np.maximum(r, 0)
    if not r.any():
        finite.check(embeddings, "the embeddings", finite.NO_FIGURE)
        return {"map@r": float("nan"), "r_precision": float("nan")}
    precisions = np.zeros((len(labels), 2))
    unclear = []
    for start, similarity, found in neighbours(embeddings, int(r.max()) + 8, gallery, own):
        block = slice(start, start + len(found))
        right = (base_labels[found] == labels[block, None]) & (found >= 0)
        precisions[block], lowest = _precisions(similarity, right, r[block])
        beyond = found.shape[1] < len(base_labels) - (own[block] >= 0)
        unclear.append(start + np.flatnonzero(beyond & (lowest <= similarity[:, -1]) & (r[block] > 0)))
    for rows, similarity, right in _in_full(embeddings, labels, np.concatenate(unclear), gallery, base_labels, own):
        precisions[rows], _ = _precisions(similarity, right, r[rows])
    average, precision = precisions[r > 0].mean(axis=0)
    return {"map@r": float(average), "r_precision": float(precision)}


def _own(n: int, gallery, own) -> np.ndarray:
    """Each query's own index in the gallery, -1 where it is not there; without a gallery all are."""
    if gallery is None:
        return np.arange(n)
    return np.full(n, -1) if own is None else np.asarray(own)


def _block(k: int) -> int:
    return int(np.clip(CELLS // max(k, 1), 1, BLOCK))


def _rank(similarity: np.ndarray, right: np.ndarray, best: np.ndarray) -> np.ndarray:
    """The rank (from 1) of a right picture with similarity `best`, after all wrong ones that tie with it."""
    return 1 + np.sum(~right & (similarity >= best[:, None] - TIE), axis=1)


def _precisions(similarity: np.ndarray, right: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average and plain precision among the first `r` (b, 2), and the similarity at rank `r`, ties already lost."""
    lowered = similarity - np.float32(TIE) * right  # so that a wrong one that ties comes first
    order = np.argsort(-lowered, axis=1, kind="stable")[:, : max(int(r.max(initial=1)), 1)]
    rank = np.arange(1, order.shape[1] + 1, dtype=np.float32)
    hits = np.take_along_axis(right, order, axis=1) & (rank <= r[:, None])
    precision_at = np.cumsum(hits, axis=1, dtype=np.float32) / rank
    some = np.maximum(r, 1)
    found = np.stack([np.sum(precision_at * hits, axis=1, dtype=np.float64) / some, hits.sum(axis=1) / some], axis=1)
    last = np.take_along_axis(order, some[:, None] - 1, axis=1)
    return found, np.take_along_axis(lowered, last, axis=1)[:, 0]


def _in_full(embeddings, labels, rows: np.ndarray, gallery, base_labels: np.ndarray, own):
    """Similarities to the whole gallery for the queries `rows`, in blocks: rows, (b, m) similarity, (b, m) right."""
    if not len(rows):
        return
    queries = unit(embeddings)
    base = queries if gallery is None else unit(gallery)
    size = _block(len(base))
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        similarity = queries[block] @ base.T
        right = base_labels == labels[block, None]
        itself = np.flatnonzero(own[block] >= 0)
        similarity[itself, own[block[itself]]] = -np.inf
        right[itself, own[block[itself]]] = False
        yield block, similarity, right
