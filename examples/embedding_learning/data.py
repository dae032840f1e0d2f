"""Pictures in: splits, transforms, and features that are read once."""

from __future__ import annotations

import dataclasses

import numpy as np

from common.backbones import features
from common.data import sets, transforms, walk
from common.data.features import FeatureSet
from common.data.imageset import readable
from common.data.loader import Loader
from common.data.samplers import PUBLISHED, ClassBalanced, GroupedClasses, NearClasses, Sequential, balanced_shape
from common.data.sets import Dataset, ImageSet
from common.data.splits import hold_out_classes, hold_out_pictures
from common.data.transforms import Eval, Train
from common.export import engine
from common.files.errors import UserError
from common.files.paths import data_root
from examples.embedding_learning import linear

READ_BATCH = 100
VALIDATION_FRACTION = 0.1  # where the data has enough of it: so many classes, or pictures of every class
ENOUGH = {"unseen": 4, "seen": 5}
CHARACTERS = ("glyphs", "omniglot")  # their mirror image is another character


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a run trains on, chooses its best epoch on, and reports.

    Attributes
    ----------
    dataset : Dataset
    train, test : ImageSet
    validation : ImageSet or None
        Held out of the training pictures, as the test pictures were, or official; None: the test pictures choose.
    notes : list of str
        What was settled by the data, for the log.
    gallery : ImageSet or None
        What the test pictures are looked for among, where the data set has such pictures of unseen classes.
    searched : dict of str to Searched
        Of ``validation`` and ``test``, where these say which of their pictures are looked for, and among which.
    catalogue : ImageSet or None
        A picture of each class of all splits, where the data set has such.
    """

    dataset: Dataset
    train: ImageSet
    validation: ImageSet | None
    test: ImageSet
    notes: list[str]
    gallery: ImageSet | None = None
    searched: dict[str, Searched] = dataclasses.field(default_factory=dict)
    catalogue: ImageSet | None = None

    def by_name(self) -> dict[str, ImageSet]:
        """The splits that there are, by name."""
        found = {
            "train": self.train, "validation": self.validation, "test": self.test, "gallery": self.gallery,
            "catalogue": self.catalogue,
        }  # fmt: skip
        return {name: split for name, split in found.items() if split is not None}

    def __len__(self) -> int:
        """How many pictures there are."""
        return sum(map(len, self.by_name().values()))

    def counts(self) -> dict[str, int]:
        """What the data is known by when a run is resumed."""
        pictures = {f"{name} pictures": len(split) for name, split in self.by_name().items() if name != "catalogue"}
        return {"classes": len(self.train.class_names), **pictures}


@dataclasses.dataclass(frozen=True)
class Searched:
    """Which pictures of a split are looked for, and which are searched, where the data says so.

    Attributes
    ----------
    queries, gallery : (q,) and (g,) int arrays
        Indices in the split. Queries without another picture of their class in the gallery are left out.
    own : (q,) int array
        Each query's index in `gallery`; -1: it is not there.
    left_out : int
        How many queries are left out.
    """

    queries: np.ndarray
    gallery: np.ndarray
    own: np.ndarray
    left_out: int

    @staticmethod
    def of(pictures: ImageSet, what: str) -> Searched | None:
        """Of a split, which an error calls `what`; None where it says nothing, and all are looked for among all others.

        Raises
        ------
        UserError
            No query can be found.
        """
        flags = pictures.is_query, pictures.is_gallery
        if not any(flag is not None and flag.any() for flag in flags):
            return None
        queries, gallery = (
            np.arange(len(pictures)) if flag is None else np.flatnonzero(flag) for flag in flags
        )  # fmt: skip
        place = np.full(len(pictures), -1)
        place[gallery] = np.arange(len(gallery))
        counts = np.bincount(pictures.labels[gallery], minlength=len(pictures.class_names))
        able = counts[pictures.labels[queries]] > (place[queries] >= 0)
        if not able.any():
            raise UserError(
                f"{what}: of {len(queries)} queries (is_query) none has another picture of its class in the gallery of"
                f" {len(gallery)} (is_gallery): mark more of them"
            )
        return Searched(queries[able], gallery, place[queries[able]], int(np.sum(~able)))

    def note(self, name: str) -> str:
        """What is looked for where, for the log."""
        left = f"; {self.left_out} more are left out, the gallery has no other of their class" if self.left_out else ""
        return f"{name}: {len(self.queries)} queries are looked for in a gallery of {len(self.gallery)}{left}"


def log(run, parts: Parts, network: str) -> None:
    """Say in the log of a run what it learns from, by which network, and what was left out."""
    train, test = parts.train, parts.test
    run.log(
        f"{parts.dataset.name}: {len(train)} pictures of {len(train.class_names)} classes to train on,"
        f" {len(test)} of {len(test.class_names)} to test; {network}"
    )
    walk.write(train.skipped, run.folder / "skipped.txt")
    for note in parts.notes:
        run.log(note)


def load(args) -> Parts:
    """The pictures that the flags ask for. Flags that were not given and follow the data are filled in.

    These are ``--protocol``, ``--validation-share``, ``--batch-size`` and ``--batch-k``.

    Raises
    ------
    UserError
        The data is not there, or does not allow what the flags ask for.
    """
    notes: list[str] = []
    dataset = sets.load(
        args.dataset, args.data_path, args.protocol, args.seed, unseen=args.unseen, keep_whole=args.keep_whole,
        say=notes.append, **sets.own_flags(args),
    )  # fmt: skip
    train = dataset.train
    if dataset.protocol == "unseen":
        _check_unseen(dataset)
    args.protocol = dataset.protocol
    validation = dataset.validation if args.validation_share is None else None
    if validation is not None:
        notes.append(
            f"{_chosen(args)} is the best on {len(validation)} pictures of {dataset.name}'s own validation"
            " list; the test pictures are asked once, at the end"
        )
    else:
        if args.validation_share is None:
            args.validation_share = _default_fraction(train, args.protocol)
        if args.validation_share:
            hold_out = hold_out_classes if args.protocol == "unseen" else hold_out_pictures
            train, validation = hold_out(train, args.validation_share, (args.seed, 1))
        if validation is not None or args.head == "margin":
            notes.append(_choice(args, validation))
    if args.with_catalogue:
        train = _with_catalogue(train, dataset, args.on_error, notes.append)
    searched = {}
    for name, split in (("validation", validation), ("test", dataset.test)):
        found = Searched.of(split, f"split {name} of {args.data_path}") if split is not None else None
        if found:
            searched[name] = found
            notes.append(found.note(name))
    if dataset.gallery is not None:
        notes.append(f"the test pictures are looked for among {len(dataset.gallery)} others of their classes")
    catalogue = dataset.catalogue
    if catalogue is not None:
        catalogue = readable(catalogue, args.on_error, notes.append)
        notes.append(f"the test pictures' products are looked for in a catalogue of {len(catalogue)} pictures too")
    args.batch_size, args.batch_k = balanced_shape(train.labels, args.batch_size, args.batch_k)
    if args.head != "margin":
        linear.check_classes(train.labels, linear.TITLES[args.head])
    elif (args.batch_size, args.batch_k) != PUBLISHED:
        notes.append(f"batches of {args.batch_size} pictures, {args.batch_k} of a class (--batch-size, --batch-k)")
    return Parts(dataset, train, validation, dataset.test, notes, dataset.gallery, searched, catalogue)


def _with_catalogue(train: ImageSet, dataset: Dataset, on_error: str, say) -> ImageSet:
    """The training pictures, and the catalogue's of the same classes."""
    if dataset.catalogue is None:
        raise UserError(f"--with-catalogue: {dataset.name} has no catalogue pictures: leave it out")
    found = readable(dataset.catalogue.select(train.class_names), on_error, say)
    labels = np.array([train.class_names.index(found.class_names[label]) for label in found.labels])
    found = dataclasses.replace(found, labels=labels, class_names=train.class_names)
    say(f"{len(found)} catalogue pictures of the training classes are learned from too")
    return ImageSet.concat([train, found])


