"""Feature files: written as they come, continued after a kill, put in place only when whole."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common import outside
from common.errors import UserError
from common.files import write_json

ROWS = 1024  # rows that are turned into CSV or Parquet at a time
ORANGE = "cD#", "C#"  # what Orange wants before a name: the class, discrete; a feature, continuous


class Output:
    """The files of one run, ``NAME_data.npy`` and ``NAME_labels.npy``, or ``NAME.csv``, or ``NAME.parquet``.

    The format ``orange`` is a CSV whose header tells Orange the columns' roles: without that, Orange takes ``Class``
    for one more feature.

    Vectors are appended to ``NAME.part/vectors`` as plain float32, a file that does not have to be in memory; beside
    it `state.json` says how many are safe. `finish` gives them their format and renames the result into place.

    Parameters
    ----------
    folder : path
    name : str
    format : {"npy", "csv", "orange", "parquet"}
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
            self._continue(json.loads(state.read_text(encoding="utf-8")))  # written whole or not at all
        self.part.mkdir(exist_ok=True)
        self.file = open(self.part / "vectors", "r+b" if self.seen else "wb")  # noqa: SIM115 (closed by finish)
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
        vectors = self.part / "vectors"
        if not vectors.is_file() or vectors.stat().st_size < self.written * 4 * self.width:
            raise UserError(f"--resume: {vectors} is shorter than it was: leave --resume out to begin again")

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
        targets = paths(self.folder, self.name, self.format)
        beside = [self.part / target.name for target in targets]
        WRITERS[self.format](beside, self._blocks(), labels, self.width)
        list_of_failed = self.folder / f"{self.name}_failed.csv"
        if self.failed:
            targets.append(list_of_failed)
            beside.append(self.part / list_of_failed.name)
            with open(beside[-1], "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(
                    [["row", "reason"], *((rows[i], self.failed[i]) for i in sorted(self.failed))]
                )
        else:
            list_of_failed.unlink(missing_ok=True)  # of an earlier run
        for source, target in zip(beside, targets):
            os.replace(source, target)
        for left in self.part.iterdir():
            left.unlink()
        self.part.rmdir()
        return targets

    def _blocks(self) -> Iterator[np.ndarray]:
        """The vectors, (n, width), some rows at a time."""
        with open(self.part / "vectors", "rb") as file:
            while len(block := np.fromfile(file, np.float32, ROWS * self.width)):
                yield block.reshape(-1, self.width)


def paths(folder, name: str, format: str) -> list[Path]:
    """The files that a run gives."""
    ends = {"npy": ["_data.npy", "_labels.npy"], "csv": [".csv"], "orange": [".csv"], "parquet": [".parquet"]}
    return [Path(folder) / f"{name}{end}" for end in ends[format]]


def _npy(files: list[Path], blocks, labels: np.ndarray, width: int) -> None:
    with open(files[0], "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(labels), width)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(block.tobytes())
    np.save(files[1], labels.reshape(-1, 1), allow_pickle=False)


def _names(width: int) -> list[str]:
    return ["Class", *(f"n{i}" for i in range(width))]


def _csv(files: list[Path], blocks, labels: np.ndarray, width: int, roles: tuple[str, str] = ("", "")) -> None:
    pattern = ",".join(["%.9g"] * width)  # nine digits give every float32 back
    names = iter(labels.tolist())
    with open(files[0], "w", newline="", encoding="utf-8") as file:
        quoted = csv.writer(file, lineterminator=",")
        target, *numbers = _names(width)
        file.write(",".join([roles[0] + target, *(roles[1] + name for name in numbers)]) + "\n")
        for block in blocks:
            for vector in block.tolist():
                quoted.writerow([next(names)])
                file.write(pattern % tuple(vector) + "\n")


def _parquet(files: list[Path], blocks, labels: np.ndarray, width: int) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    types = [pa.array(labels[:1]).type] + [pa.float32()] * width
    schema = pa.schema(list(zip(_names(width), types)))
    start = 0
    with parquet.ParquetWriter(files[0], schema) as writer:
        for block in blocks:
            columns = [pa.array(labels[start : start + len(block)]), *map(pa.array, np.ascontiguousarray(block.T))]
            writer.write_table(pa.table(columns, schema=schema))
            start += len(block)


def _orange(files: list[Path], blocks, labels: np.ndarray, width: int) -> None:
    _csv(files, blocks, labels, width, ORANGE)


WRITERS = {"npy": _npy, "csv": _csv, "orange": _orange, "parquet": _parquet}


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
            vectors, labels = (outside.load_npy(file, mmap_mode=None) for file in (path, beside))
            labels = labels.reshape(-1)
        else:
            import pandas

            if path.suffix == ".parquet":
                table = pandas.read_parquet(path)
            else:  # labels as they are written: 007 is not 7, NA not nothing
                table = pandas.read_csv(path, keep_default_na=False, dtype={"Class": str, ORANGE[0] + "Class": str})
                table = table.rename(columns={ORANGE[0] + "Class": "Class"})
            vectors, labels = table.drop(columns="Class").to_numpy(np.float32), table["Class"].to_numpy()
    except (OSError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--features {path} is not a file of generate_embedding.py: {reason}") from error
    labels = labels.astype(str) if labels.dtype == object else labels
    if vectors.ndim != 2 or len(vectors) != len(labels) or not np.isfinite(vectors).all():
        raise UserError(f"--features {path}: finite vectors and as many labels are needed, not {vectors.shape}")
    return vectors.astype(np.float32, copy=False), labels
