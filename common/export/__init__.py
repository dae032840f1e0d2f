"""A trained network for use elsewhere: Gluon's symbol, ONNX, and INT8 of it; and read here by the fastest engine.

Imports `common.files` and `common.backbones`.
"""
