"""Pictures decoded ahead of the device, in threads: OpenCV and PIL let other threads run while they work."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from common.data.imageset import ImageSet

KEPT_BYTES = 2 << 30  # decoded pictures up to this size stay in memory


@dataclasses.dataclass
class Batch:
    """One batch on the host.

    Attributes
    ----------
    images : (n, S, S, 3) uint8 RGB
        Or (n, views, S, S, 3), of `common.data.transforms.Views`.
    labels : (n,) int64
    indices : (n,) int64
        Which samples of the set they are.
    number : int
        Of the batch in its epoch, from 0.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    number: int


def ahead(function: Callable, items: Iterable, num_workers: int, depth: int) -> Iterator:
    """``function(item)`` of each item, in their order, while the next ones are already being computed in threads.

    Parameters
    ----------
    function : callable
        What it raises is raised here, when the item's turn comes; later items are then given up.
    items : iterable
    num_workers : int
        Threads; 0 computes in the caller's, each result when it is asked for.
    depth : int
        How many results, finished or not, may wait for the caller: bounds the memory.

    Yields
    ------
    object
    """
    if num_workers == 0:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(num_workers) as pool:
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # closed early, or a picture failed
            for future in waiting:
                future.cancel()


class Loader:
    """The batches of each epoch, decoded and transformed ahead.

    The randomness of a batch derives from (seed, epoch, batch number, rank) alone, whatever the number of threads.

    Parameters
    ----------
    image_set : ImageSet
    transform : common.data.transforms.Eval or Train
    sampler
        Has ``epoch(e)``, a list of index arrays, see `common.data.samplers`.
    num_workers : int
        Decoding threads; 0 decodes in the caller's.
    seed, rank : int
        Of the run, and this worker's number.
    keep : bool or None
        Decode and resize each picture once and keep it; None does so when all fit in 2 GB.
    """

    def __init__(
        self, image_set: ImageSet, transform, sampler, num_workers: int = 2, seed: int = 0, rank: int = 0, keep=None
    ):
        self.image_set, self.transform, self.sampler = image_set, transform, sampler
        self.num_workers, self.seed, self.rank = num_workers, seed, rank
        fits = len(image_set) * transform.resize**2 * 3 <= KEPT_BYTES
        self.keep = fits and transform.one_size if keep is None else keep
        self._kept: np.ndarray | None = None

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return len(self.sampler)

    def epoch(self, epoch: int = 0, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """The batches of an epoch.

        Parameters
        ----------
        epoch : int
        start : int
            Number of the first batch that is wanted.
        stop : int, optional
            Number of the first that no longer is.

        Yields
        ------
        Batch

        Raises
        ------
        UserError
            A picture cannot be read: names the file.
        """
        plan = list(enumerate(self.sampler.epoch(epoch)))[start:stop]
        if self.keep and self._kept is None:
            self._kept = self.image_set.array(self.transform.resize, self.num_workers)
        # All threads share a batch where nothing is random: with few batches some would have nothing to do.
        parts = 1 if self._kept is not None or self.transform.random else max(self.num_workers, 1)
        pieces = [np.array_split(indices, min(parts, len(indices))) for _, indices in plan]
        items = [(epoch, number, part) for (number, _), of in zip(plan, pieces) for part in of]
        with contextlib.closing(
            ahead(lambda item: self._pictures(*item), items, self.num_workers, 2 * self.num_workers * parts)
        ) as found:
            for (number, indices), of in zip(plan, pieces):
                pictures = [next(found) for _ in of]
                images = pictures[0] if len(pictures) == 1 else np.concatenate(pictures)
                yield Batch(images, self.image_set.labels[indices], indices, number)

    def _pictures(self, epoch: int, number: int, indices: np.ndarray) -> np.ndarray:
        """A batch, or a part of it."""
        rng = np.random.default_rng([self.seed, epoch, number, self.rank])
        if self._kept is not None:
            return self.transform.batch(self._kept[indices], rng)
        min_side = self.transform.min_side
        return np.stack([self.transform(self.image_set.read(i, min_side), rng) for i in indices])
