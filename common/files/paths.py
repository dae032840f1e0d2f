"""Where data and weights lie: under the repository's ``data/``, wherever a script is started from."""

from __future__ import annotations

import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def data_root() -> Path:
    """The folder of all data: ``$EMBEDDING_DATA``, or ``data/`` in the repository."""
    return Path(os.environ.get("EMBEDDING_DATA") or REPO / "data")


def data_dir(name: str) -> Path:
    """The default folder of the data set `name`."""
    return data_root() / name


def weights_dir() -> Path:
    """The folder of pretrained parameters."""
    return data_root() / "weights"
