"""What the trained part of the network reads: pictures, or the features that a frozen backbone gave for them once."""

from __future__ import annotations

import numpy as np

from common import metrics
from common.data.loader import Loader
from common.train.workers import SharedEvaluation
from examples.embedding_learning import data, model

READING = "reading features"


def stages(args) -> list[str]:
    """What a run of train.py goes through, for `common.run.Run.stage`."""
    reading = [READING] * model.is_frozen(args)
    learning = "training" if args.head == "margin" else "fitting the head"
    return [*reading, "baselines", learning, "evaluation", *["pictures"] * (not args.no_plots)]


class Inputs:
    """The training batches, and the embeddings of every split.

    Parameters
    ----------
    net : examples.embedding_learning.model.EmbeddingNet
    parts : examples.embedding_learning.data.Parts
    sampler : common.data.samplers.ClassBalanced
        Of the training pictures.
    args : argparse.Namespace
        Of train.py. With ``--backbone-lr 0`` or a closed form as ``--head`` the backbone is frozen: it reads every
        picture once, before training.
    size : int
        Side in pixels of what the network sees.
    ctx : mx.Context
        The device that evaluates.
    kvstore : mx.kv.KVStore
        Of the workers, who share out the pictures that are evaluated.
    stage : callable (str)
        Is told when the reading of features begins.

    Attributes
    ----------
    loader
        Training batches, with the interface of `common.data.loader.Loader`.
    embed : callable
        From a batch's ``images`` to embeddings (n, embed_dim): the network, or its head alone.
    shared : common.train.workers.SharedEvaluation
    pictures : dict of str to ImageSet
        ``train``, ``test``, and ``validation``, ``gallery`` and ``catalogue`` where there are such.
    searched : dict of str to data.Searched
        Of the splits that say which of their pictures are looked for, and among which.
    """

    def __init__(self, net, parts: data.Parts, sampler, args, size: int, ctx, kvstore, stage):
        self.pictures, self.searched = parts.by_name(), parts.searched
        self._net, self._args, self._size, self._ctx = net, args, size, ctx
        self.shared = SharedEvaluation(kvstore, net)
        self._transform = data.eval_transform(args, size)
        if model.is_frozen(args):
            stage(READING)
            self._sets = {name: self._features(name) for name in self.pictures}
            self.embed, self.loader = net.embed, self._sets["train"].sampled(sampler)
        else:
            self._sets, self.embed = self.pictures, net
            transform = data.train_transform(args, size)
            self.loader = Loader(parts.train, transform, sampler, args.num_workers, args.seed, kvstore.rank)
        self._in_order = {
            name: data.in_order(split, self._transform, args.num_workers) for name, split in self._sets.items()
        }

    def _features(self, name: str):
        return data.read(self._net.backbone, self.pictures[name], self._transform, self._ctx, self._args)

    def embeddings(self, name: str) -> np.ndarray:
        """Of all pictures of a split by the network as it is now: (n, embed_dim) float32."""
        in_order = self._in_order[name]
        if self._args.views and self._sets is self.pictures:
            return self.shared.encode(self._net.backbone, in_order, self._ctx, head=self._net.embed)
        return self.shared.encode(self.embed, in_order, self._ctx)

    def features(self, name: str) -> np.ndarray:
        """Of all pictures of a split by the backbone: (n, width) float32."""
        frozen = self._sets is not self.pictures
        return (self._sets[name] if frozen else self._features(name)).features

    def outputs(self, name: str) -> np.ndarray:
        """Of all pictures of a split by the dense layer as it is now, before unit length: (n, embed_dim) float32."""
        if self._sets is not self.pictures:
            return self.shared.encode(self._net.dense, self._in_order[name], self._ctx)
        return self.shared.encode(self._net.backbone, self._in_order[name], self._ctx, head=self._net.dense)

    def class_means(self) -> np.ndarray:
        """Of the training pictures' features at unit length: (classes, width), the classes that there are, in order."""
        rows, labels = metrics.unit(self.features("train")), self.pictures["train"].labels
        return np.stack([rows[labels == label].mean(axis=0) for label in np.unique(labels)])

    def pixels(self, name: str, gallery: str | None = None) -> np.ndarray:
        """Of all pictures of a split, less the mean of those of `gallery`: see `data.pixels`."""
        return data.pixels(self.pictures[name], self._size, self.pictures.get(gallery))

    def metadata(self) -> dict:
        """What a saved model has to say about its inputs."""
        return {
            "dataset": self._args.dataset,
            "crop": self._size,
            "resize": self._transform.resize,
            "keep_aspect": self._args.keep_aspect,
            "views": list(self._args.views),
            "classes": len(self.pictures["train"].class_names),
        }
