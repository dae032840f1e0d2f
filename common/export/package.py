"""A model as a folder that is read without this suite: ONNX, ``model.json``, class vectors, a word space, a model card.

docs/exported-model.md says what is in it; runtime/ reads it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock

import common
from common import devices
from common.backbones import entries
from common.export import onnx, resize
from common.files.checksum import sha256
from common.files.disk import flush, write_json, write_text, writing
from common.files.errors import UserError
from common.files.sources import SOURCES

FORMAT, VERSION = "image-embeddings model", 1
MANIFEST, CARD = "model.json", "MODEL_CARD.md"
FLOAT32, INT8 = "model.onnx", "model-int8.onnx"
UNSTATED = "not stated in the model's file"
TIMED = 50  # pictures, one by one, of which the median time is given
BATCH = 32  # pictures that the networks are compared on at a time


@dataclasses.dataclass(frozen=True)
class Input:
    """What becomes of a picture before the network sees it.

    Attributes
    ----------
    resize, crop : int
        In pixels: of the side, then of the middle that is cut out.
    keep_aspect : bool
        `resize` is the shorter side; otherwise both.
    interpolation : str
        ``area``: as `common.data.images.resize`; ``nearest``, ``bilinear``, ``bicubic``: as Pillow.
    jpeg_min_side : int or None
        A JPEG may be decoded at 1/2, 1/4 or 1/8 where its shorter side keeps so many pixels; None: as it is.
    views : tuple of float
        The network takes the picture and such middles of it, as shares of its sides, together.
    """

    resize: int
    crop: int
    keep_aspect: bool = False
    interpolation: str = "area"
    jpeg_min_side: int | None = None
    views: tuple[float, ...] = ()

    @classmethod
    def of(cls, transform) -> Input:
        """What a `common.data.transforms.Eval` does, or `Views`."""
        views = tuple(getattr(transform, "middles", ()))
        return cls(transform.resize, transform.crop, transform.keep_aspect, "area", transform.min_side, views)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a batch of one."""
        return (1, *([1 + len(self.views)] if self.views else []), self.crop, self.crop, 3)


class OfViews(HybridBlock):
    """A backbone that takes views (n, v, H, W, 3) of pictures and gives the mean of their features (n, width).

    Parameters
    ----------
    backbone : HybridBlock
        Has its `width`.
    seen : Input
    """

    def __init__(self, backbone, seen: Input):
        super().__init__()
        self.backbone, self._views, self._side = backbone, 1 + len(seen.views), seen.crop

    def hybrid_forward(self, F, x):
        features = self.backbone(F.reshape(x, (-1, self._side, self._side, 3)))
        return F.mean(F.reshape(features, (-1, self._views, self.backbone.width)), axis=1)


def of_views(backbone, seen: Input):
    """`OfViews` where the network takes several views of a picture, or else `backbone`.

    Parameters
    ----------
    backbone, seen
        See there.
    """
    return OfViews(backbone, seen) if seen.views else backbone


@dataclasses.dataclass(frozen=True)
class Words:
    """How words become vectors among those of the pictures.

    Attributes
    ----------
    words : sequence of str
    vectors : (V, d) float32, or None
        As their file has them.
    centre, matrix : (d,) and (d, D) float32, or None
        What is taken off a vector, and what it is then multiplied by.
    write : callable (path), optional
        Writes the ONNX network that reads numbers of words, instead of `vectors`.
    tokens : str
        How a sentence is cut up for that network.
    """

    words: Sequence[str]
    vectors: np.ndarray | None = None
    centre: np.ndarray | None = None
    matrix: np.ndarray | None = None
    write: Callable | None = None
    tokens: str = "words"


