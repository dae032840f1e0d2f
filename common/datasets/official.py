"""Fine-grained sets with an official split by class: CUB-200-2011, Cars196, Stanford Online Products."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from common.datasets.base import ImageSet
from common.errors import UserError, reading


def _table(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    return [line.split() for line in lines if line.strip()]


def cub200(path, keep_whole: bool = False) -> tuple[ImageSet, ImageSet]:
    """CUB-200-2011 (Wah et al. 2011): the first 100 classes train, the last 100 test, cut to the bounding boxes.

    Parameters
    ----------
    path
        The folder ``CUB_200_2011``, or the one that holds it.
    keep_whole : bool
        Do not cut to the boxes.
    """
    root = Path(path)
    root = root / "CUB_200_2011" if (root / "CUB_200_2011").is_dir() else root
    if not (root / "images.txt").is_file():
        raise UserError(f"{root} holds no CUB-200-2011: ./get_data.sh cub200, or give --data-path")
    with reading(root, "get the set again"):
        names = [row[1].split(".", 1)[-1] for row in _table(root / "classes.txt")]
        files = {row[0]: row[1] for row in _table(root / "images.txt")}
        labels = {row[0]: int(row[1]) - 1 for row in _table(root / "image_class_labels.txt")}
        boxes = {row[0]: [float(value) for value in row[1:5]] for row in _table(root / "bounding_boxes.txt")}
        _check_boxes(boxes)
    missing = next((key for key in files if key not in labels or key not in boxes), None)
    if missing:
        raise UserError(f"{root}: image {missing} has no class or no bounding box; get the set again")
    _check_labels(root, [labels[key] for key in files], len(names))
    whole = ImageSet(
        [root / "images" / file for file in files.values()],
        np.array([labels[key] for key in files], np.int64),
        names,
        boxes=None if keep_whole else np.array([boxes[key] for key in files]),
    )
    return _halves(whole)


def cars196(path) -> tuple[ImageSet, ImageSet]:
    """Cars196 (Krause et al. 2013), ``cars_annos.mat`` beside ``car_ims/``: the first 98 classes train."""
    from scipy.io import loadmat

    root = Path(path)
    file = root / "cars_annos.mat"
    if not file.is_file():
        raise UserError(f"{file} is not there: Cars196 has no official host any more; put its folder at --data-path")
    with reading(file, "get the set again"):
        content = loadmat(file, squeeze_me=True)
        rows = np.atleast_1d(content["annotations"])
        whole = ImageSet(
            [root / str(row["relative_im_path"]) for row in rows],
            np.array([int(row["class"]) - 1 for row in rows], np.int64),
            [str(name) for name in np.atleast_1d(content["class_names"])],
        )
    _check_labels(root, whole.labels, len(whole.class_names))
    return _halves(whole)


def sop(path) -> tuple[ImageSet, ImageSet]:
    """Stanford Online Products (Song et al. 2016), by ``Ebay_train.txt`` and ``Ebay_test.txt``."""
    root = Path(path)
    root = root / "Stanford_Online_Products" if (root / "Stanford_Online_Products").is_dir() else root
    if not (root / "Ebay_train.txt").is_file():
        raise UserError(f"{root} holds no Stanford Online Products: ./get_data.sh sop, or give --data-path")
    return _ebay(root, "Ebay_train.txt"), _ebay(root, "Ebay_test.txt")


def _ebay(root: Path, name: str) -> ImageSet:
    with reading(root / name, "get the set again"):
        rows = _table(root / name)[1:]  # after the header: image_id class_id super_class_id path
        classes, labels = np.unique([int(row[1]) for row in rows], return_inverse=True)
        if not rows:
            raise ValueError("it lists no picture")
        return ImageSet([root / row[3] for row in rows], labels.astype(np.int64), [str(c) for c in classes])


def _check_labels(root: Path, labels, classes: int) -> None:
    if not len(labels) or min(labels) < 0 or max(labels) >= classes:
        span = f"{min(labels) + 1} to {max(labels) + 1}" if len(labels) else "none"
        raise UserError(f"{root}: pictures of classes {span}, names of {classes}: get the set again")


def _check_boxes(boxes: dict[str, list[float]]) -> None:
    for key, box in boxes.items():
        if len(box) != 4 or not np.isfinite(box).all() or min(box[2:]) <= 0:
            raise ValueError(f"image {key} has the bounding box {box}")


def _halves(whole: ImageSet) -> tuple[ImageSet, ImageSet]:
    """The first half of the classes and the second, as everybody since Song et al. 2016 splits these sets."""
    half = len(whole.class_names) // 2
    first = whole.subset(whole.labels < half)
    second = whole.subset(whole.labels >= half)
    return (
        dataclasses.replace(first, class_names=whole.class_names[:half]),
        dataclasses.replace(second, labels=second.labels - half, class_names=whole.class_names[half:]),
    )
