"""Ties as the published programs rank them, against their rule written out query by query."""

import numpy as np
import pytest

from common.metrics import image_sentence, ranks_both


def published(images, sentences, captions):
    """The rule: sort by NumPy, turn the order round, and look up where the query's own ones stand."""
    of_images, of_sentences = [], []
    for picture in range(len(images)):
        order = list(reversed(np.argsort(images[picture] @ sentences.T).tolist()))
        own = range(picture * captions, (picture + 1) * captions)
        of_images.append(min(order.index(place) for place in own) + 1)
    for sentence in range(len(sentences)):
        order = list(reversed(np.argsort(sentences[sentence] @ images.T).tolist()))
        of_sentences.append(order.index(sentence // captions) + 1)
    return of_images, of_sentences


@pytest.mark.parametrize("pictures, captions", [(3, 5), (40, 5), (300, 2)])
def test_ties_are_ranked_as_published(monkeypatch, pictures, captions):
    """Small whole numbers: hardly a score without its equal, and each exact in whatever order it is summed."""
    monkeypatch.setattr("common.metrics.ranking.CELLS", 1000)
    rng = np.random.default_rng(0)
    images, sentences = (rng.integers(0, 2, (n, 4)).astype(np.float32) for n in (pictures, pictures * captions))
    labels = np.arange(pictures), np.repeat(np.arange(pictures), captions)
    found = ranks_both(images, sentences, *labels, ties="published")
    expected = published(images, sentences, captions)
    assert found[0].tolist() == expected[0] and found[1].tolist() == expected[1]
    ours = ranks_both(images, sentences, *labels)
    assert (ours[0] >= found[0]).all() and (ours[1] >= found[1]).all() and (ours[1] > found[1]).any()
    figures = image_sentence(images, sentences, *labels, ties="published")
    assert figures["t2i_mean_rank"] == pytest.approx(np.mean(expected[1]))


def test_without_ties_both_are_the_same_and_a_query_without_an_answer_is_none():
    rng = np.random.default_rng(1)
    images, sentences, labels = rng.normal(size=(20, 8)), rng.normal(size=(30, 8)), rng.integers(0, 25, 30)
    for measure in ("cosine", "order"):
        both = [
            ranks_both(images, sentences, np.arange(20), labels, measure, ties) for ties in ("against", "published")
        ]
        for ours, theirs in zip(*both):
            np.testing.assert_array_equal(ours, theirs)
        assert (both[0][1] == 0).any()
