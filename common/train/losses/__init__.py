"""Losses on embeddings, one a file; each is called with ``(embeddings, labels, pairs)``, see `Loss`."""

from common.train.losses.base import Loss, distance
from common.train.losses.margin import MarginLoss

__all__ = ["Loss", "MarginLoss", "distance"]
