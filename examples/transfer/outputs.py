"""Feature files: written as they come, continued after a kill, put in place only when whole."""

from __future__ import annotations

import csv
import json
import os
import time
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.run import write_json

ROWS = 1024  # rows that are turned into CSV or Parquet at a time


class Output:
    """The files of one run, ``NAME_data.npy`` and ``NAME_labels.npy``, or ``NAME.csv``, or ``NAME.parquet``.

    Vectors are appended to ``NAME.part/vectors`` as plain float32, a file that does not have to be in memory; beside
    it `state.json` says how many are safe. `finish` gives them their format and renames the result into place.

    Parameters
    ----------
    folder : path
    name : str
    format : {"npy", "csv", "parquet"}
    width : int
        Numbers in a vector.
    key : str
        Names the input and settings: a started run of another key is not continued.
    resume : bool
        Continue a killed run, where there is one.
    """

    def __init__(self, folder, name: str, format: str, width: int, key: str, resume: bool = False):
        self.folder, self.name, self.format, self.width, self.key = Path(folder), name, format, width, key
        self.part = self.folder / f"{name}.part"
        self.seen, self.failed = 0, {}  # pictures done with, and those of them that failed
        state = self.part / "state.json"
        if resume and state.is_file():
            self._continue(json.loads(state.read_text(encoding="utf-8")))
        self.part.mkdir(exist_ok=True)
        self.file = open(self.part / "vectors", "r+b" if self.seen else "wb")  # noqa: SIM115 (closed by close())
        self.file.truncate(self.written * 4 * width)
        self.file.seek(0, os.SEEK_END)
        self.saved = 0.0

    @property
    def written(self) -> int:
        """Vectors kept so far."""
        return self.seen - len(self.failed)

    def _continue(self, state: dict) -> None:
        if state["key"] != self.key:
            raise UserError(f"--resume: {self.part} was begun with other pictures or settings; leave --resume out")
        self.seen, self.failed = state["seen"], {int(i): reason for i, reason in state["failed"].items()}

    def add(self, vectors: np.ndarray, failed: dict[int, str]) -> None:
        """Append a batch's vectors, without the rows of pictures that `failed` (by number in the input)."""
        good = [self.seen + i not in failed for i in range(len(vectors))]
        self.file.write(np.ascontiguousarray(vectors[good], np.float32).tobytes())
        self.seen += len(vectors)
        self.failed.update(failed)
        if time.monotonic() - self.saved > 1:
            self.save()

    def save(self) -> None:
        """Make what was added safe."""
        self.file.flush()
        os.fsync(self.file.fileno())
        write_json(self.part / "state.json", {"key": self.key, "seen": self.seen, "failed": self.failed})
        self.saved = time.monotonic()

    def finish(self, labels: np.ndarray, rows: list[str]) -> list[Path]:
        """Write the files in their format, put them in place and return their paths.

        Parameters
        ----------
        labels, rows
            Of all pictures, the failed ones included.
        """
        self.save()
        self.file.close()
        labels = np.delete(labels, sorted(self.failed))
        shape = (self.written, self.width)
        vectors = np.memmap(self.part / "vectors", np.float32, "r", shape=shape) if self.written else np.zeros(shape)
        targets = paths(self.folder, self.name, self.format)
        beside = [self.part / target.name for target in targets]
        WRITERS[self.format](beside, vectors, labels)
        if self.failed:
            targets.append(self.folder / f"{self.name}_failed.csv")
            beside.append(self.part / targets[-1].name)
            with open(beside[-1], "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(
                    [["row", "reason"], *((rows[i], self.failed[i]) for i in sorted(self.failed))]
                )
        for source, target in zip(beside, targets):
            os.replace(source, target)
        for left in self.part.iterdir():
            left.unlink()
        self.part.rmdir()
        return targets


def paths(folder, name: str, format: str) -> list[Path]:
    """The files that a run gives."""
    ends = {"npy": ["_data.npy", "_labels.npy"], "csv": [".csv"], "parquet": [".parquet"]}[format]
    return [Path(folder) / f"{name}{end}" for end in ends]


def _npy(files: list[Path], vectors: np.ndarray, labels: np.ndarray) -> None:
    with open(files[0], "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": vectors.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(vectors), ROWS):
            file.write(vectors[start : start + ROWS].tobytes())
    np.save(files[1], labels.reshape(-1, 1), allow_pickle=False)


def _names(vectors: np.ndarray) -> list[str]:
    return ["Class", *(f"n{i}" for i in range(vectors.shape[1]))]


def _csv(files: list[Path], vectors: np.ndarray, labels: np.ndarray) -> None:
    pattern = ",".join(["%.9g"] * vectors.shape[1])  # nine digits give every float32 back
    with open(files[0], "w", newline="", encoding="utf-8") as file:
        quoted = csv.writer(file, lineterminator=",")
        file.write(",".join(_names(vectors)) + "\n")
        for label, vector in zip(labels.tolist(), vectors):
            quoted.writerow([label])
            file.write(pattern % tuple(vector.tolist()) + "\n")


def _parquet(files: list[Path], vectors: np.ndarray, labels: np.ndarray) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    names = _names(vectors)
    types = [pa.array(labels[:1]).type] + [pa.float32()] * vectors.shape[1]
    schema = pa.schema(list(zip(names, types)))
    with parquet.ParquetWriter(files[0], schema) as writer:
        for start in range(0, len(vectors), ROWS):
            block = np.asarray(vectors[start : start + ROWS])
            columns = [pa.array(labels[start : start + ROWS]), *map(pa.array, np.ascontiguousarray(block.T))]
            writer.write_table(pa.table(columns, schema=schema))


WRITERS = {"npy": _npy, "csv": _csv, "parquet": _parquet}


def load(path) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n, width) float32 and labels (n,) of a file written here: ``NAME_data.npy``, .csv or .parquet.

    Raises
    ------
    UserError
        The file cannot be read, or is not one of these.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"--features {path}: no such file; generate_embedding.py writes it")
    try:
        if path.name.endswith("_data.npy"):
            beside = path.with_name(path.name[: -len("_data.npy")] + "_labels.npy")
            vectors, labels = np.load(path, allow_pickle=False), np.load(beside, allow_pickle=False).reshape(-1)
        else:
            import pandas

            table = (
                pandas.read_parquet(path) if path.suffix == ".parquet" else pandas.read_csv(path, keep_default_na=False)
            )
            vectors, labels = table.drop(columns="Class").to_numpy(np.float32), table["Class"].to_numpy()
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"--features {path} is not a file of generate_embedding.py: {error}") from error
    labels = labels.astype(str) if labels.dtype == object else labels
    if vectors.ndim != 2 or len(vectors) != len(labels) or not np.isfinite(vectors).all():
        raise UserError(f"--features {path}: finite vectors and as many labels are needed, not {vectors.shape}")
    return vectors.astype(np.float32, copy=False), labels
