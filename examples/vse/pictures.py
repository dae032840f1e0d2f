"""Features of pictures through a backbone: read once and kept, or by the network that is being trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common import backbones
from common.backbones import features
from common.data.loader import Loader
from common.data.sets import ImageSet
from common.data.transforms import Eval, Train
from common.files.paths import data_root


class Reader:
    """Features of an `ImageSet`: call it.

    Parameters
    ----------
    about : dict
        ``model``, ``params``, ``image_size``, ``dataset`` and ``int8``, as the model is saved with.
    net : model.VSE, optional
        Whose own backbone is to read, where it was trained too; what it reads is not kept.
    num_workers : int
    ctx : mx.Context, optional
    keep : bool
        Keep the features under ``data/features`` for the next time.
    """

    def __init__(self, about: dict, net=None, num_workers: int = 2, ctx=None, keep: bool = True):
        self.about, self.num_workers, self.ctx, self.keep = about, num_workers, ctx, keep
        self.own = net.backbone if net is not None else None
        self.backbone = self.own

    def __call__(self, pictures: ImageSet) -> np.ndarray:
        """(n, width) float32."""
        if self.backbone is None:
            weights, size = self.about["params"] or "imagenet", self.about["image_size"]
            self.backbone = backbones.create(self.about["model"], weights, self.ctx, size=size)
        options = {"num_workers": self.num_workers, "ctx": self.ctx, "transform": eval_transform(self.about)}
        if self.own is not None or not self.keep:
            return features.extract(self.backbone, pictures, **options)
        return features.cached(data_root() / "features", self.backbone, pictures, int8=self.about["int8"], **options)


def eval_transform(about: dict) -> Eval:
    """The middle of a photograph; the whole of a thing, which is drawn to the edges."""
    size = about["image_size"]
    return Eval(round(size * 8 / 7), size, keep_aspect=True) if about["photographs"] else Eval(size, size)


def train_transform(about: dict) -> Train:
    """A random part of a photograph, mirrored half of the time; a thing at most a little larger ("arrow left")."""
    size = about["image_size"]
    if about["photographs"]:
        return Train(round(size * 8 / 7), size, keep_aspect=True)
    return Train(size, size, mirror=False, zoom=0.1)


def loader(pictures: ImageSet, about: dict, batches, num_workers: int, seed: int, rank: int) -> Loader:
    """The pictures of `batches` (`data.Batches`), decoded ahead."""
    return Loader(pictures, train_transform(about), batches, num_workers, seed, rank)


def files(paths: Sequence) -> ImageSet:
    """Pictures in files, each a thing of its own."""
    return ImageSet(list(paths), np.arange(len(paths)), [str(path) for path in paths])


def arrays(*pictures: np.ndarray) -> ImageSet:
    """Pictures in memory, of one size."""
    return ImageSet(np.stack(pictures), np.arange(len(pictures)), [f"picture {i}" for i in range(len(pictures))])
