"""Retrieval by embedding: recall@k, precision@k, MAP@R, R-precision and mAP, all from the places of the right pictures.

Similarity is the inner product of unit vectors (cosine). Ties count against the embedding: a wrong picture as similar
as a right one stands before it. "As similar" is within `TIE`, because the cosine of the same two vectors differs in its
last digits with their position in a matrix product.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from common.metrics.nearest import CELLS, Gallery, Nearest, blocks, in_threads, unit

TIE = 5e-7  # cosines closer than this are equal: the rounding of float32 inner products of unit vectors
KS = (1, 2, 4, 8, 16)
SLACK = 8  # so many more than needed are looked at: ties seldom reach further
SHARE = 16  # of a gallery's part larger than one in so many, sorting all of it finds the places sooner than a heap
COUNTED = 50  # up to so many right pictures, counting what is ahead of each of them finds the places sooner
STRIP = 256  # queries whose cosines with a tile a core has at hand while it counts
UNITS = 2.0**29  # to a cosine of one, where cosines are sorted as whole numbers: finer than float32 is around `TIE`
BEYOND = np.iinfo(np.int64).max  # the place of a right picture that is further than was looked


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """What `search` found.

    Attributes
    ----------
    labels : (n,) int array
        Of the queries.
    names : tuple of str
        Of the metrics.
    values : (n, names) float64
        Of each query, 0..1. Where its class has no other picture in the gallery, recall and precision are 0, since it
        finds none, and the others NaN: they leave it out.
    similarity, indices : (n, keep) float32 and int64
        Its nearest, as `neighbours` gives them.
    """

    labels: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray
    similarity: np.ndarray
    indices: np.ndarray

    def mean(self) -> dict[str, float]:
        """Each metric's mean over the queries; NaN where it leaves out all of them."""
        return dict(zip(self.names, _means(self.values, [0])[0].tolist()))

    def by_class(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The classes (c,) of queries in ascending order, their queries' number (c,), each metric's mean (c, names)."""
        classes, starts, counts = np.unique(np.sort(self.labels), return_index=True, return_counts=True)
        return classes, counts, _means(self.values[np.argsort(self.labels, kind="stable")], starts)

    def class_mean(self) -> dict[str, float]:
        """Each metric's mean over the classes of queries, ``class_recall@1`` and so on."""
        means = _means(self.by_class()[2], [0])[0].tolist()
        return {f"class_{name}": value for name, value in zip(self.names, means)}


def search(
    embeddings: np.ndarray,
    labels: np.ndarray,
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    own: np.ndarray | None = None,
    ks: Sequence[int] = KS,
    depth: str = "all",
    keep: int = 0,
    order=None,
) -> Retrieval:
    """Look for the pictures of each query's class, once for all metrics.

    - ``recall@k``: whether one of the `k` nearest is right (Song et al. 2016, section 5).
    - ``precision@k``: how many of the `k` nearest are right, by `k`.
    - ``r_precision``: the precision at `R`, the number of (other) gallery pictures of the query's class.
    - ``map@r``: the precision at each right one of the first `R`, their sum by `R` (Musgrave et al. 2020, section 3.2).
    - ``map``: the same of all right ones in the whole gallery's order, which is the average precision.

    A tie counts as wrong (see the module).

    Parameters
    ----------
    embeddings : (n, d) array
    labels : (n,) int array
    gallery, gallery_labels : (m, d) and (m,), optional
        Where to search; default the queries themselves, each without itself.
    own : (n,) int array, optional
        Each query's index in the gallery, where it does not find itself; -1: it is not there. Default is -1 for all.
    ks : sequence of int
    depth : {"k", "r", "all"}
        How far each ranking is looked at. To the largest of `ks`: recall and precision alone; to `R` too: all but
        ``map``; to its end.
    keep : int
        So many of each query's nearest are kept, cut to the number that a query can find.
    order : common.metrics.rerank.KReciprocal, optional
        Of the gallery: ranks by it instead of by cosines. Not with the depth ``all``.

    Returns
    -------
    Retrieval

    Raises
    ------
    UserError
        Embeddings that are not finite.
    """
    work = _Search(Gallery(embeddings, gallery, own), labels, gallery_labels, ks, depth, keep, order)
    by_r = np.argsort(work.r, kind="stable")  # a block looks as far as the largest of its classes needs
    n = len(by_r)
    similarity, indices = np.empty((n, work.keep), np.float32), np.empty((n, work.keep), np.int64)
    found = Retrieval(work.labels, work.names, np.empty((n, len(work.names))), similarity, indices)
    for rows, *parts in in_threads(work.block, blocks(by_r, CELLS // work.furthest)):
        for whole, part in zip((found.values, similarity, indices), parts):
            whole[rows] = part
    return found


def recall_at_k(
    embeddings: np.ndarray,
    labels: np.ndarray,
    ks: Sequence[int] = KS,
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    own: np.ndarray | None = None,
) -> dict[str, float]:
    """The fraction of queries with a picture of their class among the `k` nearest: `search`'s ``"recall@1"`` and so on.

    Parameters
    ----------
    embeddings, labels, ks, gallery, gallery_labels, own
        As in `search`.

    Returns
    -------
    dict of str to float
        0..1.

    Raises
    ------
    UserError
        Embeddings that are not finite.
    """
    found = search(embeddings, labels, gallery, gallery_labels, own, ks, "k").mean()
    return {f"recall@{k}": found[f"recall@{k}"] for k in ks}


def map_at_r(
    embeddings: np.ndarray,
    labels: np.ndarray,
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    own: np.ndarray | None = None,
) -> dict[str, float]:
    """MAP@R and R-precision: `search`'s ``"map@r"`` and ``"r_precision"``.

    Parameters
    ----------
    embeddings, labels, gallery, gallery_labels, own
        As in `search`.

    Returns
    -------
    dict of str to float
        0..1; NaN when no query has a right picture.

    Raises
    ------
    UserError
        Embeddings that are not finite.
    """
    return search(embeddings, labels, gallery, gallery_labels, own, (), "r").mean()


def _means(values: np.ndarray, starts: Sequence[int]) -> np.ndarray:
    """The means of runs of rows, from each of `starts` on, less their NaNs; NaN where there is nothing else."""
    means = []
    for column in values.T:
        there = ~np.isnan(column)
        sums, counts = np.add.reduceat(np.where(there, column, 0), starts), np.add.reduceat(there, starts, dtype=int)
        means.append(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0))
    return np.stack(means, axis=1)


class _Search:
    """What `search` asks of a block of queries."""

    def __init__(self, searched: Gallery, labels, gallery_labels, ks: Sequence[int], depth: str, keep: int, order):
        self.searched, self.ks, self.depth, self.order = searched, tuple(ks), depth, order
        self.labels = np.asarray(labels)
        self.base_labels = self.labels if searched.base is searched.queries else np.asarray(gallery_labels)
        self.names = (
            *(f"{name}@{k}" for name in ("recall", "precision") for k in self.ks),
            *{"k": (), "r": ("map@r", "r_precision"), "all": ("map@r", "r_precision", "map")}[depth],
        )
        # The gallery by class: `self._members` from `self._first` on, so many as `self._counts`, for each query.
        self._members = np.argsort(self.base_labels, kind="stable")
        ordered = self.base_labels[self._members]
        self._first = np.searchsorted(ordered, self.labels).astype(np.int32)
        self._counts = np.searchsorted(ordered, self.labels, "right").astype(np.int32) - self._first
        self.r = np.maximum(self._counts - (searched.own >= 0), 0)
        self.keep = min(keep, searched.findable(np.arange(len(self.labels))).max())
        self.furthest = max(self._needed(self.r.max()) + SLACK, self.keep)

    def _needed(self, r):
        """Places up to this one matter."""
        return np.maximum(max(self.ks, default=1), np.where(self.depth == "k", 0, r))

    def block(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`rows` themselves, their values, and the nearest that are kept."""
        needed = self._needed(self.r[rows])
        k = int(max(needed.max() + SLACK, self.keep))
        nearest = Nearest(len(rows), self.keep) if self.keep else None
        if self.order:
            similarity, indices = self.order.search(self.searched.queries[rows], k, self.searched.own[rows])
            places = self._places(rows, similarity, indices, needed)
            similarity, indices = similarity[:, : self.keep], indices[:, : self.keep]
        elif self.depth == "all" or k * SHARE > len(self.base_labels):
            places = self._all_places(rows, nearest)
            similarity, indices = nearest.sorted() if nearest else (0, 0)  # of which nothing is kept
        else:
            similarity, indices = self.searched.nearest(rows, k)
            places = self._places(rows, similarity, indices, needed)
            similarity, indices = similarity[:, : self.keep], indices[:, : self.keep]
        return rows, self._values(places, self.r[rows]), similarity, indices

    def _values(self, places: np.ndarray, r: np.ndarray) -> np.ndarray:
        """The metrics (b, names) of queries with `r` right pictures at `places` (b, w), ascending."""
        found = [np.any(places <= k, axis=1) for k in self.ks]
        found += [np.sum(places <= k, axis=1) / k for k in self.ks]
        if self.depth != "k":
            within = places <= r[:, None]
            precision = np.arange(1, places.shape[1] + 1, dtype=np.float32) / places.astype(np.float32)
            precision[places == BEYOND] = 0
            some = np.where(r > 0, r, np.nan)
            found += [np.sum(precision * within, axis=1, dtype=np.float64) / some, within.sum(axis=1) / some]
            found += [np.sum(precision, axis=1, dtype=np.float64) / some] if self.depth == "all" else []
        return np.stack(found, axis=1)

    def _places(self, rows, similarity: np.ndarray, indices: np.ndarray, needed: np.ndarray) -> np.ndarray:
        """The places (b, w), from 1, of the right ones among the nearest (b, k), behind all wrong ones that tie.

        Queries with ties that reach beyond these, above the place that is needed, are looked at in full.
        """
        right = (self.base_labels[indices] == self.labels[rows, None]) & (indices >= 0)
        lowered = np.maximum(similarity, -2)  # where there are fewer it is the least float
        bound = lowered[right] - np.float32(TIE)
        lowered[right] = np.nextafter(bound, np.float32(-2))  # a wrong one at the bound is ahead
        order = np.argsort(-lowered, axis=1, kind="stable")
        places = _places_of(np.take_along_axis(right, order, axis=1))
        last = np.take_along_axis(order, np.minimum(needed, order.shape[1])[:, None] - 1, axis=1)
        open_end = np.take_along_axis(lowered, last, axis=1)[:, 0] <= similarity[:, -1]
        open_end &= self.order is None  # who ties by cosines is another question
        unclear = np.flatnonzero(open_end & (similarity.shape[1] < self.searched.findable(rows)) & (self.r[rows] > 0))
        if len(unclear):
            size = max(1, CELLS // self._counts[rows].max())
            parts = [rows[unclear[start : start + size]] for start in range(0, len(unclear), size)]
            again = _padded([places, *map(self._all_places, parts)])
            places = again[: len(rows)]
            places[unclear] = again[len(rows) :]
        return places

    def _all_places(self, rows: np.ndarray, nearest: Nearest | None = None) -> np.ndarray:
        """The places (b, w) of right ones in the whole gallery; `nearest` sees all cosines too.

        Of all right ones, or of so many of the best ones as can be at the places that are needed.
        """
        width = self.r[rows].max()
        if self.depth != "all":
            width = min(width, self._needed(self.r[rows]).max())
        if width <= COUNTED:
            return self._count(rows, width, nearest)
        if nearest:
            for start, tile in self.searched.tiles(rows):
                nearest.add(start, tile)
        size = max(1, 4 * CELLS // len(self.base_labels))
        return _padded([self._sort(rows[start : start + size]) for start in range(0, len(rows), size)])

    def _right(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gallery pictures (b, w) of each query's class, and whether they are: not itself, nor filled in."""
        span = np.arange(max(self._counts[rows].max(), 1))
        right = self._members[np.minimum(self._first[rows, None] + span, len(self._members) - 1)]
        return right, (span < self._counts[rows, None]) & (right != self.searched.own[rows, None])

    def _count(self, rows: np.ndarray, width: int, nearest: Nearest | None) -> np.ndarray:
        """Count the wrong ones that are not behind each of the `width` best right ones."""
        right, is_right = self._right(rows)
        queries = unit(self.searched.queries[rows])
        cosines = [np.einsum("bd,bd->b", queries, unit(self.searched.base[column])) for column in right.T]
        best = np.sort(np.where(is_right, np.stack(cosines, axis=1), -np.inf), axis=1)[:, ::-1][:, :width]
        bounds = np.where(np.isfinite(best), best - np.float32(TIE), np.float32(np.inf))
        bounds = np.minimum.accumulate(bounds, axis=1).T[..., None].copy()  # never rising, where there are fewer too
        row, place = np.nonzero(is_right)
        order = np.argsort(right[row, place], kind="stable")
        row, column = row[order], right[row, place][order]
        ahead = np.zeros((width, len(rows)), np.int64)
        for start, tile in self.searched.tiles(rows):
            if nearest:
                nearest.add(start, tile)
            low, high = np.searchsorted(column, (start, start + tile.shape[1]))
            tile[row[low:high], column[low:high] - start] = -np.inf  # what is left are wrong ones
            for top in range(0, len(rows), STRIP):
                strip = tile[top : top + STRIP]
                is_ahead = np.empty(strip.shape, bool)
                sums = np.zeros((width, len(strip)), np.uint64)  # in each byte one of eight columns: up to 255
                for number in reversed(range(width)):
                    np.greater_equal(strip, bounds[number, top : top + STRIP], out=is_ahead)
                    if not np.add.reduce(is_ahead.view(np.uint64), axis=1, out=sums[number]).any():
                        break  # the bounds of better ones are higher
                ahead[:, top : top + STRIP] += sums.view(np.uint8).reshape(*sums.shape, 8).sum(axis=2, dtype=np.int64)
        places = ahead.T + np.arange(1, width + 1)
        return np.where(np.isfinite(best), places, BEYOND)

    def _sort(self, rows: np.ndarray) -> np.ndarray:
        """Sort cosines as whole numbers whose last bit says which are right."""
        cosines = np.empty((len(rows), len(self.base_labels)), np.float32)
        for start, tile in self.searched.tiles(rows):
            part = cosines[:, start : start + tile.shape[1]]
            part[:] = tile[:, : part.shape[1]]
        right, is_right = self._right(rows)
        row, place = np.nonzero(is_right)
        column = right[row, place]
        cosines[row, column] -= np.float32(TIE)
        np.maximum(cosines, -1.5, out=cosines)  # itself is last
        keys = np.empty(cosines.shape, np.int32)
        np.multiply(cosines, -UNITS, out=keys, casting="unsafe")
        keys *= 2
        keys[row, column] += 1
        keys.sort(axis=1)
        keys &= 1
        return _places_of(keys)


def _places_of(hits: np.ndarray) -> np.ndarray:
    """The columns, from 1, of what is not 0 in each row (b, k), as many as the row with most has; then `BEYOND`."""
    row, column = np.nonzero(hits)
    counts = np.bincount(row, minlength=len(hits))
    places = np.full((len(hits), max(counts.max(), 1)), BEYOND)
    places[np.arange(places.shape[1]) < counts[:, None]] = column + 1
    return places


def _padded(parts: list[np.ndarray]) -> np.ndarray:
    """Places of several blocks, each (b, w), one below the other."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=BEYOND) for part in parts]
    )
