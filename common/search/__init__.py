"""Finding: an index of embeddings, and the page that searches it in a browser.

Imports `common.files`, `common.data` and `common.metrics`.
"""
