"""Feature files: written as they come, continued after a kill, put in place only when whole."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common.files import finite, outside
from common.files.disk import flush, write_json, writing
from common.files.errors import UserError, reading
from common.files.lock import only_writer
from examples.transfer import inputs

ROWS = 1024  # rows that are turned into CSV or Parquet at a time
PATH = "path"  # the column that says where a picture came from
HEADED = 2  # the row of a table that its first values stand in, as a spreadsheet counts
ORANGE = "cD#", "C#", "mS#"  # what Orange wants before a name: the class, discrete; a continuous feature; a meta text


class Output:
    """The files of one run, ``NAME_data.npy`` and ``NAME_labels.npy``, or ``NAME.csv``, or ``NAME.parquet``.

    Where each picture came from stands in ``NAME_paths.npy`` or ``NAME_paths.csv`` beside the documented formats, which
    have no place for it, and in a column of the others.

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
        self.part = _part(self.folder, name)
        self.seen, self.failed = 0, {}  # pictures done with, and those of them that failed
        with writing(self.part):
            self.part.mkdir(exist_ok=True)
        self.lock = only_writer(self.part, "another name")
        state = self.part / "state.json"
        if resume and state.is_file():
            self._continue(state)
        with writing(self.part):
            self.file = open(self.part / "vectors", "r+b" if self.seen else "wb")  # noqa: SIM115 (closed by finish)
            self.file.truncate(self.written * 4 * width)
            self.file.seek(0, os.SEEK_END)
        self.saved = 0.0

    @property
    def written(self) -> int:
        """Vectors kept so far."""
        return self.seen - len(self.failed)

    def _continue(self, file: Path) -> None:
        with reading(file, "leave --resume out to begin again"):
            state = json.loads(file.read_text(encoding="utf-8"))
            key, seen = state["key"], int(state["seen"])
            failed = {int(i): reason for i, reason in state["failed"].items()}
        if key != self.key:
            raise UserError(f"--resume: {self.part} was begun with other pictures or settings; leave --resume out")
        self.seen, self.failed = seen, failed
        vectors = self.part / "vectors"
        if not vectors.is_file() or vectors.stat().st_size < self.written * 4 * self.width:
            raise UserError(f"--resume: {vectors} is shorter than it was: leave --resume out to begin again")

    def add(self, vectors: np.ndarray, failed: dict[int, str]) -> None:
        """Append a batch's vectors, without the rows of pictures that `failed` (by number in the input)."""
        good = [self.seen + i not in failed for i in range(len(vectors))]
        with writing(self.part / "vectors"):
            self.file.write(np.ascontiguousarray(vectors[good], np.float32).tobytes())
        self.seen += len(vectors)
        self.failed.update(failed)
        if time.monotonic() - self.saved > 1:
            self.save()

    def save(self) -> None:
        """Flush the vectors to the disk, and then say in ``state.json`` how many there are."""
        with writing(self.part / "vectors"):
            self.file.flush()
            os.fsync(self.file.fileno())
        write_json(self.part / "state.json", {"key": self.key, "seen": self.seen, "failed": self.failed})
        self.saved = time.monotonic()

    def finish(
        self, labels: np.ndarray, rows: list[str], names: list[str] | None = None, column: bool = False
    ) -> list[Path]:
        """Write the files in their format, put them in place and return their paths.

        Parameters
        ----------
        labels, rows
            Of all pictures, the failed ones included.
        names : list of str, optional
            Where each came from, to be written too.
        column : bool
            In a column of the CSV file.
        """
        self.save()
        self.file.close()
        with writing(self.folder / self.name):
            return self._finish(labels, rows, names, column)

    def _finish(self, labels: np.ndarray, rows: list[str], names: list[str] | None, column: bool) -> list[Path]:
        labels = np.delete(labels, sorted(self.failed))
        if names is not None:
            names = [name for i, name in enumerate(names) if i not in self.failed]
        targets = paths(self.folder, self.name, self.format, names is not None, column)
        tmp = [self.part / target.name for target in targets]
        WRITERS[self.format](tmp, self._blocks(), labels, self.width, names)
        list_of_failed = self.folder / f"{self.name}_failed.csv"
        if self.failed:
            targets.append(list_of_failed)
            tmp.append(self.part / list_of_failed.name)
            with open(tmp[-1], "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(
                    [["row", "reason"], *((rows[i], self.failed[i]) for i in sorted(self.failed))]
                )
        else:
            list_of_failed.unlink(missing_ok=True)  # of an earlier run
        for source, target in zip(tmp, targets):
            flush(source)
            os.replace(source, target)
        beside = self.folder / f"{self.name}_paths{targets[0].suffix}"
        if beside not in targets:
            beside.unlink(missing_ok=True)  # of an earlier run
        _clear(self.part)
        return targets

    def _blocks(self) -> Iterator[np.ndarray]:
        """The vectors, (n, width), some rows at a time."""
        with open(self.part / "vectors", "rb") as file:
            while len(block := np.fromfile(file, np.float32, ROWS * self.width)):
                yield block.reshape(-1, self.width)


