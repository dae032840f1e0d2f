"""Retrieval against a full sort, closed forms and the published example."""

import functools
import subprocess
import sys

import faiss
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from common import metrics
from common.files.paths import REPO
from common.metrics import nearest, retrieval

KS = (1, 2, 4, 8, 16)
ROUNDING = 2.5e-7  # of the difference of two float32 products of unit vectors
# Each way of looking at a ranking, whatever the sizes: the nearest, with all looked at where ties reach further; all.
WAYS = {"nearest": {"SHARE": 0}, "count": {"SHARE": 10**9}, "sort": {"SHARE": 10**9, "COUNTED": -1}}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """A way, with several threads, tiles and strips on small data."""
    for name, value in WAYS[request.param].items():
        monkeypatch.setattr(retrieval, name, value)
    monkeypatch.setattr(retrieval, "STRIP", 48)
    for name, value in {"TILE": 64, "BLOCK": 100, "WORTH": 50}.items():
        monkeypatch.setattr(nearest, name, value)
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: 3)
    return request.param


def by_full_sort(embeddings, labels, queries, gallery, ks=KS):
    """All metrics of each query by sorting everything; of those that tie (within TIE) the wrong come first.

    Not `clear`: float32's rounding of a product, which processors do in different orders, decides which comes first.
    """
    vectors = metrics.unit(embeddings).astype(np.float64)
    for i in queries:
        others = np.array([j for j in gallery if j != i])
        right = labels[others] == labels[i]
        keys = -(vectors[others] @ vectors[i] - metrics.TIE * right)
        order = np.argsort(keys, kind="stable")
        hits = right[order]
        clear = not (np.diff(keys[order])[hits[1:] != hits[:-1]] < ROUNDING).any()
        precision, r = np.cumsum(hits) / np.arange(1, len(hits) + 1), int(right.sum())
        found = {f"recall@{k}": hits[:k].any() for k in ks} | {f"precision@{k}": hits[:k].sum() / k for k in ks}
        whole = dict.fromkeys(("map@r", "r_precision", "map"), np.nan)
        if r:
            average = precision * hits / r
            whole = {"map@r": average[:r].sum(), "r_precision": hits[:r].mean(), "map": average.sum()}
        yield {**found, **whole, "clear": clear}


def drawn(classes, n, copies):
    rng = np.random.default_rng(copies)
    labels = rng.integers(0, classes, n)
    labels[0], labels[1] = classes, classes + 1  # alone in their classes
    embeddings = rng.normal(size=(classes + 2, 16))[labels] + rng.normal(size=(n, 16)) * 1.5
    embeddings[:copies] = embeddings[0]  # identical vectors of many classes
    return embeddings, labels, rng


@functools.cache
def once(copies):
    return list(by_full_sort(*drawn(30, 600, copies)[:2], range(600), range(600)))


@pytest.mark.parametrize("copies", [0, 40, 300])
def test_each_metric_of_each_query_equals_a_full_sort_with_ties(way, copies):
    embeddings, labels, _ = drawn(30, 600, copies)
    rows = once(copies)
    for depth in ("all", "r", "k"):
        found = metrics.search(embeddings, labels, depth=depth)
        expected = np.array([[row[name] for name in found.names] for row in rows])
        unclear = [not row["clear"] for row in rows]
        assert sum(unclear) < 30
        expected[unclear] = found.values[unclear]
        np.testing.assert_allclose(found.values, expected, atol=1e-6)
        assert found.mean() == pytest.approx(dict(zip(found.names, np.nanmean(expected, axis=0))), abs=1e-6)
    assert metrics.recall_at_k(embeddings, labels) == {key: found.mean()[key] for key in list(found.names)[:5]}


def test_means_over_classes_and_a_row_a_class():
    embeddings, labels, _ = drawn(6, 60, 10)
    found = metrics.search(embeddings, labels, ks=(1, 3))
    assert found.names == ("recall@1", "recall@3", "precision@1", "precision@3", "map@r", "r_precision", "map")
    classes, counts, values = found.by_class()
    assert classes.tolist() == sorted(set(labels)) and counts.tolist() == np.bincount(labels).tolist()
    expected = np.array([found.values[labels == label].mean(axis=0) for label in classes])
    np.testing.assert_allclose(values, expected)
    np.testing.assert_array_equal(np.isnan(values[-2:]), [[False] * 4 + [True] * 3] * 2)  # one picture finds no other
    for name, value in zip(found.names, np.nanmean(expected, axis=0)):
        assert found.class_mean()[f"class_{name}"] == pytest.approx(value)


def test_mean_average_precision_equals_scikit_learns():
    embeddings, labels, rng = drawn(9, 300, 0)
    gallery, of_gallery = embeddings[100:], labels[100:]
    found = metrics.search(embeddings[2:100], labels[2:100], gallery, of_gallery)
    cosines = metrics.unit(embeddings[2:100]) @ metrics.unit(gallery).T
    for row, label, value in zip(cosines, labels[2:100], found.values[:, found.names.index("map")]):
        assert value == pytest.approx(average_precision_score(of_gallery == label, row), abs=1e-6)


def test_the_nearest_are_kept(way):
    embeddings, labels, _ = drawn(9, 300, 40)
    for keep in (0, 5, 400):
        found = metrics.search(embeddings, labels, depth="all", keep=keep)
        assert found.indices.shape == found.similarity.shape == (300, min(keep, 299))
        if keep:
            parts = list(metrics.neighbours(embeddings, keep))
            assert [start for start, *_ in parts] == [0, 100, 200]
            np.testing.assert_allclose(found.similarity, np.concatenate([part[1] for part in parts]), atol=1e-6)
            cosines = metrics.unit(embeddings) @ metrics.unit(embeddings).T
            np.testing.assert_allclose(np.take_along_axis(cosines, found.indices, axis=1), found.similarity, atol=1e-6)


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


@pytest.mark.parametrize("copies", [0, 300])
@pytest.mark.parametrize("both", [0.0, 0.3, 1.0])
def test_queries_and_a_gallery_that_overlap_equal_a_full_sort(way, copies, both):
    """Some pictures are queries alone, some gallery alone, a fraction `both`; no query finds itself."""
    embeddings, labels, rng = drawn(12, 400, copies)
    kind = rng.random(400)
    queries = np.flatnonzero((kind < both) | (kind > 1 - (1 - both) / 2))
    gallery = np.flatnonzero(kind <= 1 - (1 - both) / 2)
    own = np.array([int(np.flatnonzero(gallery == i)[0]) if i in gallery else -1 for i in queries])
    assert (own >= 0).any() == (both > 0) and (own < 0).any() == (both < 1)
    ks = (1, 4, 16, 390)
    found = metrics.search(embeddings[queries], labels[queries], embeddings[gallery], labels[gallery], own, ks)
    rows = by_full_sort(embeddings, labels, queries, gallery, ks)
    np.testing.assert_allclose(found.values, [[row[name] for name in found.names] for row in rows], atol=1e-6)


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
