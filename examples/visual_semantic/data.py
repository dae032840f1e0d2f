"""Pictures of seen and of unseen classes, and what a network gives for all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common.backbones import features
from common.data import sets
from common.data.features import FeatureSet
from common.data.loader import Loader
from common.data.samplers import Sequential
from common.data.sets import ImageSet, awa2, folder, table
from common.data.splits import draw_classes, held_back
from common.data.transforms import Eval, Train
from common.files.errors import UserError
from common.files.paths import data_dir, data_root
from examples.visual_semantic import split_awa2, words

UNSEEN = {"cifar10": ["cat", "truck"]}  # as in Socher et al. 2013
WORDS = {  # brands and other names that the usual files of word vectors lack
    "grocery": {
        "Satsumas": "satsuma",
        "Oatly-Natural-Oatghurt": "natural oat yoghurt",
        "Oatly-Oat-Milk": "oat milk",
        "Alpro-Blueberry-Soyghurt": "blueberry soy yoghurt",
        "Alpro-Vanilla-Soyghurt": "vanilla soy yoghurt",
        "Alpro-Fresh-Soy-Milk": "fresh soy milk",
        "Alpro-Shelf-Soy-Milk": "shelf soy milk",
        "Yoggi-Strawberry-Yoghurt": "strawberry yoghurt",
        "Yoggi-Vanilla-Yoghurt": "vanilla yoghurt",
    }
}
FOLDERS = ("train", "valid", "test")
REMEDY = "other pictures: --dataset folder --data-path ROOT with ROOT/CLASS/PICTURE.jpg"
READ_BATCH = 64  # pictures


@dataclasses.dataclass(frozen=True)
class Splits:
    """The three splits of a data set. In all of them a label is an index in `class_names`: seen classes first.

    Attributes
    ----------
    train, valid : ImageSet
        Pictures of the seen classes, to train on and held back.
    test : ImageSet
        Pictures of the unseen classes; may be empty. (All three may be `FeatureSet` where the backbone is frozen.)
    seen, unseen : list of str
        Class names.
    """

    train: ImageSet
    valid: ImageSet
    test: ImageSet
    seen: list[str]
    unseen: list[str]

    @property
    def class_names(self) -> list[str]:
        """The seen classes, then the unseen ones."""
        return self.seen + self.unseen


def load(args) -> Splits:
    """The data that the flags ask for: ``--dataset --data-path --split --unseen --valid-share --seed``.

    Raises
    ------
    UserError
        The data is not there or not as it should be.
    """
    on_error = getattr(args, "on_error", "stop")  # programs without the flag stop
    columns = getattr(args, "columns", ())  # which older runs have not
    sets.check_columns(args.dataset, columns)
    root = Path(args.data_path) if args.data_path else data_dir(args.dataset)
    if args.dataset == "awa2":
        stopped = split_awa2.interrupted(root)
        if stopped:
            raise UserError(stopped)
        if (root / "train").is_dir():  # what split_awa2.py made
            return _from_folders(root, args.unseen, args.split, on_error)
    if args.dataset == "grocery":
        return _from_lists(args, on_error)
    if args.dataset == "csv":
        found = table.load(sets.find("csv", args.data_path, REMEDY), columns, on_error)
        if found.splits is not None:
            return _from_table(args, found)
        whole, seen, unseen = found.images, None, None
    else:
        whole, seen, unseen = _whole(args, root, on_error)
    seen, unseen = _choice(args, whole, seen, unseen)
    whole = whole.select(seen + unseen)
    known, test = whole.subset(whole.labels < len(seen)), whole.subset(whole.labels >= len(seen))
    held = held_back(known.labels, args.valid_share, args.seed, seen)
    return Splits(known.subset(~held), known.subset(held), test, seen, unseen)


def _choice(
    args, whole: ImageSet, seen: list[str] | None = None, unseen: list[str] | None = None
) -> tuple[list[str], list[str]]:
    """The seen and the unseen classes: those that ``--unseen`` names, the set's own, or a fifth drawn at random."""
    if args.unseen is not None:
        wrong = [name for name in args.unseen if name not in whole.class_names]
        if wrong:
            whole.select(wrong)  # says which, and the near names
        unseen = list(dict.fromkeys(args.unseen))
        seen = [name for name in whole.class_names if name not in unseen]
    elif unseen is None:
        unseen = draw_classes(whole.class_names, max(2, len(whole.class_names) // 5), args.seed)
        seen = [name for name in whole.class_names if name not in unseen]
    if len(seen) < 2:
        remedy = "name fewer after --unseen" if args.unseen else "add pictures of seen classes"
        raise UserError(f"{len(seen)} classes are left to train on, two are needed: {remedy}")
    return seen, unseen


def _from_lists(args, on_error: str) -> Splits:
    """A data set's own lists: to train on and to validate with, of the seen classes; to test with, of the others."""
    found = sets.load(args.dataset, args.data_path, "seen", on_error=on_error, remedy=REMEDY)
    seen, unseen = _choice(args, found.train)
    train, valid, test = (one.select(seen + unseen) for one in (found.train, found.validation, found.test))
    train, valid = (one.subset(one.labels < len(seen)) for one in (train, valid))
    if not len(valid):
        raise UserError("no picture of the validation list is of a seen class: name other classes after --unseen")
    return Splits(train, valid, test.subset(test.labels >= len(seen)), seen, unseen)


def _from_table(args, found: table.Table) -> Splits:
    """A table's own splits. Unless others are named, the unseen classes are those with no row of split ``train``.

    Held back are the seen classes' rows of split ``validation``, else of ``test``, else some of ``train``; the unseen
    classes' rows are all to test with.
    """
    is_train = found.splits == "train"
    trained = {found.images.class_names[label] for label in np.unique(found.images.labels[is_train])}
    new = [name for name in found.images.class_names if name not in trained]
    known = [name for name in found.images.class_names if name in trained]
    if len(known) < 2:
        raise UserError(f"{args.data_path} has {len(known)} classes with rows of split train, it needs 2")
    seen, unseen = _choice(args, found.images, known if new else None, new or None)
    missing = next((name for name in seen if name not in trained), None)
    if missing is not None:
        raise UserError(f"class {missing!r} has no row of split train: name it after --unseen too")
    whole = found.images.select(seen + unseen)
    is_seen = whole.labels < len(seen)
    train, test = whole.subset(is_seen & is_train), whole.subset(~is_seen)
    for split in ("validation", "test"):
        if (is_seen & (found.splits == split)).any():
            return Splits(train, whole.subset(is_seen & (found.splits == split)), test, seen, unseen)
    held = held_back(train.labels, args.valid_share, args.seed, seen)
    return Splits(train.subset(~held), train.subset(held), test, seen, unseen)


def word_of(args, names: Sequence[str]) -> dict[str, str]:
    """Other words for some of the classes `names`: those of ``--words``, and of a data set whose names are brands."""
    own = {name: word for name, word in WORDS.get(args.dataset, {}).items() if name in names}
    return {**own, **words.pairs(args.words)}


def _whole(args, root: Path, on_error: str) -> tuple[ImageSet, list[str] | None, list[str] | None]:
    """All pictures, and the names of seen and unseen classes where the data set fixes them."""
    if args.dataset == "awa2":
        if not root.exists():
            raise UserError(f"{root} is not there: ./get_data.sh awa2 gets it (13 GB); {REMEDY}")
        return awa2.load_split(root, args.split, on_error)
    if args.dataset == "folder":
        if args.data_path is None:
            raise UserError("--dataset folder needs --data-path, a folder with a folder of pictures for each class")
        return folder.load(root, on_error), None, None
    whole = sets.load(args.dataset, args.data_path, "seen", on_error=on_error, remedy=REMEDY).train
    unseen = UNSEEN.get(args.dataset)
    return whole, [name for name in whole.class_names if name not in unseen] if unseen else None, unseen


def remark(args, splits: Splits) -> str:
    """What to say of the data before it is used: that it is a sample of AwA2; "" where there is nothing to say."""
    pictures = len(splits.train) + len(splits.valid) + len(splits.test)
    return awa2.remark(splits.class_names, pictures) if args.dataset == "awa2" else ""


def _from_folders(root: Path, unseen: list[str] | None, split: str, on_error: str) -> Splits:
    """The folders ``train``, ``valid`` and ``test`` that ``split_awa2.py`` made."""
    if unseen is not None:
        raise UserError(f"{root} is split already: --unseen is for sets that are not (split_awa2.py --undo)")
    there = [part for part in FOLDERS if (root / part).is_dir()]
    folders = [(part, child) for part in there for child in sorted((root / part).iterdir())]
    named = [(f"{part}/{child.name}", child) for part, child in folders if child.is_dir()]
    found = folder.collect(root, named, on_error)
    part_of, class_of = zip(*(name.split("/", 1) for name in found.class_names))
    seen, new = ([name for name, part in zip(class_of, part_of) if part == kind] for kind in ("train", "test"))
    if split == "proposed" and set(new) != set(awa2.PROPOSED) & {*seen, *new}:
        raise UserError(f"{root} was split with other unseen classes: split_awa2.py --undo, then --split proposed")
    names = seen + new
    wrong = next((n for n, part in zip(class_of, part_of) if part == "valid" and n not in seen), None)
    if wrong or len(set(names)) < len(names):
        raise UserError(f"{root}: the classes of train and valid must be the same, and those of test others")
    found = dataclasses.replace(found, class_names=names)
    parts = []
    for kind in FOLDERS:
        chosen = found.subset(np.array([part == kind for part in part_of])[found.labels])
        parts.append(dataclasses.replace(chosen, labels=np.array([names.index(n) for n in class_of])[chosen.labels]))
    return Splits(*parts, seen, new)


def eval_transform(resize: int, crop: int, keep_aspect: bool = False) -> Eval:
    """The middle of the picture."""
    return Eval(resize, crop, keep_aspect)


def train_transform(args, sizes: Eval) -> Train:
    """The document's augmentation, flip, crop, rotation, lighting and zoom by their flags, in the sizes of `sizes`."""
    return Train(
        sizes.resize, sizes.crop, sizes.keep_aspect, mirror=not args.no_mirror, rotation=args.rotation, zoom=args.zoom,
        lighting=args.lighting,
    )  # fmt: skip


def read(forward: Callable, image_set: ImageSet, transform: Eval, ctx=None, num_workers: int = 2) -> np.ndarray:
    """What `forward` (``net.embed``, ``net.classify``, ``net.backbone``) gives for every picture: (n, d) float32."""
    size = min(READ_BATCH, max(len(image_set), 1))
    loader = Loader(image_set, transform, Sequential(len(image_set), size), num_workers, keep=False)
    return features.encode(forward, loader.epoch(), ctx)


class Reader:
    """Reads pictures through a network as it is now; a backbone's features are kept, for other runs too.

    Parameters
    ----------
    backbone : common.backbones.Backbone
    transform : Eval
    ctx : mx.Context
    num_workers : int
        Decoding threads.
    engine : callable, optional
        Reads the backbone's features instead of MXNet, see `common.export.engine`.
    """

    def __init__(self, backbone, transform: Eval, ctx=None, num_workers: int = 2, engine: Callable | None = None):
        self.backbone, self.transform, self.ctx, self.num_workers = backbone, transform, ctx, num_workers
        self.engine = engine
        self._kept: dict[int, tuple[ImageSet, FeatureSet]] = {}

    def features(self, image_set: ImageSet) -> FeatureSet:
        """The backbone's features of all pictures, read once for each backbone, also over several runs."""
        if isinstance(image_set, FeatureSet):
            return image_set
        if id(image_set) not in self._kept:
            values = features.cached(
                data_root() / "features", self.backbone, image_set, transform=self.transform, ctx=self.ctx,
                num_workers=self.num_workers, engine=self.engine,
            )  # fmt: skip
            self._kept[id(image_set)] = image_set, FeatureSet(values, image_set.labels, image_set.class_names)
        return self._kept[id(image_set)][1]

    def forget(self) -> None:
        """The backbone has changed."""
        self._kept.clear()

    def apply(self, forward: Callable, pictures: ImageSet | FeatureSet) -> np.ndarray:
        """What `forward` gives for every picture, or for every row of features, in order: (n, d) float32."""
        if not isinstance(pictures, FeatureSet):
            return read(forward, pictures, self.transform, self.ctx, self.num_workers)
        return features.encode(forward, pictures.epoch(), self.ctx, fill=False)