def _check_unseen(dataset: Dataset) -> None:
    classes = len(dataset.train.class_names)
    if classes < 2:
        raise UserError(
            f"--protocol unseen leaves {classes} class to train on, two are needed: --protocol seen holds back"
            " pictures and no class"
        )
    if dataset.gallery is None and np.bincount(dataset.test.labels).max() < 2:
        raise UserError(
            "--protocol unseen: no test class has two pictures, so none can find another; add pictures, or name"
            " others after --unseen"
        )
    if dataset.validation is not None and np.bincount(dataset.validation.labels).max() < 2:
        raise UserError("no class has two validation pictures, so none can find another: add pictures")


def _default_fraction(train: ImageSet, protocol: str) -> float:
    """`VALIDATION_FRACTION` where it holds out four classes, or half of the classes have five pictures, else 0."""
    counts = np.bincount(train.labels)
    there = round(VALIDATION_FRACTION * np.sum(counts > 1)) if protocol == "unseen" else np.median(counts)
    return VALIDATION_FRACTION if there >= ENOUGH[protocol] else 0.0


def _chosen(args) -> str:
    """What validation pictures are for."""
    return "the best epoch" if args.head == "margin" else "the shrinkage"


def _choice(args, validation: ImageSet | None) -> str:
    """What the best epoch is chosen on."""
    held = "classes" if args.protocol == "unseen" else "pictures"
    if validation is None:
        return (
            f"the best epoch is the best on the test {held} (--validation-share 0): its figures are a choice on test"
            " data"
        )
    count = len(validation.class_names) if args.protocol == "unseen" else len(validation)
    return (
        f"{_chosen(args)} is the best on {count} {held} held out of training (--validation-share"
        f" {args.validation_share:g}); the test {held} are asked once, at the end"
    )


