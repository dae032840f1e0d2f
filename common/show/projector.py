"""Embeddings as TensorBoard's projector opens them: points, what they are called, and their pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from common.files.disk import atomic, write_text, writing

SPRITE, THUMBNAIL = 8192, 64  # pixels: the largest side of a sprite that browsers draw, and of a picture in it
CONFIG = """\
embeddings {{
  tensor_name: "{name}"
  tensor_path: "tensors.tsv"
  metadata_path: "metadata.tsv"
  sprite {{
    image_path: "sprite.png"
    single_image_dim: {side}
    single_image_dim: {side}
  }}
}}
"""


def write(
    folder, vectors: np.ndarray, columns: Mapping[str, Sequence], picture: Callable[[int, int], np.ndarray],
    name: str = "embeddings",
) -> Path:  # fmt: skip
    """Write ``tensors.tsv``, ``metadata.tsv``, ``sprite.png`` and ``projector_config.pbtxt``.

    Parameters
    ----------
    folder : path
        Made if it is not there: what ``tensorboard --logdir`` takes.
    vectors : (n, d) float32
    columns : mapping of str to sequence
        Two or more, a value for each vector; a tab or a line break in one becomes a blank.
    picture : callable (index, side) -> (side, side, 3) uint8
    name : str
        What the projector calls them.

    Raises
    ------
    UserError
        The folder cannot be written.
    """
    folder, grid = Path(folder), math.ceil(math.sqrt(len(vectors)))
    side = min(THUMBNAIL, SPRITE // grid)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / "tensors.tsv") as beside:
        np.savetxt(beside, vectors, fmt="%.7g", delimiter="\t")
    rows = [columns, *zip(*columns.values())]
    text = "".join("\t".join(" ".join(str(cell).split()) for cell in row) + "\n" for row in rows)
    write_text(folder / "metadata.tsv", text)
    sprite = np.full((grid * side, grid * side, 3), 255, np.uint8)
    for index in range(len(vectors)):
        top, left = (side * place for place in divmod(index, grid))
        sprite[top : top + side, left : left + side] = picture(index, side)
    with atomic(folder / "sprite.png") as beside:
        Image.fromarray(sprite).save(beside)
    write_text(folder / "projector_config.pbtxt", CONFIG.format(name=name, side=side))
    return folder
