"""What a run keeps with ``--save-embeddings``: embeddings, their pictures, and each query's nearest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.data.imageset import ImageSet
from common.files.disk import write_array, write_table, writing
from examples.embedding_learning.evaluation import Tested


def write(folder: Path, tested: Tested, say: Callable[[str], None]) -> None:
    """Write what the retrieval metrics are computed from, each file whole or not at all.

    Parameters
    ----------
    folder : Path
        Takes ``queries.npy`` (n, embed_dim) float32 and ``queries.csv``, a row ``path,label,class`` for each (no path
        for a picture that is in no file); ``gallery.npy`` and ``gallery.csv`` likewise, where the queries are not
        looked for in each other; ``neighbours.csv``, for each query (its row, from 0) the sixteen nearest: their row,
        class, cosine and whether the class is right.
    tested : Tested
    say : callable (str)
        Is told.
    """
    queries, rows, (gallery, gallery_rows), _ = tested.split()
    with writing(folder):
        folder.mkdir(exist_ok=True)
    _write_side(folder / "queries", queries, rows)
    if gallery is not None:
        _write_side(folder / "gallery", gallery, gallery_rows)
    columns = ["query", "rank", "neighbour", "class", "cosine", "is_right"]
    table = _rows(queries, queries if gallery is None else gallery, tested.found.similarity, tested.found.indices)
    write_table(folder / "neighbours.csv", columns, table)
    say(f"wrote the embeddings of {len(rows)} queries and their neighbours: {folder}")


def _write_side(stem: Path, pictures: ImageSet, rows: np.ndarray) -> None:
    write_array(stem.with_suffix(".npy"), rows)
    paths = [""] * len(pictures) if pictures.in_memory else pictures.images
    names = (pictures.class_names[label] for label in pictures.labels)
    write_table(stem.with_suffix(".csv"), ["path", "label", "class"], zip(paths, pictures.labels, names))


def _rows(queries: ImageSet, searched: ImageSet, similarity: np.ndarray, indices: np.ndarray):
    for query, (row, places) in enumerate(zip(similarity, indices)):
        for rank, (cosine, place) in enumerate(zip(row.tolist(), places.tolist()), 1):
            if place >= 0:
                label = searched.labels[place]
                yield query, rank, place, searched.class_names[label], cosine, int(label == queries.labels[query])
