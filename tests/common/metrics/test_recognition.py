"""Confusion, accuracies and zero-shot figures."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from common import metrics


def test_confusion_counts():
    np.testing.assert_array_equal(
        metrics.confusion([0, 0, 1, 2, 2], [0, 1, 1, 0, 2], 3), [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    )


def test_hits_and_ties():
    scores = np.array([[3.0, 2, 1], [1, 1, 1], [0, 1, 2]])
    assert metrics.accuracy_at_k(scores, [0, 0, 1], (1, 2, 3)) == pytest.approx(
        {"accuracy": 1 / 3, "accuracy@2": 2 / 3, "accuracy@3": 1}
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
        "zero_shot": 1, "zero_shot_accuracy": 1, "zero_shot_accuracy@2": 1, "generalised_accuracy": 0.5,
        "generalised_accuracy@2": 1, "seen": 0.5, "unseen": 0.5, "harmonic": 0.5,
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


def test_area_under_the_seen_unseen_curve_equals_a_sweep():
    rng = np.random.default_rng(3)
    labels, seen = rng.integers(0, 7, 200), np.array([True] * 4 + [False] * 3)
    scores = rng.normal(size=(200, 7)) + 1.5 * np.eye(7)[labels]
    amounts = np.concatenate([[-100], np.sort(rng.uniform(-9, 9, 4000)), [100]])
    points = []
    for amount in amounts:
        guesses = (scores - amount * seen).argmax(axis=1)
        right = guesses == labels
        of_class = np.array([right[labels == c].mean() for c in range(7)])
        points.append([of_class[seen].mean(), of_class[~seen].mean()])
    known, new = np.array(points).T
    area = np.sum((known[:-1] + known[1:]) / 2 * np.diff(new))
    assert metrics.area_seen_unseen(scores, labels, seen) == pytest.approx(area, abs=2e-3)


def test_area_of_perfect_and_of_hopeless_scores():
    labels, seen = np.array([0, 1, 2, 3]), np.array([True, True, False, False])
    assert metrics.area_seen_unseen(np.eye(4), labels, seen) == 1
    assert metrics.area_seen_unseen(np.eye(4)[:, [1, 0, 3, 2]], labels, seen) == 0
    ties = np.zeros((4, 4))  # the first class of each kind, all at the same amount: half of each kind are right
    assert metrics.area_seen_unseen(ties, labels, seen) == pytest.approx(0.125)
    with pytest.raises(ValueError, match="pictures of seen and of unseen"):
        metrics.area_seen_unseen(np.eye(4)[:2], labels[:2], seen)
