"""Pictures and their sentences, and batches of pairs. How they are read from disk is in `layouts`."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from common.data.loader import Loader
from common.data.samplers import LengthBuckets
from common.data.sets import ImageSet
from common.files.errors import UserError
from common.text.vocabulary import Vocabulary, tokenise


@dataclasses.dataclass
class Split:
    """Pictures and sentences; those of equal labels belong together.

    Attributes
    ----------
    features : (n, dim_image) float32, or None where the network that gives them is trained too
    image_labels : (n,) int
    texts : list of m str
    sentence_labels : (m,) int
    pictures : common.data.sets.ImageSet of n, or None where only features are known
    names : list of str, or None
        Of the labels, where they have names.
    whole : common.data.sets.ImageSet, or None
        What `pictures` were chosen from, at `indices`: its features are read once for all splits, whatever the seed.
    indices : (n,) int, or None
    """

    features: np.ndarray | None
    image_labels: np.ndarray
    texts: list[str]
    sentence_labels: np.ndarray
    pictures: ImageSet | None = None
    names: Sequence[str] | None = None
    whole: ImageSet | None = None
    indices: np.ndarray | None = None

    def summary(self) -> str:
        """How many pictures and captions there are: ``"20 pictures, 99 captions (4 to 5 a picture)"``."""
        pictures, classes = len(self.image_labels), np.unique(self.image_labels)
        counts = np.bincount(self.sentence_labels, minlength=classes.max() + 1)[classes]
        each = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
        of, one = (f" of {len(classes)} things", "thing") if len(classes) < pictures else ("", "picture")
        return f"{pictures} pictures{of}, {len(self.texts)} captions ({each} a {one})"


@dataclasses.dataclass(frozen=True)
class Pairs:
    """A batch of pairs.

    Attributes
    ----------
    images : (n, dim_image) float32 features, or (n, H, W, 3) uint8 pictures
    words : (length, n) int
        Words or word pieces, negative after the end of a sentence; or vectors of sentences, (width, n) float32.
    epoch : int
    """

    images: np.ndarray
    words: np.ndarray
    epoch: int

    def split(self, devices: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images and words in nearly equal pieces, one for each device."""
        return zip(np.array_split(self.images, devices), np.array_split(self.words, devices, axis=1))


class Rows:
    """Rows of numbers from 0 on, of different lengths.

    Parameters
    ----------
    rows : sequence of sequence of int

    Attributes
    ----------
    lengths : (m,) int
    """

    def __init__(self, rows: Sequence[Sequence[int]]):
        self.lengths = np.array([len(row) for row in rows])
        self._numbers, self._starts = np.concatenate(rows), np.cumsum(self.lengths) - self.lengths

    def batch(self, indices: np.ndarray) -> np.ndarray:
        """Some rows as columns, (length of the longest, n), -1 after the end of a shorter one."""
        lengths = self.lengths[indices]
        steps = np.arange(lengths.max())[:, None]
        return np.where(steps < lengths, self._numbers[self._starts[indices] + np.minimum(steps, lengths - 1)], -1)


class Sentences(Rows):
    """Sentences as word numbers.

    Parameters
    ----------
    texts : sequence of str
    vocabulary : common.text.vocabulary.Vocabulary

    Attributes
    ----------
    lengths : (m,) int
        Words in each, the end of the sentence counted as one.
    """

    def __init__(self, texts: Sequence[str], vocabulary: Vocabulary):
        super().__init__([vocabulary.encode(tokenise(text)) for text in texts])


