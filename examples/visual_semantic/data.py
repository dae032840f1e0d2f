"""Pictures of seen and of unseen classes, and what a network gives for all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common.backbones import features
from common.data import records, sets
from common.data.features import FeatureSet
from common.data.imageset import Notes
from common.data.loader import Loader
from common.data.samplers import Sequential
from common.data.sets import ImageSet, awa2, folder
from common.data.splits import draw_classes, held_back, note_unheld
from common.data.transforms import Eval, Train
from common.files.errors import UserError
from common.files.paths import data_dir, data_root
from common.text.vocabulary import split_name
from common.train.workers import SharedEvaluation
from examples.visual_semantic import protocol, split_awa2, words

XIAN = "xian"  # features and attributes in the files of Xian et al. (2019)
UNSEEN = {"cifar10": ["cat", "truck"]}  # as in Socher et al. 2013
WORDS = {  # brands and other names, of classes and of groups, that the usual files of word vectors lack
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
        "Oatghurt": "oat yoghurt",
        "Soyghurt": "soy yoghurt",
    }
}
FOLDERS = ("train", "valid", "test")
REMEDY = "other pictures: --dataset folder --data-path ROOT with ROOT/CLASS/PICTURE.jpg"
READ_BATCH = 64  # pictures
FEWEST = 4  # classes of which two can be unseen


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
    groups : dict of str to str, or None
        The group of each class, where the data has groups.
    captions : dict of str to list of str, or None
        Sentences on each class, where the data has them.
    notes : list of str
        What was said while it was loaded.
    is_tested : bool
        `valid` is what the last metrics are of, and no choice may look at it.
    vectors : (classes, dim) array or None
        The vector of each class, where the data has them.
    choose_by : list of str or None
        The seen classes that choices are made on, where the data says it.
    """

    train: ImageSet
    valid: ImageSet
    test: ImageSet
    seen: list[str]
    unseen: list[str]
    groups: dict[str, str] | None = None
    captions: dict[str, list[str]] | None = None
    notes: Sequence[str] = ()
    is_tested: bool = False
    vectors: np.ndarray | None = None
    choose_by: list[str] | None = None

    @property
    def class_names(self) -> list[str]:
        """The seen classes, then the unseen ones."""
        return self.seen + self.unseen

    def ordered(self, seen: Sequence[str], unseen: Sequence[str]) -> Splits:
        """The same classes in another order, and each part's pictures in that of their classes.

        What is drawn, or trained in batches, by numbers of classes and pictures is then what it is where a folder has
        this order by itself.

        Parameters
        ----------
        seen, unseen : sequence of str
            The names of `seen` and of `unseen`, each of them once.

        Returns
        -------
        Splits
        """
        if (seen, unseen) == (self.seen, self.unseen):
            return self
        names = [*seen, *unseen]
        parts = [part.select(names) for part in (self.train, self.valid, self.test)]
        parts = [part.subset(np.argsort(part.labels, kind="stable")) for part in parts]
        vectors = None if self.vectors is None else self.vectors[[self.class_names.index(name) for name in names]]
        choose_by = None if self.choose_by is None else [name for name in seen if name in self.choose_by]
        return dataclasses.replace(
            self, train=parts[0], valid=parts[1], test=parts[2], seen=list(seen), unseen=list(unseen), vectors=vectors,
            choose_by=choose_by,
        )  # fmt: skip


def load(args) -> Splits:
    """The data that the flags ask for: ``--dataset --data-path --split --unseen --valid-share --seed``.

    Raises
    ------
    UserError
        The data is not there or not as it should be.
    """
    notes = Notes()
    return dataclasses.replace(_load(args, notes), notes=notes)


def _load(args, say: Notes) -> Splits:
    own = sets.own_flags(args)
    on_error = own.pop("on_error")
    sets.check_own(args.dataset, **own)
    root = Path(args.data_path) if args.data_path else data_dir(args.dataset)
    if args.dataset == "awa2":
        stopped = split_awa2.interrupted(root)
        if stopped:
            raise UserError(stopped)
        if (root / "train").is_dir():  # what split_awa2.py made
            return _from_folders(root, args.unseen, args.split, on_error, say)
    if args.dataset == "grocery":
        return _from_lists(args, on_error, say)
    if args.dataset == XIAN:
        return _given_features(args, root)
    if args.dataset in sets.OWN:
        whole = sets.whole(args.dataset, sets.find(args.dataset, args.data_path, REMEDY), on_error, say, **own).images
        if whole.splits is not None:
            return _as_listed(args, whole, say)
        seen, unseen = None, None
    else:
        whole, seen, unseen = _whole(args, root, on_error, say)
    seen, unseen = _choice(args, whole, say, seen, unseen)
    whole = whole.select(seen + unseen)
    known, test = whole.subset(whole.labels < len(seen)), whole.subset(whole.labels >= len(seen))
    return _held_out(args, known, test, seen, unseen, say)


