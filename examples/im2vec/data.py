"""The pictures of the chosen classes, and how they reach the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common import get_data
from common.backbones import features
from common.data import records, sets, transforms
from common.data.features import FeatureSet
from common.data.loader import Loader
from common.data.samplers import Sequential, fitting
from common.data.sets import Dataset, ImageSet
from common.data.transforms import Eval, Train
from common.export import engine
from common.files.errors import UserError, near
from common.files.paths import data_dir, data_root

DOWNLOADED = ("cifar10", "cifar100", "emoji", "grocery")  # fetched when they are absent
EVAL_BATCH = 64  # pictures in a batch where nothing is learned
SMALL_SIDE = 64  # pixels: pictures up to this side are shifted, not enlarged, in training
PAD = 4  # pixels of mirrored border around small pictures, for the random crop


def load(
    name: str, path=None, classes: Sequence[str] | None = None, seed: int = 123, say: Callable[[str], None] = print,
    **own,
) -> Dataset:  # fmt: skip
    """The data set `name` with held-back pictures of the same classes; fetched first if it is absent and can be.

    Parameters
    ----------
    name, path, seed, say, **own
        See `common.data.sets.load`; the last are ``on_error`` and the flags of the user's own pictures.
    classes : sequence of str, optional
        Keep these, in this order; a group's name (a coarse class of CIFAR-100 or grocery, a subcategory of the emoji)
        stands for one class made of the group's members. None keeps all.

    Raises
    ------
    UserError
        Data that cannot be had, or a class that is not there; the message has the near names.
    """
    folder = Path(path) if path else data_dir(name)
    there = folder.exists() or bool(records.shards(folder))
    if name in DOWNLOADED and not there:
        try:
            get_data.ensure(name, folder=folder)
        except UserError as error:
            raise UserError(f"{error}; --dataset glyphs needs no download") from error
    if name == "folder" and path and not there:
        raise UserError(f"{folder} is not there: --data-path takes a folder with a folder of pictures for each class")
    whole = sets.load(name, path, protocol="seen", seed=seed, say=say, **own)
    if whole.validation is not None:
        say(f"{len(whole.validation):,} validation pictures are left aside")
    if name == "emoji":  # its classes are called by code point
        whole = _renamed(whole, {code: captions[0] for code, captions in whole.captions.items()})
    return _chosen(whole, classes) if classes else whole


def _renamed(dataset: Dataset, names: dict[str, str]) -> Dataset:
    def rename(split: ImageSet) -> ImageSet:
        return dataclasses.replace(split, class_names=[names[old] for old in split.class_names])

    return dataclasses.replace(
        dataset,
        train=rename(dataset.train),
        test=rename(dataset.test),
        superclasses={names[old]: group for old, group in dataset.superclasses.items()},
    )


def _chosen(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    fine, group_of = dataset.train.class_names, dataset.superclasses or {}
    members = {group: [c for c in fine if group_of.get(c) == group] for group in set(group_of.values())}
    known = [*fine, *sorted(members)]
    taken: dict[str, str] = {}  # fine class -> the chosen class it belongs to
    for chosen in classes:
        if chosen not in known:
            raise UserError(f"--classes {chosen}: {dataset.name} has no such class{near(chosen, known)}")
        for name in [chosen] if chosen in fine else members[chosen]:
            if name in taken:
                raise UserError(f"--classes {chosen}: {name} is in {taken[name]} already; name each class once")
            taken[name] = chosen
    if len(set(classes)) < 2:
        raise UserError("--classes needs at least two classes: a vector means something only beside others")
    number = {chosen: i for i, chosen in enumerate(classes)}

    def select(split: ImageSet) -> ImageSet:
        kept = split.select(list(taken))
        new = np.array([number[chosen] for chosen in taken.values()], np.int64)
        return dataclasses.replace(kept, labels=new[kept.labels], class_names=list(classes))

    groups = {chosen: group_of[chosen] for chosen in classes if chosen in group_of} or None
    return dataclasses.replace(dataset, train=select(dataset.train), test=select(dataset.test), superclasses=groups)


def groups(dataset: Dataset) -> tuple[list[str], list[int]] | None:
    """The names of the groups and each class's group, where every class has one; else None."""
    names, group_of = dataset.train.class_names, dataset.superclasses or {}
    if any(name not in group_of for name in names):
        return None
    found = sorted({group_of[name] for name in names})
    return found, [found.index(group_of[name]) for name in names]


