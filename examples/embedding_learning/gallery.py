"""One's own pictures and a saved model: find, embed, write."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import devices
from common.datasets import ImageSet
from common.errors import UserError
from common.images import SUFFIXES
from common.transforms import Eval
from examples.embedding_learning import data, model


def find(arguments: Sequence[str]) -> list[Path]:
    """The pictures that the arguments name: files, all below folders (in name order), and the lines of .txt lists.

    Raises
    ------
    UserError
        Something is not there, or there is no picture at all.
    """
    paths: list[Path] = []
    for argument in map(Path, arguments):
        if argument.is_dir():
            paths += sorted(path for path in argument.rglob("*") if path.suffix.lower() in SUFFIXES)
        elif not argument.is_file():
            raise UserError(f"{argument}: no such picture or folder")
        elif argument.suffix == ".txt":
            lines = argument.read_text(encoding="utf-8").splitlines()
            listed = [(number, Path(line.strip())) for number, line in enumerate(lines, 1) if line.strip()]
            missing = next((item for item in listed if not item[1].is_file()), None)
            if missing:
                raise UserError(f"{argument}, line {missing[0]}: {missing[1]}: no such picture")
            paths += [path for _, path in listed]
        else:
            paths.append(argument)
    if not paths:
        raise UserError(f"no picture in {', '.join(map(str, arguments))}: looked for {' '.join(sorted(SUFFIXES))}")
    return paths


def embed(paths: Sequence[Path], params, gpus: Sequence[int] = (), num_workers: int = 2) -> np.ndarray:
    """Embeddings of the pictures by the model in file `params`: (n, embed_dim) float32 unit vectors."""
    context = devices.contexts(gpus)[0]
    net, card = model.load(params, context)
    pictures = ImageSet(list(paths), np.zeros(len(paths), np.int64), [""])
    transform = Eval(card["resize"], card["crop"], card["keep_aspect"])
    return data.embed(net, pictures, transform, context, num_workers)


def write(output: Path, paths: Sequence[Path], vectors: np.ndarray) -> None:
    """Write ``.npy`` with the paths in a ``.txt`` beside it, or ``.csv`` with a header; whole or not at all."""
    beside = output.with_name(f".{os.getpid()}-{output.name}")
    if output.suffix == ".npy":
        np.save(beside, vectors)
        output.with_suffix(".txt").write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
    else:
        with open(beside, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", *(f"e{i}" for i in range(vectors.shape[1]))])
            writer.writerows([path, *map(repr, row.tolist())] for path, row in zip(paths, vectors))
    os.replace(beside, output)
