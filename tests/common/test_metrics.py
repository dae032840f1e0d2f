"""Each figure against a slow obvious implementation, a closed form, or a published definition."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, normalized_mutual_info_score

from common import metrics
from common.paths import REPO


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


@pytest.mark.parametrize("measure", ["cosine", "order"])
@pytest.mark.parametrize("ties", [False, True])
def test_ranks_equal_a_full_sort(measure, ties):
    rng = np.random.default_rng(1)
    images, sentences = (metrics.unit(rng.normal(size=(n, 8))) for n in (60, 200))
    image_labels, sentence_labels = rng.integers(0, 30, 60), rng.integers(0, 30, 200)  # several right, both ways
    if ties:
        sentences[50:120], images[20:40] = sentences[0], images[0]
    ours = metrics.ranks_both(images, sentences, image_labels, sentence_labels, measure)
    a, b = images.astype(np.float64), sentences.astype(np.float64)
    scores = a @ b.T if measure == "cosine" else -np.linalg.norm(np.maximum(b[None] - a[:, None], 0), axis=2)
    right = image_labels[:, None] == sentence_labels
    for found, table, answers in zip(ours, (scores, scores.T), (right, right.T)):
        for place, row, own in zip(found, table, answers):
            hits = own[np.argsort(-(row - metrics.TIE * own), kind="stable")]
            assert place == (np.argmax(hits) + 1 if own.any() else 0)


def test_ranks_do_not_depend_on_the_blocks(monkeypatch):
    rng = np.random.default_rng(2)
    images, sentences = (metrics.unit(rng.normal(size=(n, 8))) for n in (40, 200))
    args = images, sentences, np.arange(40), np.repeat(np.arange(40), 5)
    whole = metrics.ranks_both(*args)
    monkeypatch.setattr("common.metrics.ranking.CELLS", 700)
    for ours, theirs in zip(whole, metrics.ranks_both(*args)):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(metrics.ranks(*args), whole[0])


def test_image_sentence_as_the_2014_code_counts():
    """Five captions an image, loops over queries and argsort as in the published evaluation."""
    rng = np.random.default_rng(3)
    images = metrics.unit(rng.normal(size=(50, 16)))
    sentences = metrics.unit(np.repeat(images, 5, axis=0) + rng.normal(size=(250, 16)) * 0.5)
    i2t, t2i = np.zeros(50), np.zeros(250)
    for i in range(50):
        order = np.argsort(images[i] @ sentences.T)[::-1]
        i2t[i] = min(np.where(order == j)[0][0] for j in range(5 * i, 5 * i + 5))
        for j in range(5 * i, 5 * i + 5):
            t2i[j] = np.where(np.argsort(sentences[j] @ images.T)[::-1] == i)[0][0]
    figures = metrics.image_sentence(images, sentences, np.arange(50), np.repeat(np.arange(50), 5))
    total = 0
    for way, ranks in (("i2t", i2t), ("t2i", t2i)):
        for k in (1, 5, 10):
            assert figures[f"{way}_recall@{k}"] == pytest.approx(np.mean(ranks < k))
            total += 100 * np.mean(ranks < k)
        assert figures[f"{way}_median_rank"] == np.floor(np.median(ranks)) + 1
        assert figures[f"{way}_mean_rank"] == pytest.approx(ranks.mean() + 1)
    assert figures["rsum"] == pytest.approx(total)


def test_five_folds_is_the_mean_of_five():
    rng = np.random.default_rng(4)
    images = metrics.unit(rng.normal(size=(55, 8)))
    sentences = metrics.unit(np.repeat(images, 5, axis=0) + rng.normal(size=(275, 8)))
    ids = np.arange(55)[::-1]
    ours = metrics.five_folds(images, sentences, ids, np.repeat(ids, 5), size=10)
    labels = np.arange(10), np.repeat(np.arange(10), 5)
    folds = [
        metrics.image_sentence(images[s : s + 10], sentences[5 * s : 5 * s + 50], *labels) for s in range(0, 50, 10)
    ]
    assert ours == pytest.approx({name: np.mean([fold[name] for fold in folds]) for name in folds[0]})
    with pytest.raises(ValueError, match="need 100 pictures, not 55"):
        metrics.five_folds(images, sentences, ids, np.repeat(ids, 5), size=20)


def test_confusion_counts():
    np.testing.assert_array_equal(
        metrics.confusion([0, 0, 1, 2, 2], [0, 1, 1, 0, 2], 3), [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    )


def test_hits_and_ties():
    scores = np.array([[3.0, 2, 1], [1, 1, 1], [0, 1, 2]])
    assert metrics.accuracy_at_k(scores, [0, 0, 1], (1, 2, 3)) == pytest.approx(
        {"hit@1": 1 / 3, "hit@2": 2 / 3, "hit@3": 1}
    )


def test_per_class_accuracy_weighs_classes_alike():
    assert metrics.per_class_accuracy([0] * 9 + [5], [0] * 9 + [0]) == pytest.approx(0.5)


def test_zero_shot_figures():
    scores = np.array([
        [0.9, 0.1, 0.5, 0.2],  # seen 0: right
        [0.1, 0.2, 0.9, 0.3],  # seen 1: taken for unseen 2
        [0.8, 0.1, 0.7, 0.2],  # unseen 2: right among unseen, wrong among all
        [0.1, 0.1, 0.2, 0.9],  # unseen 3: right
    ])  # fmt: skip
    figures = metrics.zero_shot(scores, np.arange(4), np.array([True, True, False, False]), ks=(1, 2))
    assert figures == pytest.approx({
        "zero_shot": 1, "zero_shot_hit@1": 1, "zero_shot_hit@2": 1, "generalised_hit@1": 0.5, "generalised_hit@2": 1,
        "seen": 0.5, "unseen": 0.5, "harmonic": 0.5,
    })  # fmt: skip
    assert metrics.harmonic_mean(0, 0) == 0 and metrics.harmonic_mean(0.8, 0.2) == pytest.approx(0.32)
    assert set(metrics.zero_shot(scores[:2], np.arange(2), np.ones(4, bool))) == {"seen"}


def test_words_to_pictures_as_scikit_learn():
    rng = np.random.default_rng(5)
    scores, right = rng.normal(size=(6, 40)), rng.random((6, 40)) < 0.3
    figures = metrics.text_to_image(scores, right, (1, 10))
    np.testing.assert_allclose(
        figures["average_precision"], [average_precision_score(r, s) for r, s in zip(right, scores)]
    )
    best = np.argsort(-scores, axis=1)[:, :10]
    np.testing.assert_allclose(figures["precision@10"], np.take_along_axis(right, best, axis=1).mean(axis=1))
    assert metrics.text_to_image([[1.0, 1, 1]], [[True, False, False]], (1,))["precision@1"] == 0  # a tie is lost
    with pytest.raises(ValueError, match="word 1 has no"):
        metrics.text_to_image(np.ones((2, 3)), [[True] * 3, [False] * 3])


def test_nmi_of_clear_clusters_and_of_noise():
    rng = np.random.default_rng(6)
    labels = np.repeat(np.arange(5), 40)
    assert metrics.nmi(np.eye(5)[labels] + rng.normal(size=(200, 5)) * 0.02, labels) == pytest.approx(1)
    chance = normalized_mutual_info_score(labels, rng.permutation(labels))
    assert metrics.nmi(rng.normal(size=(200, 5)), labels) < 3 * chance + 0.1


def test_purity_of_the_nearest():
    similar = np.array([[1, 0.9, 0.1, 0], [0.9, 1, 0.2, 0], [0.1, 0.8, 1, 0.3], [0, 0, 0.3, 1]])
    assert metrics.purity(similar, ["a", "a", "b", "b"]) == (0.75, pytest.approx(1 / 3))
    assert metrics.purity(similar, [7, 7, 9, 9], keep=[2])[0] == 0


def test_spearman_reads_pairs_once():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(7)
    a, b = (m + m.T for m in rng.normal(size=(2, 9, 9)))
    pairs = np.array([[a[i, j], b[i, j]] for i in range(9) for j in range(i)])
    assert metrics.spearman(a, b) == pytest.approx(spearmanr(pairs).statistic)
    assert metrics.spearman(a, np.exp(a)) == pytest.approx(1)
