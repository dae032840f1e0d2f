"""The product of a photograph, looked for in a catalogue that has one picture of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from common import metrics
from common.data.sets import ImageSet

KS = (1, 5, 10)
SHOWN = [  # in a table each: among the test classes, among all
    [f"catalogue_{scope}{kind}hit@{k}" for kind in ("", "centred_") for k in KS] for scope in ("", "all_")
]


def hits(
    pictures: Mapping[str, ImageSet], embeddings: Callable[[str], np.ndarray], ks: tuple[int, ...] = KS
) -> dict[str, float]:
    """How often the right catalogue picture is among the first k, for test pictures as queries.

    ``catalogue_hit@k`` is among the catalogue pictures of the test classes, ``catalogue_all_hit@k`` among all. Of
    ``centred`` ones each side has a mean of its own taken off, which a photograph in a shop and a product on white do
    not share: queries that of the training pictures, the catalogue that of its pictures of the training classes.

    Parameters
    ----------
    pictures : dict of str to ImageSet
        ``train``, ``test`` and ``catalogue``, see `examples.embedding_learning.data.Parts`.
    embeddings : callable (name) -> (n, d) array
        Of all pictures of a split.
    ks : tuple of int

    Returns
    -------
    dict of str to float
        Empty without a catalogue. Test pictures whose class has no picture there are left out.
    """
    if "catalogue" not in pictures:
        return {}
    train, asked, catalogue = (pictures[name] for name in ("train", "test", "catalogue"))
    number = {name: label for label, name in enumerate(catalogue.class_names)}
    labels = np.array([number.get(name, -1) for name in asked.class_names])[asked.labels]
    tested, learned = (
        np.isin(catalogue.labels, [number[name] for name in split.class_names if name in number])
        for split in (asked, train)
    )
    if not tested.any():
        return {}
    queries, gallery, able = embeddings("test"), embeddings("catalogue"), labels >= 0
    sides = {"": (queries, gallery)}
    if learned.any():
        sides["centred_"] = queries - embeddings("train").mean(axis=0), gallery - gallery[learned].mean(axis=0)
    found = {}
    for scope, there in {"": tested, "all_": np.ones(len(catalogue), bool)}.items():
        for kind, (rows, among) in sides.items():
            ranks = metrics.ranks(
                metrics.unit(rows[able]), metrics.unit(among[there]), labels[able], catalogue.labels[there]
            )
            found.update({f"catalogue_{scope}{kind}hit@{k}": float(np.mean(ranks <= k)) for k in ks})
    return found