def batch_size(wanted: int | None, pictures: int, devices: int = 1, workers: int = 1) -> int:
    """The pictures in a worker's batch: ``--batch-size``, or 64, and fewer (to 8) where an epoch has few batches."""
    return fitting(wanted, pictures, devices, workers, least=8)


def drawn(labels: np.ndarray, classes: int, balance: bool) -> list[int]:
    """How many pictures of each class an epoch draws: all there are, or with `balance` as many of each."""
    return [len(labels) // classes] * classes if balance else np.bincount(labels, minlength=classes).tolist()


def padded(pictures: ImageSet, size: int, threads: int = 2) -> ImageSet:
    """The pictures at `size` with a mirrored border of `PAD`: cutting `size` out at random shifts, not enlarges."""
    border = ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0))
    return dataclasses.replace(pictures, images=np.pad(pictures.array(size, threads), border, "reflect"), boxes=None)


def eval_transform(model) -> Eval:
    """What pictures go through where nothing is learned.

    Parameters
    ----------
    model : examples.im2vec.modelfile.Model
    """
    return transforms.evaluation(model.net.size, model.net.size, middles=model.metadata.get("views", ()))


def moving(model, train: ImageSet, test: ImageSet, sampler, args, rank: int = 0):
    """For a network that learns: f itself, the training batches, and both splits in order, for the evaluation.

    Small pictures are shifted by up to `PAD` pixels, larger ones enlarged by an eighth and cut at random; both are
    mirrored, but not characters.
    """
    net, seen, mirror = model.net, eval_transform(model), args.dataset != "glyphs"
    in_order = [
        Loader(split, seen, Sequential(len(split), seen.pictures(EVAL_BATCH)), args.num_workers)
        for split in (train, test)
    ]
    if net.size <= SMALL_SIDE:
        shown = padded(train, net.size, args.num_workers)
        transform = Train(net.size + 2 * PAD, net.size, mirror=mirror)
    else:
        shown, transform = train, Train(round(net.size * 8 / 7), net.size, mirror=mirror)
    return net, Loader(shown, transform, sampler, args.num_workers, args.seed, rank), in_order


def frozen(model, train: ImageSet, test: ImageSet, sampler, args):
    """For a backbone that stays as it is: the head, and the same as `moving`, of features read once."""
    rows = kept_features(model, train, test, args.int8, args.num_workers, engine.named(args.engine))
    in_order = [
        FeatureSet(values, split.labels, split.class_names, Sequential(len(split), EVAL_BATCH))
        for values, split in zip(rows, (train, test))
    ]
    return model.net.head, in_order[0].sampled(sampler), in_order


def kept_features(
    model, train: ImageSet, test: ImageSet, int8: bool, num_workers: int = 2, read_by: Callable | None = None
) -> list[np.ndarray]:
    """The backbone's features of both splits, in order, by an engine of `common.export.engine`; None: MXNet.

    They are kept under ``data/features``: a run on the same pictures, whatever its seed holds back, starts at once.
    """
    whole, order = ImageSet.concat([train, test]), range(len(train) + len(test))
    if not whole.in_memory:  # an order that does not depend on the split
        order = sorted(order, key=lambda i: str(whole.images[i]))
        whole = whole.subset(order)
    found = features.cached(
        data_root() / "features", model.net.backbone, whole, int8=int8, transform=eval_transform(model),
        num_workers=num_workers, engine=read_by,
    )  # fmt: skip
    return np.split(found[np.argsort(order)], [len(train)])
