"""One's own pictures and a saved model: embed, write."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import devices
from common.datasets import ImageSet
from common.files import atomic, write_array, write_text
from common.transforms import Eval
from examples.embedding_learning import data, model


def embed(paths: Sequence[Path], params, gpus: Sequence[int] = (), num_workers: int = 2) -> np.ndarray:
    """Embeddings of the pictures by the model in file `params`: (n, embed_dim) float32 unit vectors."""
    context = devices.contexts(gpus)[0]
    net, card = model.load(params, context)
    pictures = ImageSet(list(paths), np.zeros(len(paths), np.int64), [""])
    transform = Eval(card["resize"], card["crop"], card["keep_aspect"])
    return data.embed(net, data.in_order(pictures, transform, num_workers)(), context)


def write(output: Path, paths: Sequence[Path], vectors: np.ndarray) -> None:
    """Write ``.npy`` with the paths in a ``.txt`` beside it, or ``.csv`` with a header; whole or not at all."""
    if output.suffix == ".npy":
        write_text(output.with_suffix(".txt"), "".join(f"{path}\n" for path in paths))
        write_array(output, vectors)
        return
    with atomic(output) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *(f"e{i}" for i in range(vectors.shape[1]))])
        writer.writerows([path, *map(repr, row.tolist())] for path, row in zip(paths, vectors))
