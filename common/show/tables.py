"""Methods and their metrics: as lines of text, as cells of a page, and as keys of ``metrics.json``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Rows = Mapping[str, Mapping[str, Any]]


def cells(rows: Rows, columns: Sequence[str] | None = None, form: str = ".3f", absent: str = "") -> dict[str, dict]:
    """A table's numbers as text; what `common.show.report.write` takes for a table.

    Parameters
    ----------
    rows : mapping of row to mapping of column to value
    columns : sequence of str, optional
        Which columns, in their order; those that no row has are left out. Default is all.
    form : str
        Format of a number. A value that is text stays as it is.
    absent : str
        Where a row has not the column.

    Returns
    -------
    dict of row to dict of column to str
    """
    there = dict.fromkeys(name for row in rows.values() for name in row)
    names = [name for name in (there if columns is None else columns) if name in there]

    def cell(value: Any) -> str:
        return value if isinstance(value, str) else format(value, form)

    return {
        row: {name: cell(values[name]) if name in values else absent for name in names} for row, values in rows.items()
    }


def table(rows: Rows, columns: Sequence[str] | None = None, form: str = ".3f", absent: str = "-") -> str:
    """A table as lines of text, each column as wide as its widest cell.

    Parameters
    ----------
    rows, columns, form, absent
        As in `cells`.

    Returns
    -------
    str
        A line of headings, and a line a row.
    """
    found = cells(rows, columns, form, absent)
    names = list(dict.fromkeys(name for row in found.values() for name in row))
    width = max(map(len, found))
    widths = {name: 2 + max(len(name), *(len(row[name]) for row in found.values())) for name in names}
    lines = [" " * width + "".join(f"{name:>{widths[name]}}" for name in names)]
    lines += [f"{row:<{width}}" + "".join(f"{values[n]:>{widths[n]}}" for n in names) for row, values in found.items()]
    return "\n".join(lines)


def flat(rows: Rows, main: str = "trained") -> dict[str, Any]:
    """The metrics of several methods in one mapping, for ``metrics.json``.

    Parameters
    ----------
    rows : mapping of method to mapping of metric to value
    main : str
        The method whose metrics keep their names. Those of another begin with its name, in lower case and with `_` for
        blanks and marks: ``"before training"`` gives ``"before_training_recall@1"``.

    Returns
    -------
    dict of str to value
        The main method's first.
    """
    found = dict(rows.get(main, {}))
    for method, metrics in rows.items():
        if method != main:
            found.update({f"{_key(method)}_{name}": value for name, value in metrics.items()})
    return found


def _key(text: str) -> str:
    return re.sub(r"\W+", "_", text.lower()).strip("_")
