"""One's own pictures and a saved model: embed, write, index."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import devices
from common.backbones import features
from common.data.sets import ImageSet
from common.data.transforms import Eval
from common.data.walk import shown
from common.files.checksum import sha256
from common.files.disk import atomic, write_array, write_text
from common.files.errors import UserError
from common.search.index import Index
from examples.embedding_learning import data, model


def embed(paths: Sequence[Path], params, gpus: Sequence[int] = (), num_workers: int = 2) -> np.ndarray:
    """Embeddings of the pictures by the model in file `params`: (n, embed_dim) float32 unit vectors."""
    context = devices.contexts(gpus)[0]
    net, metadata = model.load(params, context)
    pictures = ImageSet(list(paths), np.zeros(len(paths), np.int64), [""])
    transform = Eval(metadata["resize"], metadata["crop"], metadata["keep_aspect"])
    return features.encode(net, data.in_order(pictures, transform, num_workers).epoch(), context)


def write(output: Path, paths: Sequence[Path], vectors: np.ndarray) -> None:
    """Write embeddings and the pictures that they are of, each file whole or not at all.

    Parameters
    ----------
    output : Path
        ``NAME.npy``: the array, and the paths in ``NAME.txt``, one a line. ``NAME.csv``: a table with the header
        ``path``, ``e0``, ``e1``, ...
    paths : sequence of Path
    vectors : (n, d) float32
    """
    if output.suffix == ".npy":
        write_text(output.with_suffix(".txt"), "".join(f"{path}\n" for path in paths))
        write_array(output, vectors)
        return
    with atomic(output) as tmp, open(tmp, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *(f"e{i}" for i in range(vectors.shape[1]))])
        writer.writerows([path, *map(repr, row.tolist())] for path, row in zip(paths, vectors))


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


def load_index(file, params) -> Index:
    """The index in `file`, which the model in file `params` must have made.

    Raises
    ------
    UserError
        It is no index, or another model's.
    """
    index = Index.load(file)
    made_by = index.metadata.get("params_sha256")
    if made_by not in (None, sha256(params)):  # an index of before it was kept has none
        raise UserError(
            f"--index {file} was made by other parameters ({made_by[:12]}...) than --params {params}: give those, or"
            " build it again with --gallery"
        )
    return index


def build_index(paths: Sequence[Path], vectors: np.ndarray, kind: str, params) -> Index:
    """An index of `vectors` that knows the model which made them."""
    return Index.build(vectors, [str(path) for path in paths], kind, metadata={"params_sha256": sha256(params)})
