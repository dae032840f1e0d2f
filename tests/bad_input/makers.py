"""Files to be broken, and the ways in which they are."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import pickle
import shutil
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from common.data.sets.grocery import COLUMNS

REPO = Path(__file__).resolve().parents[2]
WORDS = ("king", "queen", "zebra", "horse")


def good_files(folder: Path) -> None:
    """Small files that every program reads without complaint: pictures, models, features, word vectors, captions."""
    rng = np.random.default_rng(0)
    _pictures(folder / "pictures", rng)
    _features(folder, rng)
    _table(folder)
    _models(folder)
    _data_sets(folder, rng)
    lines = [f"{word} {' '.join(map(str, rng.normal(size=50).round(3)))}" for word in WORDS]
    (folder / "words.txt").write_text("\n".join(lines) + "\n")
    with open(folder / "words.bin", "wb") as file:
        file.write(f"{len(WORDS)} 50\n".encode())
        for word in WORDS:
            file.write(word.encode() + b" " + rng.normal(size=50).astype("<f4").tobytes())
    (folder / "words.txt.gz").write_bytes(gzip.compress((folder / "words.txt").read_bytes()))
    (folder / "run").mkdir()
    (folder / "run" / "args.json").write_text("{}")


def _pictures(folder: Path, rng) -> None:
    from PIL import Image

    for name in ("a", "b", "c"):
        (folder / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(folder / name / f"{i}.png")


def _features(folder: Path, rng) -> None:
    np.save(folder / "x_data.npy", rng.normal(size=(12, 4)).astype(np.float32))
    np.save(folder / "x_labels.npy", np.repeat([[0], [1]], 6, axis=0))
    np.save(folder / "pixels.npy", rng.integers(0, 256, (4, 8 * 8 * 3), np.uint8))
    np.save(folder / "labels.npy", np.arange(4))
    (folder / "list.csv").write_text("".join(f"a,pictures/a/{i}.png\n" for i in range(4)))
    (folder / "x.csv").write_text("Class,n0,n1\n" + "".join(f"{i % 2},{i}.5,1\n" for i in range(12)))


def _table(folder: Path) -> None:
    """A table of the pictures with all columns: two classes to train on, one to test on."""
    lines = ["path,label,split,is_query,is_gallery,x1,y1,x2,y2,category"]
    for label in "abc":
        split = "test,1,1" if label == "c" else "train,,"
        lines += [f"pictures/{label}/{i}.png,class {label},{split},2,3,38,39,all" for i in range(4)]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")


def _models(folder: Path) -> None:
    """A model of each example, as it is written and, with ``old`` in its name or as shipped, as it was before."""
    import mxnet as mx

    from common import backbones
    from common.backbones.preprocessing import IMAGENET
    from common.backbones.pretrained import save_preprocessing
    from common.text.vocabulary import Vocabulary
    from examples.embedding_learning import model as embedding
    from examples.im2vec import modelfile
    from examples.transfer import model as transfer_model
    from examples.visual_semantic import model as visual_semantic
    from examples.vse import model as vse_model

    for example, name in (("embedding_learning", "glyphs_conv4"), ("visual_semantic", "emoji")):
        for suffix in (".params", ".json"):
            shutil.copyfile(REPO / "examples" / example / "pretrained" / (name + suffix), folder / (name + suffix))
    net, _ = embedding.load(folder / "glyphs_conv4.params")
    embedding.save(net, folder / "embedding.params", crop=32, resize=32, keep_aspect=False)
    visual_semantic.save(visual_semantic.load(folder / "emoji.params"), folder / "words.params", dtype="float16")
    net = backbones.network("conv4")
    net.initialize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.save_parameters(str(folder / "conv4.params"))
    save_preprocessing(folder / "conv4.params", dataclasses.replace(IMAGENET, size=32))
    metadata = {
        "dim_image": 4,
        "dim": 3,
        "dim_word": 2,
        "encoder": "gru",
        "bidirectional": False,
        "measure": "cosine",
        "model": None,
        "dataset": "f8k",
    }
    vse = vse_model.VSE(metadata, Vocabulary(["dog", "cat"], [2, 1]))
    vse.initialize()
    vse_model.save(vse, folder / "vse.params")
    metadata = {
        "dataset": "cifar10",
        "classes": ["a", "b"],
        "counts": [3, 4],
        "groups": None,
        "group_names": None,
        "model": "resnet20",
        "pretrained": False,
        "size": 32,
        "preprocessing": None,
        "dim": 4,
        "objective": "negative",
        "negatives": 2,
        "epochs": 1,
    }
    im2vec = modelfile.build(metadata)
    im2vec.means, im2vec.examples = np.zeros((2, 4), np.float32), np.zeros((2, 32, 32, 3), np.uint8)
    im2vec.net(mx.nd.zeros((1, 32, 32, 3)))
    modelfile.save(folder / "im2vec.params", im2vec)
    _as_before(folder / "vse.params", folder / "old_vse.params", "vse 2")
    _as_before(folder / "im2vec.params", folder / "old_im2vec.params", "im2vec 1")
    of = {"name": "conv4", "weights": str(folder / "conv4.params"), "interpolation": "nearest", "seed": 1}
    ones = np.ones(512, np.float32)
    arrays = {"mean": ones, "scale": ones, "weight": np.ones((2, 512), np.float32), "bias": np.zeros(2, np.float32)}
    classes = np.array(["a", "b"])
    transfer_model.Classifier("svm", classes, **arrays, backbone=of).save(folder / "classifier.params")
    text = json.dumps({"kind": "svm", "backbone": of, "k": 5})
    np.savez(folder / "classifier.npz", about=np.array(text), classes=classes, **arrays)


def _as_before(path: Path, target: Path, kind: str) -> None:
    """A model file of vse or im2vec in the layout that they had before it had a version."""
    import mxnet as mx

    arrays = mx.nd.load(str(path))
    metadata = {**json.loads(arrays["meta:json"].asnumpy().tobytes()), "format": kind}
    old = {name if ":" in name else f"net:{name}": value for name, value in arrays.items()}
    old = {name.removeprefix("array:"): value for name, value in old.items() if not name.startswith("meta:")}
    old["about"] = mx.nd.array(np.frombuffer(json.dumps(metadata).encode(), np.uint8), dtype="uint8")
    mx.nd.save(str(target), old)


def _data_sets(folder: Path, rng) -> None:
    """vse's features and captions, and the small text files of the sets that have an official layout."""
    kiros = folder / "f8k"
    kiros.mkdir()
    for part in ("train", "dev", "test"):
        np.save(kiros / f"f8k_{part}_ims.npy", rng.normal(size=(6, 4)).astype(np.float32))
        (kiros / f"f8k_{part}_caps.txt").write_text("".join(f"a dog number {i}\n" for i in range(30)))
    cub = folder / "cub200"
    cub.mkdir()
    (cub / "classes.txt").write_text("1 001.a\n2 002.b\n")
    (cub / "images.txt").write_text("1 a/0.png\n2 b/0.png\n")
    (cub / "image_class_labels.txt").write_text("1 1\n2 2\n")
    (cub / "bounding_boxes.txt").write_text("1 0 0 9 9\n2 0 0 9 9\n")
    sop = folder / "sop"
    sop.mkdir()
    for part in ("train", "test"):
        (sop / f"Ebay_{part}.txt").write_text("image_id class_id super_class_id path\n1 1 1 a/0.png\n")
    cifar = folder / "cifar10"
    cifar.mkdir()
    (cifar / "batches.meta.txt").write_text("cat\ndog\n")
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        (cifar / name).write_bytes(bytes([0, *[9] * 3072, 1, *[8] * 3072]))
    emoji = folder / "emoji"
    (emoji / "images" / "noto").mkdir(parents=True)
    for code in range(2):
        shutil.copyfile(folder / "pictures" / "a" / f"{code}.png", emoji / "images" / "noto" / f"{code}.jpg")
    (emoji / "classes.csv").write_text(
        "code,name,category,subcategory\n0,horse,Objects,animal\n1,zebra,Objects,animal\n"
    )
    (emoji / "captions.txt").write_text("0.jpg#0\thorse\n1.jpg#0\tzebra\n")
    grocery = folder / "grocery"
    for part in ("train", "val", "test"):
        (grocery / part).mkdir(parents=True)
        for number in range(2):
            shutil.copyfile(folder / "pictures" / "a" / f"{number}.png", grocery / part / f"{number}.jpg")
        (grocery / f"{part}.txt").write_text(f"{part}/0.jpg, 0, 0\n{part}/1.jpg, 1, 0\n")
    rows = [",".join(COLUMNS)]
    for number, name in enumerate(("lemon", "lime")):
        rows.append(f"{name},{number},citrus,0,/test/{number}.jpg,/{name}.txt")
        (grocery / f"{name}.txt").write_text(f"A sour {name}.\n")
    (grocery / "classes.csv").write_text("\n".join(rows) + "\n")
    awa2 = folder / "awa2"
    shutil.copytree(folder / "pictures", awa2 / "JPEGImages")
    for name, listed in (("classes", "1\ta\n2\tb\n3\tc\n"), ("trainclasses", "a\nb\n"), ("testclasses", "c\n")):
        (awa2 / f"{name}.txt").write_text(listed)


