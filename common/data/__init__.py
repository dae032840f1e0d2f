"""Pictures: the data sets, their splits, decoding, transforms, samplers, and the loader that feeds a network.

Imports `common.files`.
"""
