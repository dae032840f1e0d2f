"""Losses on embeddings, one a file; each is called with ``(embeddings, labels, pairs)``."""

from common.train.losses.margin import MarginLoss

__all__ = ["MarginLoss"]
