"""Pictures and their sentences, and batches of pairs. How they are read from disk is in `layouts`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from common.data.samplers import LengthBuckets
from common.files.errors import UserError
from common.text.vocabulary import Vocabulary, tokenise


@dataclasses.dataclass
class Part:
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
    """

    features: np.ndarray | None
    image_labels: np.ndarray
    texts: list[str]
    sentence_labels: np.ndarray
    pictures: object = None
    names: Sequence[str] | None = None

    def summary(self) -> str:
        """How many pictures and captions there are: ``"20 pictures, 99 captions (4 to 5 a picture)"``."""
        pictures, things = len(self.image_labels), np.unique(self.image_labels)
        counts = np.bincount(self.sentence_labels, minlength=things.max() + 1)[things]
        each = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
        of, one = (f" of {len(things)} things", "thing") if len(things) < pictures else ("", "picture")
        return f"{pictures} pictures{of}, {len(self.texts)} captions ({each} a {one})"


@dataclasses.dataclass(frozen=True)
class Pairs:
    """A batch of pairs.

    Attributes
    ----------
    images : (n, dim_image) float32 features, or (n, H, W, 3) uint8 pictures
    words : (length, n) int32, negative after the end of a sentence
    epoch : int
    """

    images: np.ndarray
    words: np.ndarray
    epoch: int

    def split(self, parts: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images and words in nearly equal parts, one for each device."""
        return zip(np.array_split(self.images, parts), np.array_split(self.words, parts, axis=1))


class Batches:
    """The batches of all epochs in one row, cut into rounds: validation can follow after any number of updates.

    A batch holds sentences of nearly one length, and of each picture (of emoji and glyphs: of each thing, whoever drew
    it) at most one, so that no caption of a picture counts as its negative. With each sentence comes one of its
    pictures.

    Parameters
    ----------
    part : Part
    vocabulary : Vocabulary
    batch_size, epochs, seed : int
        A batch larger than the data is the data: the attribute `batch_size` says what it came to.
    every : int
        Batches in a round; the last one may be shorter.
    longest : int
        Sentences of more words are left out.
    same_image : bool
        Allow several sentences of one picture (or thing) in a batch, each a negative of the other, as in 2014.
    rank, num_workers : int
        Which of the workers this is; each takes its own batches.
    devices : int
        Among how many a batch is divided: it has a sentence for each at least.
    """

    def __init__(
        self, part: Part, vocabulary: Vocabulary, batch_size: int, epochs: int, seed: int, every: int = 100,
        longest: int = 150, same_image: bool = False, rank: int = 0, num_workers: int = 1,
        devices: int = 1,
    ):  # fmt: skip
        self.part, self.seed, self.every, self.rank, self.num_workers = part, seed, every, rank, num_workers
        words = [vocabulary.encode(tokenise(text)) for text in part.texts]
        self.words, lengths = np.concatenate(words), np.array([len(sentence) for sentence in words])
        self.starts, self.lengths = np.cumsum(lengths) - lengths, lengths
        self.kept = np.flatnonzero(lengths <= longest + 1)  # one more for the end of the sentence
        groups = None if same_image else part.sentence_labels[self.kept]
        most = len(self.kept if groups is None else np.unique(groups))
        if most < 2:
            raise UserError(
                f"{len(self.kept)} sentences of at most {longest} words, of {most} pictures, make no batch of 2:"
                f" give more data or raise --maxlen_w {longest}"
            )
        if batch_size < 2:
            raise UserError(f"--batch_size {batch_size}: a pair is ranked against others of its batch: give 2 or more")
        self.batch_size = min(batch_size, most)
        if self.batch_size < devices:
            raise UserError(f"a batch of {self.batch_size} is too small for {devices} devices: name fewer of them")
        min_size = max(2, devices, self.batch_size // 8)
        self.sampler = LengthBuckets(lengths[self.kept], self.batch_size, groups, seed, min_size)
        self.ends = np.cumsum([len(self.sampler.epoch(epoch)) // num_workers for epoch in range(epochs)])
        if not self.ends[-1]:
            raise UserError(
                f"{len(self.kept)} sentences of at most {longest} words make fewer than {num_workers} batches of"
                f" {min_size}, one a worker: lower --batch_size {batch_size} or raise --maxlen_w {longest}"
            )
        self.by_label = np.argsort(part.image_labels, kind="stable")  # the pictures of a label side by side
        self.sorted_labels = part.image_labels[self.by_label]

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def rounds(self) -> int:
        """How many rounds there are."""
        return -(-len(self) // self.every)

    def _chosen(self, number: int) -> tuple[int, np.ndarray]:
        """Epoch and sentences of batch `number`."""
        epoch = int(np.searchsorted(self.ends, number, "right"))
        place = number - (self.ends[epoch - 1] if epoch else 0)
        return epoch, self.kept[self.sampler.epoch(epoch)[place * self.num_workers + self.rank]]

    def _numbers(self, round_: int) -> range:
        return range(round_ * self.every, min((round_ + 1) * self.every, len(self)))

    def epoch(self, round_: int) -> list[np.ndarray]:
        """The pictures of each batch of a round: what `common.data.loader.Loader` asks a sampler for."""
        return [self._pictures(number, self._chosen(number)[1]) for number in self._numbers(round_)]

    def _pictures(self, number: int, sentences: np.ndarray) -> np.ndarray:
        """One picture for each sentence, drawn from those of its label."""
        labels = self.part.sentence_labels[sentences]
        low, high = (np.searchsorted(self.sorted_labels, labels, side) for side in ("left", "right"))
        return self.by_label[np.random.default_rng([self.seed, number, self.rank]).integers(low, high)]

    def _words(self, sentences: np.ndarray) -> np.ndarray:
        """Word numbers of sentences, (length of the longest, n), -1 after the end of a shorter one."""
        lengths = self.lengths[sentences]
        steps = np.arange(lengths.max())[:, None]
        return np.where(steps < lengths, self.words[self.starts[sentences] + np.minimum(steps, lengths - 1)], -1)

    def read(self, round_: int, first: int = 0, loader=None) -> Iterator[Pairs]:
        """The batches of a round from number `first` on; the pictures themselves, if `loader` reads them."""
        pictures = (batch.images for batch in loader.epoch(round_, first)) if loader else None
        for number in self._numbers(round_)[first:]:
            epoch, chosen = self._chosen(number)
            images = next(pictures) if loader else self.part.features[self._pictures(number, chosen)]
            yield Pairs(images, self._words(chosen), epoch)
