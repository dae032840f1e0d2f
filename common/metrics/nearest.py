"""Cosines of queries with a gallery, in tiles, and each query's nearest; no (queries, gallery) matrix is ever held.

The product is NumPy's: of the BLAS libraries in the environment (MXNet's, faiss's and OpenCV's are of 2021) it is the
newest, and an older one falls back to slow kernels on a processor newer than itself. faiss takes the nearest out of
each tile. Every thread has queries of its own, so that nothing waits in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from common.files import finite

BLOCK = 2048  # queries of a thread at once, at the most
TILE = 1024  # gallery vectors that these are compared with at once
CELLS = 1 << 20  # of queries at once times what is kept for each: bounds the memory
WORTH = 256  # queries that are worth a thread
AHEAD = 4  # blocks of each thread whose results may wait

Result = TypeVar("Result")


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, d) at length one, float32; zeros stay zeros."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


class Gallery:
    """Queries and the vectors that they are compared with.

    Parameters
    ----------
    embeddings : (n, d) array
        The queries. They are also the gallery when none is given, and then no query finds itself.
    gallery : (m, d) array, optional
    own : (n,) int array, optional
        Each query's index in the gallery, where it does not find itself; -1: it is not there. Default is -1 for all.

    Raises
    ------
    UserError
        Embeddings that are not finite.
    """

    def __init__(self, embeddings: np.ndarray, gallery: np.ndarray | None = None, own: np.ndarray | None = None):
        self.queries = finite.check(np.asarray(embeddings), "the embeddings", finite.NO_FIGURE)
        if gallery is None:
            self.base, self.own = self.queries, np.arange(len(self.queries))
        else:
            self.base = finite.check(np.asarray(gallery), "the gallery's embeddings", finite.NO_FIGURE)
            self.own = np.full(len(self.queries), -1) if own is None else np.asarray(own)

    def findable(self, rows: np.ndarray) -> np.ndarray:
        """How many gallery vectors each of the queries `rows` can find: (b,) int."""
        return len(self.base) - (self.own[rows] >= 0)

    def tiles(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The cosines of the queries `rows` with the gallery, part by part.

        Parameters
        ----------
        rows : (b,) int array

        Yields
        ------
        start : int
            The first gallery vector of the part.
        cosines : (b, TILE) float32
            Minus infinity for a query itself and behind the gallery's end. Overwritten by the next part.
        """
        queries, own = unit(self.queries[rows]), self.own[rows]
        cosines = np.empty((len(rows), TILE), np.float32)
        for start in range(0, len(self.base), TILE):
            part = unit(self.base[start : start + TILE])
            np.matmul(queries, part.T, out=cosines[:, : len(part)])
            cosines[:, len(part) :] = -np.inf
            itself = np.flatnonzero((own >= start) & (own < start + TILE))
            cosines[itself, own[itself] - start] = -np.inf
            yield start, cosines

    def nearest(self, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest of some queries, as `neighbours` gives them.

        Parameters
        ----------
        rows : (b,) int array
            The queries.
        k : int

        Returns
        -------
        similarity : (b, k) float32
        indices : (b, k) int64
        """
        heap = Nearest(len(rows), max(k, 1))  # a heap of none reads outside of itself
        for start, cosines in self.tiles(rows):
            heap.add(start, cosines)
        return tuple(part[:, :k] for part in heap.sorted())


class Nearest:
    """The nearest of some queries, so far.

    Parameters
    ----------
    n : int
        Queries.
    k : int
        So many nearest are kept of each, 1 at least.
    """

    def __init__(self, n: int, k: int):
        self._n, self._heap = n, faiss.ResultHeap(n, int(k), keep_max=True)

    def add(self, start: int, cosines: np.ndarray) -> None:
        """See more of the gallery.

        Parameters
        ----------
        start : int
            The first of its vectors.
        cosines : (n, m) float32
            Of the queries with so many of them.
        """
        self._heap.heaps.addn(cosines.shape[1], faiss.swig_ptr(cosines), start, 0, self._n)

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and indices (n, k), best first; nothing can be added afterwards."""
        self._heap.finalize()
        return self._heap.D, self._heap.I


def neighbours(
    embeddings: np.ndarray, k: int, gallery: np.ndarray | None = None, own: np.ndarray | None = None
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The `k` most similar gallery vectors of each query, best first, in blocks of queries.

    Parameters
    ----------
    embeddings, gallery, own
        As in `Gallery`.
    k : int
        Cut to the number of gallery vectors that a query can find.

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
    searched = Gallery(embeddings, gallery, own)
    rows = np.arange(len(searched.queries))
    k = min(k, searched.findable(rows).max())

    def block(rows):
        return rows[0], *searched.nearest(rows, k)

    yield from in_threads(block, blocks(rows, CELLS // max(k, 1)))


def blocks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Runs of `rows` of about one length, at most `size` or `BLOCK`; as many for each thread, where it is worth it.

    Parameters
    ----------
    rows : (n,) array
    size : int

    Returns
    -------
    list of arrays
    """
    threads = min(faiss.omp_get_max_threads(), 1 + len(rows) // WORTH)
    size = min(max(size, 1), BLOCK)
    return np.array_split(rows, threads * -(-len(rows) // (threads * size)))


def in_threads(work: Callable[[np.ndarray], Result], parts: list[np.ndarray]) -> Iterator[Result]:
    """What `work` makes of each of `parts`, in their order.

    Parameters
    ----------
    work : callable (part) -> result
        Its products and searches run in its own thread alone.
    parts : list
        See `blocks`.
    """
    threads = faiss.omp_get_max_threads()
    if threads == 1 or len(parts) == 1:
        yield from map(work, parts)
        return
    with (
        threadpool_limits(1, "blas"),
        ThreadPoolExecutor(threads, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool,
    ):
        for start in range(0, len(parts), AHEAD * threads):
            yield from pool.map(work, parts[start : start + AHEAD * threads])
