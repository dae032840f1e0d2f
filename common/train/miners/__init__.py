"""Which pairs and triplets of a batch a loss sees, one miner a file."""

from common.train.miners.distance_weighted import DistanceWeightedMiner

__all__ = ["DistanceWeightedMiner"]
