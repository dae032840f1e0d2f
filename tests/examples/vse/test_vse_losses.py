"""The ranking losses and their gradients against the formula written out in NumPy."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from examples.vse import model
from examples.vse.losses import RankingLoss

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
