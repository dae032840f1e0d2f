"""Batches decoded ahead of the device, in threads: OpenCV lets other threads run while it works."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from common.data.sets import ImageSet

KEPT_BYTES = 2 << 30  # decoded pictures up to this size stay in memory


@dataclasses.dataclass
class Batch:
    """One batch on the host.

    Attributes
    ----------
    images : (n, S, S, 3) uint8 RGB
    labels : (n,) int64
    indices : (n,) int64
        Places in the image set.
    number : int
        Place in the epoch.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    number: int


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
    keep : bool or None
        Decode and resize each picture once and keep it; None does so when all fit in 2 GB.
    """

    def __init__(
        self, image_set: ImageSet, transform, sampler, num_workers: int = 2, seed: int = 0, rank: int = 0, keep=None
    ):
        self.image_set, self.transform, self.sampler = image_set, transform, sampler
        self.num_workers, self.seed, self.rank = num_workers, seed, rank
        fits = len(image_set) * transform.resize**2 * 3 <= KEPT_BYTES
        self.keep = fits and not transform.keep_aspect if keep is None else keep
        self._kept: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from number `start` on.

        Raises
        ------
        UserError
            A picture cannot be read: names the file.
        """
        plan = list(enumerate(self.sampler.epoch(epoch)))[start:]
        if self.keep and self._kept is None:
            self._kept = self.image_set.array(self.transform.resize, self.num_workers)
        if self.num_workers == 0:
            for number, indices in plan:
                yield self._batch(epoch, number, indices)
            return
        with ThreadPoolExecutor(self.num_workers) as pool:
            waiting: deque = deque()
            try:
                for number, indices in plan:
                    waiting.append(pool.submit(self._batch, epoch, number, indices))
                    if len(waiting) > 2 * self.num_workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:  # closed early, or a picture failed
                for future in waiting:
                    future.cancel()

    def _batch(self, epoch: int, number: int, indices: np.ndarray) -> Batch:
        rng = np.random.default_rng([self.seed, epoch, number, self.rank])
        if self._kept is not None:
            pictures = self.transform.batch(self._kept[indices], rng)
        else:
            least = self.transform.resize
            pictures = np.stack([self.transform(self.image_set.read(i, least), rng) for i in indices])
        return Batch(pictures, self.image_set.labels[indices], indices, number)
