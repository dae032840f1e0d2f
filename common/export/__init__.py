"""A trained network for use elsewhere: Gluon's symbol, ONNX, and INT8 of it.

Imports `common.files` and `common.backbones`.
"""