@dataclasses.dataclass
class Package:
    """A model to be exported.

    Attributes
    ----------
    example, network : str
    net : HybridBlock
        From pictures of `input` to the output; or to the output and an embedding, for searching.
    input : Input
    size : int
        Numbers in the output.
    kind : {"embedding", "scores", "probabilities"}
    unit_length : bool
        Of an embedding: whether it is.
    distance : {"cosine", "euclidean", "dot"} or None
        What embeddings are compared by.
    class_names : sequence of str
    titles : sequence of str, optional
        What a class is called where people read it.
    classes : (C, D) float32, optional
        What an embedding is compared with.
    words : Words, optional
    embedding_size : int
        Of the second output; 0: there is none.
    title, about, trained_on, limits : str
        For the model card.
    metadata : mapping
        Of the model file: ``metrics``, ``licence`` and ``dataset`` are read.
    """

    example: str
    network: str
    net: HybridBlock
    input: Input
    size: int
    kind: str = "embedding"
    unit_length: bool = True
    distance: str | None = "cosine"
    class_names: Sequence[str] = ()
    titles: Sequence[str] | None = None
    classes: np.ndarray | None = None
    words: Words | None = None
    embedding_size: int = 0
    title: str = ""
    about: str = ""
    limits: str = ""
    metadata: Mapping = dataclasses.field(default_factory=dict)


class Session:
    """An ONNX file in onnxruntime, on one thread.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures (n, S, S, 3) uint8 -> vectors (n, dim)."""
        return self.session.run(None, {"data": pictures})[0]

    def milliseconds(self, picture: np.ndarray) -> float:
        """Median time of a single picture (S, S, 3)."""
        times = []
        for _ in range(TIMED):
            began = time.perf_counter()
            self(picture[None])
            times.append(time.perf_counter() - began)
        return 1000 * float(np.median(times))


