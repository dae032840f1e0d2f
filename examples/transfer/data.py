"""What a classifier learns from: features made before, or the pictures of a data set; and the reading of features."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from common import cli, devices
from common.backbones import feature_store, features
from common.data import sets
from common.data.augment import Mixture, RandomErasing, TrivialAugment
from common.data.imageset import ImageSet, Notes
from common.data.samplers import balanced
from common.data.splits import split_stratified
from common.data.transforms import RandomResizedCrop
from common.export import engine
from common.files.errors import UserError
from common.files.paths import data_root
from examples.transfer import inputs, model, networks, outputs, reading

FOLDS = 5  # of the cross-validation, where the smallest class has as many pictures


@dataclasses.dataclass(frozen=True)
class Data:
    """Features or pictures, and which of them are learned from.

    Attributes
    ----------
    features : (n, width) float32 or None
        Made before; None where pictures are read.
    image_set : ImageSet or None
        All n pictures, where there are any.
    labels : (n,) int64
        Indices into `class_names`.
    class_names : (classes,) array
    train, test : (m,) int64 arrays
        Indices of what is learned from, and of what is held back.
    validation : (m,) int64 array
        Indices of the validation pictures, the data set's own or those of ``--validation-share``; of most there are
        none.
    superclasses : dict of str to str or None
        The group of each class, where the data set has groups.
    notes : Notes
        What was said while it was loaded.
    """

    features: np.ndarray | None
    image_set: ImageSet | None
    labels: np.ndarray
    class_names: np.ndarray
    train: np.ndarray
    test: np.ndarray
    validation: np.ndarray
    superclasses: dict[str, str] | None = None
    notes: Notes = dataclasses.field(default_factory=Notes)

    def counts(self) -> dict[str, int]:
        """What the data is known by when a run is resumed."""
        numbers = len(self.train), len(self.test), len(self.class_names)
        counts = dict(zip(("pictures to learn from", "pictures held back", "classes"), numbers))
        return {**counts, "validation pictures": len(self.validation)} if len(self.validation) else counts


def load(args) -> Data:
    """The data that the flags of train.py ask for; ``--folds`` follows it where it is not given.

    Raises
    ------
    UserError
        It is not there, or too small to learn from it and to cross-validate.
    """
    if args.features:
        vectors, names = outputs.load(args.features)
        classes, labels = np.unique(names, return_inverse=True)
        split = split_stratified(labels, args.test_share, args.seed)
        found = Data(vectors, None, labels, classes, *split, np.array([], np.int64))
    else:
        found = _with_validation(pictures(args), args)
    count = len(found.class_names)
    fewest = np.bincount(found.labels[found.train], minlength=count).min()
    if args.folds is None:
        args.folds = min(FOLDS, int(fewest))
        if args.folds < FOLDS:
            done = f"{args.folds} folds" if args.folds > 1 else "no cross-validation"
            found.notes(f"{done}: the smallest class has {fewest} pictures to learn from (--folds)")
    if count < 2 or (args.folds > 1 and fewest < args.folds):
        raise UserError(
            f"{count} classes, the smallest of {fewest} pictures to learn from: at least 2 classes are needed,"
            f" and {args.folds} pictures of each for --folds {args.folds} (--folds 1 leaves the cross-validation out)"
        )
    return found


def _with_validation(found: Data, args) -> Data:
    """`found` with the pictures of ``--validation-share``, taken from those to learn from."""
    if not args.validation_share:
        return found
    if len(found.validation):
        raise UserError(f"--validation-share: --dataset {args.dataset} has {len(found.validation)} pictures of its own")
    labels = found.labels[found.train]
    parts = split_stratified(labels, args.validation_share, args.seed, "--validation-share")
    train, validation = (np.sort(found.train[part]) for part in parts)
    return dataclasses.replace(found, train=train, validation=validation)


def pictures(args) -> Data:
    """All pictures of the data set that the flags name, those to learn from first."""
    own, notes = sets.own_flags(args), Notes()
    data = sets.load(args.dataset, args.data_path, "seen", args.seed, args.test_share, say=notes, **own)
    parts = [data.train, data.test] + ([data.validation] if data.validation is not None else [])
    whole = ImageSet.concat(parts)
    ends = np.cumsum([len(part) for part in parts])
    train, test, validation = np.split(np.arange(len(whole)), ends[:2])
    names = np.array(whole.class_names)
    return Data(None, whole, whole.labels, names, train, test, validation, data.superclasses, notes)


def network(args, image_set: ImageSet | None, contexts):
    """The network that reads the pictures; none of features made before. Settles ``--engine``.

    Raises
    ------
    UserError
        No such network, or its weights cannot be had; flags that do not go together.
    """
    networks.check_own(args.weights, args.mean, args.deviation)
    if args.fine_tune and (args.resize or args.keep_aspect or args.crop_share) and args.crop_area == 1:
        flag = "--resize" if args.resize else "--keep-aspect" if args.keep_aspect else "--crop-share"
        raise UserError(f"{flag} with --fine-tune needs --crop-area below 1: else whole pictures would be trained on")
    if image_set is None:
        args.engine = engine.choose(args, None, 0, 0)
        return None
    net = networks.create(args.model, args.weights, contexts, args.seed, **networks.taken(args))
    args.engine = engine.choose(args, net, net.input_size, len(image_set))
    return net


def described(args, net) -> dict:
    """Where features come from, for `examples.transfer.model.Classifier`. See `examples.transfer.networks.settle`.

    Parameters
    ----------
    args : argparse.Namespace
        Of train.py.
    net : common.backbones.Backbone or None
        Where ``--model`` has several sources it knows the one that was found.
    """
    networks.settle(args, net)
    found = {"name": net.name_ if net else args.model, "weights": args.weights, "seed": args.seed}
    more = {"size": args.image_size, **{name: getattr(args, name) for name in model.LOOKS}}
    return {**found, "interpolation": args.interpolation, **{name: value for name, value in more.items() if value}}


READING = {"features": "reading features", "finetuned": "reading features of the fine-tuned network"}


def stages(args) -> list[str]:
    """What a run of train.py goes through, for `common.run.Run.stage`."""
    reading = [] if args.features else [READING["features"]]
    tuning = ["fine-tuning", READING["finetuned"]] if args.fine_tune else []
    return [*reading, "classifier", *tuning, "pictures"]


def read_features(args, net, image_set: ImageSet, run, name: str) -> np.ndarray:
    """Features (n, width) of all pictures, kept as `name` in the run folder; a resumed run goes on where it was.

    Those of a network as it comes are kept under ``data/features`` too, picture by picture: another run, whatever it
    holds back, reads nothing again.

    Parameters
    ----------
    args : argparse.Namespace
        Of train.py.
    net : common.backbones.Backbone
    image_set : ImageSet
    run : common.run.Run
    name : {"features", "finetuned"}
        Of the network as it comes, or of the one that was trained.

    Raises
    ------
    UserError
        A picture cannot be read.
    """
    run.stage(READING[name])
    files = outputs.finished(run.folder, name, "npy") if run.resumed else None
    if files:
        return outputs.load(files[0])[0]
    source = inputs.from_dataset(image_set)
    reading.stop_at(source.check())
    output = outputs.Output(run.folder, name, "npy", net.width, source.key(), run.resumed)
    if name == "features":
        keys = feature_store.keys(image_set)
        cut = f" {args.resize} {args.keep_aspect}" if args.resize or args.keep_aspect else ""
        cut += f" crop {args.crop_share}" if args.crop_share else ""
        cut += f" views {cli.shown(args.views)}" if args.views else ""
        settings = f"PIL {args.interpolation}{cut}" + " ".join(keys if args.int8 else [])  # whose ranges are of these
        kept = features.store(
            data_root() / "features", net, net.input_size, settings, args.int8, engine.named(args.engine)
        )
        output.add(kept.fetch(keys, lambda chosen: _read(args, net, source, chosen))[output.seen :], {})
    else:
        for vectors, _ in _read(args, net, source, np.arange(output.seen, len(source))):
            output.add(vectors, {})
    return outputs.load(output.finish(source.labels, source.rows)[0])[0]


def _read(args, net, source, chosen: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The features of each batch of the pictures `chosen`, and the places of these in `chosen`."""
    size = net.input_size
    read_by = engine.named(args.engine)
    source = inputs.middle(source, size, args.resize, args.keep_aspect, args.views, args.crop_share)
    net = reading.ready(net, source, args.interpolation, args.int8, read_by)
    batches = inputs.batches(
        inputs.Chosen(source, chosen), size, args.batch_size, args.interpolation, num_workers=args.num_workers
    )
    filled = min(args.batch_size, len(source))  # also where a resumed run has fewer to read: its bits are the same
    with features.progress(len(chosen)) as bar:
        for vectors, batch in features.stream(reading.whole(batches), net, devices.contexts(args.gpus)[0], filled):
            bar.update(len(vectors))
            yield vectors, np.arange(batch.first, batch.first + len(vectors))


