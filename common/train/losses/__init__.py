"""Losses on embeddings, a family a file; each is called with ``(embeddings, labels, pairs)``, see `Loss`."""

from common.train.losses.base import Loss, PairLoss, distance
from common.train.losses.margin import MarginLoss
from common.train.losses.pairs import (
    CircleLoss,
    ContrastiveLoss,
    LiftedStructureLoss,
    MultiSimilarityLoss,
    NPairLoss,
    NTXentLoss,
    SupConLoss,
    TripletLoss,
)
from common.train.losses.proxies import (
    ArcFaceLoss,
    ClassLoss,
    CosFaceLoss,
    NormalisedSoftmaxLoss,
    ProxyAnchorLoss,
    ProxyNCALoss,
    SoftTripleLoss,
    SubCentreArcFaceLoss,
)
from common.train.losses.ranking import FastAPLoss, SmoothAPLoss

__all__ = [
    "ArcFaceLoss", "CircleLoss", "ClassLoss", "ContrastiveLoss", "CosFaceLoss", "FastAPLoss", "LiftedStructureLoss",
    "Loss", "MarginLoss", "MultiSimilarityLoss", "NPairLoss", "NTXentLoss", "NormalisedSoftmaxLoss", "PairLoss",
    "ProxyAnchorLoss", "ProxyNCALoss", "SmoothAPLoss", "SoftTripleLoss", "SubCentreArcFaceLoss", "SupConLoss",
    "TripletLoss", "distance",
]  # fmt: skip