def write(package: Package, args, paths: Sequence = (), read: Callable | None = None) -> dict:
    """Write the folder ``--package``, whole or not at all; print what is in it, and what the networks agree on.

    Parameters
    ----------
    package : Package
    args : argparse.Namespace
        With the flags of `common.export.flags.package`.
    paths : sequence
        Pictures: INT8's ranges are read from ``--calibrate`` of them, and both networks are compared with MXNet on
        ``--check`` others. None: no INT8 network is written.
    read : callable
        From some of `paths` to what the network takes, (n, ...) uint8.

    Returns
    -------
    dict
        What ``model.json`` says.

    Raises
    ------
    UserError
        It cannot be written, or the folder holds something else.
    """
    if args.resize_in_graph and package.input.views:
        raise UserError("--resize-in-graph: this model sees several views of a picture (--views): leave it out")
    package.net.hybridize(static_alloc=True, static_shape=True)
    with whole_folder(args.package) as folder:
        onnx.write(package.net, folder / FLOAT32, package.input.shape)
        names = {"output": package.kind}
        if package.embedding_size:
            names["embedding"] = "embedding"
        _name_outputs(folder / FLOAT32, list(names.values()))
        figures, small = {}, None
        if len(paths):
            order = np.random.default_rng(args.seed).permutation(len(paths))
            some = min(args.calibrate, (len(paths) + 1) // 2)
            ranges = read([paths[i] for i in order[:some]])
            answers = functools.partial(_answers, package)
            small = onnx.write_int8(folder / FLOAT32, folder / INT8, ranges, answers, args.int8_agreement)
            figures = compare(package, folder, [paths[i] for i in np.sort(order[some : some + args.check])], read)
        written = [name for name in (FLOAT32, INT8) if (folder / name).is_file()]
        if args.resize_in_graph:
            seen = package.input
            for name in written:
                resize.put_in_front(folder / name, seen.resize, seen.crop, seen.keep_aspect, seen.interpolation)
        manifest = {**_manifest(package, args, names, figures), "int8": small}
        manifest["classes"]["file"] = _array(folder, "classes.npy", package.classes)
        manifest["words"] = _words(folder, package.words)
        manifest["files"] = {key: _file(folder / name) for key, name in zip(("float32", "int8"), written)}
        others = sorted(path.name for path in folder.iterdir() if path.name not in written)
        manifest["sha256"] = {name: sha256(folder / name) for name in others}
        write_json(folder / MANIFEST, manifest)
        write_text(folder / CARD, card(manifest))
    for line in _said(manifest, Path(args.package)):
        print(line)
    return manifest


@contextlib.contextmanager
def whole_folder(path) -> Iterator[Path]:
    """Around the writing of a package: its folder appears whole, or what was there before stays.

    Parameters
    ----------
    path : path
        Not there yet, empty, or an earlier package, which is replaced.

    Yields
    ------
    Path
        A folder beside it to write into.

    Raises
    ------
    UserError
        It cannot be written, or holds something else.
    """
    path = Path(os.path.abspath(path))
    if path.exists() and not path.is_dir():
        raise UserError(f"--package {path} is a file: give a folder")
    if path.is_dir() and any(path.iterdir()) and not _is_package(path):
        raise UserError(f"--package {path} holds other files and no package: give a new folder")
    beside, aside = (path.with_name(f".{path.name[:200]}.{os.getpid()}{end}") for end in ("", "-before"))
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.mkdir()
        yield beside
        with writing(path):
            for file in beside.iterdir():
                flush(file)
            if path.exists():
                os.replace(path, aside)
            os.replace(beside, path)
            flush(path.parent)
    except BaseException:
        if aside.exists() and not path.exists():
            os.replace(aside, path)
        raise
    finally:
        for rest in (beside, aside):
            shutil.rmtree(rest, ignore_errors=True)


def _is_package(folder: Path) -> bool:
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("format") == FORMAT
    except (OSError, ValueError, AttributeError):
        return False


def compare(package: Package, folder: Path, paths: Sequence, read: Callable) -> dict:
    """How far both networks give what MXNet gives, on pictures that no range was read from.

    Parameters
    ----------
    package, folder, paths, read
        See `write`.

    Returns
    -------
    dict
        For ``float32`` and ``int8``: how many pictures have the ``same_top1``, class or, without classes, nearest other
        picture; the mean ``cosine`` to MXNet's outputs, the largest ``difference``, and ``milliseconds`` a picture.
    """
    kinds = {"float32": Session(folder / FLOAT32), "int8": Session(folder / INT8)}
    outputs: dict[str, list] = {kind: [] for kind in ("mxnet", *kinds)}
    for start in range(0, len(paths), BATCH):
        pictures = read(paths[start : start + BATCH])
        found = package.net(devices.put(pictures))
        outputs["mxnet"].append((found[0] if package.embedding_size else found).asnumpy())
        for kind, session in kinds.items():
            outputs[kind].append(session(pictures))
    rows = {kind: np.concatenate(parts) for kind, parts in outputs.items() if parts}
    if not rows:
        return {}
    expected, figures = rows.pop("mxnet"), {}
    for kind, found in rows.items():
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        figures[kind] = {
            "pictures": len(found),
            "same_top1": int((_answers(package, found) == _answers(package, expected)).sum()),
            "cosine": round(float(((found * expected).sum(axis=1) / np.maximum(lengths, 1e-12)).mean()), 5),
            "difference": float(np.abs(found - expected).max()),
            "milliseconds": round(kinds[kind].milliseconds(pictures[0]), 2),
        }
    return figures


def _answers(package: Package, rows: np.ndarray) -> np.ndarray:
    """The class of each output, or its nearest other where there are no classes."""
    if package.kind != "embedding":
        return rows.argmax(axis=1)
    if package.classes is not None:
        return similarity(rows, package.classes, package.distance).argmax(axis=1)
    scores = similarity(rows, rows, package.distance)
    np.fill_diagonal(scores, -np.inf)
    return scores.argmax(axis=1)


def similarity(rows: np.ndarray, others: np.ndarray, distance: str) -> np.ndarray:
    """How near vectors (n, d) are to others (m, d): (n, m), larger is nearer.

    Parameters
    ----------
    rows, others : array
    distance : {"cosine", "euclidean", "dot"}
    """
    if distance == "cosine":
        rows, others = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (rows, others))
    products = rows @ others.T
    if distance != "euclidean":
        return products
    return 2 * products - (others**2).sum(axis=1) - (rows**2).sum(axis=1, keepdims=True)


