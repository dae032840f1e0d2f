"""Class vectors as files for other tools."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import atomic, write_array, write_text


def words(names: Sequence[str]) -> list[str]:
    """The names as single words: word2vec's text format separates by blanks, so `_` stands for them.

    Raises
    ------
    UserError
        Two names become one word.
    """
    found = ["_".join(name.split()) for name in names]
    twice = next((word for word in found if found.count(word) > 1), None) if len(set(found)) < len(found) else None
    if twice:
        raise UserError(f"two classes are called {twice} once blanks are written as _: rename one")
    return found


def save(table: np.ndarray, names: Sequence[str], folder) -> list[Path]:
    """Write ``vectors.npy`` (n, d) names in ``classes.txt``, and both as ``vectors.txt`` (word2vec's format)."""
    folder = Path(folder)
    write_array(folder / "vectors.npy", table)
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in names))
    rows = [f"{word} {' '.join(f'{x:.7g}' for x in row)}\n" for word, row in zip(words(names), table)]
    write_text(folder / "vectors.txt", f"{len(table)} {table.shape[1]}\n" + "".join(rows))
    return [folder / "vectors.npy", folder / "classes.txt", folder / "vectors.txt"]


def save_nearest(found: Mapping[str, Sequence[tuple[str, float]]], path) -> Path:
    """Write a CSV of class, rank, nearest class, cosine."""
    with atomic(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "rank", "nearest", "cosine"])
        for name, row in found.items():
            writer.writerows([name, rank, other, f"{cosine:.4f}"] for rank, (other, cosine) in enumerate(row, 1))
    return Path(path)
