"""Which pairs and triplets of a batch a loss sees, one miner a file; each is called with ``(embeddings, labels)``."""

from common.train.miners.base import Miner
from common.train.miners.distance_weighted import DistanceWeightedMiner

__all__ = ["DistanceWeightedMiner", "Miner"]