def _choice(
    args, whole: ImageSet, say: Notes, seen: list[str] | None = None, unseen: list[str] | None = None
) -> tuple[list[str], list[str]]:
    """The seen and the unseen classes: those that ``--unseen`` names, the set's own, or a fifth drawn at random.

    Of two or three classes none is unseen, unless it is named.
    """
    if args.unseen is not None:
        wrong = [name for name in args.unseen if name not in whole.class_names]
        if wrong:
            whole.select(wrong)  # says which, and the near names
        unseen = list(dict.fromkeys(args.unseen))
        seen = [name for name in whole.class_names if name not in unseen]
    elif unseen is None:
        unseen = draw_classes(whole.class_names, max(2, len(whole.class_names) // 5), args.seed)
        if len(whole.class_names) < FEWEST:
            unseen = []
            say(f"{len(whole.class_names)} classes are too few to leave some unseen: all are trained on (--unseen)")
        seen = [name for name in whole.class_names if name not in unseen]
    if len(seen) < 2:
        remedy = "name fewer after --unseen" if args.unseen else "add pictures of seen classes"
        raise UserError(f"{len(seen)} classes are left to train on, two are needed: {remedy}")
    return seen, unseen


def _from_lists(args, on_error: str, say: Notes) -> Splits:
    """A data set's own lists: to train on and to validate with, of the seen classes; to test with, of the others."""
    found = sets.load(args.dataset, args.data_path, "seen", on_error=on_error, say=say, remedy=REMEDY)
    seen, unseen = _choice(args, found.train, say)
    train, valid, test = (one.select(seen + unseen) for one in (found.train, found.validation, found.test))
    train, valid = (one.subset(one.labels < len(seen)) for one in (train, valid))
    if not len(valid):
        raise UserError("no picture of the validation list is of a seen class: name other classes after --unseen")
    test = test.subset(test.labels >= len(seen))
    return Splits(train, valid, test, seen, unseen, found.superclasses, found.captions)


def _given_features(args, root: Path) -> Splits:
    """The files of Xian et al.: rows of features stand in for pictures, attributes for words."""
    if args.unseen is not None:
        raise UserError(f"--dataset {XIAN} has its own unseen classes, in att_splits.mat: leave out --unseen")
    if not args.data_path:
        raise UserError(f"--dataset {XIAN} needs --data-path, a folder with res101.mat and att_splits.mat")
    found = protocol.load(root / "res101.mat", root / "att_splits.mat")
    whole = ImageSet(found.features, found.labels, found.class_names)
    parts = (whole.subset(part) for part in (found.train, found.test_seen, found.test_unseen))
    seen, unseen = found.class_names[: found.seen], found.class_names[found.seen :]
    choose_by = None if found.held is None else [found.class_names[label] for label in found.held]
    return Splits(*parts, seen, unseen, is_tested=True, vectors=found.words, choose_by=choose_by)


def without_some_classes(splits: Splits, held: Sequence[str], seed: int) -> Splits:
    """Training data alone, in which some of the seen classes stand for unseen ones, to make choices by.

    Parameters
    ----------
    splits : Splits
    held : sequence of str
        These classes.
    seed : int
        Of the others' held-back pictures, a fifth, where those of `splits` are to be tested with or are not of these.

    Returns
    -------
    Splits
        Without a picture of `splits.test`, nor of `splits.valid` if that is to be tested with.
    """
    kept = [name for name in splits.seen if name not in held]
    names, parts = [*kept, *held], [splits.train] if splits.is_tested else [splits.train, splits.valid]
    known = [dataclasses.replace(part.select(kept), class_names=names) for part in parts]
    new = ImageSet.concat([part.select(held) for part in parts])
    new = dataclasses.replace(new, labels=new.labels + len(kept), class_names=names)
    if splits.is_tested or not len(known[1]):
        chosen = held_back(known[0].labels, protocol.VALID_SHARE, seed)
        known = [known[0].subset(~chosen), known[0].subset(chosen)]
    vectors = None if splits.vectors is None else splits.vectors[[splits.class_names.index(name) for name in names]]
    return Splits(*known, new, kept, list(held), splits.groups, splits.captions, vectors=vectors)


def _held_out(args, known: ImageSet, test: ImageSet, seen: list[str], unseen: list[str], say: Notes) -> Splits:
    """Some of the pictures of the seen classes are for validation."""
    held = held_back(known.labels, args.valid_share, args.seed)
    train, valid = known.subset(~held), known.subset(held)
    note_unheld(dataclasses.replace(valid, class_names=seen), say)
    return Splits(train, valid, test, seen, unseen)


def _as_listed(args, whole: ImageSet, say: Notes) -> Splits:
    """The pictures' own splits. Unless others are named, the unseen classes are those with none of split ``train``.

    Held back are the seen classes' pictures of split ``validation``, else of ``test``, else some of ``train``; the
    unseen classes' pictures are all to test with.
    """
    trained = {whole.class_names[label] for label in np.unique(whole.labels[whole.splits == "train"])}
    new = [name for name in whole.class_names if name not in trained]
    known = [name for name in whole.class_names if name in trained]
    if len(known) < 2:
        raise UserError(f"{args.data_path} has {len(known)} classes of split train, it needs 2")
    seen, unseen = _choice(args, whole, say, known if new else None, new or None)
    missing = next((name for name in seen if name not in trained), None)
    if missing is not None:
        raise UserError(f"class {missing!r} has no picture of split train: name it after --unseen too")
    whole = whole.select(seen + unseen)
    is_seen = whole.labels < len(seen)
    train, test = whole.subset(is_seen & (whole.splits == "train")), whole.subset(~is_seen)
    for split in ("validation", "test"):
        if (is_seen & (whole.splits == split)).any():
            return Splits(train, whole.subset(is_seen & (whole.splits == split)), test, seen, unseen)
    return _held_out(args, train, test, seen, unseen, say)


def word_of(args, splits: Splits) -> dict[str, str]:
    """What some of the classes are looked up as instead of by their names; a word of ``--words`` has precedence.

    With ``--class-text group`` a class's words are followed by those of its group which are not among them.

    Raises
    ------
    UserError
        The data has no groups, or ``--words`` is not of the form CLASS=WORD.
    """
    own, kind = WORDS.get(args.dataset, {}), getattr(args, "class_text", "name")  # older runs have names alone
    if args.dataset == "folder":  # GROUP/CLASS
        own = {name: name.rsplit("/", 1)[1] for name in splits.class_names if "/" in name}
    found = {name: own[name] for name in splits.class_names if name in own and kind != "description"}
    for name in splits.class_names if kind == "group" else ():
        said, group = found.get(name, name), _given(splits.groups, args)[name]
        more = [word for word in split_name(own.get(group, group)) if word.lower() not in said.lower()]
        found[name] = " ".join([*split_name(said), *more])
    return {**found, **words.pairs(args.words)}


def described(args, splits: Splits) -> dict[str, str]:
    """The sentences that stand in for the names of the classes: with ``--class-text description``, else none."""
    if getattr(args, "class_text", "name") != "description":
        return {}
    return {name: " ".join(_given(splits.captions, args)[name]) for name in splits.class_names}


def _given(source, args):
    if source is None:
        raise UserError(f"--class-text {args.class_text}: --dataset {args.dataset} has none: leave the flag out")
    return source


def _whole(args, root: Path, on_error: str, say: Notes) -> tuple[ImageSet, list[str] | None, list[str] | None]:
    """All pictures, and the names of seen and unseen classes where the data set fixes them."""
    if args.dataset == "awa2":
        if records.shards(root):
            return _packed_awa2(args, root, on_error, say)
        if not root.exists():
            raise UserError(f"{root} is not there: ./get_data.sh awa2 gets it (13 GB); {REMEDY}")
        return awa2.load_split(root, args.split, on_error, say)
    whole = sets.load(args.dataset, args.data_path, "seen", on_error=on_error, say=say, remedy=REMEDY).train
    unseen = UNSEEN.get(args.dataset)
    return whole, [name for name in whole.class_names if name not in unseen] if unseen else None, unseen


def _packed_awa2(args, root: Path, on_error: str, say: Notes) -> tuple[ImageSet, list[str], list[str]]:
    """As `awa2.load_split`, of records: the standard split stands in them."""
    whole = sets.packed("awa2", root, on_error, say).images
    held = {whole.class_names[label] for label in np.unique(whole.labels[whole.splits == "test"])}
    unseen = [name for name in awa2.PROPOSED if name in whole.class_names] if args.split == "proposed" else held
    return whole, [n for n in whole.class_names if n not in unseen], [n for n in whole.class_names if n in unseen]


def remark(args, splits: Splits) -> str:
    """What to say of the data before it is used: that it is a sample of AwA2; "" where there is nothing to say."""
    pictures = len(splits.train) + len(splits.valid) + len(splits.test)
    return awa2.remark(splits.class_names, pictures) if args.dataset == "awa2" else ""


def _from_folders(root: Path, unseen: list[str] | None, split: str, on_error: str, say: Notes) -> Splits:
    """The folders ``train``, ``valid`` and ``test`` that ``split_awa2.py`` made."""
    if unseen is not None:
        raise UserError(f"{root} is split already: --unseen is for sets that are not (split_awa2.py --undo)")
    there = [part for part in FOLDERS if (root / part).is_dir()]
    folders = [(part, child) for part in there for child in sorted((root / part).iterdir())]
    named = [(f"{part}/{child.name}", child) for part, child in folders if child.is_dir()]
    found = folder.collect(root, named, on_error, say)
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


def train_transform(args, sizes: Eval) -> Train:
    """The document's augmentation, flip, crop, rotation, lighting and zoom by their flags, in the sizes of `sizes`."""
    return Train(
        sizes.resize, sizes.crop, sizes.keep_aspect, mirror=not args.no_mirror, rotation=args.rotation, zoom=args.zoom,
        lighting=args.lighting,
    )  # fmt: skip


def read(
    forward: Callable, image_set: ImageSet, transform: Eval, ctx=None, num_workers: int = 2,
    head: Callable | None = None, shared: SharedEvaluation | None = None,
) -> np.ndarray:  # fmt: skip
    """What `forward`, then `head` (see `model.VisualSemanticNet.halves`), give for every picture: (n, d) float32.

    With `shared` each worker reads a part of them.
    """
    size = min(transform.pictures(READ_BATCH), max(len(image_set), 1))
    loader = Loader(image_set, transform, Sequential(len(image_set), size), num_workers, keep=False)
    if shared:
        return shared.encode(forward, loader, ctx, head=head)
    return features.encode(forward, loader.epoch(), ctx, head=head)


def is_given(image_set: ImageSet) -> bool:
    """Whether rows of features, (n, width), stand in for the pictures."""
    return isinstance(image_set.images, np.ndarray) and image_set.images.ndim == 2


class Reader:
    """Reads pictures through a network as it is now; a backbone's features are kept, for other runs too.

    Parameters
    ----------
    backbone : common.backbones.Backbone
    transform : Eval
    ctx : mx.Context
    num_workers : int
        Decoding threads.
    is_frozen : bool
        Whether the backbone stays as it is in all stages: pictures are then embedded from its kept features.
    engine : callable, optional
        Reads the backbone's features instead of MXNet, see `common.export.engine`.
    """

    def __init__(
        self, backbone, transform: Eval, ctx=None, num_workers: int = 2, is_frozen: bool = False,
        engine: Callable | None = None,
    ):  # fmt: skip
        self.backbone, self.transform, self.ctx, self.num_workers = backbone, transform, ctx, num_workers
        self.is_frozen, self.engine = is_frozen, engine
        self._kept: dict[int, tuple[ImageSet, FeatureSet]] = {}

    def features(self, image_set: ImageSet) -> FeatureSet:
        """The backbone's features of all pictures, read once for each backbone, also over several runs."""
        if isinstance(image_set, FeatureSet):
            return image_set
        if is_given(image_set):
            return FeatureSet(image_set.images, image_set.labels, image_set.class_names)
        if id(image_set) not in self._kept:
            values = features.cached(
                data_root() / "features", self.backbone, image_set, transform=self.transform, ctx=self.ctx,
                num_workers=self.num_workers, engine=self.engine,
            )  # fmt: skip
            self._kept[id(image_set)] = image_set, FeatureSet(values, image_set.labels, image_set.class_names)
        return self._kept[id(image_set)][1]

    def embed(self, net, pictures: ImageSet) -> np.ndarray:
        """Where `net`, a `model.VisualSemanticNet` on this backbone, puts the pictures: unit vectors (n, dim)."""
        if self.is_frozen:
            return self.apply(net.embed_features, self.features(pictures))
        forward, head = net.halves(net.embed, self.transform)
        return self.apply(forward, pictures, head)

    def forget(self) -> None:
        """The backbone has changed."""
        self._kept.clear()

    def apply(
        self, forward: Callable, pictures: ImageSet | FeatureSet, head: Callable | None = None,
        shared: SharedEvaluation | None = None,
    ) -> np.ndarray:  # fmt: skip
        """What `forward`, then `head`, give for every picture or row of features, in order: (n, d) float32.

        With `shared` each worker reads a part of the pictures.
        """
        if not isinstance(pictures, FeatureSet):
            return read(forward, pictures, self.transform, self.ctx, self.num_workers, head, shared)
        return features.encode(forward, pictures.epoch(), self.ctx, fill=False, head=head)
