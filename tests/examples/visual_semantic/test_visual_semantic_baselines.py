"""The linear baselines against their formulas written out, and what they choose by."""

import numpy as np
import pytest

from common.files.errors import UserError
from examples.visual_semantic import baselines

RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(5), 6)
WORDS = RNG.normal(size=(5, 3))
WORDS /= np.linalg.norm(WORDS, axis=1, keepdims=True)
X = RNG.normal(size=(30, 7)) + RNG.normal(size=(5, 7))[LABELS]


def losses(name, scores, label):
    """The loss of one picture, class by class."""
    violations = [max(0.0, 1 - scores[label] + score) for j, score in enumerate(scores) if j != label]
    if name == "sje":
        return max(violations)
    rank = sum(violation > 0 for violation in violations)
    weight = sum(1 / k for k in range(1, rank + 1)) / max(rank, 1) if name == "ale" else 1
    return weight * sum(violations)


@pytest.mark.parametrize("name", ["devise", "ale", "sje"])
def test_the_slope_of_each_ranking_loss_is_its_numerical_derivative(name):
    scores, labels = RNG.normal(0, 1, (40, 5)), RNG.integers(0, 5, 40)
    slopes = baselines.slopes(name, scores, labels)
    for i, label in enumerate(labels):
        for j in range(5):
            step = np.eye(5)[j] * 1e-6
            ends = [losses(name, scores[i] + sign * step, label) for sign in (1, -1)]
            assert slopes[i, j] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-5)


@pytest.mark.parametrize("name", ["devise", "ale", "sje"])
def test_descent_takes_one_step_a_batch(name):
    """With fewer pictures than a batch an epoch is one step, down the mean slope of the bilinear score."""
    found = dict(baselines.ranked(name, X, LABELS, WORDS))
    weights = np.zeros((7, 3))
    for _ in range(2):
        step = np.zeros_like(weights)
        for x, label in zip(X, LABELS):
            slope = baselines.slopes(name, (x @ weights @ WORDS.T)[None], np.array([label]))[0]
            step += sum(slope[j] * np.outer(x, WORDS[j]) for j in range(5)) / len(X)
        weights = weights - 1.0 * step
    np.testing.assert_allclose(found[1.0, 2], weights, rtol=1e-9, atol=1e-12)
    assert set(found) == {(lr, n + 1) for lr in baselines.RATES for n in range(baselines.EPOCHS)}


def test_eszsl_is_its_formula_and_the_least_of_its_loss():
    found = dict(baselines.eszsl(X, LABELS, WORDS))
    signs = 2.0 * (LABELS[:, None] == np.arange(5)) - 1
    of_x, of_words = X.T @ X, WORDS.T @ WORDS
    assert len(found) == len(baselines.FACTORS) ** 2
    for (gamma, penalty), weights in found.items():
        gamma, penalty = gamma * np.trace(of_x) / 7, penalty * np.trace(of_words) / 3
        left, right = of_x + gamma * np.eye(7), of_words + penalty * np.eye(3)
        expected = np.linalg.inv(left) @ X.T @ signs @ WORDS @ np.linalg.inv(right)
        np.testing.assert_allclose(weights, expected, rtol=1e-6, atol=1e-12)

        def loss(weights, gamma=gamma, penalty=penalty):  # equation 4 of the paper, with beta = gamma * lambda
            return (
                np.sum((X @ weights @ WORDS.T - signs) ** 2) + gamma * np.sum((weights @ WORDS.T) ** 2)
                + penalty * np.sum((X @ weights) ** 2) + gamma * penalty * np.sum(weights**2)
            )  # fmt: skip

        for _ in range(3):
            assert loss(weights) <= loss(weights + 1e-3 * RNG.normal(size=weights.shape))


@pytest.mark.parametrize("name", list(baselines.TITLES))
def test_a_class_that_was_never_shown_is_named_by_its_word(name):
    """Features that are a linear map of the words: pictures of four new classes are told from each other."""
    words = np.random.default_rng(1).normal(size=(44, 4))
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    rng = np.random.default_rng(2)
    to_features, labels = rng.normal(size=(4, 9)), np.repeat(np.arange(44), 10)
    features = 5 + words[labels] @ to_features + rng.normal(0, 0.05, (440, 9))
    seen = labels < 40
    found = baselines.fit(name, features[seen], labels[seen], words[:40])(features[~seen])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert np.mean((found @ words[40:].T).argmax(axis=1) == labels[~seen] - 40) > 0.8


def test_constants_are_chosen_on_classes_that_were_held_back(monkeypatch):
    """The solver never sees them, but for the last time, and the choice is the one that names them best."""
    seen_by = []

    def solver(x, labels, words):
        seen_by.append(len(words))
        good = np.linalg.lstsq(x, words[labels], rcond=None)[0]
        yield ("bad",), -good
        yield ("good",), good

    monkeypatch.setattr(baselines, "eszsl", solver)
    features = WORDS[LABELS] @ RNG.normal(size=(3, 7))
    found = baselines.fit("eszsl", features, LABELS, WORDS)
    assert seen_by == [3, 3, 3, 5]
    x = found.standard(features)
    np.testing.assert_allclose(x @ found.weights, x @ np.linalg.lstsq(x, WORDS[LABELS], rcond=None)[0], atol=1e-8)


def test_too_few_classes_to_choose_by_are_said():
    with pytest.raises(UserError, match="ESZSL needs 4 seen classes to choose its constants, there are 3"):
        baselines.fit("eszsl", X[:18], LABELS[:18], WORDS[:3])