def embed(args, net, image_set: ImageSet, ctx) -> np.ndarray:
    """Features (n, width) of pictures that are read anew, by the network as it is now; see `read_features`.

    Parameters
    ----------
    args : argparse.Namespace
        Of train.py.
    net : common.backbones.Backbone
    image_set : ImageSet
    ctx : mx.Context
    """
    source = inputs.from_dataset(image_set)
    source = inputs.middle(source, net.input_size, args.resize, args.keep_aspect, args.views, args.crop_share)
    batches = inputs.batches(
        source, net.input_size, args.batch_size, args.interpolation, num_workers=args.num_workers
    )
    return features.encode(net, reading.whole(batches), ctx)


def _augmentation(args, size: int) -> RandomResizedCrop | None:
    """What the flags change in a picture to learn from; None where nothing."""
    changes = [TrivialAugment()] if args.augment else []
    changes += [RandomErasing(args.erase)] if args.erase else []
    if args.crop_area == 1 and not args.mirror and not args.lighting and not changes:
        return None

    def resize(picture, sides):  # as pictures are resized that nothing is changed in
        return inputs.resize(Image.fromarray(picture), sides[0], args.interpolation)

    return RandomResizedCrop(size, args.crop_area, args.mirror, args.lighting, resize, changes)


class Batches:
    """Batches of pictures in a new order each epoch, of all classes alike and changed at random where flags say so.

    With the interface of `common.data.loader.Loader`.

    A batch is (images, labels, weights), made divisible by the devices: its last row is repeated with a weight of 0,
    and the others' weights keep the mean of the losses. Of mixed pictures the labels are the wanted probabilities of
    all classes.

    Parameters
    ----------
    image_set : ImageSet
    chosen : (m,) array of int
        Pictures to learn from; each worker takes an equal part of them.
    sides : sequence of int
        Side in pixels of what the network sees, in equal parts of the epochs one after the other.
    args : argparse.Namespace
        Of train.py.
    count : int
        Devices among which a batch is divided.
    rank, num_workers : int
        Which of the workers this is, and how many there are.

    Attributes
    ----------
    mixes : bool
        Whether pictures are mixed.
    """

    def __init__(
        self, image_set: ImageSet, chosen, sides: Sequence[int], args, count: int = 1, rank: int = 0,
        num_workers: int = 1,
    ):  # fmt: skip
        self._image_set, self._chosen, self._sides, self._args = image_set, chosen, sides, args
        self._count, self._rank, self._num_workers = count, rank, num_workers
        self._own = -(-len(chosen) // num_workers)  # as many pictures, and so steps, for each worker
        self.mixes = bool(args.mixup or args.cutmix)
        self._mixture = Mixture(len(image_set.class_names), args.mixup, args.cutmix)

    def __len__(self) -> int:
        return -(-self._own // self._args.batch_size)

    def epoch(self, epoch: int, start: int = 0):
        """The batches of `epoch` from number `start` on."""
        args = self._args
        side = self._sides[epoch * len(self._sides) // args.epochs]
        transform = _augmentation(args, side)
        rng = np.random.default_rng([args.seed, epoch])
        labels = self._image_set.labels[self._chosen]
        order = self._chosen[balanced(labels, rng)] if args.balance else rng.permutation(self._chosen)
        order = np.resize(order, self._own * self._num_workers)[self._rank :: self._num_workers]
        source = inputs.from_dataset(self._image_set)
        if transform:  # another number for each worker, and of another length than that of `order`
            chosen = inputs.Augmented(source, order, transform, (args.seed, epoch, self._rank + 1))
        else:
            chosen = inputs.Chosen(source, order)
        batches = inputs.batches(
            chosen, side, args.batch_size, args.interpolation, start=start * args.batch_size,
            num_workers=args.num_workers,
        )  # fmt: skip
        for batch in reading.whole(batches):
            indices = order[batch.first : batch.first + len(batch.images)]
            images, labels = batch.images, self._image_set.labels[indices]
            if self.mixes:
                drawn = np.random.default_rng([args.seed, epoch, self._rank + 1, batch.first, 1])
                images, labels = self._mixture(images, labels, drawn)
            yield self._filled(images, labels)

    def _filled(self, images, labels):
        n, m = len(labels), -(-len(labels) // self._count) * self._count
        rows = np.minimum(np.arange(m), n - 1)
        weights = np.where(np.arange(m) < n, m / n, 0).astype(np.float32).reshape(-1, 1)
        return images[rows], labels[rows], weights
