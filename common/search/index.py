"""A searchable set of embeddings: build, save, load, query."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np

from common.files import finite, outside
from common.files.checksum import sha256
from common.files.disk import atomic, with_folder, write_json
from common.files.errors import UserError
from common.metrics import unit

KINDS = ("exact", "hnsw", "binary")
METRICS = ("cosine", "l2")
MADE_BY = "params_sha256"  # in the metadata: of the model's file
HNSW_LINKS = 32  # of each vector in the graph (M)
HNSW_BUILD = 80  # how many candidates are kept while the graph is built (efConstruction)
HNSW_SEARCH = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)  # and searched (efSearch): the first that finds ENOUGH
ENOUGH, SAMPLE, NEAREST = 0.9995, 256, 10  # of the ten nearest to vectors that are in the graph


class Index:
    """Embeddings with a name each, searched through faiss.

    Parameters
    ----------
    index : faiss.Index or faiss.IndexBinary
    names : list of str
        What each vector stands for, such as a file's path.
    kind : {"exact", "hnsw", "binary"}
    metric : {"cosine", "l2"}
    metadata : dict, optional
        Anything else to keep with it, as JSON can hold it.
    width : int, optional
        Numbers in a vector; default is the index's own. Codes are filled up to whole bytes.
    """

    def __init__(
        self, index, names: Sequence[str], kind: str, metric: str, metadata: dict | None = None,
        width: int | None = None,
    ):  # fmt: skip
        self.index, self.names = index, list(names)
        self.kind, self.metric, self.metadata = kind, metric, dict(metadata or {})
        self.width = width or index.d

    @classmethod
    def build(
        cls,
        vectors: np.ndarray,
        names: Sequence[str] | None = None,
        kind: str = "exact",
        metric: str = "cosine",
        metadata: dict | None = None,
        params=None,
    ) -> Index:
        """Index vectors.

        Parameters
        ----------
        vectors : (n, d) array
        names : sequence of n str, optional
            Default: the row numbers.
        kind : {"exact", "hnsw", "binary"}
            ``exact`` compares with every vector; ``hnsw`` (Malkov and Yashunin 2018) follows a graph, for large sets,
            with as few candidates as find 0.9995 of the ten nearest to some of `vectors`, as is measured; ``binary``
            keeps the sign of each number alone, a bit, and compares with every vector.
        metric : {"cosine", "l2"}
            ``l2`` is the Euclidean distance.
        metadata : dict, optional
            Kept with the index.
        params : path, optional
            File of the model that gave the vectors: its SHA-256 is kept, so that `load` can tell another one.

        Returns
        -------
        Index

        Raises
        ------
        UserError
            Vectors that are not finite, or zeros for ``cosine``.
        """
        if kind not in KINDS or metric not in METRICS:
            raise ValueError(f"{kind!r}, {metric!r}: kind is one of {KINDS}, metric one of {METRICS}")
        if params:
            metadata = {MADE_BY: sha256(params), **(metadata or {})}
        vectors = _searchable(vectors, metric, "the vectors to index")
        names = [str(row) for row in range(len(vectors))] if names is None else [str(name) for name in names]
        if len(vectors) != len(names):
            raise ValueError(f"{len(vectors)} vectors but {len(names)} names")
        if kind == "binary":
            if metric != "cosine":
                raise ValueError("signs have cosines, and no length")
            codes = _codes(vectors)
            index = faiss.IndexBinaryFlat(8 * codes.shape[1])
            index.add(codes)
            return cls(index, names, kind, metric, metadata, vectors.shape[1])
        measure = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
        if kind == "exact":
            index = faiss.IndexFlat(vectors.shape[1], measure)
        else:
            index = faiss.IndexHNSWFlat(vectors.shape[1], HNSW_LINKS, measure)
            index.hnsw.efConstruction = HNSW_BUILD
        index.add(vectors)
        if kind == "hnsw":
            index.hnsw.efSearch = _candidates(index, vectors, measure)
        return cls(index, names, kind, metric, metadata)

    def __len__(self) -> int:
        """How many vectors there are."""
        return self.index.ntotal

    def query(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest vectors of each query, best first.

        Parameters
        ----------
        vectors : (n, d) array
        k : int
            Cut to the index's size.

        Returns
        -------
        scores : (n, k) float32
            Cosines (higher is nearer), of ``binary`` those of the signs; or with ``l2`` distances (lower is nearer).
        indices : (n, k) int64
            In `names`; -1 where a graph's search found no more.

        Raises
        ------
        UserError
            Vectors of another width, not finite, or zeros for ``cosine``; `k` below 1.
        """
        vectors = np.atleast_2d(np.asarray(vectors))
        if vectors.shape[1] != self.width:
            raise UserError(f"the index holds vectors of {self.width} numbers, the query has {vectors.shape[1]}")
        if k < 1:
            raise UserError(f"{k} neighbours are none: ask for one at least")
        k = min(k, len(self))
        vectors = _searchable(vectors, self.metric, "the query")
        if self.kind == "binary":
            differ, indices = self.index.search(_codes(vectors), k)
            return (1 - 2 * differ / self.width).astype(np.float32), indices.astype(np.int64)
        options = {}
        if self.kind == "hnsw":  # it finds no more than it keeps candidates
            options["params"] = faiss.SearchParametersHNSW(efSearch=max(self.index.hnsw.efSearch, 2 * k))
        scores, indices = self.index.search(vectors, k, **options)
        return (np.sqrt(np.maximum(scores, 0)) if self.metric == "l2" else scores), indices

    def vectors(self) -> np.ndarray:
        """All vectors (n, d) float32, as they are compared: of length one for cosines. A ``binary`` index has none."""
        return self.index.reconstruct_n(0, len(self))

    def save(self, path) -> None:
        """Write `path` and, beside it, ``<path>.json`` with the names and its SHA-256: both, or neither."""
        path = with_folder(path)
        sidecar = {"kind": self.kind, "metric": self.metric, "size": len(self), "width": self.width}
        with atomic(path) as tmp:
            serialize = faiss.serialize_index_binary if self.kind == "binary" else faiss.serialize_index
            tmp.write_bytes(serialize(self.index))  # `write_index` does not see a full disk's last bytes
            sidecar.update(sha256=sha256(tmp), about=self.metadata, names=self.names)  # keys of the first version
            write_json(_sidecar(path), sidecar)

    @classmethod
    def load(cls, path, params=None) -> Index:
        """Read what `save` wrote. Nothing is unpickled.

        Parameters
        ----------
        path : path
        params : path, optional
            File of the model that queries come from.

        Raises
        ------
        UserError
            A file is missing or damaged, the two do not belong together, or another model than `params` made them.
        """
        path = Path(path)
        for file in (path, _sidecar(path)):
            if not file.is_file():
                raise UserError(f"{file} is not there: build the index again")
        try:
            sidecar = json.loads(_sidecar(path).read_text(encoding="utf-8"))
            names, kind, metric, metadata = sidecar["names"], sidecar["kind"], sidecar["metric"], sidecar["about"]
            if not outside.texts(names, unique=False) or not isinstance(metadata, dict):
                raise ValueError(f"{_sidecar(path).name} has no list of names, or no metadata")
            if sidecar["sha256"] != sha256(path):
                raise ValueError(f"it is not the file that {_sidecar(path).name} describes")
            index = (faiss.read_index_binary if kind == "binary" else faiss.read_index)(str(path))
            width = sidecar["width"] if kind == "binary" else index.d
            if not isinstance(width, int) or not index.d - 8 < width <= index.d:
                raise ValueError(f"{_sidecar(path).name} says {str(width)[:20]} numbers, the index has {index.d} bits")
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise UserError(f"{path} is no index that can be read: build it again ({str(error)[:100]})") from error
        if index.ntotal != len(names) or kind not in KINDS or metric not in METRICS:
            raise UserError(f"{path} holds {index.ntotal} vectors and {len(names)} names: build it again")
        found = cls(index, names, kind, metric, metadata, width)
        if params:
            found._check(path, params)
        return found

    def _check(self, path: Path, params) -> None:
        """Refuse vectors that another model gave; an index that does not say which one is taken on trust."""
        made_by = self.metadata.get(MADE_BY, self.metadata.get("model"))  # its name in visual_semantic's first indexes
        if made_by not in (None, sha256(params)):
            raise UserError(
                f"{path} was made by another model ({str(made_by)[:12]}...) than {params}: give that one, or index the"
                " pictures again by --gallery"
            )


