"""One's own pictures and a saved model: embed, write, index, search on a page."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import devices
from common.backbones import features
from common.data import images, sets, transforms
from common.data.imageset import ImageSet, readable
from common.data.walk import shown
from common.export import engine as engines
from common.files import outside
from common.files.disk import atomic, write_array, write_table
from common.files.errors import UserError, reading
from common.metrics import rerank, unit
from common.search.index import Index
from common.search.page import Hit, create_app
from common.show import projector
from examples.embedding_learning import data, model

TOLD = ("titles", "descriptions")  # what an index's metadata may say of each picture


class Embedder:
    """A saved model, by which pictures are embedded.

    Parameters
    ----------
    params : path
        The model's file, which train.py wrote.
    pictures : float
        About how many there will be; infinity where it goes on.
    engine : {"auto", "mxnet", "onnxruntime"}
        What reads the network, see `common.export.engine.choose`.
    gpus : sequence of int
        The first of them computes; empty: the CPU.
    num_workers : int
        Threads that decode files.
    width : int, optional
        Only the first `width` numbers, unit vectors again: of a model that was trained with ``--matryoshka``.

    Attributes
    ----------
    metadata : dict
        Of the model.

    Raises
    ------
    UserError
        The model cannot be read, or gives fewer numbers than `width`.
    """

    def __init__(
        self, params, pictures: float = math.inf, engine: str = "auto", gpus: Sequence[int] = (), num_workers: int = 2,
        width: int | None = None,
    ):  # fmt: skip
        self._context, self._num_workers = devices.contexts(gpus)[0], num_workers
        net, self.metadata = model.load(params, self._context)
        if width and width > self.metadata["embed_dim"]:
            raise UserError(f"--width {width}: {params} gives {self.metadata['embed_dim']} numbers, no more")
        self._width = width
        with reading(params, model.REMEDY):
            self._transform = transforms.saved(self.metadata)
        read, self._head = (net.backbone, net.embed) if self.metadata.get("views") else (net, None)
        asked = argparse.Namespace(engine=engine, gpus=gpus)
        self._read = engines.reader(asked, read, self.metadata["crop"], pictures)

    def __call__(self, pictures: Sequence[Path] | np.ndarray) -> np.ndarray:
        """Embeddings of files or of (n, H, W, 3) uint8 pixels: (n, `width` or embed_dim) float32 unit vectors."""
        workers = 0 if isinstance(pictures, np.ndarray) else self._num_workers
        shown = ImageSet(pictures, np.zeros(len(pictures), np.int64), [""])
        loader = data.in_order(shown, self._transform, workers)
        vectors = features.encode(self._read, loader.epoch(), self._context, head=self._head)
        return unit(vectors[:, : self._width]) if self._width else vectors


def write(output: Path, paths: Sequence[Path], vectors: np.ndarray) -> None:
    """Write embeddings and the pictures that they are of, whole or not at all.

    Parameters
    ----------
    output : Path
        ``NAME.npy``: the array, and the paths in ``NAME.txt``, one a line. ``NAME.csv``: a table with the header
        ``path``, ``e0``, ``e1``, ... ``NAME.parquet``: the same with ``label``, the folder that a picture lies in,
        and ``NAME.tab``: this as Orange reads it.
    paths : sequence of Path
    vectors : (n, d) float32
    """
    if output.suffix == ".npy":
        with atomic(output.with_suffix(".txt")) as beside:  # in place when the array is: both, or neither
            beside.write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
            write_array(output, vectors)
        return
    numbers = [f"e{i}" for i in range(vectors.shape[1])]
    if output.suffix == ".csv":
        rows = ([path, *map(repr, row.tolist())] for path, row in zip(paths, vectors))
        write_table(output, ["path", *numbers], rows)
    elif output.suffix == ".tab":
        with atomic(output) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(["path", "label", *numbers])
            writer.writerow(["string", "discrete", *["continuous"] * len(numbers)])
            writer.writerow(["meta", "class", *[""] * len(numbers)])
            rows = zip(paths, labels(paths), vectors)
            writer.writerows([path, label, *map(repr, row.tolist())] for path, label, row in rows)
    else:
        import pyarrow as pa
        from pyarrow import parquet

        table = {"path": list(map(str, paths)), "label": labels(paths)}
        table.update(zip(numbers, np.ascontiguousarray(vectors.T)))
        with atomic(output) as beside:
            parquet.write_table(pa.table(table), beside)


def labels(paths: Sequence[Path]) -> list[str]:
    """The names of the folders that the pictures lie in, which are their classes where a folder is a class."""
    return [path.absolute().parent.name for path in paths]


def write_projector(folder: Path, paths: Sequence[Path], vectors: np.ndarray) -> None:
    """Write embeddings for TensorBoard's projector, see `common.show.projector`.

    Parameters
    ----------
    folder : Path
    paths : sequence of Path
    vectors : (n, d) float32
    """
    def picture(index: int, side: int) -> np.ndarray:
        return images.resize(images.read(paths[index], side), (side, side))

    projector.write(folder, vectors, {"path": paths, "label": labels(paths)}, picture)


def check_lines(output: Path, paths: Sequence[Path]) -> None:
    """Refuse a list of paths, one a line, that could not be told apart again.

    Raises
    ------
    UserError
        A name holds a line break.
    """
    broken = next((path for path in paths if len(str(path).splitlines()) > 1), None)
    if broken and output.suffix == ".npy":
        raise UserError(f"{shown(broken)} has a line break in its name: --output NAME.csv can hold that, or rename it")


def catalogue(dataset: str, path, on_error: str) -> tuple[list[Path], dict[str, list[str]]]:
    """The catalogue pictures of a data set, and for the index's metadata what is said of each.

    Parameters
    ----------
    dataset : str
        One that has a catalogue.
    path : path or None
        Its folder; None: the default.
    on_error : {"stop", "skip"}

    Returns
    -------
    paths : list of Path
    told : dict
        ``titles`` and ``descriptions``, a text for each picture.
    """
    found = sets.load(dataset, path, "seen", remedy="or search your pictures: --gallery FOLDER")
    pictures = readable(found.catalogue, on_error)
    names = [pictures.class_names[label] for label in pictures.labels]
    titles = [name.replace("-", " ") for name in names]
    return [file.resolve() for file in pictures.images], {
        "titles": titles,
        "descriptions": [" ".join(found.captions[name]) for name in names],
    }


def load_index(file, params, width: int | None = None) -> Index:
    """The index in `file`, which the model in file `params` must have made.

    Parameters
    ----------
    file, params : path
    width : int, optional
        Numbers that its vectors must have; default is what they have.

    Raises
    ------
    UserError
        It is no index, another model's, or of another width.
    """
    index = Index.load(file, params)
    if index.metadata.get("width") not in (None, index.width):
        raise UserError(f"--index {file}: its width is not that of its vectors, {index.width}: build it again")
    if width not in (None, index.width):
        raise UserError(f"--width {width}: {file} holds vectors of {index.width} numbers; leave it out, or build again")
    for key in TOLD:
        texts = index.metadata.get(key, [])
        if not outside.texts(texts, unique=False) or len(texts) not in (0, len(index)):
            raise UserError(f"--index {file}: its {key} are not a text for each picture: build it again")
    return index


class Reranked:
    """An index whose answers are ranked by `common.metrics.rerank`.

    Parameters
    ----------
    index : common.search.index.Index
    flag : {"--rerank", "--query-expansion", "--augmented-database"}
    settings : sequence of float
        Of `rerank.KReciprocal` or `rerank.Expanded`, in their order.

    Raises
    ------
    UserError
        The index keeps signs alone.
    """

    def __init__(self, index: Index, flag: str, settings: Sequence[float]):
        if index.kind == "binary":
            raise UserError(f"{flag} compares by all numbers, and --kind binary keeps signs: leave one out")
        self.names, self.metadata = index.names, index.metadata
        *counts, last = settings
        settings = (index.vectors(), *map(int, counts), last)
        if flag == "--rerank":
            self._order = rerank.KReciprocal(*settings)
        else:
            self._order = rerank.Expanded(*settings, augmented=flag == "--augmented-database")

    def __len__(self) -> int:
        return len(self.names)

    def query(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As of an `Index`; the scores are what ranks: cosines, of k-reciprocal neighbours one less the distance."""
        return self._order.search(vectors, k)


