"""Pictures and pages of results: plots and the report of a run.

Imports `common.files`, `common.data` and `common.metrics`.
"""