def _codes(vectors: np.ndarray) -> np.ndarray:
    """The signs, (n, d / 8 rounded up) uint8: a number above 0 is a bit that is set."""
    return np.packbits(vectors > 0, axis=1)


def _candidates(index, vectors: np.ndarray, measure: int) -> int:
    """The fewest candidates with which the graph finds `ENOUGH` of the nearest; equal distances are as good."""
    some = vectors[np.linspace(0, len(vectors) - 1, min(SAMPLE, len(vectors))).astype(int)]
    k = min(NEAREST + 1, len(vectors))  # the vector itself is one
    sign = 1 if measure == faiss.METRIC_INNER_PRODUCT else -1
    farthest = sign * faiss.knn(some, vectors, k, metric=measure)[0][:, -1:]
    for candidates in HNSW_SEARCH:
        index.hnsw.efSearch = max(candidates, k)
        found = sign * index.search(some, k)[0]
        if np.mean(found >= farthest - 1e-5 * np.abs(farthest)) >= ENOUGH:
            break
    return candidates


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _searchable(vectors: np.ndarray, metric: str, what: str) -> np.ndarray:
    """(n, d) float32 as faiss compares them. A graph's search never ends on a NaN, and zeros have no cosine."""
    vectors = finite.check(np.ascontiguousarray(vectors, np.float32), what, "mend the embeddings")
    if metric != "cosine":
        return vectors
    zero = np.flatnonzero(~vectors.any(axis=1))
    if len(zero):
        raise UserError(
            f"{what}: {len(zero)} of {len(vectors)} rows hold zeros alone (the first is row {zero[0] + 1}), which have"
            " no direction and so no cosine: leave them out"
        )
    return unit(vectors)
