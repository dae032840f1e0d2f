"""Places of right answers, sentences and pictures both ways, against full sorts."""

import numpy as np
import pytest

from common import metrics


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
