"""The plainest way from pictures to sentences: ridge regression of features onto TF-IDF vectors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.linalg
from scipy import sparse

from common import metrics
from common.text.vocabulary import tokenise
from examples.vse.data import Split

MAX_WORDS = 4096  # the most frequent ones of the training sentences
PENALTIES = (0.01, 0.1, 1.0, 10.0)  # of the mean variance of a feature, summed over the training pictures


class TfidfRidge:
    """Ridge regression of features onto the mean TF-IDF vector of a picture's sentences.

    Pictures and sentences are compared less their training means: with them every prediction would be drawn towards
    what the training sentences share, and away from things that were not trained on.

    Parameters
    ----------
    train : Split
        With features.
    """

    def __init__(self, train: Split):
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._tfidf = TfidfVectorizer(
            tokenizer=tokenise, token_pattern=None, lowercase=False, sublinear_tf=True, max_features=MAX_WORDS,
            dtype=np.float32,
        )  # fmt: skip
        rows = self._tfidf.fit_transform(train.texts)
        labels, count = train.sentence_labels, 1 + max(train.image_labels.max(), train.sentence_labels.max())
        of_label = sparse.csr_matrix(
            (np.ones(len(labels), np.float32), (labels, np.arange(len(labels)))), (count, len(labels))
        )
        sizes = np.maximum(np.asarray(of_label.sum(axis=1)).ravel(), 1)
        targets = (sparse.diags(1 / sizes) @ of_label @ rows)[train.image_labels]
        self._mean, self._offset = train.features.mean(axis=0), np.asarray(rows.mean(axis=0)).ravel()
        centred = train.features - self._mean
        self._gram, self._moments = centred.T @ centred, (targets.T @ centred).T
        self.refit(PENALTIES[0])

    def refit(self, penalty: float) -> TfidfRidge:
        """The same pictures with another penalty."""
        ridge = penalty * np.trace(self._gram) / len(self._gram)
        self._weights = scipy.linalg.solve(
            self._gram + ridge * np.eye(len(self._gram), dtype=self._gram.dtype), self._moments, assume_a="pos"
        )
        return self

    def encode(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors (n, words) of the pictures and (m, words) of the sentences."""
        sentences = self._tfidf.transform(split.texts).toarray() - self._offset
        return metrics.unit((split.features - self._mean) @ self._weights), metrics.unit(sentences)


def ridge(train: Split, dev: Split) -> TfidfRidge:
    """The regression with the penalty, of `PENALTIES`, that ranks `dev` best (rsum)."""
    model = TfidfRidge(train)

    def rsum(penalty: float) -> float:
        return judge(model.refit(penalty), dev)["rsum"]

    return model.refit(max(PENALTIES, key=rsum))


def judge(model: TfidfRidge, split: Split) -> dict[str, float]:
    """The metrics of `evaluation.EvaluationSet.metrics`."""
    return metrics.image_sentence(*model.encode(split), split.image_labels, split.sentence_labels)


def row(splits: Mapping[str, Split]) -> dict[str, dict[str, float]]:
    """The regression's metrics on the test split by its title; none where there are no features to start from."""
    if splits["train"].features is None:
        return {}
    return {"ridge onto TF-IDF": judge(ridge(splits["train"], splits["dev"]), splits["test"])}
