"""The ranking losses and their gradients against the formula written out in NumPy."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from examples.vse import model
from examples.vse.losses import RankingLoss, SoftmaxLoss

MARGIN = 0.2


def scores_of(images, sentences, measure):
    if measure == "cosine":
        return images @ sentences.T
    return -np.sqrt(np.square(np.maximum(sentences[None] - images[:, None], 0)).sum(axis=2) + 1e-12)


def reference(images, sentences, hardest, measure):
    """The loss by loops over pairs."""
    scores, total = scores_of(images, sentences, measure), 0.0
    for i in range(len(scores)):
        of_image = [max(0, MARGIN - scores[i, i] + scores[i, j]) for j in range(len(scores)) if j != i]
        of_sentence = [max(0, MARGIN - scores[i, i] + scores[j, i]) for j in range(len(scores)) if j != i]
        total += max(of_image) + max(of_sentence) if hardest else sum(of_image) + sum(of_sentence)
    return total


@pytest.mark.parametrize("measure", ["cosine", "order"])
@pytest.mark.parametrize("hardest", [False, True])
def test_loss_and_gradients_equal_numpy(hardest, measure):
    rng = np.random.default_rng(0)
    images, sentences = np.abs(rng.standard_normal((2, 6, 8))) * 0.4
    both = [mx.nd.array(x) for x in (images, sentences)]
    for array in both:
        array.attach_grad()
    with autograd.record():
        loss = RankingLoss(MARGIN, hardest, measure)(*both)
    loss.backward()
    assert loss.asscalar() == pytest.approx(reference(images, sentences, hardest, measure), rel=1e-5)
    for which, array in enumerate(both):
        expected = np.empty_like(images)
        for place in np.ndindex(*images.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [images.copy(), sentences.copy()]
                moved[which][place] += step
                ends.append(reference(*moved, hardest, measure))
            expected[place] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(array.grad.asnumpy(), expected, rtol=1e-3, atol=1e-4)


def softmax_reference(images, sentences, measure, temperature):
    """CLIP's loss by loops over pairs."""
    scores, total = scores_of(images, sentences, measure) / temperature, 0.0
    for i in range(len(scores)):
        for row in (scores[i], scores[:, i]):
            total -= (row[i] - np.log(sum(np.exp(score) for score in row))) / 2
    return total


@pytest.mark.parametrize("measure", ["cosine", "order"])
def test_softmax_loss_and_gradients_equal_numpy(measure):
    rng = np.random.default_rng(0)
    images, sentences = np.abs(rng.standard_normal((2, 6, 8))) * 0.4
    both, loss = [mx.nd.array(x) for x in (images, sentences)], SoftmaxLoss(0.3, measure)
    loss.initialize()
    for array in both:
        array.attach_grad()
    with autograd.record():
        value = loss(*both)
    value.backward()
    assert value.asscalar() == pytest.approx(softmax_reference(images, sentences, measure, 0.3), rel=1e-5)
    assert loss.temperature == pytest.approx(0.3)

    def slope(change):
        return (softmax_reference(*change(1e-6)) - softmax_reference(*change(-1e-6))) / 2e-6

    def warmer(step):
        return images, sentences, measure, 0.3 * np.exp(-step)

    assert loss.log_scale.grad().asscalar() == pytest.approx(slope(warmer), rel=1e-3)
    for which, array in enumerate(both):
        for place in np.ndindex(*images.shape):

            def moved(step, which=which, place=place):
                two = [images.copy(), sentences.copy()]
                two[which][place] += step
                return *two, measure, 0.3

            assert array.grad.asnumpy()[place] == pytest.approx(slope(moved), rel=1e-3, abs=1e-4)


def test_the_temperature_stops_at_a_hundredth():
    cold, limit = SoftmaxLoss(0.001), SoftmaxLoss(0.01)
    rows = mx.nd.array(np.random.default_rng(0).normal(size=(4, 8)) / 3)
    for loss in (cold, limit):
        loss.initialize()
    assert cold(rows, rows[::-1]).asscalar() == pytest.approx(limit(rows, rows[::-1]).asscalar(), rel=1e-5)
    assert cold.temperature == pytest.approx(0.01)


def test_loss_is_zero_when_pairs_are_apart():
    far = mx.nd.array(np.eye(5))
    assert RankingLoss(MARGIN)(far, far).asscalar() == 0
    assert RankingLoss(MARGIN, hardest=True)(far[:1], far[:1]).asscalar() == 0  # a pair without a negative


@pytest.mark.parametrize("most, factor", [(100.0, 1.0), (2.0, 2 / 13)])
def test_clip_global_norm(most, factor):
    gradients = [mx.nd.array([3.0, 4.0]), mx.nd.array([[12.0]])]  # joint norm 13
    model.clip_global_norm(gradients, most)
    np.testing.assert_allclose(gradients[0].asnumpy(), factor * np.array([3, 4]), rtol=1e-6)
    np.testing.assert_allclose(gradients[1].asnumpy(), [[12 * factor]], rtol=1e-6)
