"""Feature extractors: their registry, the networks that the zoos lack, pretrained parameters and their conversion.

A sentence encoder. Imports `common.files`, `common.data` and `common.text`.
"""

from importlib import import_module

_MODULES = {  # where each name lies; imported at its first use, since `entries` is read without MXNet
    "Backbone": "backbone",
    "Normalize": "backbone",
    "create": "build",
    "cut": "backbone",
    "info": "build",
    "input_size": "registry",
    "list_backbones": "registry",
    "network": "registry",
}
__all__ = list(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