def begun(folder, name: str) -> str | None:
    """The key of a run that was begun and not finished; None where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return json.loads((_part(Path(folder), name) / "state.json").read_text(encoding="utf-8"))["key"]
    return None


def finished(folder: Path, name: str, format: str) -> list[Path] | None:
    """The files of an earlier run, where all are in place; what a kill left of it meanwhile goes."""
    files, part = paths(folder, name, format), _part(folder, name)
    if not all(file.is_file() for file in files):
        return None
    if part.is_dir():
        _clear(part)
    return files


def _part(folder: Path, name: str) -> Path:
    return folder / f"{name}.part"


def _clear(part: Path) -> None:
    (part / "state.json").unlink(missing_ok=True)  # first: a kill meanwhile leaves no state without its vectors
    for left in part.iterdir():
        left.unlink()
    part.rmdir()


def paths(folder, name: str, format: str, with_names: bool = False, column: bool = False) -> list[Path]:
    """The files that a run gives; see `Output.finish`."""
    ends = {
        "npy": ["_data.npy", "_labels.npy", *["_paths.npy"] * with_names],
        "csv": [".csv", *["_paths.csv"] * (with_names and not column)],
        "orange": [".csv"], "parquet": [".parquet"],
    }  # fmt: skip
    return [Path(folder) / f"{name}{end}" for end in ends[format]]


def _npy(files: list[Path], blocks, labels: np.ndarray, width: int, names: list[str] | None) -> None:
    with open(files[0], "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(labels), width)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(block.tobytes())
    np.save(files[1], labels.reshape(-1, 1), allow_pickle=False)
    if names is not None:
        np.save(files[2], np.array(names, str).reshape(-1, 1), allow_pickle=False)


def _header(width: int, names: list[str] | None, roles: tuple[str, str, str] = ("", "", "")) -> list[str]:
    path = [] if names is None else [roles[2] + PATH]
    return [f"{roles[0]}Class", *path, *(f"{roles[1]}n{i}" for i in range(width))]


def _csv(files: list[Path], blocks, labels, width: int, names: list[str] | None, roles=("", "", "")) -> None:
    if len(files) > 1:
        with open(files[1], "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([[PATH], *([name] for name in names or ())])
        names = None
    pattern = ",".join(["%.9g"] * width)  # nine digits give every float32 back
    firsts = iter(zip(labels.tolist()) if names is None else zip(labels.tolist(), names))
    with open(files[0], "w", newline="", encoding="utf-8") as file:
        file.write(",".join(map(_cell, _header(width, names, roles))) + "\n")
        for block in blocks:
            for vector in block.tolist():
                file.write(",".join([*map(_cell, next(firsts)), pattern % tuple(vector)]) + "\n")


def _cell(value) -> str:
    """`value` as one cell of a CSV file, in quotes where it needs them."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([value])
    return line.getvalue()


