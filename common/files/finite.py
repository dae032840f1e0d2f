"""Numbers that are not finite never become a figure: they are refused where they enter, with their count and rows."""

from __future__ import annotations

import numpy as np

from common.files.errors import UserError

SHOWN = 3  # rows named in the message
AT_ONCE = 1 << 14  # rows looked at: what is thought of each number takes memory
NO_FIGURE = "no figure is taken from them; a training that diverged needs a lower learning rate"


def rows(values: np.ndarray) -> np.ndarray:
    """Indices of the rows (first axis) of `values` that hold a NaN or an infinity: (k,) int64."""
    values = np.asarray(values)
    if values.dtype.kind not in "fc":
        return np.zeros(0, np.int64)
    found = np.empty(len(values), bool)
    for start in range(0, len(values), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        np.all(np.isfinite(values[part]), axis=tuple(range(1, values.ndim)), out=found[part])
    return np.flatnonzero(~found)


def check(values: np.ndarray, what: str, remedy: str, first: int = 1) -> np.ndarray:
    """Return `values` if all of them are finite.

    Parameters
    ----------
    values : array of floats, rows along the first axis
    what : str
        What they are, for the message: ``"train_ims.npy"``, ``"the embeddings"``.
    remedy : str
        What to do about it.
    first : int
        What the first row is called: 2 in a table, whose header is row 1.

    Raises
    ------
    UserError
        Some are not: says how many rows, and which are the first.
    """
    bad = rows(values)
    if len(bad):
        shown = ", ".join(str(row + first) for row in bad[:SHOWN]) + (", ..." if len(bad) > SHOWN else "")
        raise UserError(
            f"{what}: {len(bad)} of {len(values)} rows hold numbers that are not finite (row {shown}): {remedy}"
        )
    return values