class PairSampler:
    """Which sentences, and which of their pictures, make each batch.

    A batch holds sentences of nearly one length, and of each picture (of emoji and glyphs: of each thing, whoever drew
    it) at most one, so that no caption of a picture counts as its negative. With each sentence comes one of its
    pictures. The batches of all epochs stand in one row, cut into rounds: evaluation can follow after any number of
    updates.

    Parameters
    ----------
    split : Split
    lengths : (m,) int
        Words in each sentence, see `Sentences`.
    batch_size, epochs, seed : int
        A batch larger than the data is the data: the attribute `batch_size` says what it came to.
    round_batches : int
        Batches in a round; the last one may be shorter.
    max_words : int
        Sentences of more words are left out.
    by_length : bool
        False: each batch has sentences of any length, for a branch that reads vectors of whole sentences.
    same_image : bool
        Allow several sentences of one picture (or thing) in a batch, each a negative of the other, as in 2014.
    rank, num_workers : int
        Which of the workers this is; each takes its own batches.
    devices : int
        Among how many a batch is divided: it has a sentence for each at least.

    Attributes
    ----------
    updates : int
        Batches in all epochs.
    rounds : int
        Rounds in all epochs.

    Raises
    ------
    UserError
        There is too little for a batch of two for each worker and device.
    """

    def __init__(
        self, split: Split, lengths: np.ndarray, batch_size: int, epochs: int, seed: int, *, round_batches: int = 100,
        max_words: int = 150, by_length: bool = True, same_image: bool = False, rank: int = 0, num_workers: int = 1,
        devices: int = 1,
    ):  # fmt: skip
        self._labels, self.seed, self.rank, self.num_workers = split.sentence_labels, seed, rank, num_workers
        self._kept = np.flatnonzero(lengths <= max_words + 1)  # one more for the end of the sentence
        groups = None if same_image else split.sentence_labels[self._kept]
        distinct = len(self._kept if groups is None else np.unique(groups))
        short = f"{len(self._kept)} sentences of at most {max_words} words"
        if distinct < 2:
            raise UserError(
                f"{short}, of {distinct} pictures, make no batch of 2: give more data or raise --maxlen_w {max_words}"
            )
        if batch_size < 2:
            raise UserError(f"--batch_size {batch_size}: a pair is ranked against others of its batch: give 2 or more")
        self.batch_size = min(batch_size, distinct)
        if self.batch_size < devices:
            raise UserError(f"a batch of {self.batch_size} is too small for {devices} devices: name fewer of them")
        min_size = max(2, devices, self.batch_size // 8)
        sorted_by = lengths[self._kept] if by_length else np.zeros(len(self._kept))
        self._buckets = LengthBuckets(sorted_by, self.batch_size, groups, seed, min_size)
        self._ends = np.cumsum([len(self._buckets.epoch(epoch)) // num_workers for epoch in range(epochs)])
        self.updates, self.round_batches = int(self._ends[-1]), round_batches
        self.rounds = -(-self.updates // round_batches)
        if not self.updates:
            raise UserError(
                f"{short} make fewer than {num_workers} batches of {min_size}, one a worker: lower --batch_size"
                f" {batch_size} or raise --maxlen_w {max_words}"
            )
        self._by_label = np.argsort(split.image_labels, kind="stable")  # the pictures of a label side by side
        self._sorted_labels = split.image_labels[self._by_label]

    def __len__(self) -> int:
        """The batches of a round that is not the last one."""
        return self.round_batches

    def pairs(self, round_: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Of each batch of a round its epoch, and the indices of its sentences and of their pictures."""
        for number in range(round_ * self.round_batches, min((round_ + 1) * self.round_batches, self.updates)):
            epoch = int(np.searchsorted(self._ends, number, "right"))
            index = number - (self._ends[epoch - 1] if epoch else 0)
            sentences = self._kept[self._buckets.epoch(epoch)[index * self.num_workers + self.rank]]
            yield epoch, sentences, self._pictures(number, sentences)

    def _pictures(self, number: int, sentences: np.ndarray) -> np.ndarray:
        """One picture for each sentence, drawn from those of its label."""
        labels = self._labels[sentences]
        low, high = (np.searchsorted(self._sorted_labels, labels, side) for side in ("left", "right"))
        return self._by_label[np.random.default_rng([self.seed, number, self.rank]).integers(low, high)]

    def epoch(self, round_: int) -> list[np.ndarray]:
        """The pictures of each batch of a round: what `common.data.loader.Loader` asks a sampler for."""
        return [pictures for _, _, pictures in self.pairs(round_)]


class PairLoader:
    """The batches of each round, with the interface of `common.data.loader.Loader`.

    Parameters
    ----------
    split : Split
    sentences : Sentences, or examples.vse.pretrained.Vectors or Pieces
        Of the split.
    sampler : PairSampler
    pictures : common.data.loader.Loader, optional
        Reads the sampler's pictures themselves, where the network that gives their features is trained too.
    """

    def __init__(self, split: Split, sentences: Sentences, sampler: PairSampler, pictures: Loader | None = None):
        self.split, self.sentences, self.sampler, self.pictures = split, sentences, sampler, pictures

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, round_: int, start: int = 0) -> Iterator[Pairs]:
        """The batches of a round from number `start` on."""
        decoded = (batch.images for batch in self.pictures.epoch(round_, start)) if self.pictures else None
        for epoch, sentences, chosen in itertools.islice(self.sampler.pairs(round_), start, None):
            images = next(decoded) if decoded else self.split.features[chosen]
            yield Pairs(images, self.sentences.batch(sentences), epoch)
