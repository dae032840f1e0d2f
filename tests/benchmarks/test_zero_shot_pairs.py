"""The order of the pairs in benchmarks/zero_shot_pairs.py."""

import itertools

import pytest

from benchmarks.zero_shot_pairs import rounds


@pytest.mark.parametrize("count", [2, 3, 7, 10])
def test_pairs_come_in_rounds_that_have_each_class_once(count):
    pairs = list(rounds(count))
    assert sorted(pairs) == list(itertools.combinations(range(count), 2))
    for start in range(0, len(pairs), count // 2):
        one = list(itertools.chain(*pairs[start : start + count // 2]))
        assert len(one) == len(set(one)) == count // 2 * 2
