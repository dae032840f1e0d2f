"""Pictures in, embeddings out: transforms, features read once, and the embedding of a whole set."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from common import features
from common.datasets import ImageSet
from common.loader import Batch, Loader
from common.paths import data_root
from common.samplers import ClassBalanced, Sequential
from common.transforms import Eval, Train

READ_BATCH = 100
CHARACTERS = ("glyphs", "omniglot")  # their mirror image is another character


@dataclasses.dataclass(frozen=True)
class FeatureSet:
    """What a frozen backbone gives for an image set: `features` (n, width) float32, `labels` (n,)."""

    features: np.ndarray
    labels: np.ndarray

    def batches(self, sampler: ClassBalanced, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, features in the place of pictures."""
        for number, indices in list(enumerate(sampler.epoch(epoch)))[start:]:
            yield Batch(self.features[indices], self.labels[indices], indices, number)


def eval_transform(args, size: int) -> Eval:
    """The middle of the picture, `size` pixels."""
    return Eval(args.resize or default_resize(args.dataset, size), size, args.keep_aspect)


def train_transform(args, size: int) -> Train:
    """A random crop of `size` pixels, mirrored half of the time unless it is a character."""
    mirror = not args.no_mirror and args.dataset not in CHARACTERS
    resize = args.resize or default_resize(args.dataset, size)
    return Train(resize, size, args.keep_aspect, mirror=mirror, rotation=args.rotation)


def default_resize(dataset: str, size: int) -> int:
    """256 for 224, in proportion; characters keep the margin they were drawn with."""
    return size if dataset in CHARACTERS else round(size * 8 / 7)


def read(backbone, image_set: ImageSet, transform: Eval, ctx, num_workers: int) -> FeatureSet:
    """Features of all pictures by a frozen backbone, kept under ``data/features`` for the next run."""
    rows = features.cached(
        data_root() / "features", backbone, image_set, transform=transform, ctx=ctx, num_workers=num_workers
    )
    return FeatureSet(rows, image_set.labels)


def in_order(pictures: ImageSet | FeatureSet, transform: Eval, num_workers: int) -> Callable[[], Iterator[Batch]]:
    """The batches of all pictures, or of all rows of features, as often as it is called; small sets decoded once."""
    sampler = Sequential(len(pictures.labels), READ_BATCH)
    if isinstance(pictures, FeatureSet):
        return functools.partial(pictures.batches, sampler, 0)
    return Loader(pictures, transform, sampler, num_workers).epoch


def embed(forward, batches: Iterable[Batch], ctx) -> np.ndarray:
    """What `forward` gives for every row of every batch, in order: (n, d) float32."""
    return np.concatenate([rows for rows, _ in features.stream(batches, forward, ctx)])


def pixels(image_set: ImageSet, size: int) -> np.ndarray:
    """The plainest embedding: pixels at no more than 32 x 32, less their mean; (n, 3072) float32."""
    side = min(size, 32)
    rows = image_set.array(side).reshape(len(image_set), -1).astype(np.float32)
    return rows - rows.mean(axis=0)
