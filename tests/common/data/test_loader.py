"""Loading ahead changes nothing but the time."""

import threading

import numpy as np
import pytest

from common.data import sets
from common.data.loader import Loader
from common.data.samplers import Sequential, Shuffled
from common.data.sets import ImageSet
from common.data.transforms import Eval, Train
from common.files.errors import UserError


@pytest.fixture(scope="module")
def pictures(cifar_folder):
    return sets.load("folder", cifar_folder, protocol="seen").test.subset(np.arange(60))


@pytest.mark.parametrize("keep", [False, True])
def test_batches_do_not_depend_on_threads_or_the_starting_point(pictures, keep):
    def batches(workers, start=0):
        loader = Loader(pictures, Train(36, 32), Shuffled(60, 12, 5), workers, seed=5, keep=keep)
        return list(loader.epoch(2, start))

    whole = batches(0)
    for other, first in ((batches(3), 0), (batches(2, start=3), 3)):
        assert [b.number for b in other] == list(range(first, 5))
        for a, b in zip(whole[first:], other):
            np.testing.assert_array_equal(a.images, b.images)
            np.testing.assert_array_equal(a.labels, pictures.labels[b.indices])


def test_kept_pictures_equal_those_read_each_time(pictures):
    kept, read = (
        np.concatenate([b.images for b in Loader(pictures, Eval(40, 32), Sequential(60, 16), keep=k).epoch()])
        for k in (True, False)
    )
    np.testing.assert_array_equal(kept, read)
    assert kept.shape == (60, 32, 32, 3) and kept.dtype == np.uint8


def test_stopping_early_leaves_no_thread(pictures):
    before = threading.active_count()
    batches = Loader(pictures, Eval(32, 32), Sequential(60, 5), num_workers=3, keep=False).epoch()
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_unreadable_picture_is_named(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    bad = ImageSet([tmp_path / "broken.jpg"], np.zeros(1, np.int64), ["x"])
    with pytest.raises(UserError, match=r"broken.jpg"):
        list(Loader(bad, Eval(32, 32), Sequential(1, 1)).epoch())
