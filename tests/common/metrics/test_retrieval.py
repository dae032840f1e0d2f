"""Retrieval against a full sort, closed forms and the published example."""

import subprocess
import sys

import numpy as np
import pytest

from common import metrics
from common.files.paths import REPO


def full_sort(embeddings, labels, ks):
    """recall@k, MAP@R, R-precision by sorting everything; of those that tie (within TIE) the wrong come first."""
    vectors = metrics.unit(embeddings).astype(np.float64)
    recall, average, precision = [], [], []
    for i, query in enumerate(vectors):
        others = np.delete(np.arange(len(labels)), i)
        right = labels[others] == labels[i]
        hits = right[np.argsort(-(vectors[others] @ query - metrics.TIE * right), kind="stable")]
        recall.append([hits[:k].any() for k in ks])
        if r := int(right.sum()):
            first = hits[:r]
            precision.append(first.mean())
            average.append(sum(first[: j + 1].mean() for j in range(r) if first[j]) / r)
    figures = dict(zip((f"recall@{k}" for k in ks), np.mean(recall, axis=0)))
    return {**figures, "map@r": np.mean(average), "r_precision": np.mean(precision)}


@pytest.mark.parametrize("copies", [0, 40, 300])
def test_retrieval_equals_a_full_sort_with_ties(copies):
    rng = np.random.default_rng(copies)
    labels = rng.integers(0, 30, 600)
    embeddings = rng.normal(size=(30, 16))[labels] + rng.normal(size=(600, 16)) * 1.5
    embeddings[:copies] = embeddings[0]  # identical vectors of many classes
    ks = (1, 2, 4, 8, 16)
    ours = {**metrics.recall_at_k(embeddings, labels, ks), **metrics.map_at_r(embeddings, labels)}
    assert ours == pytest.approx(full_sort(embeddings, labels, ks), abs=1e-6)


def test_all_equal_is_all_wrong():
    embeddings, labels = np.ones((50, 4)), np.arange(50) % 10
    assert metrics.recall_at_k(embeddings, labels, (1, 16)) == {"recall@1": 0, "recall@16": 0}
    assert metrics.map_at_r(embeddings, labels)["map@r"] == 0


def test_a_gallery_of_its_own():
    gallery = np.eye(4)
    queries = np.array([[1, 0.1, 0, 0], [0.9, 1, 0, 0], [0, 0, 0, 1]])
    figures = metrics.recall_at_k(queries, [0, 0, 9], (1, 2), gallery, np.arange(4))
    assert figures == pytest.approx({"recall@1": 1 / 3, "recall@2": 2 / 3})
    assert metrics.map_at_r(queries, [0, 0, 9], gallery, np.arange(4))["map@r"] == pytest.approx(0.5)


def test_the_rank_of_the_first_right_picture_and_recall_by_class():
    embeddings = np.array([[1, 0], [0.9, 0.1], [0.8, 0.3], [0, 1], [0.1, 0.9]], float)
    labels = np.array([7, 3, 7, 3, 3])
    ranks = metrics.first_right(embeddings, labels, 2)
    np.testing.assert_array_equal(ranks, [2, np.inf, 2, 1, 1])
    np.testing.assert_array_equal(metrics.first_right(embeddings, labels, 9)[[1]], [3])
    assert metrics.recall(ranks, (1, 2)) == metrics.recall_at_k(embeddings, labels, (1, 2))
    classes, counts, fractions = metrics.by_class(labels, ranks == 1)
    assert (classes.tolist(), counts.tolist()) == ([3, 7], [3, 2])
    np.testing.assert_allclose(fractions, [2 / 3, 0])


@pytest.mark.parametrize("copies", [0, 40, 300])
@pytest.mark.parametrize("both", [0.0, 0.3, 1.0])
def test_queries_and_a_gallery_that_overlap_equal_a_full_sort(copies, both):
    """Some pictures are queries alone, some gallery alone, a fraction `both`; no query finds itself."""
    rng = np.random.default_rng(copies)
    labels = rng.integers(0, 12, 400)
    embeddings = rng.normal(size=(12, 16))[labels] + rng.normal(size=(400, 16)) * 1.5
    embeddings[:copies] = embeddings[0]
    kind = rng.random(400)
    queries = np.flatnonzero((kind < both) | (kind > 1 - (1 - both) / 2))
    gallery = np.flatnonzero(kind <= 1 - (1 - both) / 2)
    own = np.array([int(np.flatnonzero(gallery == i)[0]) if i in gallery else -1 for i in queries])
    assert (own >= 0).any() == (both > 0) and (own < 0).any() == (both < 1)
    vectors = metrics.unit(embeddings).astype(np.float64)
    first, average, precision = [], [], []
    for i in queries:
        others = [j for j in gallery if j != i]
        right = labels[others] == labels[i]
        hits = right[np.argsort(-(vectors[others] @ vectors[i] - metrics.TIE * right), kind="stable")]
        first.append(1 + hits.argmax())
        ranks = 1 + np.flatnonzero(hits[: right.sum()])
        average.append(np.sum(np.arange(1, len(ranks) + 1) / ranks) / right.sum())
        precision.append(len(ranks) / right.sum())
    searched = embeddings[gallery], labels[gallery], own
    ours = metrics.recall_at_k(embeddings[queries], labels[queries], (1, 4, 16, 390), *searched)
    assert ours == pytest.approx({f"recall@{k}": np.mean(np.array(first) <= k) for k in (1, 4, 16, 390)})
    ours = metrics.map_at_r(embeddings[queries], labels[queries], *searched)
    assert ours == pytest.approx({"map@r": np.mean(average), "r_precision": np.mean(precision)}, abs=1e-6)


def test_published_example_of_map_at_r():
    # Musgrave et al. 2020, figure 3: ten right ones; the order decides, R-precision alone does not see it.
    def figures(hits):
        cosine = np.linspace(0.9, 0.5, len(hits))
        gallery = np.stack([cosine, np.sqrt(1 - cosine**2)], axis=1)
        labels = np.where(hits, 0, 1)
        extra = np.tile([-1.0, 0.0], (10 - int(np.sum(hits)), 1))  # the right ones that were not found
        found = metrics.map_at_r(
            np.array([[1.0, 0.0]]),
            [0],
            np.concatenate([gallery, extra]),
            np.concatenate([labels, np.zeros(len(extra))]),
        )
        return found["map@r"], found["r_precision"]

    assert figures([1] + [0] * 9) == pytest.approx((0.1, 0.1))
    assert figures([1, 1] + [0] * 8) == pytest.approx((0.2, 0.2))
    assert figures([1] * 10) == pytest.approx((1, 1))
    assert figures([1, 0, 1, 0] + [0] * 6) == pytest.approx(((1 + 2 / 3) / 10, 0.2))


@pytest.mark.slow
def test_recall_of_60000_in_bounded_memory():
    """Under 1 GB above the data. 60,000 x 128 against a gallery of 8,000 holds as many vectors and blocks."""
    code = """
import resource, numpy as np, common
from common import metrics
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
vectors = np.random.default_rng(0).normal(size=(60000, 128)).astype(np.float32)
labels = np.arange(60000) % 100
metrics.recall_at_k(vectors[:100], labels[:100])
before = peak()
metrics.recall_at_k(vectors, labels, gallery=vectors[:8000], gallery_labels=labels[:8000])
metrics.map_at_r(vectors[:1000], labels[:1000], vectors, labels)
print(peak() - before)
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert float(found.stdout) < 1000  # MB
