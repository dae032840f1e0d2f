"""Sizes, crops and chance."""

import numpy as np
import pytest

from common.data import images
from common.data.transforms import Eval, RandomResizedCrop, Train, Views, evaluation, saved

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (90, 120, 3), np.uint8)
STACK = RNG.integers(0, 256, (50, 12, 12, 3), np.uint8)


def test_eval_cuts_the_middle():
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[2:6, 2:6] = 9
    assert np.all(Eval(8, 4)(picture) == 9)
    np.testing.assert_array_equal(Eval(12, 8).batch(STACK), STACK[:, 2:10, 2:10])


@pytest.mark.parametrize("keep_aspect", [True, False])
def test_views_are_those_of_the_picture_and_of_its_middles(keep_aspect):
    one, views = Eval(40, 32, keep_aspect), Views(40, 32, keep_aspect, [0.75, 0.5])
    expected = [one(PICTURE), one(PICTURE[11:79, 15:105]), one(PICTURE[22:68, 30:90])]
    np.testing.assert_array_equal(views(PICTURE), expected)
    assert views.min_side == 80 and not views.one_size and views.settings != one.settings
    assert Views(8, 8, middles=[0.1])(PICTURE[:1, :2]).shape == (2, 8, 8, 3)
    assert type(evaluation(40, 32, keep_aspect)) is Eval and evaluation(40, 32, middles=[0.5]).middles == (0.5,)
    np.testing.assert_array_equal(views.whole(PICTURE), expected[0])
    assert [views.pictures(size) for size in (64, 5, 1)] == [21, 1, 1] and one.pictures(64) == 64
    known = {"resize": 40, "crop": 32, "keep_aspect": keep_aspect}
    assert saved(known).settings == one.settings  # a model of before there were views
    assert saved({**known, "views": [0.75, 0.5]}).settings == views.settings
    with pytest.raises(ValueError, match="views 0.5, 1: shares of a picture's sides lie between 0 and 1"):
        Views(40, 32, middles=[0.5, 1])


def test_keep_aspect_resizes_the_shorter_side():
    assert Eval(60, 50, keep_aspect=True).sized(PICTURE).shape == (60, 80, 3)
    assert Eval(60, 50).sized(PICTURE).shape == (60, 60, 3)


def test_random_crops_are_windows_and_reach_every_place():
    crops = Train(12, 10, mirror=False).batch(STACK, np.random.default_rng(1))
    places = set()
    for picture, crop in zip(STACK, crops):
        found = [(y, x) for y in range(3) for x in range(3) if np.array_equal(picture[y : y + 10, x : x + 10], crop)]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) == 9


def test_half_are_mirrored():
    result = Train(12, 12).batch(STACK, np.random.default_rng(2))
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(result, STACK)]
    same = [np.array_equal(a, b) for a, b in zip(result, STACK)]
    assert sum(mirrored) + sum(same) == 50 and 10 < sum(mirrored) < 40


@pytest.mark.parametrize("keep_aspect", [True, False])
def test_a_large_picture_is_cut_as_one_that_was_resized_first(keep_aspect):
    """Only what is kept is resized; it is a crop all the same: of that scale, inside, and at every place."""
    rows, columns = np.mgrid[0:360, 0:480]
    ramp = np.stack([rows / 359 * 255, columns / 479 * 255, np.zeros(rows.shape)], axis=-1).astype(np.uint8)
    transform = Train(90, 75, keep_aspect, mirror=False)
    width, height = transform.size(ramp)
    assert (width, height) == ((120, 90) if keep_aspect else (90, 90))
    rng = np.random.default_rng(0)
    crops = np.stack([transform(ramp, rng) for _ in range(300)]).astype(float) / 255
    assert crops.shape == (300, 75, 75, 3)
    down, across = crops[:, -1, 0, 0] - crops[:, 0, 0, 0], crops[:, 0, -1, 1] - crops[:, 0, 0, 1]
    np.testing.assert_allclose(down, 74 / height, atol=0.02)
    np.testing.assert_allclose(across, 74 / width, atol=0.02)
    for value, last in ((crops[:, 0, 0, 0], 1 - 75 / height), (crops[:, 0, 0, 1], 1 - 75 / width)):
        assert value.min() < 0.02 and value.max() > last - 0.02  # both ends are reached, and evenly
        assert abs(value.mean() - last / 2) < 0.03
    whole = Train(90, 90, keep_aspect=False, mirror=False)(ramp, rng)
    np.testing.assert_array_equal(whole, Eval(90, 90)(ramp))


