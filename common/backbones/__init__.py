"""Feature extractors: their registry, the networks that the zoos lack, pretrained parameters and their conversion.

Imports `common.files` and `common.data`.
"""

from common.backbones.registry import Backbone, Normalize, create, cut, info, input_size, names, network

__all__ = ["Backbone", "Normalize", "create", "cut", "info", "input_size", "names", "network"]
