"""Better rankings from the neighbours of the neighbours, without training.

k-reciprocal re-ranking, query expansion, and database augmentation.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from common.metrics.nearest import CELLS, neighbours, unit


def expand(
    embeddings: np.ndarray, k: int, alpha: float, gallery: np.ndarray | None = None, own: np.ndarray | None = None
) -> np.ndarray:
    r"""Each vector with its nearest of the gallery: alpha query expansion (Radenovic et al. 2018, section 5.3).

    .. math:: q' \propto q + \sum_{i \le k} [\cos(q, g_i)]_+^\alpha \; g_i

    Of the gallery itself it is database augmentation (Arandjelovic and Zisserman 2012, section 4), with these weights.

    Parameters
    ----------
    embeddings : (n, d) array
    k : int
        Neighbours, at least 1; cut to the number that there are.
    alpha : float
        0 or more: how much a nearer one counts for more. 0 is the plain mean (Chum et al. 2007).
    gallery, own
        As in `common.metrics.nearest.Gallery`; without a gallery the vectors' own.

    Returns
    -------
    (n, d) float32 unit vectors

    References
    ----------
    F. Radenovic, G. Tolias, O. Chum: Fine-tuning CNN Image Retrieval with No Human Annotation. TPAMI 2018.
    R. Arandjelovic, A. Zisserman: Three Things Everyone Should Know to Improve Object Retrieval. CVPR 2012.
    """
    base = unit(embeddings if gallery is None else gallery)
    found = unit(embeddings)
    for start, similarity, indices in neighbours(embeddings, k, gallery, own):
        weights = np.where(indices >= 0, np.maximum(similarity, 0) ** np.float32(alpha), 0).astype(np.float32)
        rows = slice(start, start + len(weights))
        for weight, index in zip(weights.T, indices.T):
            found[rows] += weight[:, None] * base[index]
    return unit(found)


class Expanded:
    """Neighbours of expanded queries, with the interface of `KReciprocal`.

    Parameters
    ----------
    gallery : (m, d) array
    k, alpha
        As of `expand`.
    augmented : bool
        The gallery's vectors are expanded before, by each other.

    Attributes
    ----------
    gallery : (m, d) float32
        What expanded queries are compared with, of unit length.
    """

    def __init__(self, gallery: np.ndarray, k: int, alpha: float, augmented: bool = False):
        self.k, self.alpha = k, alpha
        self.gallery = expand(gallery, k, alpha) if augmented else unit(gallery)

    def expand(self, queries: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
        """The queries with their nearest of `gallery`: (n, d) float32 unit vectors.

        Parameters
        ----------
        queries : (n, d) array
        own : (n,) int array, optional
            Each query's index in the gallery; -1, the default: it is not there.
        """
        return expand(queries, self.k, self.alpha, self.gallery, own)

    def search(self, queries: np.ndarray, k: int, own: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The `k` nearest of each expanded query, best first.

        Parameters
        ----------
        queries, k, own
            As in `KReciprocal.search`.

        Returns
        -------
        similarity : (n, k) float32
            Cosines; minus infinity where a query can find fewer than others.
        indices : (n, k) int64
            In the gallery; there -1.
        """
        return _nearest(self.expand(queries, own), k, self.gallery, own)


