"""Which samples make a batch. Every sampler is a function of (seed, epoch) alone, so a run can resume anywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.files.errors import UserError


class Sequential:
    """Every sample once, in order; the last batch may be shorter.

    Parameters
    ----------
    n : int
        Number of samples.
    batch_size : int
    """

    def __init__(self, n: int, batch_size: int):
        self.n, self.batch_size = n, batch_size

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return -(-self.n // self.batch_size)

    def epoch(self, epoch: int = 0) -> list[np.ndarray]:
        """The batches: a list of index arrays."""
        order = np.arange(self.n)
        return [order[start : start + self.batch_size] for start in range(0, self.n, self.batch_size)]


class Shuffled:
    """A new random order each epoch, in full batches; what is left over at the end of an epoch is dropped.

    Parameters
    ----------
    n : int
        Number of samples.
    batch_size : int
        Over all devices of one worker.
    seed : int
    rank, num_workers : int
        This worker's number and how many there are: each takes its own samples of every epoch's order.
    labels : (n,) int array, optional
        Draw `balanced` by these classes, instead of every sample once.
    places : (n, 2) int array, optional
        Where the samples lie, see `common.data.imageset.ImageSet.places`: an epoch goes through the files in random
        order, each worker through its own share of them, and takes its samples out of `BUFFER` that are near each
        other. The files have to be shuffled in themselves, as `common.pack` makes them. Not with `labels`.

    Raises
    ------
    UserError
        There are not enough samples for one batch of every worker.
    """

    def __init__(
        self, n: int, batch_size: int, seed: int, rank: int = 0, num_workers: int = 1, labels=None, places=None
    ):  # fmt: skip
        if n < batch_size * num_workers:
            raise UserError(f"{n} samples do not fill one batch of {batch_size * num_workers}: lower --batch-size")
        self.n, self.batch_size, self.seed, self.labels = n, batch_size, seed, labels
        self.rank, self.num_workers, self.places = rank, num_workers, places

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return self.n // (self.batch_size * self.num_workers)

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The batches of `epoch`: a list of index arrays of `batch_size`."""
        rng = np.random.default_rng([self.seed, epoch])
        size = len(self) * self.batch_size
        if self.places is not None and self.labels is None:
            own = by_shard(self.places, rng)[self.rank * size :][:size]
            own = own[np.argsort(np.arange(size) + BUFFER * rng.random(size), kind="stable")]
        else:
            order = rng.permutation(self.n) if self.labels is None else balanced(self.labels, rng)
            own = order[self.rank :: self.num_workers][:size]
        return list(own.reshape(len(self), self.batch_size))


BUFFER = 4096  # samples of files of records among which the next is drawn


