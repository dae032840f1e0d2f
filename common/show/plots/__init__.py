"""The pictures of a run. Every function writes a PNG or GIF to the path given and returns it.

`charts` draws metrics, `matrices` what belongs to pairs of classes, `maps` embeddings in the plane, and `sheets`
pictures side by side.
"""

from common.show.plots.base import CLASSES, DPI, QUERY, RIGHT, WRONG, gif, write
from common.show.plots.charts import bars, curves, intervals, range_test
from common.show.plots.maps import (
    film,
    neighbour_map,
    pca,
    pca_film,
    principal,
    sample_evenly,
    tsne,
    unit_square,
    unplaceable,
)
from common.show.plots.matrices import confusion, cosines, dendrogram, tree
from common.show.plots.sheets import contact_sheet, mistakes, overlay, retrieval_sheet, sheet

__all__ = [
    "CLASSES",
    "DPI",
    "QUERY",
    "RIGHT",
    "WRONG",
    "bars",
    "confusion",
    "contact_sheet",
    "cosines",
    "curves",
    "dendrogram",
    "film",
    "gif",
    "intervals",
    "mistakes",
    "neighbour_map",
    "overlay",
    "pca",
    "pca_film",
    "principal",
    "range_test",
    "retrieval_sheet",
    "sample_evenly",
    "sheet",
    "tree",
    "tsne",
    "unit_square",
    "unplaceable",
    "write",
]