def sampler(args, parts: Parts, weights: str | None, devices: int, kvstore) -> ClassBalanced:
    """The batches of ``--sampler``; of ``near`` the `means` are still to be set.

    Raises
    ------
    UserError
        The classes have no groups, or the network has not learned what is near.
    """
    train, groups = parts.train, parts.dataset.superclasses
    settings = (
        train.labels, args.batch_size, args.batch_k, args.epoch_batches, args.seed, devices, kvstore.rank,
        kvstore.num_workers, args.gather,
    )  # fmt: skip
    if args.sampler == "groups":
        there = [train.class_names[label] for label in np.unique(train.labels)]
        if not groups or not all(groups.get(name) for name in there):
            raise UserError(f"--sampler groups: not all classes of --dataset {args.dataset} have a group: leave it out")
        return GroupedClasses([groups[name] for name in there], *settings)
    if args.sampler == "near":
        if not weights:
            raise UserError("--sampler near needs a network that has learned: add --use-pretrained or --params")
        return NearClasses(*settings)
    return ClassBalanced(*settings)


def eval_transform(args, size: int) -> Eval:
    """The middle of the picture, `size` pixels, and the other views that are averaged."""
    resize = args.resize or default_resize(args.dataset, size)
    return transforms.evaluation(resize, size, args.keep_aspect, args.views)


def train_transform(args, size: int) -> Train:
    """A random crop of `size` pixels, mirrored half of the time unless it is a character."""
    mirror = not args.no_mirror and args.dataset not in CHARACTERS
    resize = args.resize or default_resize(args.dataset, size)
    return Train(resize, size, args.keep_aspect, mirror=mirror, rotation=args.rotation)


def default_resize(dataset: str, size: int) -> int:
    """256 for 224, in proportion; characters keep the margin they were drawn with."""
    return size if dataset in CHARACTERS else round(size * 8 / 7)


def read(backbone, image_set: ImageSet, transform: Eval, ctx, args) -> FeatureSet:
    """Features of all pictures by a frozen backbone, kept under ``data/features`` for the next run."""
    rows = features.cached(
        data_root() / "features", backbone, image_set, transform=transform, ctx=ctx, num_workers=args.num_workers,
        engine=engine.named(args.engine),
    )  # fmt: skip
    return FeatureSet(rows, image_set.labels, image_set.class_names)


def in_order(pictures: ImageSet | FeatureSet, transform: Eval, num_workers: int) -> Loader | FeatureSet:
    """All pictures, or all rows of features, in batches in order; small pictures are decoded once."""
    if isinstance(pictures, FeatureSet):
        return pictures.sampled(Sequential(len(pictures.labels), READ_BATCH))
    return Loader(pictures, transform, Sequential(len(pictures.labels), transform.pictures(READ_BATCH)), num_workers)


def pixels(image_set: ImageSet, size: int, gallery: ImageSet | None = None) -> np.ndarray:
    """The plainest embedding: pixels at no more than 32 x 32, less their mean; (n, 3072) float32.

    The mean is of `gallery` where the pictures are looked for there.
    """
    rows = _flat(image_set, size)
    return rows - (rows if gallery is None else _flat(gallery, size)).mean(axis=0)


def _flat(image_set: ImageSet, size: int) -> np.ndarray:
    return image_set.array(min(size, 32)).reshape(len(image_set), -1).astype(np.float32)
