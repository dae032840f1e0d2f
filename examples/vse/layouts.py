"""The layouts that pictures and sentences come in: read into the parts ``train``, ``dev`` and ``test``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common.errors import UserError, near, reading
from common.paths import data_dir
from common.text import tokenise
from examples.vse.data import Part

THINGS = ("emoji", "glyphs")
NAMES = ("f8k", "f30k", "coco", *THINGS)
FOLDERS = {  # where get_data.sh puts Kiros's and Karpathy's archives
    "f8k": ("f8k", "flickr8k"),
    "f30k": ("f30k", "flickr30k"),
    "coco": ("kiros-coco", "coco"),
    "flickr8k": ("flickr8k",),
    "flickr30k": ("flickr30k",),
}
GET = {"coco": "kiros-coco"}
PARTS = ("train", "dev", "test")
HELD_OUT = 200  # things of emoji and glyphs that are never trained on, and as many to choose the best model on
COCO_PART = 5000  # pictures in dev and in test, as in Karpathy's split

Reader = Callable[["object"], np.ndarray]  # ImageSet -> (n, width) float32


def load(
    name: str,
    path=None,
    read: Reader | None = None,
    seed: int = 123,
    captions: Sequence = (),
    images=None,
    parts: Sequence[str] = PARTS,
) -> dict[str, Part]:
    """The parts of a data set.

    Parameters
    ----------
    name : str
        ``emoji``, ``glyphs``, or the stem of Kiros's files (f8k, f30k, coco, or any other with `path`).
    path : optional
        Folder of the data; default is where ``./get_data.sh`` puts it. Recognised by what it holds: ``dataset.json``
        (Karpathy), ``NAME_train_ims.npy`` (Kiros), ``train_ims.npy`` (vsepp).
    read : callable (ImageSet) -> (n, width) float32, optional
        Features of pictures, where the layout has pictures; None leaves them out (the network is trained too).
    seed : int
        Draws the things of emoji and glyphs that are held out.
    captions, images : list of path, path
        Flickr8k's token file with its split lists beside it, or COCO's JSON files; and the folder of the pictures.
    parts : sequence of str
        Which ones: also ``testall``, vsepp's 5,000 pictures of COCO.

    Raises
    ------
    UserError
        The data is not there or not as it should be: names the file and what to do.
    """
    if captions:
        return raw([Path(file) for file in captions], images, read)
    if name in THINGS:
        return things(name, path, read, seed)
    folder, stem = _find(name, path)
    if stem is None:
        return karpathy(folder)
    return {part: kiros(folder, stem, part) for part in parts}


def has_pictures(name: str, captions: Sequence) -> bool:
    """Whether the layout has pictures rather than features."""
    return bool(captions) or name in THINGS


def _find(name: str, path) -> tuple[Path, str | None]:
    """The folder of a data set, and the start of Kiros's or vsepp's file names in it; None: Karpathy's layout."""
    tops = [Path(path)] if path else [data_dir(folder) for folder in FOLDERS.get(name, (name,))]
    for folder in (inner for top in tops for inner in (top, top / top.name, top / name)):
        if (folder / "dataset.json").is_file():
            return folder, None
        for stem in (f"{name}_", ""):
            if any((folder / f"{stem}{part}_ims.npy").is_file() for part in PARTS):
                return folder, stem
    where = " or ".join(str(top) for top in tops)
    get = f"./get_data.sh {GET.get(name, name)}, or " if name in FOLDERS and not path else ""
    raise UserError(
        f"--data {name}{near(name, [n for n in NAMES if n != name])}: no {name}_train_ims.npy, train_ims.npy or"
        f" dataset.json in {where}: {get}--data-path; --data glyphs needs no download"
    )


