"""Features of pictures in memory, in batches like those of a loader of pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from common.data.loader import Batch
from common.data.samplers import Sequential

ROWS = 4096  # in a batch where no sampler says otherwise


@dataclasses.dataclass(frozen=True)
class FeatureSet:
    """What a frozen network gives for the pictures of an image set, with the interface of `common.data.loader.Loader`.

    Attributes
    ----------
    features : (n, width) float32
    labels : (n,) int64
        Classes of the pictures.
    class_names : list of str or None
        What `labels` index.
    sampler : object or None
        Has ``epoch(e)``, a list of index arrays, see `common.data.samplers`; None: all rows in order.
    """

    features: np.ndarray
    labels: np.ndarray
    class_names: list[str] | None = None
    sampler: object = None

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return len(self._sampler())

    def epoch(self, epoch: int = 0, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """The batches of an epoch, whose ``images`` are rows of features.

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
        """
        for number, indices in list(enumerate(self._sampler().epoch(epoch)))[start:stop]:
            yield Batch(self.features[indices], self.labels[indices], indices, number)

    def sampled(self, sampler) -> FeatureSet:
        """The same features in the batches of `sampler`."""
        return dataclasses.replace(self, sampler=sampler)

    def _sampler(self):
        return self.sampler or Sequential(len(self.labels), ROWS)
