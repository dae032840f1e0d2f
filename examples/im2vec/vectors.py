"""Class vectors as files for other tools."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from common.data import images
from common.files.disk import atomic, write_array, write_text
from common.show import projector
from examples.im2vec import evaluation, stability

FILES = {"class": ("vectors", "nearest"), "mean": ("means", "nearest-means")}  # names, by what the vectors are


def words(names: Sequence[str]) -> list[str]:
    """The names as single words that differ: word2vec's text format separates by blanks, so `_` stands for them.

    Where another class has that name already (``a b`` beside ``a_b``), more `_` stand for each blank.
    """
    taken = {name for name in names if len(name.split()) == 1 and name == name.strip()}
    found = []
    for name in names:
        word, blank = name, "_"
        if name not in taken:
            while (word := blank.join(name.split())) in taken:
                blank += "_"
            taken.add(word)
        found.append(word)
    return found


def save(model, folder, k: int = 5) -> list[Path]:
    """Write the vectors of a model, learned and means of f(x), and each class's `k` nearest.

    Parameters
    ----------
    model : examples.im2vec.modelfile.Model
    folder : path

    Returns
    -------
    list of Path
        ``classes.txt``, the names, a line a class; ``vectors.npy`` (n, d) and ``vectors.txt``, the same in word2vec's
        format, for the learned vectors and ``means.npy`` and ``means.txt`` for the means, all less the mean of all
        classes: their cosines are those of the heat map. ``nearest.csv`` and ``nearest-means.csv``.
    """
    folder, names = Path(folder), model.metadata["classes"]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "classes.txt", "".join(f"{' '.join(name.split())}\n" for name in names))
    written = [folder / "classes.txt"]
    for kind, (stem, nearest) in FILES.items():
        table = evaluation.centred(model.vectors(kind))
        write_array(folder / f"{stem}.npy", table)
        rows = [f"{word} {' '.join(f'{x:.7g}' for x in row)}\n" for word, row in zip(words(names), table)]
        write_text(folder / f"{stem}.txt", f"{len(table)} {table.shape[1]}\n" + "".join(rows))
        found = evaluation.nearest(evaluation.similarity(table), names, k)
        with atomic(folder / f"{nearest}.csv") as beside, open(beside, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["class", "rank", "nearest", "cosine"])
            for name, row in found.items():
                writer.writerows([name, rank, other, f"{cosine:.4f}"] for rank, (other, cosine) in enumerate(row, 1))
        written += [folder / f"{stem}.npy", folder / f"{stem}.txt", folder / f"{nearest}.csv"]
    return written


def write_projector(model, folder, kind: str | None = None) -> Path:
    """Write the vectors for TensorBoard's projector, each with a typical picture of its class.

    Parameters
    ----------
    model : examples.im2vec.modelfile.Model
    folder : path
    kind : {"class", "mean"}, optional
        Default is what is stable.
    """
    kind = kind or stability.shown(model.metadata.get("stability"))
    names, counts = model.metadata["classes"], model.metadata["counts"]

    def picture(index: int, side: int):
        return images.resize(model.examples[index], (side, side))

    table = evaluation.centred(model.vectors(kind))
    return projector.write(folder, table, {"class": names, "pictures": counts}, picture, kind)