# Ways to break any file: function of a whole file's bytes. None: the file is not there; "folder": a folder is.
ANY = {
    "missing": None,
    "folder": "folder",
    "empty": lambda whole: b"",
    "random": lambda whole: np.random.default_rng(1).bytes(1000),
    "zeros": lambda whole: bytes(1000),
    "text": lambda whole: b"this is a text\n",
    "cut": lambda whole: whole[: len(whole) // 2],
    "tail": lambda whole: whole[:-3],
}
PARAMS = {  # a .params file: its number of arrays is at byte 16, the first one's dimensions at 32, its first side at 36
    "many": lambda whole: _packed(whole, 16, "<q", 2**60),
    "huge": lambda whole: _packed(whole, 36, "<q", 2**40),
    "dimensions": lambda whole: _packed(whole, 32, "<i", 2**30),
    "sparse": lambda whole: _packed(whole, 28, "<i", 1),
    "longer": lambda whole: whole + b"more",
}


def _packed(whole: bytes, place: int, kind: str, value: int) -> bytes:
    content = bytearray(whole)
    struct.pack_into(kind, content, place, value)
    return bytes(content)


def changed(**values):
    """A way to break a JSON object: other values for these keys; ``...`` takes the key away."""

    def change(whole: bytes) -> bytes:
        content = {**json.loads(whole), **values}
        return json.dumps({key: value for key, value in content.items() if value is not ...}).encode()

    return change


JSON = {
    "empty": lambda whole: b"",
    "list": lambda whole: b"[1, 2]",
    "null": lambda whole: b"null",
    "number": lambda whole: b"7",
    "cut": lambda whole: whole[: len(whole) // 2],
    "random": ANY["random"],
    "deep": lambda whole: b"[" * 100_000,
    "mean of two": changed(mean=[1, 2]),
    "mean of texts": changed(mean=list("abc")),
    "scale of zero": changed(scale=[1, 0, 1]),
    "bgr a text": changed(bgr="yes"),
    "size of zero": changed(size=0),
    "size of 10^12": changed(size=10**12),
}
OF_NETWORK = {  # values of the metadata that no network can be built from
    "no model": {"model": ...},
    "model a number": {"model": 3},
    "no such model": {"model": "nothing"},
    "no crop": {"crop": ...},
    "crop of 0": {"crop": 0},
    "crop a text": {"crop": "x"},
}
OF_EMBEDDING = {
    "embed_dim of 10^12": {"embed_dim": 10**12},
    "embed_dim a text": {"embed_dim": "8"},
    "another embed_dim": {"embed_dim": 9},
}
OF_WORDS = {
    "dim of 10^12": {"dim": 10**12},
    "another dim": {"dim": 9},
    "hidden -1": {"hidden": -1},
    "dropout a text": {"dropout": "x"},
    "seen a text": {"seen": "abc"},
    "no unseen": {"unseen": ...},
    "seen twice": {"seen": ["a", "a"]},
}
OF_PICTURES = {
    "no preprocessing": {"preprocessing": ...},
    "preprocessing empty": {"preprocessing": {}},
    "mean of two": {"preprocessing": {"mean": [1, 2], "scale": [1, 1, 1]}},
    "scale of zero": {"preprocessing": {"mean": [1, 2, 3], "scale": [1, 0, 1]}},
}
OF_SENTENCES = {
    "no encoder": {"encoder": ...},
    "another encoder": {"encoder": "cnn"},
    "dim of 10^12": {"dim": 10**12},
    "another dim": {"dim": 9},
    "no vocabulary": {"vocabulary": ...},
    "vocabulary of another kind": {"vocabulary": {"words": 3}},
    "preprocessing without a model": {"preprocessing": {"mean": [1, 2, 3], "scale": [1, 1, 1]}},
}
OF_CLASSES = {
    "no classes": {"classes": ...},
    "three classes": {"classes": ["a", "b", "c"]},
    "dim of 10^12": {"dim": 10**12},
    "another dim": {"dim": 9},
    "no such model": {"model": "nothing"},
    "no such objective": {"objective": "guess"},
    "groups beyond": {"groups": [0, 7], "group_names": ["x"]},
}
OF_CLASSIFIER = {
    "no classifier": {"classifier": ...},
    "another classifier": {"classifier": "forest"},
    "no classes": {"classes": ...},
    "three classes": {"classes": ["a", "b", "c"]},
    "classes of numbers": {"classes": [1, 2]},
    "k a text": {"k": "5"},
    "network without weights": {"backbone": {"name": "conv4"}},
    "another filter": {"backbone": {"name": "conv4", "weights": "None", "interpolation": "area", "seed": 1}},
    **{
        title: {"backbone": {"name": "conv4", "weights": "None", "interpolation": "nearest", "seed": 1, **value}}
        for title, value in (
            ("pictures of no size", {"size": -1}),
            ("a resize of 10^12", {"resize": 10**12}),
            ("keep_aspect a text", {"keep_aspect": "yes"}),
            ("a mean of two", {"mean": [1, 2]}),
            ("a deviation of zero", {"deviation": [1, 0, 1]}),
        )
    },
}


def described(**values):
    """A way to break a model file: other metadata, with a digest that fits; ``...`` takes a key away."""

    def change(whole: bytes) -> bytes:
        import mxnet as mx

        from common.backbones import modelfile

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.params"
            path.write_bytes(whole)
            arrays = mx.nd.load(str(path))
            metadata = {**json.loads(arrays["meta:json"].asnumpy().tobytes()), **values}
            parameters = {name: value for name, value in arrays.items() if ":" not in name}
            more = {name[6:]: value for name, value in arrays.items() if name.startswith("array:")}
            kept = {key: value for key, value in metadata.items() if value is not ...}
            modelfile.save(path, kept["kind"], parameters, kept, more)
            return path.read_bytes()

    return change


MODEL = {  # a model file: what it says of itself
    "a flipped byte": lambda whole: (
        whole[: -len(whole) // 3] + bytes([whole[-len(whole) // 3] ^ 64]) + whole[1 - len(whole) // 3 :]
    ),
    "a newer version": lambda whole: whole.replace(b'"format_version": 1', b'"format_version": 9'),
    "no version": lambda whole: whole.replace(b'"format_version"', b'"formal_version"'),
    "metadata no JSON": lambda whole: whole.replace(b'"format_version": 1', b'"format_version"= 1'),
    "no digest": lambda whole: whole.replace(b"meta:sha256", b"meta:sha257"),
    "no metadata": lambda whole: whole.replace(b"meta:json", b"meta:jsun"),
}


def zipped(**members: bytes):
    """A way to break a file: a zip archive of other members."""

    def make(whole: bytes) -> bytes:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name.replace("__", "/"), data)
        return content.getvalue()

    return make


class Code:
    """A pickle that would run a program."""

    def __reduce__(self):
        return print, ("this must not be seen",)


FOREIGN = {
    "net.pth": {
        **{name: ANY[name] for name in ("missing", "empty", "random", "zeros", "text")},
        "code": lambda whole: pickle.dumps(Code()),
        "no data.pkl": zipped(version=b"3"),
        "code in a zip": zipped(**{"a__data.pkl": pickle.dumps(Code())}),
        "a list": zipped(**{"a__data.pkl": pickle.dumps([1])}),
        "a table of 2^31": zipped(**{"a__data.pkl": b"\x80\x02]r\xff\xff\xff\x7f."}),
        "zeros that grow": zipped(**{"a__data.pkl": bytes(100_000_000)}),
    },
    "net.safetensors": {
        **{name: ANY[name] for name in ("missing", "empty", "random", "zeros", "text")},
        "header of 2^60": lambda whole: struct.pack("<q", 2**60) + b"{}",
        "header a list": lambda whole: struct.pack("<q", 2) + b"[]",
        "cut header": lambda whole: struct.pack("<q", 20) + b'{"a":',
        "shape beyond": lambda whole: _safetensors([2**40], [0, 8], bytes(8)),
        "cut tensor": lambda whole: _safetensors([2], [0, 8], bytes(5)),
    },
    "net.h5": {name: ANY[name] for name in ("missing", "empty", "random", "zeros", "text")},
}


def _safetensors(shape, span, body) -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": span}}).encode()
    return struct.pack("<q", len(header)) + header + body


def npy(shape, kind="<f4", body=b""):
    """A way to break a ``.npy``: what its header claims, and what follows."""

    def make(whole: bytes) -> bytes:
        content = io.BytesIO()
        np.lib.format.write_array_header_1_0(content, {"descr": kind, "fortran_order": False, "shape": shape})
        return content.getvalue() + body

    return make


NPY = {
    **ANY,
    "2^40 numbers": npy((2**40,)),
    "objects": npy((1,), "|O", pickle.dumps(Code())),
    "texts": npy((2, 4), "<U3", "abc".encode("utf-32-le") * 8),
    "no dimension": npy((), body=bytes(4)),
    "not finite": lambda whole: _saved(np.full((12, 4), np.nan, np.float32)),
    "no rows": lambda whole: _saved(np.zeros((0, 4), np.float32)),
    "complex": lambda whole: _saved(np.zeros((12, 4), complex)),
}
NPZ = {
    **ANY,
    "no about": lambda whole: _npz(whole, about=None),
    "about a list": lambda whole: _npz(whole, about=np.array("[]")),
    "no kind": lambda whole: _npz(whole, about=np.array('{"backbone": {}, "k": 1}')),
    "other widths": lambda whole: _npz(whole, mean=np.ones(3, np.float32)),
    "not finite": lambda whole: _npz(whole, weight=np.full((2, 512), np.nan, np.float32)),
    "three classes": lambda whole: _npz(whole, classes=np.array(list("abc"))),
    "classes of numbers": lambda whole: _npz(whole, classes=np.arange(2)),
    "objects": lambda whole: _npz(whole, bias=np.array([Code(), 1], object)),
    "scale of zero": lambda whole: _npz(whole, scale=np.zeros(512, np.float32)),
}


def _saved(array) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def _npz(whole: bytes, **values) -> bytes:
    with np.load(io.BytesIO(whole)) as kept:
        arrays = {**{name: kept[name] for name in kept.files}, **values}
    content = io.BytesIO()
    np.savez(content, **{name: array for name, array in arrays.items() if array is not None})
    return content.getvalue()


WORD_TEXT = {
    **{name: ANY[name] for name in ("missing", "folder", "empty", "random", "zeros", "text")},
    "negative width": lambda whole: b"4 -50\n" + whole,
    "huge width": lambda whole: b"4 99999999\n" + whole,
    "not finite": lambda whole: b"\n".join(word.encode() + b" nan" * 50 for word in WORDS),
    "all zero": lambda whole: b"\n".join(word.encode() + b" 0" * 50 for word in WORDS),
    "other width": lambda whole: b"\n".join(word.encode() + b" 1 2 3" for word in WORDS),
    "texts": lambda whole: b"\n".join(word.encode() + b" x" * 50 for word in WORDS),
    "a line without end": lambda whole: b"king" + b" 1" * 300_000,
}
WORD_BINARY = {
    **{name: ANY[name] for name in ("empty", "random", "zeros", "text", "cut")},
    "negative width": lambda whole: b"4 -50\nking " + bytes(200),
    "huge width": lambda whole: b"4 99999999\nking " + bytes(200),
    "negative count": lambda whole: b"-4 50\nking " + bytes(200),
    "huge count": lambda whole: b"999999999999 50\nking " + bytes(200),
}
WORD_GZIP = {name: ANY[name] for name in ("empty", "random", "text", "cut", "tail")}
WORD_ZIP = {
    "empty": ANY["empty"],
    "random": ANY["random"],
    "cut": lambda whole: zipped(**{"a.txt": whole})(b"")[:-40],
    "nothing inside": zipped(),
    "two inside": zipped(**{"a.txt": b"a 1", "b.txt": b"b 1"}),
}
TABLE = {
    **{name: ANY[name] for name in ("missing", "folder", "empty", "random", "zeros", "text")},
    "cut in a row": lambda whole: whole[:-60],
    "UTF-16": lambda whole: whole.decode().encode("utf-16"),
    "Latin-1": lambda whole: whole.replace(b"class c", "cäsar".encode("latin-1")),
    "header alone": lambda whole: whole.split(b"\n")[0],
    "no column label": lambda whole: whole.replace(b",label,", b",product,"),
    "no column y2": lambda whole: whole.replace(b",y2,", b",bottom,"),
    "a column twice": lambda whole: whole.replace(b",split,", b",label,"),
    "an open quote": lambda whole: whole.replace(b"pictures/b/0", b'"pictures/b/0'),
    "a cell too many": lambda whole: whole.replace(b"class b,", b"class, b,"),
    "no path": lambda whole: whole.replace(b"pictures/b/0.png", b""),
    "no label": lambda whole: whole.replace(b"class b", b" "),
    "one class": lambda whole: whole.replace(b"class b", b"class a").replace(b"class c", b"class a"),
    "no such picture": lambda whole: whole.replace(b"b/0.png", b"b/none.png"),
    "a folder for a picture": lambda whole: whole.replace(b"b/0.png", b"b"),
    "not a picture": lambda whole: whole.replace(b"pictures/b/0.png", b"table.csv"),
    "a picture twice": lambda whole: whole.replace(b"b/0.png", b"b/1.png"),
    "another split": lambda whole: whole.replace(b",test,", b",tets,"),
    "nothing to train on": lambda whole: whole.replace(b",train,", b",test,"),
    "nothing to test on": lambda whole: whole.replace(b",test,", b",train,"),
    "no truth value": lambda whole: whole.replace(b",test,1,", b",test,often,"),
    "no gallery": lambda whole: whole.replace(b",test,1,1,", b",test,1,0,"),
    "a box of text": lambda whole: whole.replace(b",39,", b",low,"),
    "a box that is not finite": lambda whole: whole.replace(b",39,", b",inf,"),
    "a box outside": lambda whole: whole.replace(b",39,", b",41,"),
    "a box below 0": lambda whole: whole.replace(b",2,3,", b",-2,3,"),
    "an empty box": lambda whole: whole.replace(b",39,", b",3,"),
    "a corner missing": lambda whole: whole.replace(b",39,", b",,"),
    "two categories of a class": lambda whole: whole.replace(b",all\n", b",some\n", 1),
}
PICTURE = {name: ANY[name] for name in ("missing", "empty", "random", "zeros", "text", "cut")}


def break_file(way, good: Path, folder: Path, name: str) -> None:
    """Put `name`, broken in this `way`, into `folder`; `good` is the whole file, or not there."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if way == "folder":
        path.mkdir()
    elif way is not None:
        path.write_bytes(way(good.read_bytes() if good.is_file() else b""))