def kiros(folder: Path, stem: str, part: str) -> Part:
    """``STEM_PART_caps.txt`` and ``_ims.npy``: features once an image, or once a caption (each image's in a row)."""
    lines, arrays = folder / f"{stem}{part}_caps.txt", folder / f"{stem}{part}_ims.npy"
    with reading(lines, "one caption a line, those of an image in a row"):
        texts = lines.read_text(encoding="utf-8").splitlines()
    with reading(arrays, "a .npy of one row of features an image or a caption"):
        features = np.load(arrays, mmap_mode="r", allow_pickle=False)
        if features.ndim != 2:
            raise UserError(f"{arrays} has {features.ndim} dimensions: rows of features are wanted")
        if len(features) == len(texts) and len(texts) % 5 == 0 and _fivefold(features):
            features = features[::5]
        features = np.array(features, np.float32)
    each, rest = divmod(len(texts), max(len(features), 1))
    if rest or not each:
        raise UserError(f"{lines}: {len(texts)} captions are no multiple of the {len(features)} rows of {arrays.name}")
    return Part(features, np.arange(len(features)), texts, np.repeat(np.arange(len(features)), each))


def _fivefold(features: np.ndarray) -> bool:
    """Whether rows come five times each; looked at in up to a hundred places."""
    starts = 5 * np.unique(np.linspace(0, len(features) // 5 - 1, 100).astype(int))
    return all((features[start] == features[start + 1 : start + 5]).all() for start in starts)


def karpathy(folder: Path) -> dict[str, Part]:
    """``dataset.json`` and ``vgg_feats.mat``; COCO's ``restval`` is trained on."""
    import scipy.io

    with reading(folder / "dataset.json", "Karpathy's list of images, sentences and splits"):
        images = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["images"]
        texts = [[sentence["raw"] for sentence in image["sentences"]] for image in images]
        splits = [image["split"] for image in images]
    with reading(folder / "vgg_feats.mat", "Karpathy's features, `feats` of a column an image"):
        features = scipy.io.loadmat(folder / "vgg_feats.mat", variable_names=["feats"])["feats"].T
    if len(features) != len(images):
        raise UserError(f"{folder}: vgg_feats.mat has {len(features)} images, dataset.json {len(images)}")
    parts = {}
    for part, wanted in (("train", ("train", "restval")), ("dev", ("val",)), ("test", ("test",))):
        chosen = [i for i, split in enumerate(splits) if split in wanted]
        if not chosen:
            raise UserError(f"{folder}/dataset.json has no image of the split {wanted[0]}")
        parts[part] = _part(np.array(features[chosen], np.float32), [texts[i] for i in chosen])
    return parts


def _part(features, texts: list[list[str]], pictures=None) -> Part:
    labels = np.repeat(np.arange(len(texts)), [len(group) for group in texts])
    return Part(features, np.arange(len(texts)), [text for group in texts for text in group], labels, pictures)


def raw(captions: list[Path], images, read: Reader | None) -> dict[str, Part]:
    """Captions with a folder of pictures: Flickr8k's token file, or COCO's JSON files.

    The parts are those of the split lists beside the first file (``*trainImages.txt``, ``*devImages.txt``,
    ``*testImages.txt``). COCO's JSON needs none: of the last file's pictures (the validation ones) in the order of
    their names, the first 5,000 are dev and the next 5,000 test (an eighth each where there are fewer than 40,000);
    all others are trained on.
    """
    from common.datasets.base import ImageSet

    if images is None:
        raise UserError("--captions needs --images, the folder of the pictures")
    coco = captions[0].suffix == ".json"
    if not coco and len(captions) > 1:
        raise UserError("--captions takes one token file, or several of COCO's .json")
    files = [read_coco(file) if coco else read_tokens(file) for file in captions]
    texts = {name: group for file in files for name, group in file.items()}
    lists = split_lists(captions[0].parent, required=not coco) or _coco_split(texts, files[-1])
    parts = {}
    for part, names in lists.items():
        names = [name for name in names if texts.get(name)]
        if not names:
            raise UserError(f"{captions[0]} has no caption of any picture of the {part} list")
        paths = [_picture(Path(images), name) for name in names]
        pictures = ImageSet(paths, np.arange(len(paths)), names)
        parts[part] = _part(read(pictures) if read else None, [texts[name] for name in names], pictures)
    return parts


def _picture(folder: Path, name: str) -> Path:
    """The file of a picture: in `folder`, or in COCO's ``train2014`` and ``val2014`` inside."""
    inner = name.split("_")[1] if name.count("_") > 1 else ""
    for path in (folder / name, folder / inner / name):
        if path.is_file():
            return path
    raise UserError(f"{folder / name} is not there: give the folder of the pictures by --images")


def read_tokens(path: Path) -> dict[str, list[str]]:
    """Flickr8k's ``IMAGE#N<TAB>text``: the texts of each image."""
    texts: dict[str, list[str]] = {}
    with reading(path, "lines of IMAGE#N, a tab and a text"):
        lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        key, tab, text = line.partition("\t")
        if not tab:
            raise UserError(f"{path}, line {number}: expected IMAGE#N, a tab and a text")
        texts.setdefault(key.rsplit("#", 1)[0], []).append(text)
    return texts


def read_coco(path: Path) -> dict[str, list[str]]:
    """COCO's ``captions_*.json``: the texts of each picture, by its file name, in the order of the names."""
    with reading(path, "COCO's captions: `images` with id and file_name, `annotations` with image_id and caption"):
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {image["id"]: image["file_name"] for image in content["images"]}
        texts: dict[str, list[str]] = {name: [] for name in sorted(names.values())}
        for annotation in content["annotations"]:
            texts[names[annotation["image_id"]]].append(annotation["caption"].strip())
    return texts


def split_lists(folder: Path, required: bool = True) -> dict[str, list[str]] | None:
    """The image names of ``*trainImages.txt``, ``*devImages.txt`` and ``*testImages.txt``."""
    lists = {}
    for part in PARTS:
        found = sorted(folder.glob(f"*{part}Images.txt"))
        if not found:
            if not required:
                return None
            raise UserError(f"{folder} has no *{part}Images.txt: put the split lists beside the captions")
        lists[part] = found[0].read_text(encoding="utf-8").split()
    return lists


def _coco_split(texts: dict, last: dict) -> dict[str, list[str]]:
    count = min(COCO_PART, len(last) // 8)
    held = list(last)
    dev, test = held[:count], held[count : 2 * count]
    out = {*dev, *test}
    return {"train": [name for name in texts if name not in out], "dev": dev, "test": test}


def things(name: str, path, read: Reader | None, seed: int) -> dict[str, Part]:
    """Emoji or glyphs: 200 things for test and 200 for dev, none of which is trained on."""
    from common.datasets import emoji, glyphs

    if name == "emoji":
        whole, _, captions = emoji.load(path or data_dir(name))
    else:
        whole = glyphs.load(path)
        captions = {character: [glyphs.name(character)] for character in whole.class_names}
    features = read(whole) if read else None
    parts = {}
    for part, names in split_things(captions, seed, words_seen=name == "glyphs").items():
        number = {thing: i for i, thing in enumerate(names)}
        labels = np.array([number.get(thing, -1) for thing in whole.class_names])[whole.labels]
        mine = np.flatnonzero(labels >= 0)
        texts = [captions[thing] for thing in names]
        made = _part(None if features is None else features[mine], texts, whole.subset(mine))
        made.image_labels, made.names = labels[mine], names
        parts[part] = made
    return parts


def split_things(captions: dict[str, list[str]], seed: int, words_seen: bool) -> dict[str, list[str]]:
    """Names of the things in each part, drawn with `seed`.

    `words_seen`: take only things into dev and test whose every word is left in a sentence of training.
    """
    names = sorted(captions)
    held = min(HELD_OUT, len(names) // 5)
    words = {thing: {word for text in texts for word in tokenise(text)} for thing, texts in captions.items()}
    left = Counter(word for thing in names for word in words[thing])
    chosen: list[str] = []
    for thing in (names[i] for i in np.random.default_rng(seed).permutation(len(names))):
        if len(chosen) < 2 * held and not (words_seen and any(left[word] < 2 for word in words[thing])):
            chosen.append(thing)
            left.subtract(words[thing])
    if not held or len(chosen) < 2 * held:
        raise UserError(f"{len(names)} things are too few to hold some out: ./get_data.sh emoji fetches the whole set")
    out = set(chosen)
    return {"test": chosen[:held], "dev": chosen[held:], "train": [thing for thing in names if thing not in out]}
