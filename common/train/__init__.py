"""Training: losses and miners, a memory; optimizer, schedule, checkpoints, and the session that keeps the books.

Imports `common.files` and what a program is started with (`common.run`, `common.devices`).
"""
