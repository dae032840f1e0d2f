"""The pictures of a run. Every function writes a PNG or GIF to the path given and returns it.

`charts` draws metrics, `matrices` what belongs to pairs of classes, `maps` embeddings in the plane, and `sheets`
pictures side by side; `labels` keeps names apart.
"""

from importlib import import_module

_NAMES = {  # where each name lies; imported at its first use: a run without pictures needs no Matplotlib
    "base": ("CLASSES", "DPI", "QUERY", "RIGHT", "WRONG", "colours", "gif", "write"),
    "charts": ("bars", "curves", "intervals", "range_test"),
    "labels": ("fitting", "label", "told_apart"),
    "maps": (
        "film", "neighbour_map", "pca", "pca_film", "principal", "sample_evenly", "scatter", "tsne", "unit_square",
        "unplaceable",
    ),
    "matrices": ("confusion", "cosines", "dendrogram", "tree"),
    "sheets": ("contact_sheet", "mistakes", "overlay", "retrieval_sheet", "sheet"),
}  # fmt: skip
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = list(_MODULES)


def __getattr__(name: str):
    if name in _NAMES:
        return import_module(f"{__name__}.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
