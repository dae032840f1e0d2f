"""How good embeddings are: at retrieval, at ranking sentences and pictures, at recognition, at structure.

Imports `common.files`.
"""

from common.metrics.nearest import neighbours, unit
from common.metrics.ranking import MEASURES, five_folds, image_sentence, ranks, ranks_both
from common.metrics.recognition import (
    accuracy_at_k,
    accuracy_key,
    area_seen_unseen,
    by_class,
    confusion,
    harmonic_mean,
    per_class_accuracy,
    text_to_image,
    zero_shot,
)
from common.metrics.retrieval import KS, TIE, Retrieval, map_at_r, recall_at_k, search
from common.metrics.structure import nearest_is_same, nmi, procrustes, purity, spearman

__all__ = [
    "KS",
    "MEASURES",
    "Retrieval",
    "TIE",
    "accuracy_at_k",
    "accuracy_key",
    "area_seen_unseen",
    "by_class",
    "confusion",
    "five_folds",
    "harmonic_mean",
    "image_sentence",
    "map_at_r",
    "nearest_is_same",
    "neighbours",
    "nmi",
    "per_class_accuracy",
    "procrustes",
    "purity",
    "ranks",
    "ranks_both",
    "recall_at_k",
    "search",
    "spearman",
    "text_to_image",
    "unit",
    "zero_shot",
]
