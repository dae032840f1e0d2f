"""What several property tests draw."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

ROWS = ("new", "same", "opposite", "axis", "zero")


@st.composite
def vectors(draw, n: int, dim: int, zero: bool = True) -> np.ndarray:
    """(n, dim) float32 of length one: any, equal and opposite ones, axes; with `zero` rows of zeros too."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows: list[np.ndarray] = []
    for kind in draw(st.lists(st.sampled_from(ROWS if zero else ROWS[:-1]), min_size=n, max_size=n)):
        row = rng.normal(size=dim)
        if kind in ("same", "opposite") and rows:
            row = rows[rng.integers(len(rows))] * (1 if kind == "same" else -1)
        elif kind == "axis":
            row = np.eye(dim)[rng.integers(dim)] * rng.choice([-1, 1])
        elif kind == "zero":
            row = np.zeros(dim)
        rows.append(row)
    found = np.array(rows).reshape(n, dim)
    return (found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def labels(n: int, classes: int = 4):
    """(n,) classes 0 .. `classes` - 1: one for all, one of each, and all between."""
    return st.lists(st.integers(0, classes - 1), min_size=n, max_size=n).map(np.array)
