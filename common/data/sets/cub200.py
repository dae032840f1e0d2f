"""CUB-200-2011: 11,788 photographs of 200 kinds of birds, with bounding boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.data.imageset import ImageSet
from common.data.sets.lists import check_labels, table
from common.data.splits import halves
from common.files.errors import UserError, reading


def load(path, keep_whole: bool = False) -> tuple[ImageSet, ImageSet]:
    """CUB-200-2011 (Wah et al. 2011): the first 100 classes train, the last 100 test, cut to the bounding boxes.

    Parameters
    ----------
    path : path
        The folder ``CUB_200_2011``, or the one that holds it.
    keep_whole : bool
        Do not cut to the boxes.

    Returns
    -------
    train, test : ImageSet

    Raises
    ------
    UserError
        The set is not there or is damaged.
    """
    root = Path(path)
    root = root / "CUB_200_2011" if (root / "CUB_200_2011").is_dir() else root
    if not (root / "images.txt").is_file():
        raise UserError(f"{root} holds no CUB-200-2011: ./get_data.sh cub200, or give --data-path")
    with reading(root, "get the set again"):
        names = [row[1].split(".", 1)[-1] for row in table(root / "classes.txt")]
        files = {row[0]: row[1] for row in table(root / "images.txt")}
        labels = {row[0]: int(row[1]) - 1 for row in table(root / "image_class_labels.txt")}
        boxes = {row[0]: [float(value) for value in row[1:5]] for row in table(root / "bounding_boxes.txt")}
        _check_boxes(boxes)
    missing = next((key for key in files if key not in labels or key not in boxes), None)
    if missing:
        raise UserError(f"{root}: image {missing} has no class or no bounding box; get the set again")
    check_labels(root, [labels[key] for key in files], len(names))
    whole = ImageSet(
        [root / "images" / file for file in files.values()],
        np.array([labels[key] for key in files], np.int64),
        names,
        boxes=None if keep_whole else np.array([boxes[key] for key in files]),
    )
    return halves(whole)


def _check_boxes(boxes: dict[str, list[float]]) -> None:
    for key, box in boxes.items():
        if len(box) != 4 or not np.isfinite(box).all() or min(box[2:]) <= 0:
            raise ValueError(f"image {key} has the bounding box {box}")
