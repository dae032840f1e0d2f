"""The pictures of a run. Every function writes a PNG or GIF to the path given and returns it.

`charts` draws metrics, `matrices` what belongs to pairs of classes, `maps` embeddings in the plane, and `sheets`
pictures side by side; `labels` keeps names apart.
"""

from common.show.plots.base import CLASSES, DPI, QUERY, RIGHT, WRONG, colours, gif, write
from common.show.plots.charts import bars, curves, intervals, range_test
from common.show.plots.labels import fitting, label, told_apart
from common.show.plots.maps import (
    film,
    neighbour_map,
    pca,
    pca_film,
    principal,
    sample_evenly,
    scatter,
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
    "colours",
    "confusion",
    "contact_sheet",
    "cosines",
    "curves",
    "dendrogram",
    "film",
    "fitting",
    "gif",
    "intervals",
    "label",
    "mistakes",
    "neighbour_map",
    "overlay",
    "pca",
    "pca_film",
    "principal",
    "range_test",
    "retrieval_sheet",
    "sample_evenly",
    "scatter",
    "sheet",
    "told_apart",
    "tree",
    "tsne",
    "unit_square",
    "unplaceable",
    "write",
]
