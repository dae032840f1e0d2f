"""Emoji drawn by four artists' sets: many classes, few pictures each, with five descriptions.

Layout: ``images/SET/CODE.jpg``, ``classes.csv`` (code, name, category, subcategory) and ``captions.txt`` in Flickr8k's
token format (``CODE#0<TAB>text``). A class is called by its code; `Dataset.captions` has its names.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from common.data.imageset import ImageSet
from common.files.errors import UserError, reading

COLUMNS = ("code", "name", "category", "subcategory")
ARTISTS = ("noto", "twemoji", "fluent", "openmoji")


def load(path) -> tuple[ImageSet, list[dict], dict[str, list[str]]]:
    """All pictures, with what is known of each class.

    Returns
    -------
    whole : ImageSet
        Domains are the artists.
    rows : list of dict
        Of ``classes.csv``, a class each: code, name, category and subcategory.
    captions : dict of str to list of str
        By code.

    Raises
    ------
    UserError
        The set is not there or is damaged.
    """
    root = Path(path)
    if not (root / "classes.csv").is_file():
        raise UserError(f"{root} holds no emoji (classes.csv): ./get_data.sh emoji, or give --data-path")
    artists = [artist for artist in ARTISTS if (root / "images" / artist).is_dir()]
    with reading(root / "classes.csv", "./get_data.sh emoji makes it again"):
        with open(root / "classes.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        for number, row in enumerate(rows, 2):
            if not all(isinstance(row.get(name), str) for name in COLUMNS):
                raise ValueError(f"row {number} has not the columns {', '.join(COLUMNS)}")
        if len({row["code"] for row in rows}) < len(rows):
            raise ValueError("a code is there twice")
        samples = [
            (root / "images" / artist / f"{row['code']}.jpg", label, domain)
            for label, row in enumerate(rows)
            for domain, artist in enumerate(artists)
        ]
    samples = [sample for sample in samples if sample[0].is_file()]
    if not samples:
        raise UserError(f"{root}/images holds no picture of classes.csv: ./get_data.sh emoji makes the set again")
    captions: dict[str, list[str]] = {row["code"]: [] for row in rows}
    with reading(root / "captions.txt", "./get_data.sh emoji makes it again"):
        lines = (root / "captions.txt").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        key, tab, text = line.partition("\t")
        code = key.split("#")[0].replace(".jpg", "")
        if not tab or code not in captions:
            raise UserError(
                f"{root}/captions.txt, line {number}: expected CODE#N, a tab and a text of a code in classes.csv"
            )
        captions[code].append(text)
    paths, labels, domains = zip(*samples)
    whole = ImageSet(
        list(paths),
        np.array(labels, np.int64),
        [row["code"] for row in rows],
        domains=np.array(domains, np.int64),
        domain_names=artists,
    )
    return whole, rows, captions
