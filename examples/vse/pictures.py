"""Features of pictures through a backbone, read once and kept."""

from __future__ import annotations

from common.paths import data_root


def reader(args):
    """A function ImageSet -> (n, width) float32 for ``--model`` and ``--params``."""

    def read(image_set):
        from common import backbones, features

        backbone = backbones.create(args.model, args.params or "imagenet")
        return features.cached(data_root() / "features", backbone, image_set, num_workers=args.num_workers)

    return read
