"""What is not finite is refused with its count and rows."""

import numpy as np
import pytest

from common import finite
from common.errors import UserError


def test_rows_that_are_not_finite_are_counted_and_named():
    values = np.ones((6, 3), np.float32)
    assert finite.check(values, "x.npy", "mend it") is values
    values[[1, 2, 4, 5], [0, 1, 2, 0]] = [np.nan, np.inf, -np.inf, np.nan]
    assert finite.rows(values).tolist() == [1, 2, 4, 5]
    with pytest.raises(UserError, match=r"x.npy: 4 of 6 rows .* not finite \(row 2, 3, 5, ...\): mend it"):
        finite.check(values, "x.npy", "mend it")


def test_whole_numbers_are_always_finite():
    assert not len(finite.rows(np.arange(4)))