def _name_outputs(path: Path, names: Sequence[str]) -> None:
    """Call the outputs of an ONNX file by what they are."""
    import onnx as package

    model = package.load(str(path))
    new = {value.name: name for value, name in zip(model.graph.output, names)}
    for value in model.graph.output:
        value.name = new[value.name]
    for node in model.graph.node:
        for list_ in (node.input, node.output):
            list_[:] = [new.get(name, name) for name in list_]
    package.checker.check_model(model)
    package.save(model, str(path))


def _manifest(package: Package, args, names: Mapping, figures: Mapping) -> dict:
    import onnx as exporter
    import onnxruntime

    seen = package.input
    steps = {
        "size": seen.resize, "keep_aspect": seen.keep_aspect, "interpolation": seen.interpolation,
        "jpeg_min_side": seen.jpeg_min_side,
    }  # fmt: skip
    embedding = None
    if package.embedding_size:
        embedding = {"name": names["embedding"], "size": package.embedding_size, "unit_length": False}
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": args.name or f"{package.example}-{package.network}",
        "example": package.example,
        "network": package.network,
        "files": {},
        "input": {
            "name": "data",
            "dtype": "uint8",
            "layout": "NVHWC" if seen.views else "NHWC",
            "colours": "RGB",
            "resize": steps,
            "crop": [seen.crop, seen.crop],
            "in_graph": args.resize_in_graph,
            "views": list(seen.views) or None,
            "mean": None,
            "deviation": None,
        },
        "output": {
            "name": names["output"], "size": package.size, "kind": package.kind, "unit_length": package.unit_length,
        },
        "embedding": embedding,
        "distance": package.distance,
        "classes": {"names": list(package.class_names), "titles": package.titles and list(package.titles)},
        "words": None,
        "figures": dict(package.metadata.get("metrics") or {}),
        "compared_with_mxnet": dict(figures),
        "licences": _licences(package, args.licence),
        "title": package.title,
        "about": package.about,
        "limits": package.limits,
        "trained_on": args.trained_on or package.metadata.get("data") or package.metadata.get("dataset") or UNSTATED,
        "versions": {
            "image-embeddings": common.__version__, "mxnet": mx.__version__, "onnx": exporter.__version__,
            "onnxruntime": onnxruntime.__version__, "numpy": np.__version__,
        },
    }  # fmt: skip


def _licences(package: Package, given: str | None) -> dict:
    """Of the model, and of what it was made from, as far as the suite knows them."""
    weights, dataset = entries.find(package.network).weights, package.metadata.get("dataset")
    whole = given or package.metadata.get("licence")  # which names those of the data too
    return {
        "weights": whole or UNSTATED,
        "pretrained": weights.licence if weights and not whole else None,
        "data": None if whole else SOURCES[dataset].terms if dataset in SOURCES else UNSTATED,
    }


def _array(folder: Path, name: str, values: np.ndarray | None) -> str | None:
    if values is None:
        return None
    np.save(folder / name, np.ascontiguousarray(values, np.float32))
    return name


def _words(folder: Path, words: Words | None) -> dict | None:
    if words is None:
        return None
    write_text(folder / "words.txt", "".join(f"{word}\n" for word in words.words))
    found = {
        "list": "words.txt",
        "vectors": _array(folder, "words.npy", words.vectors),
        "centre": _array(folder, "centre.npy", words.centre),
        "matrix": _array(folder, "matrix.npy", words.matrix),
        "network": None,
        "tokens": words.tokens,
        "combine": "mean",
    }
    if words.write:
        words.write(folder / "words.onnx")
        found.update(network="words.onnx", combine="network")
    return found


def _file(path: Path) -> dict:
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}


