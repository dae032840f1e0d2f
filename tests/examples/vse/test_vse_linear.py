"""The baseline, ridge regression of features onto TF-IDF, against scikit-learn's regression."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from common import metrics
from examples.vse import linear
from examples.vse.data import Split

WORDS = ["red", "green", "round", "long", "sour", "sweet", "juicy", "dry"]


def split(rng, things, texts=None):
    """Three pictures and two sentences of each thing, whose features are sums of its words'."""
    basis, said, features = np.random.default_rng(0).normal(size=(len(WORDS), 12)), [], []
    for _ in range(things):
        own = rng.choice(len(WORDS), 3, replace=False)
        said += [" ".join(WORDS[i] for i in own), " ".join(WORDS[i] for i in own[:2])]
        features += [basis[own].sum(axis=0) + 0.2 * rng.normal(size=12) for _ in range(3)]
    labels = np.arange(things)
    return Split(np.array(features, np.float32) + 5, np.repeat(labels, 3), said, np.repeat(labels, 2))


@pytest.fixture(scope="module")
def splits():
    rng = np.random.default_rng(1)
    return {name: split(rng, count) for name, count in (("train", 30), ("dev", 8), ("test", 8))}


def test_it_is_scikit_learns_regression(splits):
    train, test = splits["train"], splits["test"]
    images, sentences = linear.TfidfRidge(train).refit(0.1).encode(test)
    tfidf = TfidfVectorizer(sublinear_tf=True)
    rows = tfidf.fit_transform(train.texts).toarray()
    targets = np.repeat((rows[::2] + rows[1::2]) / 2, 3, axis=0)
    alpha = 0.1 * train.features.var(axis=0).sum() * len(train.features) / 12
    model = Ridge(alpha, fit_intercept=True).fit(train.features, targets)
    expected = metrics.unit(model.predict(test.features) - targets.mean(axis=0))
    np.testing.assert_allclose(images, expected, atol=1e-3)
    others = metrics.unit(tfidf.transform(test.texts).toarray() - rows.mean(axis=0))
    np.testing.assert_allclose(sentences, others, atol=1e-5)


def test_dev_chooses_the_penalty_and_things_never_seen_are_found(splits):
    chosen = linear.judge(linear.ridge(splits["train"], splits["dev"]), splits["dev"])["rsum"]
    model = linear.TfidfRidge(splits["train"])
    assert chosen == max(linear.judge(model.refit(p), splits["dev"])["rsum"] for p in linear.PENALTIES)
    assert linear.row(splits)["ridge onto TF-IDF"]["t2i_recall@1"] > 0.6  # by chance 0.125
    splits = {
        **splits,
        "train": Split(None, *(getattr(splits["train"], n) for n in ("image_labels", "texts", "sentence_labels"))),
    }
    assert linear.row(splits) == {}  # no features: the network that gives them is trained too
