"""Features of pictures through a backbone: read once and kept, or by the network that is being trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from common import backbones, metrics
from common.backbones import features
from common.data import transforms
from common.data.loader import Loader
from common.data.sets import ImageSet
from common.data.transforms import Eval, Train
from common.export import engine
from common.files.paths import data_root
from examples.vse.data import Split


class Reader:
    """Features of an `ImageSet`: call it.

    Parameters
    ----------
    metadata : dict
        ``model``, ``params``, ``image_size``, ``views``, ``dataset``, ``int8`` and ``engine``, as the model is saved
        with.
    net : model.VSE, optional
        Whose own backbone is to read, where it was trained too; what it reads is not kept.
    num_workers : int
    ctx : mx.Context, optional
    keep : bool
        Keep the features under ``data/features`` for the next time.
    """

    def __init__(self, metadata: dict, net=None, num_workers: int = 2, ctx=None, keep: bool = True):
        self.metadata, self.num_workers, self.ctx, self.keep = metadata, num_workers, ctx, keep
        self.own = net.backbone if net is not None else None
        self.backbone, self.settled = self.own, None

    def choose(self, args, splits: Mapping[str, Split]) -> None:
        """Settle ``--engine``, for the run and for the model."""
        read = [split.pictures if split.whole is None else split.whole for split in splits.values()]
        pictures = {id(images): len(images) for images in read if images is not None}
        net = self.network() if pictures else None
        found = engine.choose(args, net, self.metadata.get("image_size", 0), sum(pictures.values()))
        args.engine = self.metadata["engine"] = found

    def settle(self, args, pictures: int) -> None:
        """Settle ``--engine`` for about so many pictures whose features are not kept."""
        net, size = self.network(), self.metadata["image_size"]
        read = engine.reader(args, net, size, pictures)
        self.settled = None if read is net else lambda *_: read

    def network(self):
        """The backbone whose features the model takes."""
        if self.backbone is None:
            weights, size = self.metadata["params"] or "imagenet", self.metadata["image_size"]
            self.backbone = backbones.create(self.metadata["model"], weights, self.ctx, size=size)
        return self.backbone

    def __call__(self, pictures: ImageSet) -> np.ndarray:
        """(n, width) float32."""
        found = self._read(pictures)
        return metrics.unit(found) if self.metadata.get("unit_features") else found

    def _read(self, pictures: ImageSet) -> np.ndarray:
        backbone, on_gpu = self.network(), self.ctx is not None and self.ctx.device_type == "gpu"
        options = {"num_workers": self.num_workers, "ctx": self.ctx, "transform": eval_transform(self.metadata)}
        if self.own is not None or not self.keep:
            return features.extract(backbone, pictures, engine=self.settled, **options)
        read_by = None if on_gpu else engine.named(self.metadata.get("engine", "mxnet"))
        return features.cached(
            data_root() / "features", backbone, pictures, int8=self.metadata["int8"], engine=read_by, **options
        )


def read_features(splits: Mapping[str, Split], read: Reader) -> None:
    """Give each of `splits` the features of its pictures; a set that they were chosen from is read once, as a whole."""
    of_whole: dict[int, np.ndarray] = {}
    for split in splits.values():
        if split.whole is not None:
            if id(split.whole) not in of_whole:
                of_whole[id(split.whole)] = read(split.whole)
            split.features = of_whole[id(split.whole)][split.indices]
        elif split.pictures is not None:
            split.features = read(split.pictures)


def eval_transform(metadata: dict) -> Eval:
    """The middle of a photograph; the whole of an emoji or glyph, which is drawn to the edges. And the other views."""
    size, views = metadata["image_size"], metadata.get("views", ())  # models of old have none
    resize = round(size * 8 / 7) if metadata["photographs"] else size
    return transforms.evaluation(resize, size, metadata["photographs"], views)


def train_transform(metadata: dict) -> Train:
    """A random part of a photograph, mirrored half of the time; an emoji or glyph is enlarged a little at most.

    A mirrored "arrow left" would be another.
    """
    size = metadata["image_size"]
    if metadata["photographs"]:
        return Train(round(size * 8 / 7), size, keep_aspect=True)
    return Train(size, size, mirror=False, zoom=0.1)


def loader(pictures: ImageSet, metadata: dict, sampler, num_workers: int, seed: int, rank: int) -> Loader:
    """The pictures of a sampler (`data.PairSampler`), decoded ahead."""
    return Loader(pictures, train_transform(metadata), sampler, num_workers, seed, rank)


def files(paths: Sequence) -> ImageSet:
    """Pictures in files, each a class of its own."""
    return ImageSet(list(paths), np.arange(len(paths)), [str(path) for path in paths])


def arrays(*pictures: np.ndarray) -> ImageSet:
    """Pictures in memory, of one size."""
    return ImageSet(np.stack(pictures), np.arange(len(pictures)), [f"picture {i}" for i in range(len(pictures))])
