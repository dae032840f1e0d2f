"""What is not finite is refused with its count and rows."""

import numpy as np
import pytest

from common import metrics
from common.files import finite
from common.files.errors import UserError


def test_rows_that_are_not_finite_are_counted_and_named():
    values = np.ones((6, 3), np.float32)
    assert finite.check(values, "x.npy", "mend it") is values
    values[[1, 2, 4, 5], [0, 1, 2, 0]] = [np.nan, np.inf, -np.inf, np.nan]
    assert finite.rows(values).tolist() == [1, 2, 4, 5]
    with pytest.raises(UserError, match=r"x.npy: 4 of 6 rows .* not finite \(row 2, 3, 5, ...\): mend it"):
        finite.check(values, "x.npy", "mend it")


def test_whole_numbers_are_always_finite():
    assert not len(finite.rows(np.arange(4)))


def test_no_rows_are_finite():
    for shape in ((0,), (0, 3), (3, 0)):
        assert not len(finite.rows(np.zeros(shape)))


EYE, LABELS = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1])
FIGURES = {
    "recall_at_k": lambda bad: metrics.recall_at_k(bad, LABELS),
    "recall_at_k, gallery": lambda bad: metrics.recall_at_k(EYE, LABELS, (1,), bad, LABELS),
    "map_at_r": lambda bad: metrics.map_at_r(bad, LABELS),
    "neighbours": lambda bad: list(metrics.neighbours(bad, 2)),
    "nmi": lambda bad: metrics.nmi(bad, LABELS),
    "purity": lambda bad: metrics.purity(bad, LABELS),
    "spearman": lambda bad: metrics.spearman(np.arange(16.0).reshape(4, 4), bad),
    "image_sentence, pictures": lambda bad: metrics.image_sentence(bad, EYE, LABELS, LABELS),
    "image_sentence, sentences": lambda bad: metrics.image_sentence(EYE, bad, LABELS, LABELS, "order"),
    "accuracy_at_k": lambda bad: metrics.accuracy_at_k(bad, LABELS),
    "zero_shot": lambda bad: metrics.zero_shot(bad, LABELS, np.array([True, False, True, False])),
    "area_seen_unseen": lambda bad: metrics.area_seen_unseen(bad, LABELS, np.array([True, False, True, False])),
    "text_to_image": lambda bad: metrics.text_to_image(bad, EYE > 0),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_figure_is_taken_from_them(name, bad):
    values = EYE.copy()
    values[[1, 2], [2, 0]] = bad
    with pytest.raises(UserError, match=r"rows hold numbers that are not finite .*: no figure is taken from them"):
        FIGURES[name](values)
    FIGURES[name](EYE)
