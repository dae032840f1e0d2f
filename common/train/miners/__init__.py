"""Which pairs and triplets of a batch a loss sees; each miner is called with ``(embeddings, labels)``, see `Miner`."""

from common.train.miners.base import Miner
from common.train.miners.distance_weighted import DistanceWeightedMiner
from common.train.miners.masks import AllPairsMiner, MultiSimilarityMiner
from common.train.miners.triplets import BatchHardMiner, SemihardMiner, UniformMiner

__all__ = [
    "AllPairsMiner", "BatchHardMiner", "DistanceWeightedMiner", "Miner", "MultiSimilarityMiner", "SemihardMiner",
    "UniformMiner",
]  # fmt: skip