@dataclasses.dataclass(frozen=True)
class Find:
    """One picture found: its cosine, its index and file, and its title and description, empty where unknown."""

    score: float
    place: int
    path: Path
    title: str
    description: str


def nearest(index: Index | Reranked, vectors: np.ndarray, k: int) -> list[list[Find]]:
    """The `k` nearest pictures of an index for each of `vectors` (n, embed_dim), best first."""
    titles, descriptions = (index.metadata.get(key) or [""] * len(index) for key in TOLD)
    return [
        [
            Find(float(score), int(place), Path(index.names[place]), titles[place], descriptions[place])
            for score, place in zip(*row)
            if place >= 0
        ]
        for row in zip(*index.query(vectors, k))
    ]


def _below(root: str, path: Path) -> Path:
    """Where a picture lies below the folder of all, so that its class shows, or in the folder of its own."""
    inner = Path(os.path.relpath(path, root))
    return inner if len(inner.parts) > 1 else Path(path.parent.name, path.name)


def app(index: Index | Reranked, embedder: Embedder):
    """The search page, a Flask application: a picture in, the gallery's nearest out.

    Raises
    ------
    UserError
        No picture of the index is where it was.
    """
    paths = [Path(name) for name in index.names]
    if not any(path.is_file() for path in paths):
        raise UserError(
            f"none of the {len(paths)} pictures of the index is there ({shown(paths[0])}): start in the folder where"
            " it was made, or build it again"
        )

    root = os.path.commonpath([os.path.abspath(path.parent) for path in paths])

    def by_image(picture, k):
        finds = nearest(index, embedder(picture[None]), k)[0]
        captions = [find.title or str(_below(root, find.path)) for find in finds]
        return [Hit(find.score, caption, find.place, find.description) for find, caption in zip(finds, captions)]

    learned = f"{embedder.metadata['model']}, trained on {embedder.metadata['dataset']}"
    hint = f"Take or choose a photograph: what is most like it is shown, by the cosine of embeddings ({learned})."
    return create_app("Search by picture", paths, search_image=by_image, hint=hint)