def _parquet(files: list[Path], blocks, labels: np.ndarray, width: int, names: list[str] | None) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    types = [pa.array(labels[:1]).type, *[pa.string()] * (names is not None), *[pa.float32()] * width]
    schema = pa.schema(list(zip(_header(width, names), types)))
    start = 0
    with parquet.ParquetWriter(files[0], schema) as writer:
        for block in blocks:
            rows = slice(start, start + len(block))
            firsts = [pa.array(labels[rows])] if names is None else [pa.array(labels[rows]), pa.array(names[rows])]
            columns = [*firsts, *map(pa.array, np.ascontiguousarray(block.T))]
            writer.write_table(pa.table(columns, schema=schema))
            start += len(block)


def _orange(files: list[Path], blocks, labels: np.ndarray, width: int, names: list[str] | None) -> None:
    _csv(files, blocks, labels, width, names, ORANGE)


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
    with reading(path, "a NAME_data.npy, .csv or .parquet of generate_embedding.py is wanted"):
        vectors, labels = _load_npy(path) if path.name.endswith("_data.npy") else _load_table(path)
    if vectors.ndim != 2 or labels.ndim != 1 or len(vectors) != len(labels) or not vectors.size:
        shapes = f"{vectors.shape} and {labels.shape}"
        raise UserError(f"--features {path}: rows of numbers and as many labels are needed, not {shapes}")
    remedy, first = "leave these rows out, or make the features again", HEADED if path.suffix == ".csv" else 1
    return finite.check(vectors, f"--features {path}", remedy, first), labels


def _load_npy(path: Path) -> tuple[np.ndarray, np.ndarray]:
    of_labels = path.with_name(path.name[: -len("_data.npy")] + "_labels.npy")
    if not of_labels.is_file():
        raise UserError(f"--features {path}: its labels {of_labels.name} are not beside it")
    vectors, labels = (outside.load_npy(file) for file in (path, of_labels))
    return _floats(vectors), np.array(labels).reshape(-1)


def _load_table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import pandas

    if path.suffix == ".parquet":
        table = pandas.read_parquet(path)
    else:  # labels as they are written: 007 is not 7, NA not nothing
        text = {role + name: str for role in ("", ORANGE[0], ORANGE[2]) for name in ("Class", PATH)}
        table = pandas.read_csv(path, keep_default_na=False, dtype=text)
        table = table.rename(columns={ORANGE[0] + "Class": "Class", ORANGE[2] + PATH: PATH})
    if "Class" not in table:
        raise ValueError(f"it has no column Class among {', '.join(map(str, table.columns))}")
    labels = table["Class"].to_numpy()
    numbers = table.drop(columns=["Class", *({PATH} & set(table.columns))])
    return _numbers(numbers), labels.astype(str) if labels.dtype == object else labels


def _numbers(table) -> np.ndarray:
    """(n, width) float32 of a table; names the first cell that is no number."""
    try:
        return _floats(table.to_numpy())
    except ValueError:
        for name, column in table.items():
            for row, cell in enumerate(column, HEADED):
                try:
                    float(cell)
                except ValueError:
                    raise ValueError(f"row {row}, column {name}: {cell!r} is no number") from None
        raise


def write_projector(folder: Path, file: Path, source, failed) -> None:
    """Write what `file` holds for TensorBoard's projector too, see `common.show.projector`.

    Parameters
    ----------
    folder : Path
    file : Path
        As `load` takes it.
    source
        The pictures, see `examples.transfer.inputs`.
    failed : collection of int
        Those of them that have no embedding.
    """
    from common.show import projector

    kept, names = [i for i in range(len(source)) if i not in failed], source.names()
    columns = {"path": [names[i] for i in kept], "label": source.labels[kept]}

    def picture(index: int, side: int) -> np.ndarray:
        return inputs.resize(source.whole(kept[index]), side, "bilinear")

    projector.write(folder, load(file)[0], columns, picture)


def _floats(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "c":
        raise ValueError("it holds complex numbers")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is named
        return np.array(values, np.float32)
