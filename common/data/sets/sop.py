"""Stanford Online Products: 120,053 photographs of 22,634 things on sale."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.data.imageset import ImageSet
from common.data.sets.lists import table
from common.files.errors import UserError, reading


def load(path) -> tuple[ImageSet, ImageSet]:
    """Stanford Online Products (Song et al. 2016), by ``Ebay_train.txt`` and ``Ebay_test.txt``.

    Returns
    -------
    train, test : ImageSet

    Raises
    ------
    UserError
        The set is not there or is damaged.
    """
    root = Path(path)
    root = root / "Stanford_Online_Products" if (root / "Stanford_Online_Products").is_dir() else root
    if not (root / "Ebay_train.txt").is_file():
        raise UserError(f"{root} holds no Stanford Online Products: ./get_data.sh sop, or give --data-path")
    return _ebay(root, "Ebay_train.txt"), _ebay(root, "Ebay_test.txt")


def _ebay(root: Path, name: str) -> ImageSet:
    with reading(root / name, "get the set again"):
        rows = table(root / name)[1:]  # after the header: image_id class_id super_class_id path
        classes, labels = np.unique([int(row[1]) for row in rows], return_inverse=True)
        if not rows:
            raise ValueError("it lists no picture")
        return ImageSet([root / row[3] for row in rows], labels.astype(np.int64), [str(c) for c in classes])
