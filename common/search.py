"""A searchable set of embeddings: build, save, load, query."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np

from common.errors import UserError
from common.metrics import unit
from common.run import write_json

HNSW_LINKS = 32


class Index:
    """Embeddings with a name each, searched by cosine similarity through faiss.

    Parameters
    ----------
    index : faiss.Index
    names : list of str
        What each vector stands for, such as a file's path.
    """

    def __init__(self, index, names: Sequence[str]):
        self.index, self.names = index, list(names)

    @classmethod
    def build(cls, vectors: np.ndarray, names: Sequence[str], kind: str = "exact") -> Index:
        """Index (n, d) `vectors`.

        Parameters
        ----------
        kind : {"exact", "hnsw"}
            ``exact`` compares with every vector; ``hnsw`` (Malkov and Yashunin 2018) follows a graph, for large sets.
        """
        vectors = unit(vectors)
        if len(vectors) != len(names):
            raise ValueError(f"{len(vectors)} vectors but {len(names)} names")
        if kind == "exact":
            index = faiss.IndexFlatIP(vectors.shape[1])
        elif kind == "hnsw":
            index = faiss.IndexHNSWFlat(vectors.shape[1], HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efSearch = 128
        else:
            raise ValueError(f"kind {kind!r} is neither 'exact' nor 'hnsw'")
        index.add(vectors)
        return cls(index, names)

    def __len__(self) -> int:
        return self.index.ntotal

    def query(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The `k` nearest of each row of (n, d) `vectors`: cosine similarities and places, (n, k) each, best first."""
        if vectors.shape[1] != self.index.d:
            raise UserError(f"the index holds vectors of {self.index.d} numbers, the query has {vectors.shape[1]}")
        return self.index.search(unit(vectors), min(k, len(self)))

    def save(self, path) -> None:
        """Write `path` and, beside it, ``<path>.json`` with the names; each whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        faiss.write_index(self.index, str(beside))
        os.replace(beside, path)
        write_json(_names_file(path), {"names": self.names})

    @classmethod
    def load(cls, path) -> Index:
        """Read what `save` wrote.

        Raises
        ------
        UserError
            A file is missing or damaged, or the two do not belong together.
        """
        path = Path(path)
        try:
            names = json.loads(_names_file(path).read_text(encoding="utf-8"))["names"]
            index = faiss.read_index(str(path))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(f"{path} is no index that can be read: build it again ({str(error)[:80]})") from error
        if index.ntotal != len(names):
            raise UserError(f"{path} holds {index.ntotal} vectors and {len(names)} names: build it again")
        return cls(index, names)


def _names_file(path: Path) -> Path:
    return path.with_name(path.name + ".json")