def _said(manifest: Mapping, folder: Path) -> Iterator[str]:
    """What was written, for the terminal."""
    for kind, file in manifest["files"].items():
        line = f"{folder / file['file']}: {file['bytes'] / 1e6:.2f} MB"
        seen = manifest["compared_with_mxnet"].get(kind)
        if seen:
            line += (
                f", {seen['milliseconds']:.1f} ms a picture on one core, the answer of MXNet for {seen['same_top1']} of"
                f" {seen['pictures']} pictures, cosine to its outputs {seen['cosine']:.4f}"
            )
        yield line
    if manifest["int8"]:
        yield f"INT8: {_left(manifest['int8'])}"
    else:
        yield "no --pictures: INT8 is not written, and nothing was compared"


def _left(small: Mapping) -> str:
    """What `common.export.onnx.write_int8` tells, in words."""
    return (
        f"{small['in_float32']} of {small['convolutions']} convolutions stay in float32 (--int8-agreement"
        f" {small['wanted']:g}): it gives float32's answer for {small['same_top1']} of the {small['pictures']} pictures"
        " that it was made by"
    )


def card(manifest: Mapping) -> str:
    """The model card, in Markdown, of what ``model.json`` says.

    Parameters
    ----------
    manifest : mapping
    """
    seen, output, classes = manifest["input"], manifest["output"], manifest["classes"]["names"]
    steps = seen["resize"]
    size = "the shorter side" if steps["keep_aspect"] else "both sides"
    looks = f"{size} resized to {steps['size']} pixels ({steps['interpolation']}), the middle {seen['crop'][0]} x"
    looks += f" {seen['crop'][1]} cut out, uint8 RGB" + (", inside the network" if seen["in_graph"] else "")
    gives = f"{output['size']} numbers, {output['kind']}" + (" of length one" if output["unit_length"] else "")
    sums = {file["file"]: file["sha256"] for file in manifest["files"].values()} | manifest["sha256"]
    sections = [
        f"# {manifest['name']}",
        f"{manifest['title']}\n\n{manifest['about']}".strip(),
        "## Trained on",
        f"{manifest['trained_on']}, with {manifest['network']} of the example `{manifest['example']}`.",
        "## In and out",
        f"- In: {looks}.\n- Out: {gives}" + (f", compared by {manifest['distance']}" if manifest["distance"] else "")
        + f".\n- Classes: {_listed(classes)}\n- Words: {_of_words(manifest['words'])}",
        "## Figures",
        _table(("of the model, at the end of its training", ""), [*_flat(manifest["figures"])])
        or "The model's file has none.",
    ]  # fmt: skip
    if manifest["compared_with_mxnet"]:
        keys = ("pictures", "same_top1", "cosine", "difference", "milliseconds")
        rows = [
            [kind, f"{manifest['files'][kind]['bytes'] / 1e6:.2f} MB", *(f"{found[key]:.6g}" for key in keys)]
            for kind, found in manifest["compared_with_mxnet"].items()
        ]
        header = "size", "pictures", "same answer", "cosine", "largest difference", "ms a picture, one core"
        sections.append(_table(("compared with MXNet", *header), rows))
    if manifest["int8"]:
        sections.append(f"In INT8 {_left(manifest['int8'])}.")
    sections += [
        "## Limits",
        manifest["limits"],
        "## Licences",
        "\n".join(f"- {name}: {text}" for name, text in manifest["licences"].items() if text),
        "## Files",
        _table(("file", "SHA-256"), [[name, f"`{digest}`"] for name, digest in sums.items()]),
        "Versions: " + ", ".join(f"{name} {version}" for name, version in manifest["versions"].items()) + ".",
    ]  # fmt: skip
    return "\n\n".join(section for section in sections if section) + "\n"


def _listed(names: Sequence[str], most: int = 20) -> str:
    if not names:
        return "none; they are added by words or pictures."
    rest = f", and {len(names) - most} others" if len(names) > most else ""
    return f"{len(names)}: {', '.join(names[:most])}{rest}."


def _of_words(words: Mapping | None) -> str:
    if not words:
        return "none."
    return "sentences, read by words.onnx." if words["network"] else "of words.txt; of several the mean is taken."


def _flat(figures: Mapping) -> Iterator[list[str]]:
    for name, value in figures.items():
        if isinstance(value, (int, float)):
            yield [name, f"{value:.4g}"]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