def by_shard(places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The order in which samples lie in their files, one file after the other, the files in random order.

    Parameters
    ----------
    places : (n, 2) int array
        Number of the file of each sample, and its place there.
    rng : numpy.random.Generator

    Returns
    -------
    (n,) int array
        Indices of samples.
    """
    turn = rng.permutation(places[:, 0].max() + 1)
    return np.lexsort((places[:, 1], turn[places[:, 0]]))


def balanced(labels: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """As many draws as there are samples, in random order, in which all classes come equally often.

    Their counts differ by one at most, and so do those of the samples of a class: of a small class each comes several
    times, of a large class some are left for another epoch.

    Parameters
    ----------
    labels : (n,) int array
    rng : numpy.random.Generator

    Returns
    -------
    (n,) int array
        Indices of samples.
    """
    labels = np.asarray(labels)
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    draws = np.full(len(counts), len(labels) // len(counts))
    draws[rng.permutation(len(counts))[: len(labels) % len(counts)]] += 1
    within = np.arange(len(labels)) - np.repeat(np.cumsum(draws) - draws, draws)
    return rng.permutation(order[np.repeat(starts, draws) + within % np.repeat(counts, draws)])


BATCHES = 16  # that an epoch should have, where the batch may be smaller for it


def fitting(
    wanted: int | None, samples: int, devices: int = 1, workers: int = 1, least: int = 64, largest: int = 64
) -> int:
    """The samples in a worker's batch, a multiple of its devices; a set that holds fewer is one batch.

    Parameters
    ----------
    wanted : int or None
        ``--batch-size``; None is `largest`, and fewer (to `least`) where an epoch would have less than `BATCHES`.
    samples : int
        In the training set, over all workers.
    devices, workers : int
        Devices of a worker, and how many workers there are.
    least, largest : int

    Raises
    ------
    UserError
        `wanted` cannot be shared equally by the devices, or there is no sample for each of them.
    """
    if wanted and wanted % devices:
        raise UserError(f"--batch-size {wanted} cannot be shared by {devices} devices: give a multiple of {devices}")
    own = samples // workers
    if own < devices:
        raise UserError(f"{samples} pictures are too few for {workers * devices} devices: use fewer")
    found = min(wanted or int(np.clip(own // BATCHES, least, largest)), own)
    return max(found // devices, 1) * devices


PUBLISHED = 70, 5  # images in a batch and of a class, Wu et al. 2017 as the original example has it


def balanced_shape(labels: Sequence[int], batch_size: int | None = None, batch_k: int | None = None) -> tuple[int, int]:
    """Images in a batch and images per class that `ClassBalanced` can draw.

    `PUBLISHED` where the classes allow it. No more images of a class than the largest class has; where fewer than 14
    classes are there, more of each, so that the batch keeps its size.

    Parameters
    ----------
    labels : (n,) int array
    batch_size, batch_k : int, optional
        What is given stays as it is, possible or not.

    Returns
    -------
    batch_size, batch_k : int
    """
    counts = np.unique(labels, return_counts=True)[1]
    classes, largest = len(counts), int(counts.max())
    size, k = PUBLISHED
    if batch_size and batch_k:
        return batch_size, batch_k
    if batch_k:
        return batch_k * min(max(size // batch_k, 2), classes), batch_k
    if batch_size:
        possible = [n for n in range(2, batch_size + 1) if batch_size % n == 0 and 2 <= batch_size // n <= classes]
        return batch_size, min(possible, key=lambda n: abs(n - k), default=k)
    k = max(2, min(max(k, size // classes), largest))
    return k * min(size // k, classes), k


class ClassBalanced:
    """Batches of ``batch_size / batch_k`` classes with `batch_k` images of each (Wu et al. 2017, section 5).

    The classes come from an endless sequence of shuffled rounds, each round naming every class once, so over a
    training all classes are seen equally often (their counts differ by at most one per worker and device). The
    images of a class stand side by side: positions ``[i * batch_k, (i + 1) * batch_k)`` of a device's slice.

    Parameters
    ----------
    labels : (n,) int array
    batch_size : int
        Images per device.
    batch_k : int
        Images per class; a class with fewer repeats some.
    batches : int
        Batches that make an epoch.
    seed : int
    devices : int
        Devices of this worker: a batch is that many slices, one after another, each balanced in itself.
    rank, num_workers : int
        This worker's number and how many there are: the slices of one sequence are dealt out in turn.
    gathered : bool
        One slice goes over all devices of all workers, each of which takes its part of it: a batch is then the same
        whatever they are, and names no class twice.

    Raises
    ------
    UserError
        `batch_size` is no multiple of `batch_k`, or there are fewer classes than a slice needs.
    """

    def __init__(
        self,
        labels: Sequence[int],
        batch_size: int,
        batch_k: int,
        batches: int,
        seed: int,
        devices: int = 1,
        rank: int = 0,
        num_workers: int = 1,
        gathered: bool = False,
    ):
        self._parts, self._part = 1, 0  # of a batch, of which this worker reads one
        if gathered:
            self._parts, self._part = num_workers, rank
            batch_size, devices, rank, num_workers = batch_size * devices * num_workers, 1, 0, 1
        labels = np.asarray(labels)
        order = np.argsort(labels, kind="stable")
        classes, starts = np.unique(labels[order], return_index=True)
        self.members = np.split(order, starts[1:])
        self.per_device = batch_size // batch_k
        if batch_size % batch_k or batch_k < 2:
            raise UserError(f"--batch-size {batch_size} must be a multiple of --batch-k {batch_k}, and that at least 2")
        if len(classes) < max(self.per_device, 2) or self.per_device < 2:
            raise UserError(
                f"--batch-size {batch_size} with --batch-k {batch_k} needs at least {max(self.per_device, 2)} classes"
                f" a batch, the training set has {len(classes)}: change the two flags"
            )
        self.batch_k, self.batches, self.seed = batch_k, batches, seed
        self.devices, self.rank, self.num_workers = devices, rank, num_workers
        self._sequence = np.empty(0, np.int64)  # classes in the order they are taken; grows as epochs are asked for
        self._rounds = 0

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return self.batches

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The batches of `epoch`: a list of index arrays of ``devices * batch_size``."""
        return [self._batch(epoch, number) for number in range(self.batches)]

    def _batch(self, epoch: int, number: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch, number, self.rank])
        first_slice = ((epoch * self.batches + number) * self.num_workers + self.rank) * self.devices
        classes = self._classes(first_slice * self.per_device, self.devices * self.per_device)
        return np.split(np.concatenate([self._images(c, rng) for c in classes]), self._parts)[self._part]

    def _images(self, label: int, rng: np.random.Generator) -> np.ndarray:
        members = self.members[label]
        repeats = -(-self.batch_k // len(members))
        return np.concatenate([rng.permutation(members) for _ in range(repeats)])[: self.batch_k]

    def _classes(self, start: int, count: int) -> np.ndarray:
        while len(self._sequence) < start + count:
            self._grow()
        return self._sequence[start : start + count]

    def _grow(self) -> None:
        """Append one round; a slice that straddles two rounds must not name a class twice."""
        rng = np.random.default_rng([self.seed, self._rounds])
        begun = len(self._sequence) % self.per_device
        order = self._round(rng, self._sequence[len(self._sequence) - begun :])
        self._sequence = np.concatenate([self._sequence, order])
        self._rounds += 1

    def _round(self, rng: np.random.Generator, begun: np.ndarray) -> np.ndarray:
        """Every class once, those first that complete the slice which holds `begun`."""
        order = self._order(rng)
        free = np.flatnonzero(~np.isin(order, begun))[: -len(begun) % self.per_device]
        return np.concatenate([order[free], np.delete(order, free)])

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(len(self.members))


class GroupedClasses(ClassBalanced):
    """`ClassBalanced` whose batches hold the classes of few groups, which are harder to tell apart than any classes.

    Each round takes the groups one after another, in random order, and the classes of each in random order: a slice
    has one group or the end of one and the beginning of the next, or whole groups where they are small. All classes
    still come equally often.

    Parameters
    ----------
    groups : (classes,) array
        The group of each class, in the order of the labels that there are.
    *args, **kwargs
        As of `ClassBalanced`.
    """

    def __init__(self, groups: Sequence, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.groups = np.unique(groups, return_inverse=True)[1]

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        order = super()._order(rng)
        return order[np.argsort(rng.permutation(self.groups.max() + 1)[self.groups[order]], kind="stable")]


class NearClasses(ClassBalanced):
    """`ClassBalanced` whose batches hold classes that lie near each other: one by chance, and the nearest to it.

    Each slice begins with a class drawn from those that the round has not named yet, and takes of these the ones whose
    means are nearest to its own. All classes still come equally often; the last slices of a round have what is left.

    Parameters
    ----------
    *args, **kwargs
        As of `ClassBalanced`.

    Attributes
    ----------
    means : (classes, d) array
        Where the classes lie, in the order of the labels that there are: to be set before the first batch is asked for.

    References
    ----------
    W. Ge, W. Huang, D. Dong, M. R. Scott: Deep Metric Learning with Hierarchical Triplet Loss. ECCV 2018, section 4.1:
    anchor classes by chance, and the nearest classes of each.
    """

    means: np.ndarray

    def _round(self, rng: np.random.Generator, begun: np.ndarray) -> np.ndarray:
        left, order = np.ones(len(self.members), bool), []
        while left.any():
            free = np.flatnonzero(left)
            if len(order) or not len(begun):
                first, wanted = rng.choice(free), self.per_device
            else:  # the rest of the slice that the round before began
                first, wanted, free = begun[0], self.per_device - len(begun), np.setdiff1d(free, begun)
            far = np.sum((self.means[free] - self.means[first]) ** 2, axis=1)
            chosen = free[np.argsort(far, kind="stable")[:wanted]]
            left[chosen] = False
            order.extend(chosen)
        return np.array(order)


class LengthBuckets:
    """Batches of sentences of nearly one length, so that a recurrent network reads many of them at every step.

    Sentences are sorted by length + U(0, `spread`) and dealt in this order, so that batches mix neighbouring lengths
    anew each epoch: from batches of one length alone a ranking loss never learns how scores compare between lengths.
    The last batch may be shorter; with fewer than `min_size` sentences it is dropped for this epoch (a ranking loss
    learns little from few negatives).

    Parameters
    ----------
    lengths : (n,) int array
        Words in each sentence.
    batch_size : int
    groups : (n,) int array, optional
        What the sentence belongs to (its image): a batch holds at most one sentence of each. None allows all.
    seed : int
    min_size : int
        The smallest batch.
    spread : float
        In words; 0 orders by length alone.
    """

    def __init__(self, lengths, batch_size: int, groups=None, seed: int = 0, min_size: int = 2, spread: float = 3.0):
        self.lengths, self.batch_size = np.asarray(lengths), batch_size
        self.groups = np.arange(len(self.lengths)) if groups is None else np.asarray(groups)
        self.seed, self.min_size, self.spread = seed, min(min_size, batch_size), spread
        self._made: tuple[int, list[np.ndarray]] = (-1, [])

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return len(self.epoch(0))

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The batches of `epoch`: a list of index arrays, in random order."""
        if self._made[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            order = rng.permutation(len(self.lengths))
            by_length = order[np.argsort(self.lengths[order] + self.spread * rng.random(len(order)), kind="stable")]
            made = [batch for batch in self._deal(by_length) if len(batch) >= self.min_size]
            self._made = (epoch, [made[i] for i in rng.permutation(len(made))])
        return self._made[1]

    def _deal(self, sentences: np.ndarray) -> list[np.ndarray]:
        """Deal sentences in turn to the first batch that is not full and has none of the same group."""
        batches: list[list[int]] = []
        held: list[set] = []
        first_open = 0
        for index, group in zip(sentences.tolist(), self.groups[sentences].tolist()):
            number = first_open
            while number < len(batches) and (len(batches[number]) == self.batch_size or group in held[number]):
                number += 1
            if number == len(batches):
                batches.append([])
                held.append(set())
            batches[number].append(index)
            held[number].add(group)
            while first_open < len(batches) and len(batches[first_open]) == self.batch_size:
                first_open += 1
        return [np.array(batch) for batch in batches]
