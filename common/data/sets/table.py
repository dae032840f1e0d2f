"""One's own pictures in a table: a CSV file with a row for each picture."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common.data import images, walk
from common.data.imageset import ImageSet, Whole
from common.data.splits import SPLITS
from common.files.errors import UserError, near, reading

BOX = ("x1", "y1", "x2", "y2")
COLUMNS = ("path", "label", "split", "is_query", "is_gallery", *BOX, "category")
NEEDED = ("path", "label")
OTHER_NAMES = {f"{name[0]}_{name[1]}": name for name in BOX}  # as OpenMetricLearning writes them
TRUTH = {
    **dict.fromkeys(("true", "t", "yes", "y", "1", "1.0"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0", "0.0", ""), False),
}
HEADER = 1 << 20  # characters that a header may have
SHOWN = 3  # rows named for a reason
HOW = "--data-path takes a CSV file in UTF-8 whose header names the columns path and label"


def load(
    path, columns: Sequence[str] = (), on_error: str = "stop", say: Callable[[str], None] = print, threads: int = 2
) -> Whole:
    """The pictures that a table lists, a header and a row for each; columns between commas, semicolons or tabs.

    A path is relative to the table's folder. Of the columns, `COLUMNS`, only ``path`` and ``label`` have to be there;
    x1, y1, x2, y2 are the corners of a box in pixels, all four empty for a picture without one.

    Parameters
    ----------
    path : path
    columns : sequence of str
        ``NAME=HEADER``: what the table calls a column.
    on_error : {"stop", "skip"}
        ``skip`` reads every picture once, and leaves out those that are not there or cannot be read.
    say : callable (str)
        Is given one line: how many pictures and classes there are, and what was left out.
    threads : int
        That decode.

    Returns
    -------
    Whole
        With the category of each class as its group, where the table has that column and a category for all.

    Raises
    ------
    UserError
        The table cannot be read, has not the columns, or a row is wrong; names the row (the header is row 1) and the
        column.
    """
    table = Path(path)
    rows = _Rows(table, columns)
    paths, skipped = _files(rows, on_error, threads)
    labels = np.array([walk.composed(label) for label in rows.filled("label")], object)
    names, numbers = np.unique(labels, return_inverse=True)
    left_out = walk.summary(skipped, table.parent)
    if len(names) < 2:
        raise UserError(f"{rows.name} lists pictures of {len(names)} classes, two are needed ({left_out})")
    boxes = _boxes(rows, paths, threads)
    _check_repeated(rows, paths, boxes)
    say(f"{rows.name}: {len(paths):,} pictures of {len(names):,} classes; {left_out}")
    found = ImageSet(
        paths, numbers.astype(np.int64), names.tolist(), boxes, skipped=skipped,
        is_query=_read(rows, "is_query", TRUTH, "{} is neither true nor false"),
        is_gallery=_read(rows, "is_gallery", TRUTH, "{} is neither true nor false"),
        splits=_read(rows, "split", SPLITS, "{} is none of train, validation, test"),
    )  # fmt: skip
    superclasses = _categories(rows, labels)
    bare = len(names) - len(superclasses)
    if superclasses and bare:
        say(f"{bare} classes have no category, so categories are left out")
    return Whole(found, None if bare else superclasses)


class _Rows:
    """The cells of a table that are of use, without blank rows.

    Parameters
    ----------
    table : Path
    columns : sequence of str
        As in `load`.
    """

    def __init__(self, table: Path, columns: Sequence[str]):
        self.name = walk.shown(table)
        self.folder = table.parent
        renamed = _renamed(columns)
        header, delimiter = _header(table, set(renamed.values()))
        found = _found(self.name, header, renamed)
        rows, longer = _cells(table, delimiter, len(header), list(found.values()))
        self.numbers = np.arange(len(rows)) + 2  # as a spreadsheet counts them
        why = f"it has more cells than the header's {len(header)}: a {delimiter!r} inside of one needs quotes"
        self._refuse(np.isin(np.arange(len(rows)), longer), why)
        self._cells = dict(zip(found, np.array(rows, object).reshape(len(rows), len(found)).T))
        self._titles = {name: header[number] for name, number in found.items()}
        self.keep(np.any([values != "" for values in self._cells.values()], axis=0))
        if not len(self.numbers):
            raise UserError(f"{self.name} has no row below its header: {HOW}")

    def __contains__(self, name: str) -> bool:
        return name in self._cells

    def __getitem__(self, name: str) -> np.ndarray:
        return self._cells[name]

    def keep(self, chosen: np.ndarray) -> None:
        """Go on with the rows where `chosen`, (n,) bool."""
        self.numbers = self.numbers[chosen]
        self._cells = {name: values[chosen] for name, values in self._cells.items()}

    def filled(self, name: str) -> np.ndarray:
        """A column that may not have an empty cell."""
        self.refuse(name, self[name] == "", "it is empty")
        return self[name]

    def refuse(self, name: str, wrong: np.ndarray, why: str) -> None:
        """End with one line that names the first row where `wrong`; ``{}`` in `why` is the cell of it."""
        if wrong.any():
            cell = repr(self[name][np.argmax(wrong)][:60])
            self._refuse(wrong, f"column {self._titles[name]}: {why.replace('{}', cell)}")

    def _refuse(self, wrong: np.ndarray, why: str) -> None:
        if wrong.any():
            row, count = self.numbers[np.argmax(wrong)], np.count_nonzero(wrong)
            raise UserError(f"{self.name}, row {row}, {why}{f' (so in {count:,} rows)' if count > 1 else ''}")


def _renamed(columns: Sequence[str]) -> dict[str, str]:
    """``["label=product"]`` -> ``{"label": "product"}``."""
    renamed: dict[str, str] = {}
    for pair in columns:
        name, equals, header = (part.strip() for part in pair.partition("="))
        if not equals or not header:
            raise UserError(f"--columns {pair}: expected NAME=HEADER, for instance label=product")
        if name not in COLUMNS:
            known = ", ".join(COLUMNS)
            raise UserError(f"--columns {pair}: no column is called {name!r}{near(name, COLUMNS)}: {known}")
        if renamed.get(name, header) != header:
            raise UserError(f"--columns {pair}: {name} is {renamed[name]} already; name each column once")
        renamed[name] = header
    return renamed


def _header(table: Path, wanted: set[str]) -> tuple[list[str], str]:
    """The names in the header line, and the delimiter that gives the most columns that are known."""
    if table.is_dir():
        raise UserError(f"{walk.shown(table)} is a folder: {HOW}")
    with reading(walk.shown(table), HOW):
        with open(table, encoding="utf-8-sig", newline="") as file:
            text = file.read(HEADER)
        if not text.strip():
            raise ValueError("it is empty")
        known = {*COLUMNS, *OTHER_NAMES, *wanted}
        found = []
        for delimiter in (",", ";", "\t"):
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            names = [name.strip() for name in next(lines, [])]
            if lines.line_num > 1:
                raise ValueError("its header runs over several lines")
            found.append((len(known.intersection(names)), len(names), names, delimiter))
        *_, names, delimiter = max(found, key=lambda one: one[:2])
    return names, delimiter


def _found(table: str, header: list[str], renamed: dict[str, str]) -> dict[str, int]:
    """The position of each column that is there."""
    spelled = {own: other for other, own in OTHER_NAMES.items() if other in header and own not in header}
    titles = {name: renamed.get(name) or spelled.get(name, name) for name in COLUMNS}
    needed = {*NEEDED, *renamed, *(BOX if any(titles[name] in header for name in BOX) else ())}
    found = {}
    for name, title in titles.items():
        if header.count(title) > 1:
            raise UserError(f"{table}, row 1: the column {title} is there {header.count(title)} times")
        if title in header:
            found[name] = header.index(title)
        elif name in needed:
            there = walk.shown(f"{near(title, header)} among {', '.join(header)[:100]}")
            raise UserError(
                f"{table}, row 1: there is no column {title}{there}: --columns {name}=HEADER says what it is called"
            )
    return found


def _cells(table: Path, delimiter: str, width: int, wanted: list[int]) -> tuple[list[list[str]], list[int]]:
    """The wanted cells of each row below the header, empty where it is shorter, and the rows with more than `width`."""
    rows, longer, last = [], [], max(wanted)
    with reading(walk.shown(table), HOW), open(table, encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        next(lines)
        for number, row in enumerate(lines):
            if len(row) <= last:
                row += [""] * (last + 1 - len(row))
            elif any(row[width:]):
                longer.append(number)
            rows.append([row[i].strip() for i in wanted])
    return rows, longer


def _files(rows: _Rows, on_error: str, threads: int) -> tuple[list[Path], list]:
    """The pictures, and those that were left out; the rows of these too."""
    names = rows.filled("path")
    paths = [walk.spelled(rows.folder, name) for name in names]
    there = np.array([walk.is_file(path) for path in paths])
    if on_error != "skip":
        if not there.all():
            missing = [f"{walk.shown(names[i])} in row {rows.numbers[i]}" for i in np.flatnonzero(~there)[:SHOWN]]
            raise UserError(
                f"{rows.name}, column path: {np.count_nonzero(~there):,} files are not there, {', '.join(missing)}:"
                " paths are relative to the table; --on-error skip leaves them out"
            )
        return paths, []
    indices = np.flatnonzero(there)
    bad = indices[list(images.unreadable([paths[i] for i in indices], threads))]
    skipped = [(paths[i], walk.MISSING) for i in np.flatnonzero(~there)] + [(paths[i], walk.BROKEN) for i in bad]
    there[bad] = False
    rows.keep(there)
    return [path for path, kept in zip(paths, there) if kept], skipped


def _boxes(rows: _Rows, paths: list[Path], threads: int) -> np.ndarray | None:
    """x, y, width, height of each picture, where any has a box; of one that has none the whole picture."""
    if BOX[0] not in rows:
        return None
    texts = np.stack([rows[name] for name in BOX])
    bare = (texts == "").all(axis=0)
    if bare.all():
        return None
    corners = np.array([[_number(text) for text in row] for row in texts])
    for name, values in zip(BOX, corners):
        rows.refuse(name, ~bare & ~np.isfinite(values), "{} is no number")
        rows.refuse(name, values < 0, "{} lies outside of the picture")
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        different = list(dict.fromkeys(paths))
        sizes = dict(zip(different, pool.map(images.size, different)))
    sides = np.array([sizes[path] for path in paths], float).T
    corners = np.where(bare, np.concatenate([np.zeros_like(sides), sides]), corners)
    for first, second, side in (("x1", "x2", sides[0]), ("y1", "y2", sides[1])):
        start, end = corners[BOX.index(first)], corners[BOX.index(second)]
        rows.refuse(second, np.round(end) > side, "{} lies outside of the picture")
        rows.refuse(second, np.round(end) <= np.round(start), f"{{}} leaves an empty box after {first}")
    return np.concatenate([corners[:2], corners[2:] - corners[:2]]).T


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _check_repeated(rows: _Rows, paths: list[Path], boxes: np.ndarray | None) -> None:
    """Refuse a picture that is there twice: it could find itself, or be trained on and tested on."""
    first: dict = {}
    for i, path in enumerate(paths):
        key = os.path.normpath(path), None if boxes is None else tuple(boxes[i])
        again = first.setdefault(key, i)
        if again != i:
            rows.refuse("path", np.arange(len(paths)) == i, f"{{}} stands in row {rows.numbers[again]} already")


def _read(rows: _Rows, name: str, meanings: dict, why: str) -> np.ndarray | None:
    """What each cell of a column means; None where the table has no such column."""
    if name not in rows:
        return None
    cells, numbers = np.unique(rows[name], return_inverse=True)
    known = np.array([cell.lower() in meanings for cell in cells], bool)
    rows.refuse(name, ~known[numbers], why)
    return np.array([meanings[cell.lower()] for cell in cells])[numbers]


def _categories(rows: _Rows, labels: np.ndarray) -> dict[str, str]:
    """The category of each class that has one."""
    if "category" not in rows:
        return {}
    found: dict[str, str] = {}
    for i, (label, category) in enumerate(zip(labels.tolist(), rows["category"].tolist())):
        if category and found.setdefault(label, category) != category:
            why = f"{{}}, but of {label!r} it is {found[label]!r} in another row"
            rows.refuse("category", np.arange(len(labels)) == i, why)
    return found
