"""Features in memory come in batches like pictures do."""

import numpy as np
import pytest

from common.data.features import FeatureSet
from common.data.loader import Loader
from common.data.samplers import Sequential, Shuffled
from common.data.sets import ImageSet
from common.data.transforms import Eval

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
LABELS = np.arange(20) % 3


@pytest.mark.parametrize(("epoch", "start"), [(0, 0), (2, 1), (1, 9)])
def test_the_batches_are_those_of_a_loader_of_pictures(epoch, start):
    sampler = Shuffled(20, 6, seed=3)
    loader = Loader(ImageSet(PIXELS, LABELS, list("abc")), Eval(4, 4), sampler, num_workers=0)
    rows = FeatureSet(PIXELS, LABELS, list("abc")).sampled(sampler)
    assert len(rows) == len(loader) == 3
    expected, found = list(loader.epoch(epoch, start)), list(rows.epoch(epoch, start))
    assert [batch.number for batch in found] == [batch.number for batch in expected] == list(range(start, 3))
    for one, other in zip(found, expected):
        for name in ("images", "labels", "indices"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_without_a_sampler_all_rows_come_in_order():
    rows = FeatureSet(np.arange(10_000, dtype=np.float32)[:, None], np.zeros(10_000, np.int64))
    assert len(rows) == 3
    np.testing.assert_array_equal(np.concatenate([batch.images for batch in rows.epoch()]), rows.features)
    assert len(rows.sampled(Sequential(10_000, 100))) == 100
    assert list(FeatureSet(np.empty((0, 4), np.float32), np.empty(0, np.int64)).epoch()) == []
