"""Clusters, groups and similarities."""

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from common import metrics


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


def test_spearman_of_equal_values_is_no_figure():
    varied = np.arange(16.0).reshape(4, 4)
    assert metrics.spearman(np.eye(4), varied) is None
    assert metrics.spearman(varied, np.zeros((4, 4))) is None
    assert metrics.spearman(np.eye(1), np.eye(1)) is None