class KReciprocal:
    r"""Neighbours by the sets of those that have each other among their nearest (Zhong et al. 2017, section 3).

    :math:`R(p, k)` are those of the `k` nearest of `p` that have `p` among their own `k` nearest. It is made larger by
    the :math:`R(c, k/2)` of each :math:`c \in R(p, k)` of which two thirds lie in :math:`R(p, k)` (equation 5). Every
    picture becomes a vector over the gallery, with :math:`e^{-d(p, g)}` for each `g` of that set and 0 elsewhere,
    at sum one (equation 7), and then the mean of those of its :math:`k_2` nearest (equation 11). With the Jaccard
    distance :math:`d_J` of two such vectors (equation 10) what ranks is

    .. math:: d^* = (1 - \lambda) \, d_J + \lambda \, d, \qquad d = 1 - \cos.

    As in the authors' code `p` itself belongs to its set and counts among its :math:`k_2` nearest, where it is in the
    gallery. As in the paper, and unlike that code, the sets are of the gallery alone: a query that is not in it is one
    visitor, whose result does not depend on the other queries. The sets of the gallery are then made once.

    Of each picture only the neighbourhood is held, so that memory grows with the gallery times the size of these sets.

    Parameters
    ----------
    gallery : (m, d) array
    k1, k2 : int
        At least 1; the paper's 20 and 6 are for classes of some tens of pictures.
    lambda_ : float
        0..1.

    Raises
    ------
    UserError
        Embeddings that are not finite.

    References
    ----------
    Z. Zhong, L. Zheng, D. Cao, S. Li: Re-ranking Person Re-identification with k-reciprocal Encoding. CVPR 2017.
    """

    def __init__(self, gallery: np.ndarray, k1: int = 20, k2: int = 6, lambda_: float = 0.3):
        self.k1, self.k2, self.lambda_, self._gallery = k1, k2, lambda_, unit(gallery)
        m = len(self._gallery)
        similarity, indices = _nearest(self._gallery, max(k1, k2 - 1))
        itself = sparse.identity(m, np.float32, "csr")
        near, half = (itself + _adjacent(indices[:, :k], m) for k in (k1, max(k1 // 2, 1)))
        self._half = half.multiply(half.T).tocsr()
        self._reach = similarity[:, k1 - 1] if k1 < m else np.full(m, -np.inf)  # cosines of the last of the k1 nearest
        self._own = self._encoded(self._widened(near.multiply(near.T).tocsr()), self._gallery)
        self._codes = self._averaged(self._own, indices)
        self._columns = self._codes.tocsc()

    def _widened(self, reciprocal: sparse.csr_matrix) -> sparse.csr_matrix:
        """The sets (n, m) together with those of their members of which two thirds lie in them."""
        shared = reciprocal.multiply(reciprocal @ self._half.T).tocsr()  # how much of each member's set
        sizes = np.diff(self._half.indptr)
        shared.data = (3 * shared.data >= 2 * sizes[shared.indices]).astype(np.float32)
        shared.eliminate_zeros()
        return (reciprocal + shared @ self._half).tocsr()

    def _encoded(self, sets: sparse.csr_matrix, queries: np.ndarray) -> sparse.csr_matrix:
        """The vectors of the sets (n, m), each row's sum 1, of unit vectors (n, d)."""
        rows = np.repeat(np.arange(sets.shape[0]), np.diff(sets.indptr))
        weights = np.empty(sets.nnz)
        step = max(1, CELLS // queries.shape[1])
        for start in range(0, sets.nnz, step):
            part = slice(start, start + step)
            cosines = np.einsum("nd,nd->n", queries[rows[part]], self._gallery[sets.indices[part]])
            weights[part] = np.exp(cosines - 1)
        weights /= np.bincount(rows, weights, sets.shape[0])[rows]
        return sparse.csr_matrix((weights.astype(np.float32), sets.indices, sets.indptr), sets.shape)

    def _averaged(self, own: sparse.csr_matrix, indices: np.ndarray) -> sparse.csr_matrix:
        """The mean of vectors (n, m) and those of their nearest (n, k) in the gallery."""
        others = indices[:, : self.k2 - 1]
        total = own + _adjacent(others, len(self._gallery)) @ self._own
        return (total / (1 + others.shape[1])).tocsr()

    def _visitors(self, queries: np.ndarray) -> sparse.csr_matrix:
        """The vectors of queries (n, d), of unit length, that are not in the gallery."""
        similarity, indices = _nearest(queries, max(self.k1, self.k2 - 1), self._gallery)
        near = indices[:, : self.k1]
        mutual = similarity[:, : self.k1] >= self._reach[near]  # it is among their own k1 nearest
        sets = self._widened(_adjacent(near, len(self._gallery), mutual))
        return self._averaged(self._encoded(sets, queries), indices)

    def search(self, queries: np.ndarray, k: int, own: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The `k` nearest of each query by :math:`d^*`, best first.

        Parameters
        ----------
        queries : (n, d) array
        k : int
            Cut to the number of gallery vectors that a query can find.
        own : (n,) int array, optional
            Each query's index in the gallery; -1, the default: it is not there.

        Returns
        -------
        similarity : (n, k) float32
            :math:`1 - d^*`; minus infinity where a query can find fewer than others.
        indices : (n, k) int64
            In the gallery; there -1.

        Raises
        ------
        UserError
            Embeddings that are not finite.
        """
        queries = unit(queries)
        own = np.full(len(queries), -1) if own is None else np.asarray(own)
        members, guests = np.flatnonzero(own >= 0), np.flatnonzero(own < 0)
        codes = [self._codes[own[members]], self._visitors(queries[guests])] if len(guests) else [self._codes[own]]
        place = np.argsort(np.concatenate([members, guests]))
        codes = sparse.vstack(codes, "csr")[place]
        found = []
        for start, _, near in neighbours(queries, k, self._gallery, own):
            for row, nearest in enumerate(near, start):
                found.append(self._ranked(queries[row], codes[row], nearest, own[row]))
        return tuple(np.stack(part) for part in zip(*found))

    def _ranked(self, query, code, nearest, own: int) -> tuple[np.ndarray, np.ndarray]:
        """Of one query: whose sets share something with its own, and the nearest others, which all may be behind."""
        columns, first = self._columns, self._columns.indptr[code.indices]
        lengths = self._columns.indptr[code.indices + 1] - first
        entries = np.arange(lengths.sum()) + np.repeat(first - np.cumsum(lengths) + lengths, lengths)
        smaller = np.minimum(columns.data[entries], np.repeat(code.data, lengths))
        near = nearest[nearest >= 0]
        candidates, number = np.unique(np.concatenate([columns.indices[entries], near]), return_inverse=True)
        shared = np.bincount(number[: len(smaller)], smaller, len(candidates))
        jaccard = 1 - shared / (1 + code.data.sum() - shared)  # a visitor whose set is empty has less than 1
        score = 1 - (1 - self.lambda_) * jaccard - self.lambda_ * (1 - self._gallery[candidates] @ query)
        score[candidates == own] = -np.inf
        order = np.argsort(-score, kind="stable")[: len(nearest)]
        similarity, indices = score[order].astype(np.float32), candidates[order].astype(np.int64)
        indices[similarity == -np.inf] = -1
        missing = len(nearest) - len(order)
        return (
            np.pad(similarity, (0, missing), constant_values=-np.inf), np.pad(indices, (0, missing), constant_values=-1)
        )  # fmt: skip


def _nearest(
    embeddings: np.ndarray, k: int, gallery: np.ndarray | None = None, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """All that `neighbours` yields, in one."""
    _, similarity, indices = zip(*neighbours(embeddings, k, gallery, own))
    return np.concatenate(similarity), np.concatenate(indices)


def _adjacent(indices: np.ndarray, m: int, there: np.ndarray | None = None) -> sparse.csr_matrix:
    """A matrix (n, m) with 1 in the columns (n, k) of each row, of `there` (n, k) where that is True."""
    there = np.ones(indices.shape, bool) if there is None else there
    starts = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    return sparse.csr_matrix((np.ones(starts[-1], np.float32), indices[there], starts), (len(indices), m))
