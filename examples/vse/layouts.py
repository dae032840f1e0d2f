"""The layouts that pictures and sentences come in: read into the splits ``train``, ``dev`` and ``test``."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.files import finite
from common.files.errors import UserError, near, reading
from common.files.paths import data_dir
from common.text.vocabulary import tokenise
from examples.vse.data import Split

THINGS = ("emoji", "glyphs", "grocery")  # several pictures of each of many things, which the captions are of
NAMES = ("f8k", "f30k", "coco", *THINGS)
FOLDERS = {  # where get_data.sh puts Kiros's and Karpathy's archives
    "f8k": ("f8k", "flickr8k"),
    "f30k": ("f30k", "flickr30k"),
    "coco": ("kiros-coco", "coco"),
    "flickr8k": ("flickr8k",),
    "flickr30k": ("flickr30k",),
}
GET = {"coco": "kiros-coco"}
SPLITS = ("train", "dev", "test")
KARPATHY = {"train": ("train", "restval"), "dev": ("val",), "test": ("test",)}  # as dataset.json calls them
HELD_OUT = 200  # things at most that are never trained on, and as many to choose the best model on; a fifth of few
FEWEST = 4  # things, or pictures of COCO's, of which one is held out, one chooses the model and two are trained on
COCO_SPLIT = 5000  # pictures in dev and in test, as in Karpathy's split
ROWS = 4096  # rows of features that are compared at a time
USUAL = 0.9  # fraction of the pictures that must have the same number of captions before two are told apart by it
SHOWN = 3  # names in a message
OF_KARPATHY = "Karpathy's list of images, sentences and splits"
OF_COCO = "COCO's captions: `images` with id and file_name, `annotations` with image_id and caption"
NOT_FINITE = "mend these features, or make them again"


def load(
    name: str,
    path=None,
    seed: int = 123,
    captions: Sequence = (),
    images=None,
    splits: Sequence[str] = SPLITS,
    per_image: int | None = None,
    on_error: str = "stop",
    protocol: str = "unseen",
) -> dict[str, Split]:
    """The splits of a data set: their features, or the pictures that these are to be read from, see `pictures`.

    Parameters
    ----------
    name : str
        ``emoji``, ``glyphs``, ``grocery``, or the stem of Kiros's files (f8k, f30k, coco, or any other with `path`).
    path : optional
        Folder of the data; default is where ``./get_data.sh`` puts it. Recognised by what it holds: ``dataset.json``
        (Karpathy), ``NAME_train_ims.npy`` (Kiros), ``train_ims.npy`` (vsepp).
    seed : int
        Draws the things that are held out.
    captions, images : list of path, path
        Flickr8k's token file with its split lists beside it, or COCO's JSON files; and the folder of the pictures.
    splits : sequence of str
        Which ones: also ``testall``, vsepp's 5,000 pictures of COCO.
    per_image : int, optional
        Captions of each picture in Kiros's and vsepp's folders, where the rows do not tell.
    on_error : {"stop", "skip"}
        ``"skip"`` leaves out pictures that cannot be read, and the captions of those.
    protocol : {"unseen", "seen"}
        Of grocery ``seen`` holds no thing out: the splits are its own lists of pictures.

    Raises
    ------
    UserError
        The data is not there or not as it should be: names the file and what to do.
    """
    if protocol == "seen" and (captions or name != "grocery"):
        raise UserError(f"--protocol seen is for grocery, which has lists of its own: leave it out for {name}")
    folder, stem = (None, None) if has_pictures(name, captions) else _find(name, path)
    if stem is None:
        absent = [split for split in splits if split not in SPLITS]
        if absent:
            raise UserError(f"--part {absent[0]} is one of vsepp's folders: here there are {', '.join(SPLITS)}")
        if per_image:
            raise UserError("--captions-per-image is for folders of .npy features: here the data says whose each is")
    if captions:
        return raw([Path(file) for file in captions], images, splits, on_error)
    if name in THINGS:
        return things(name, path, seed, splits, on_error, protocol)
    if stem is None:
        made = karpathy(folder, splits)
    else:
        made = {split: kiros(folder, stem, split, per_image) for split in splits}
    widths = {split: found.features.shape[1] for split, found in made.items()}
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{split} {width}" for split, width in widths.items())
        raise UserError(f"{folder}: the features are of different widths ({told}): one network must have made them all")
    return made


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
            if any((folder / f"{stem}{split}_ims.npy").is_file() for split in (*SPLITS, "testall")):
                return folder, stem
    where = " or ".join(str(top) for top in tops)
    get = f"./get_data.sh {GET.get(name, name)}, or " if name in FOLDERS and not path else ""
    raise UserError(
        f"--data {name}{near(name, [n for n in NAMES if n != name])}: no {name}_train_ims.npy, train_ims.npy or"
        f" dataset.json in {where}: {get}--data-path; --data glyphs needs no download"
    )


def kiros(folder: Path, stem: str, split: str, per_image: int | None = None) -> Split:
    """``STEM_PART_caps.txt`` and ``_ims.npy``: features once an image, or once a caption (each image's in a row)."""
    lines, arrays = folder / f"{stem}{split}_caps.txt", folder / f"{stem}{split}_ims.npy"
    for file in (arrays, lines):
        if not file.is_file():
            raise UserError(
                f"{file} is not there, nor so the part {split} (evaluate.py's --part {split}): give the whole data"
            )
    texts = read_lines(lines, "one caption a line, those of an image in a row")
    with reading(arrays, "a .npy of one row of features an image or a caption"):
        features = np.load(arrays, mmap_mode="r", allow_pickle=False)
        if not isinstance(features, np.ndarray):
            raise ValueError("it is an archive of arrays")
        if features.ndim != 2 or not features.size or features.dtype.kind not in "fiu":
            raise UserError(f"{arrays} has shape {features.shape} of {features.dtype}: rows of numbers are wanted")
        finite.check(features, str(arrays), NOT_FINITE)
        firsts = first_rows(features, texts, per_image, arrays)
        chosen = _floats(features[firsts] if len(firsts) < len(features) else features, arrays)
    captions = np.diff([*firsts, len(features)]) * (len(texts) // len(features))
    return Split(chosen, np.arange(len(firsts)), texts, np.repeat(np.arange(len(firsts)), captions))


def _floats(features: np.ndarray, file) -> np.ndarray:
    """A copy as float32, which may not hold what float64 does."""
    with np.errstate(over="ignore"):
        return finite.check(np.array(features, np.float32), f"{file} in 32 bits", NOT_FINITE)


def read_lines(path: Path, what: str) -> list[str]:
    r"""The lines of a UTF-8 file, without blanks at both ends.

    A line ends at ``\n`` alone: one more character taken for an end would give every later picture another's caption.
    """
    with reading(path, what):
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    return [line.strip() for line in (lines if lines[-1] else lines[:-1])]


def first_rows(features: np.ndarray, texts: Sequence[str], per_image: int | None, file: Path) -> np.ndarray:
    """The row with which each picture begins.

    There are as many rows as captions where each caption has one; then equal rows that follow each other are one
    picture. Two pictures of equal features side by side are told apart where nearly all others have the same number of
    captions.

    Raises
    ------
    UserError
        Captions and rows do not fit each other, or do not fit `per_image`.
    """
    rows = len(features)
    if not rows or not len(texts) or len(texts) % rows:
        raise UserError(
            f"{file}: {len(texts)} captions are no multiple of the {rows} rows: a row an image or a caption is wanted"
        )
    if per_image and (len(texts) % per_image or rows not in (len(texts), len(texts) // per_image)):
        raise UserError(f"--captions-per-image {per_image}: {file} has {rows} rows for {len(texts)} captions")
    if rows != len(texts) or per_image == 1:
        return np.arange(rows)
    starts = np.flatnonzero(_differs(features))
    sizes = np.diff([*starts, rows])
    usual = per_image or np.bincount(sizes).argmax()
    sure = per_image or np.mean(sizes == usual) >= USUAL
    if usual > 1 and sure and not (sizes % usual).any():
        return np.arange(0, rows, usual)
    if per_image:
        group = int(np.flatnonzero(sizes % per_image)[0])
        raise UserError(
            f"--captions-per-image {per_image}: {file} has {sizes[group]} equal rows from row {starts[group] + 1} on"
        )
    return starts


def _differs(features: np.ndarray) -> np.ndarray:
    """Whether each row is another than the one before; the first one is."""
    new = np.ones(len(features), bool)
    for start in range(1, len(features), ROWS):
        stop = min(start + ROWS, len(features))
        new[start:stop] = (features[start:stop] != features[start - 1 : stop - 1]).any(axis=1)
    return new


def karpathy(folder: Path, splits: Sequence[str] = SPLITS) -> dict[str, Split]:
    """``dataset.json`` and ``vgg_feats.mat``; COCO's ``restval`` is trained on."""
    import scipy.io

    listing = folder / "dataset.json"
    images = _karpathy_images(_json(listing, OF_KARPATHY), listing)
    texts, listed = [group for _, group, _ in images], [kind for _, _, kind in images]
    mat = folder / "vgg_feats.mat"
    with reading(mat, "Karpathy's features, `feats` of a column an image"):
        found = scipy.io.loadmat(mat, variable_names=["feats"])
        if "feats" not in found:
            raise ValueError("it has no feats")
        features = found["feats"].T
        if features.ndim != 2 or not features.size or features.dtype.kind not in "fiu":
            raise ValueError("feats is no table of numbers")
    if len(features) != len(images):
        raise UserError(f"{folder}: vgg_feats.mat has {len(features)} images, dataset.json {len(images)}")
    finite.check(features, f"{mat}, a column counted as a row", NOT_FINITE)
    made = {}
    for split, wanted in KARPATHY.items():
        chosen = [i for i, kind in enumerate(listed) if kind in wanted]
        if split not in splits:
            continue
        if not chosen:
            raise UserError(f"{folder}/dataset.json has no image of the split {wanted[0]}")
        made[split] = _split(_floats(features[chosen], mat), [texts[i] for i in chosen])
    _note_others(listed, listing)
    return made


def _json(path: Path, what: str):
    """The content of a JSON file, which is `what`."""
    with reading(path, what):
        return json.loads(path.read_text(encoding="utf-8"))


def _karpathy_images(content, path: Path) -> list[tuple[str, list[str], str]]:
    """File name, sentences and split of each image of a ``dataset.json``, whose `content` was read from `path`."""
    with reading(path, OF_KARPATHY):
        return [
            (str(image.get("filename", "")), [str(one["raw"]) for one in image["sentences"]], str(image["split"]))
            for image in content["images"]
        ]


def _note_others(listed: Sequence[str], path: Path) -> None:
    others = Counter(kind for kind in listed if not any(kind in wanted for wanted in KARPATHY.values()))
    if others:
        told = ", ".join(f"{kind!r} {count}" for kind, count in others.items())
        print(f"{path}: images of other splits are left out: {told}")


def _karpathy_lists(content: dict, path: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The texts of each picture and the names in each split, of a ``dataset_*.json``."""
    images = _karpathy_images(content, path)
    if unnamed := sum(not name for name, _, _ in images):
        raise UserError(f"{path}: {unnamed} images have no filename: give the file that the pictures came with")
    _note_others([kind for _, _, kind in images], path)
    lists = {split: [name for name, _, kind in images if kind in wanted] for split, wanted in KARPATHY.items()}
    return {name: texts for name, texts, _ in images}, lists


def _split(features, texts: list[list[str]], pictures=None) -> Split:
    labels = np.repeat(np.arange(len(texts)), [len(group) for group in texts])
    return Split(features, np.arange(len(texts)), [text for group in texts for text in group], labels, pictures)


def raw(captions: list[Path], images, wanted: Sequence[str] = SPLITS, on_error: str = "stop") -> dict[str, Split]:
    """Captions with a folder of pictures: Flickr8k's token file, COCO's JSON files or Karpathy's ``dataset_*.json``.

    The splits are Karpathy's where the file has them, or those of the lists beside the first file
    (``*trainImages.txt``, ``*devImages.txt``, ``*testImages.txt``). COCO's JSON needs none: of the last file's pictures
    (the validation ones) in the order of their names, the first 5,000 are dev and the next 5,000 test (an eighth each
    where there are fewer than 40,000); all others are trained on.
    """
    from common.data.imageset import ImageSet, readable

    if images is None:
        raise UserError("--captions needs --images, the folder of the pictures")
    coco = captions[0].suffix == ".json"
    first = _json(captions[0], "captions of COCO or of Karpathy, as JSON") if coco else None
    karpathys = isinstance(first, dict) and "annotations" not in first
    if len(captions) > 1 and (karpathys or not coco):
        raise UserError("--captions takes one token file, one of Karpathy's dataset_*.json, or several of COCO's .json")
    if karpathys:
        texts, lists = _karpathy_lists(first, captions[0])
    else:
        if coco:
            files = [coco_texts(first, captions[0]), *(coco_texts(_json(file, OF_COCO), file) for file in captions[1:])]
        else:
            files = [read_tokens(captions[0])]
        texts = {name: group for file in files for name, group in file.items()}
        if len(texts) < sum(map(len, files)):
            raise UserError(f"--captions {' '.join(map(str, captions))} have pictures in common: give each file once")
        lists = split_lists(captions[0].parent, required=not coco)
        lists = checked_lists(lists, texts, captions[0]) if lists else _coco_split(texts, files[-1], captions[-1])
    splits = {}
    for split in wanted:
        names = [name for name in lists[split] if texts.get(name)]
        if not names:
            raise UserError(f"{captions[0]} has no caption of any picture of the {split} list")
        paths = [_picture(Path(images), name) for name in names]
        pictures = readable(ImageSet(paths, np.arange(len(paths)), names), on_error)
        if not len(pictures):
            raise UserError(f"{images}: no picture of the {split} list can be read")
        said = [texts[name] for name in pictures.class_names]
        splits[split] = _split(None, said, pictures)
    return splits


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
    for number, line in enumerate(read_lines(path, "lines of IMAGE#N, a tab and a text"), 1):
        key, tab, text = line.partition("\t")
        if line and not tab:
            raise UserError(f"{path}, line {number}: expected IMAGE#N, a tab and a text")
        if re.search(r"#\d+\t", text):
            raise UserError(f"{path}, line {number}: two captions in a line: put a line end between them")
        if line:
            texts.setdefault(key.rsplit("#", 1)[0].strip(), []).append(text.strip())
    return texts


def coco_texts(content, path: Path) -> dict[str, list[str]]:
    """COCO's ``captions_*.json``: the texts of each picture, by its file name, in the order of the names.

    Parameters
    ----------
    content : dict
        Of the file, as JSON gave it.
    path : Path
        The file, for messages.

    Raises
    ------
    UserError
        The content is another.
    """
    with reading(path, OF_COCO):
        names = {image["id"]: image["file_name"] for image in content["images"]}
        texts: dict[str, list[str]] = {name: [] for name in sorted(names.values())}
        for annotation in content["annotations"]:
            texts[names[annotation["image_id"]]].append(annotation["caption"].strip())
    return texts


def split_lists(folder: Path, required: bool = True) -> dict[str, list[str]] | None:
    """The image names of ``*trainImages.txt``, ``*devImages.txt`` and ``*testImages.txt``, one a line."""
    lists = {}
    for split in SPLITS:
        found = sorted(folder.glob(f"*{split}Images.txt"))
        if not found:
            if not required:
                return None
            raise UserError(f"{folder} has no *{split}Images.txt: put the split lists beside the captions")
        if len(found) > 1:
            names = " and ".join(file.name for file in found[:2])
            raise UserError(f"{folder} has two lists of the part {split}, {names}: leave one there")
        lists[split] = [name for name in read_lines(found[0], "a list of picture names, one a line") if name]
    return lists


def checked_lists(lists: dict[str, list[str]], texts: dict, file: Path) -> dict[str, list[str]]:
    """The names of each split, each once; one printed line says what is odd about them.

    A line of several names with blanks between them counts as these names.

    Raises
    ------
    UserError
        A picture is in two splits.
    """
    lists = {split: [one for name in names for one in _names_in(name, texts)] for split, names in lists.items()}
    splits_of: dict[str, list[str]] = {}
    for split, names in lists.items():
        for name in dict.fromkeys(names):
            splits_of.setdefault(name, []).append(split)
    shared = [name for name, splits in splits_of.items() if len(splits) > 1]
    if shared:
        told = ", ".join(f"{name} in {' and '.join(splits_of[name])}" for name in shared[:SHOWN])
        raise UserError(f"the lists beside {file}: {len(shared)} pictures are in two parts ({told}): leave each in one")
    unknown = [name for name in splits_of if not texts.get(name)]
    glued = [name for name in unknown if any(name[:i] in texts and name[i:] in texts for i in range(1, len(name)))]
    odd = {
        f"names have no captions ({', '.join(unknown[:SHOWN])}{', ...' * (len(unknown) > SHOWN)})": len(unknown),
        "of them are two names without a line end between them": len(glued),
        "names stand there twice and count once": sum(map(len, lists.values())) - len(splits_of),
        "pictures with captions are in no list": len({name for name in texts if texts[name]} - set(splits_of)),
    }
    if any(odd.values()):
        print(f"the lists beside {file}: {'; '.join(f'{n} {what}' for what, n in odd.items() if n)}", flush=True)
    return {split: list(dict.fromkeys(names)) for split, names in lists.items()}


def _names_in(line: str, texts: dict) -> list[str]:
    names = line.split()
    return names if line not in texts and all(name in texts for name in names) else [line]


def _coco_split(texts: dict, last: dict, file: Path) -> dict[str, list[str]]:
    if len(texts) < FEWEST:
        raise UserError(f"{file} has {len(texts)} pictures, and {FEWEST} are needed to hold some out: give more")
    count = min(COCO_SPLIT, max(1, len(last) // 8))
    held = list(last)
    dev, test = held[:count], held[count : 2 * count]
    out = {*dev, *test}
    return {"train": [name for name in texts if name not in out], "dev": dev, "test": test}


def things(
    name: str, path, seed: int, wanted: Sequence[str] = SPLITS, on_error: str = "stop", protocol: str = "unseen"
) -> dict[str, Split]:
    """Emoji, glyphs or groceries: a fifth of them, 200 at most, for test and as many for dev; none is trained on.

    Of groceries the test pictures are those of the test list, all others those of the other two. With `protocol`
    ``seen`` no thing is held out and the splits are the three lists.
    """
    from common.data import records, sets
    from common.data.imageset import readable
    from common.data.sets import emoji, glyphs, grocery

    if path and records.shards(path):
        found = sets.packed(name, Path(path), on_error, print)
        whole, captions = found.images, found.captions
    elif name == "emoji":
        whole, _, captions = emoji.load(path or data_dir(name))
    elif name == "grocery":
        whole, _, _, captions = grocery.load(path or data_dir(name), on_error)
    else:
        whole = glyphs.load(path)
        captions = {character: [glyphs.name(character)] for character in whole.class_names}
    left = readable(whole, on_error)
    for class_name in set(whole.class_names) - set(left.class_names):  # no picture of it can be read
        del captions[class_name]
    whole = left
    if protocol == "seen":
        names_of = dict.fromkeys(SPLITS, sorted(captions))
    else:
        names_of = split_classes(captions, seed, words_seen=name == "glyphs")
    splits = {}
    for split in wanted:
        may = _listed(whole, split, protocol) if name == "grocery" else np.ones(len(whole), bool)
        present = {whole.class_names[label] for label in np.unique(whole.labels[may])}
        names = [class_name for class_name in names_of[split] if class_name in present]
        number = {class_name: i for i, class_name in enumerate(names)}
        labels = np.array([number.get(class_name, -1) for class_name in whole.class_names])[whole.labels]
        mine = np.flatnonzero(may & (labels >= 0))
        if not len(mine):
            raise UserError(f"{name}: no picture is left for the part {split}: ./get_data.sh {name} gets the whole set")
        texts = [captions[class_name] for class_name in names]
        made = _split(None, texts, whole.subset(mine))
        made.image_labels, made.names, made.whole, made.indices = labels[mine], names, whole, mine
        splits[split] = made
    return splits


def _listed(whole, split: str, protocol: str) -> np.ndarray:
    """Whether each photograph may be in `split` by the list that it is of."""
    of_list = {name: whole.domains == i for i, name in enumerate(whole.domain_names)}
    if protocol == "seen":
        return of_list[{"dev": "validation"}.get(split, split)]
    return of_list["test"] if split == "test" else ~of_list["test"]


def split_classes(captions: dict[str, list[str]], seed: int, words_seen: bool) -> dict[str, list[str]]:
    """Names of the classes in each split, drawn with `seed`.

    `words_seen`: take only classes into dev and test whose every word is left in a sentence of training.
    """
    names = sorted(captions)
    held = min(HELD_OUT, max(1, len(names) // 5))
    words = {class_name: {word for text in texts for word in tokenise(text)} for class_name, texts in captions.items()}
    left = Counter(word for class_name in names for word in words[class_name])
    chosen: list[str] = []
    for class_name in (names[i] for i in np.random.default_rng(seed).permutation(len(names))):
        if len(chosen) < 2 * held and not (words_seen and any(left[word] < 2 for word in words[class_name])):
            chosen.append(class_name)
            left.subtract(words[class_name])
    if len(names) < FEWEST or len(chosen) < 2 * held:
        raise UserError(f"{len(names)} things are too few to hold some out: ./get_data.sh emoji fetches the whole set")
    out = set(chosen)
    train = [class_name for class_name in names if class_name not in out]
    return {"test": chosen[:held], "dev": chosen[held:], "train": train}
