"""Pictures and their sentences, from each of the layouts in use, and batches of pairs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.paths import data_dir
from common.samplers import LengthBuckets
from common.text import Vocabulary, tokenise

THINGS = ("emoji", "glyphs")
HELD_OUT = 200  # things of emoji and glyphs that are never trained on, and as many to choose the best model on


@dataclasses.dataclass
class Part:
    """Pictures and sentences; those of equal labels belong together.

    Attributes
    ----------
    features : (n, dim_image) float32
    image_labels : (n,) int
    texts : list of m str
    sentence_labels : (m,) int
    pictures : sequence of n paths or (H, W, 3) uint8, or None
    """

    features: np.ndarray
    image_labels: np.ndarray
    texts: list[str]
    sentence_labels: np.ndarray
    pictures: Sequence | None = None

    def __post_init__(self):
        self.tokens = [tokenise(text) for text in self.texts]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """A batch: features (n, dim_image) float32, words (length, n) int32, its number's epoch."""

    features: np.ndarray
    words: np.ndarray
    epoch: int


class Batches:
    """The batches of all epochs in one row, so that a validation can stand after any number of updates.

    Parameters
    ----------
    part : Part
    vocabulary : Vocabulary
    batch_size, epochs, seed : int
    longest : int
        Sentences of more words are left out.
    same_image : bool
        Allow several sentences of one picture (or thing) in a batch, each a negative of the other, as in 2014.
    """

    def __init__(self, part, vocabulary: Vocabulary, batch_size, epochs, seed, longest=150, same_image=False):
        self.part, self.seed = part, seed
        self.words = [vocabulary.encode(tokens) for tokens in part.tokens]
        lengths = np.array([len(words) for words in self.words])
        self.kept = np.flatnonzero(lengths <= longest + 1)
        if len(self.kept) < 2:
            raise UserError(f"--maxlen_w {longest} leaves {len(self.kept)} sentences: two are needed")
        groups = None if same_image else part.sentence_labels[self.kept]
        least = max(2, batch_size // 8)
        self.sampler = LengthBuckets(lengths[self.kept], batch_size, groups, seed, least)
        self.sizes = [len(self.sampler.epoch(epoch)) for epoch in range(epochs)]
        if not sum(self.sizes):
            raise UserError(f"no {least} sentences of one length: lower --batch_size {batch_size}")
        order = np.argsort(part.image_labels, kind="stable")
        self.pictures = dict(zip(*_split(part.image_labels[order], order)))

    def __len__(self) -> int:
        return sum(self.sizes)

    def read(self, start: int, stop: int):
        """Batches number `start` to `stop` - 1 of the whole training."""
        begins = np.cumsum([0, *self.sizes])
        for number in range(start, min(stop, len(self))):
            epoch = int(np.searchsorted(begins, number, "right")) - 1
            chosen = self.kept[self.sampler.epoch(epoch)[number - begins[epoch]]]
            rng = np.random.default_rng([self.seed, number])
            pictures = [rng.choice(self.pictures[label]) for label in self.part.sentence_labels[chosen]]
            words = np.stack([self.words[i] for i in chosen], axis=1)
            yield Pairs(self.part.features[pictures], words, epoch)


def _split(labels: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    names, starts = np.unique(labels, return_index=True)
    return names, np.split(order, starts[1:])


def load(name: str, path=None, read_features=None, seed: int = 123, captions=None, images=None) -> dict[str, Part]:
    """The parts ``train``, ``dev`` and ``test``.

    Parameters
    ----------
    name : str
        ``emoji``, ``glyphs``, or the stem of Kiros's files (f8k, f30k, coco).
    path : optional
        Folder of the data; default ``data/<name>``. Recognised by what it holds: ``dataset.json`` (Karpathy),
        ``NAME_train_ims.npy`` (Kiros), ``train_ims.npy`` (vsepp).
    read_features : callable (ImageSet) -> (n, width) float32
        For layouts with pictures.
    captions, images : path, optional
        Flickr8k's token file, its split lists beside it, and the folder of the pictures.
    """
    if name in THINGS:
        return things(name, path, read_features, seed)
    if captions:
        return flickr(Path(captions), images, read_features)
    folder = Path(path) if path else data_dir(name)
    if (folder / "dataset.json").is_file():
        return karpathy(folder)
    for stem in (f"{name}_", ""):
        if (folder / f"{stem}train_ims.npy").is_file():
            return {part: kiros(folder, stem, part) for part in ("train", "dev", "test")}
    raise UserError(
        f"{folder} holds neither {name}_train_ims.npy nor dataset.json: ./get_data.sh {name}, or --data glyphs"
    )


def kiros(folder: Path, stem: str, part: str) -> Part:
    """``STEM_PART_caps.txt`` and ``_ims.npy``, its features once an image or once a caption (five in a row)."""
    texts = (folder / f"{stem}{part}_caps.txt").read_text(encoding="utf-8").splitlines()
    features = np.load(folder / f"{stem}{part}_ims.npy", allow_pickle=False).astype(np.float32)
    if len(features) == len(texts) and len(texts) % 5 == 0 and np.array_equal(features[0], features[4]):
        features = features[::5]
    each, rest = divmod(len(texts), len(features))
    if rest:
        raise UserError(f"{folder}/{stem}{part}: {len(texts)} captions are no multiple of {len(features)} images")
    return Part(features, np.arange(len(features)), texts, np.repeat(np.arange(len(features)), each))


def karpathy(folder: Path) -> dict[str, Part]:
    """``dataset.json`` and ``vgg_feats.mat``; COCO's ``restval`` is trained on."""
    import scipy.io

    images = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["images"]
    features = scipy.io.loadmat(folder / "vgg_feats.mat")["feats"].T.astype(np.float32)
    if len(features) != len(images):
        raise UserError(f"{folder}: vgg_feats.mat has {len(features)} images, dataset.json {len(images)}")
    parts = {}
    for part, splits in (("train", ("train", "restval")), ("dev", ("val",)), ("test", ("test",))):
        chosen = [i for i, image in enumerate(images) if image["split"] in splits]
        texts = [[s["raw"] for s in images[i]["sentences"]] for i in chosen]
        parts[part] = _part(features[chosen], texts)
    return parts


def _part(features: np.ndarray, texts: list[list[str]], pictures=None) -> Part:
    labels = np.repeat(np.arange(len(texts)), [len(group) for group in texts])
    return Part(features, np.arange(len(texts)), [text for group in texts for text in group], labels, pictures)


def read_tokens(path: Path) -> dict[str, list[str]]:
    """Flickr8k's ``IMAGE#N<TAB>text``: the texts of each image."""
    texts: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        key, tab, text = line.partition("\t")
        if not tab:
            raise UserError(f"{path}, line {number}: expected IMAGE#N, a tab and a text")
        texts.setdefault(key.rsplit("#", 1)[0], []).append(text)
    return texts


def split_lists(folder: Path) -> dict[str, list[str]]:
    """The image names of ``*trainImages.txt``, ``*devImages.txt`` and ``*testImages.txt``."""
    lists = {}
    for part in ("train", "dev", "test"):
        found = sorted(folder.glob(f"*{part}Images.txt"))
        if not found:
            raise UserError(f"{folder} has no *{part}Images.txt: put the split lists beside the captions")
        lists[part] = found[0].read_text(encoding="utf-8").split()
    return lists


def flickr(captions: Path, images, read_features) -> dict[str, Part]:
    """A token file with its split lists beside it, and a folder of pictures."""
    from common.datasets.base import ImageSet

    if images is None:
        raise UserError("--captions needs --images, the folder of the pictures")
    texts, parts = read_tokens(captions), {}
    for part, names in split_lists(captions.parent).items():
        names = [name for name in names if name in texts]
        paths = [Path(images) / name for name in names]
        missing = next((path for path in paths if not path.is_file()), None)
        if missing:
            raise UserError(f"{missing} is not there: give the folder of the pictures by --images")
        features = read_features(ImageSet(paths, np.arange(len(paths)), names))
        parts[part] = _part(features, [texts[name] for name in names], paths)
    return parts


def things(name: str, path, read_features, seed: int) -> dict[str, Part]:
    """Emoji or glyphs: 200 things for test and 200 for dev, none of which is trained on."""
    from common import datasets

    whole = datasets.load(name, path, seed=seed)
    names = sorted([*whole.train.class_names, *whole.test.class_names])
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    chosen = {"test": order[:HELD_OUT], "dev": order[HELD_OUT : 2 * HELD_OUT], "train": order[2 * HELD_OUT :]}
    features = {id(side): read_features(side) for side in (whole.train, whole.test)}
    parts = {}
    for part, classes in chosen.items():
        number = {c: i for i, c in enumerate(classes)}
        collected, labels, pictures = [], [], []
        for side in (whole.train, whole.test):
            mine = [i for i, label in enumerate(side.labels) if side.class_names[label] in number]
            collected.append(features[id(side)][mine])
            labels += [number[side.class_names[side.labels[i]]] for i in mine]
            pictures += [side.images[i] for i in mine]
        texts = [whole.captions[c] for c in classes]
        sentence_labels = np.repeat(np.arange(len(classes)), [len(group) for group in texts])
        parts[part] = Part(
            np.concatenate(collected), np.array(labels), [t for g in texts for t in g], sentence_labels, pictures
        )
    return parts
