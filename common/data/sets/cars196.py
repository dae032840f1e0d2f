"""Cars196: 16,185 photographs of 196 kinds of cars."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.data.imageset import ImageSet
from common.data.sets.lists import check_labels
from common.data.splits import halves
from common.files.errors import UserError, reading


def load(path) -> tuple[ImageSet, ImageSet]:
    """Cars196 (Krause et al. 2013), ``cars_annos.mat`` beside ``car_ims/``: the first 98 classes train.

    Returns
    -------
    train, test : ImageSet

    Raises
    ------
    UserError
        The set is not there or is damaged.
    """
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
    check_labels(root, whole.labels, len(whole.class_names))
    return halves(whole)