@pytest.mark.parametrize("change", [{"rotation": 20.0}, {"zoom": 0.3}, {"lighting": 0.3}])
def test_each_change_changes_and_repeats_under_a_seed(change):
    transform = Train(64, 56, mirror=False, **change)
    first, again = (transform(PICTURE, np.random.default_rng(3)) for _ in range(2))
    plain = Train(64, 56, mirror=False)(PICTURE, np.random.default_rng(3))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (56, 56, 3) and not np.array_equal(first, plain)
    assert transform.batch(np.stack([transform.sized(PICTURE)] * 3), np.random.default_rng(4)).shape == (3, 56, 56, 3)


def test_rotation_turns_by_the_angle():
    class Fixed:
        """Gives the ends of every range asked for."""

        def uniform(self, low, high):
            return high

        def integers(self, low, high):
            return 0

        def random(self):
            return 1.0

    square = RNG.integers(0, 256, (32, 32, 3), np.uint8)
    turned = Train(32, 32, rotation=90.0)(square, Fixed())
    np.testing.assert_array_equal(turned, np.rot90(square))


def test_windows_have_the_areas_and_shapes_that_were_asked_for():
    transform, rng = RandomResizedCrop(16, 0.35), np.random.default_rng(0)
    windows = np.array([transform.window(300, 400, rng) for _ in range(2000)])
    y, x, height, width = windows.T
    assert (y >= 0).all() and (x >= 0).all() and (y + height <= 300).all() and (x + width <= 400).all()
    area, ratio = height * width / (300 * 400), width / height
    assert 0.345 < area.min() < 0.36 and area.max() > 0.95
    assert 0.74 < ratio.min() < 0.76 and 1.32 < ratio.max() < 1.35
    room = (height < 290) & (width < 390)  # a window may lie anywhere
    assert abs((y / np.maximum(300 - height, 1))[room].mean() - 0.5) < 0.02
    assert abs((x / np.maximum(400 - width, 1))[room].mean() - 0.5) < 0.02


def test_windows_of_a_square_are_drawn_evenly_by_area():
    """Without those that do not fit: of at most 3/4 of the area, each shape fits."""
    transform, rng = RandomResizedCrop(16, 0.2), np.random.default_rng(0)
    area = np.array([np.prod(transform.window(1000, 1000, rng)[2:]) for _ in range(4000)]) / 1e6
    counts, _ = np.histogram(area, bins=5, range=(0.2, 0.75))
    assert counts.std() / counts.mean() < 0.1


def test_a_window_is_cut_resized_mirrored_and_lit():
    transform = RandomResizedCrop(20, 0.3, mirror=False)
    y, x, height, width = transform.window(90, 120, np.random.default_rng(3))
    expected = images.resize(PICTURE[y : y + height, x : x + width], (20, 20))
    np.testing.assert_array_equal(transform(PICTURE, np.random.default_rng(3)), expected)
    whole = RandomResizedCrop(20, 1, mirror=False)
    np.testing.assert_array_equal(whole(PICTURE, np.random.default_rng(0)), images.resize(PICTURE, (20, 20)))
    mirrored = RandomResizedCrop(20, 1)
    found = [mirrored(PICTURE, np.random.default_rng(seed)) for seed in range(40)]
    turned = sum(np.array_equal(picture, whole(PICTURE, None)[:, ::-1]) for picture in found)
    assert 10 < turned < 30 and all(picture.flags.c_contiguous for picture in found)


def test_lighting_is_the_same_line_for_every_pixel():
    rng = np.random.default_rng(7)
    contrast, brightness = 1 + rng.uniform(-0.2, 0.2), 255 * rng.uniform(-0.2, 0.2)
    lit = RandomResizedCrop(90, 1, mirror=False, lighting=0.2)(PICTURE[:, :90], np.random.default_rng(7))
    expected = (PICTURE[:, :90].astype(float) - 127.5) * contrast + 127.5 + brightness
    np.testing.assert_allclose(lit, expected.clip(0, 255), atol=1)


def test_small_pictures_and_no_least_area_still_give_pictures():
    transform = RandomResizedCrop(8, 0, lighting=0.5)
    for seed in range(50):
        assert transform(PICTURE[:2, :1], np.random.default_rng(seed)).shape == (8, 8, 3)
