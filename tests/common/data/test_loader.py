"""Loading ahead changes nothing but the time."""

import threading

import numpy as np
import pytest

from common.data import sets
from common.data.loader import Loader, ahead
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


def test_threads_share_a_batch_where_nothing_is_random(pictures):
    """With one batch the threads wait for each other at their first picture: one thread alone would wait in vain."""
    seen, meeting = threading.local(), threading.Barrier(3, timeout=60)

    class Meeting(Eval):
        def __call__(self, picture, rng=None):
            if not hasattr(seen, "met"):
                seen.met = meeting.wait()
            return super().__call__(picture)

    def batches(transform, workers, batch):
        return list(Loader(pictures, transform, Sequential(60, batch), workers, keep=False).epoch())

    (one,) = batches(Meeting(40, 32), 3, 64)
    (alone,) = batches(Eval(40, 32), 0, 64)
    np.testing.assert_array_equal(one.images, alone.images)
    for a, b in zip(batches(Eval(40, 32), 4, 29), batches(Eval(40, 32), 0, 29)):  # the last has two pictures
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.indices, b.indices)


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


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_results_come_in_order_and_not_far_ahead(num_workers):
    asked = []
    results = ahead(lambda i: asked.append(i) or i * i, range(40), num_workers, depth=4)
    assert [next(results) for _ in range(10)] == [i * i for i in range(10)]
    assert max(asked) < 10 + 4
    assert list(results) == [i * i for i in range(10, 40)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_failure_comes_at_its_turn_and_ends_the_threads(num_workers):
    before = threading.active_count()
    results = ahead(lambda i: 6 // (i - 3), range(9), num_workers, depth=4)
    assert [next(results) for _ in range(3)] == [-2, -3, -6]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert threading.active_count() == before
