"""Strong changes of pictures: each against its formula, and how often each comes."""

import cv2
import numpy as np
import pytest
from PIL import Image

from common.data.augment import GREY, Mixture, RandomErasing, TrivialAugment
from common.data.transforms import RandomResizedCrop

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
SMOOTH = cv2.resize(PICTURE[:5, :7], (56, 40), interpolation=cv2.INTER_LINEAR)
CHANGES = {name: change for name, change, *_ in TrivialAugment.CHANGES}


def changed(name, strength, picture=SMOOTH):
    return np.asarray(CHANGES[name](Image.fromarray(picture), strength))


def nearest(picture, matrix):
    """`picture` where each pixel p comes from ``matrix @ p`` about the middle: a slow loop."""
    height, width = picture.shape[:2]
    found = np.full_like(picture, GREY)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    for y in range(height):
        for x in range(width):
            u, v = np.floor(np.array(matrix) @ [*(np.array([x, y]) - middle), 1] + middle + 0.5).astype(int)
            if 0 <= u < width and 0 <= v < height:
                found[y, x] = picture[v, u]
    return found


@pytest.mark.parametrize("name, strength, matrix", [
    ("identity", 0, [[1, 0, 0], [0, 1, 0]]),
    ("shear x", 0.33, [[1, 0.33, 0], [0, 1, 0]]),
    ("shear y", -0.7, [[1, 0, 0], [-0.7, 1, 0]]),
    ("shift x", 1 / 8, [[1, 0, 7], [0, 1, 0]]),
    ("shift y", -1 / 10, [[1, 0, 0], [0, 1, -4]]),
    ("rotate", 30, [[3**0.5 / 2, 0.5, 0], [-0.5, 3**0.5 / 2, 0]]),
    ("rotate", -135, [[-(0.5**0.5), -(0.5**0.5), 0], [0.5**0.5, -(0.5**0.5), 0]]),
])  # fmt: skip
def test_the_movements_about_the_middle(name, strength, matrix):
    different = (changed(name, strength, PICTURE) != nearest(PICTURE, matrix)).any(axis=2)
    assert different.mean() < 0.02  # sums that end at a pixel's edge


def test_the_changes_of_colour():
    grey = SMOOTH @ np.array([0.299, 0.587, 0.114])
    for name, base in (("brightness", 0), ("colour", grey[..., None]), ("contrast", np.rint(grey.mean()))):
        for strength in (-0.99, 0.5):
            expected = (base + (1 + strength) * (SMOOTH - base)).clip(0, 255)
            assert np.abs(changed(name, strength) - expected).max() <= 2, name
    np.testing.assert_array_equal(changed("posterise", 6), SMOOTH & 0b11000000)
    np.testing.assert_array_equal(changed("posterise", 0), SMOOTH)
    np.testing.assert_array_equal(changed("solarise", 56), np.where(SMOOTH < 200, SMOOTH, 255 - SMOOTH))
    np.testing.assert_array_equal(changed("solarise", 0), SMOOTH)
    dull = (SMOOTH // 4 + 90).astype(np.uint8)
    wide = changed("automatic contrast", 0, dull)
    assert wide.min(axis=(0, 1)).max() == 0 and wide.max(axis=(0, 1)).min() >= 254
    even = np.histogram(changed("equalise", 0, PICTURE // 2), 4, (0, 256))[0]  # the half that is empty is filled
    assert even.max() / even.min() < 1.5
    flat = np.full((9, 9, 3), 77, np.uint8)
    np.testing.assert_array_equal(changed("sharpness", 0.99, flat), flat)
    assert changed("sharpness", -0.99, PICTURE).std() < 0.6 * PICTURE.std() < changed("sharpness", 0.9, PICTURE).std()


def test_each_change_is_as_likely_and_the_strengths_are_even(monkeypatch):
    seen = {name: [] for name in CHANGES}

    def noting(name):
        return lambda picture, strength: seen[name].append(strength) or picture

    noted = [(name, noting(name), *more) for name, _, *more in TrivialAugment.CHANGES]
    monkeypatch.setattr(TrivialAugment, "CHANGES", noted)
    change, rng = TrivialAugment(), np.random.default_rng(0)
    for _ in range(14_000):
        assert change(PICTURE[:2, :2], rng).shape == (2, 2, 3)
    assert all(880 < len(strengths) < 1120 for strengths in seen.values())
    for name, _, low, high, signed in noted:
        ends = np.percentile(seen[name], (0, 100))
        np.testing.assert_allclose(ends, (-high if signed else low, high), err_msg=name)
        assert abs(np.mean(seen[name]) - (0 if signed else (low + high) / 2)) <= 0.06 * (high - low), name


def test_erasing_lays_a_grey_rectangle():
    erase, rng = RandomErasing(0.5), np.random.default_rng(0)
    picture = np.full((60, 80, 3), 9, np.uint8)
    erased, shapes = 0, []
    for _ in range(1000):
        found = erase(picture, rng)
        holes = (found == GREY).all(axis=2)
        assert ((found == 9).all(axis=2) | holes).all() and (picture == 9).all()
        if holes.any():
            erased += 1
            rows, columns = np.flatnonzero(holes.any(axis=1)), np.flatnonzero(holes.any(axis=0))
            assert holes.sum() == len(rows) * len(columns) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            shapes.append((holes.mean(), len(columns) / len(rows)))
    area, ratio = np.array(shapes).T
    assert 450 < erased < 550 and 0.015 < area.min() < 0.03 and 0.3 < area.max() < 0.34
    assert 0.27 < ratio.min() < 0.4 and 2.6 < ratio.max() < 3.7
    assert RandomErasing(0)(picture, rng) is picture and (RandomErasing(1)(picture[:1, :1], rng) == 9).all()


def pairs(mixture, n=6, side=20, seed=0):
    pictures = np.repeat(np.arange(1, n + 1, dtype=np.uint8) * 30, side * side * 3).reshape(n, side, side, 3)
    before = pictures.copy()
    mixed, wanted = mixture(pictures, np.arange(n), np.random.default_rng(seed))
    assert (pictures == before).all() and mixed.dtype == np.uint8 and wanted.dtype == np.float32
    np.testing.assert_allclose(wanted.sum(axis=1), 1, rtol=1e-6)
    return pictures, mixed, wanted


def test_mixup_adds_pictures_as_it_adds_what_is_wanted():
    for seed in range(10):
        pictures, mixed, wanted = pairs(Mixture(6, mixup=1), seed=seed)
        expected = np.tensordot(wanted, pictures.astype(float), axes=1)
        np.testing.assert_allclose(mixed, expected, atol=0.51)


def test_cutmix_wants_what_it_shows():
    shares = []
    for seed in range(400):
        _, mixed, wanted = pairs(Mixture(6, cutmix=1), seed=seed)
        shown = np.stack([(mixed[..., 0] == 30 * (i + 1)).mean(axis=(1, 2)) for i in range(6)], axis=1)
        np.testing.assert_allclose(wanted, shown, atol=1e-6)
        moved = [row.min() for row in (np.sort(shown, axis=1)[:, -2:])]
        shares.append(max(moved, default=0))
    assert 0.1 < np.mean(shares) < 0.4  # of up to a half; the edges cut windows off
    inner = np.flatnonzero((pairs(Mixture(6, cutmix=1), seed=3)[1][..., 0].reshape(6, -1) != 0).all(axis=0))
    assert len(inner) == 400


def test_a_picture_of_the_same_class_is_wanted_whole():
    _, wanted = Mixture(3, mixup=1)(np.zeros((4, 2, 2, 3), np.uint8), np.full(4, 2), np.random.default_rng(0))
    np.testing.assert_allclose(wanted, np.eye(3)[[2] * 4], rtol=1e-6)


def test_with_both_each_batch_gets_one():
    kinds = []
    for seed in range(60):
        pictures, mixed, wanted = pairs(Mixture(6, mixup=1, cutmix=1), seed=seed)
        if len(np.unique(wanted.round(6))) > 2:
            kinds.append("cutmix" if np.isin(mixed, pictures).all() else "mixup")
    assert 10 < kinds.count("mixup") < 50 and set(kinds) == {"mixup", "cutmix"}


def test_changes_come_after_the_window():
    seen = []

    def note(picture, rng):
        seen.append(picture.copy())
        return picture + 1

    found = RandomResizedCrop(16, 0.5, changes=(note, note))(PICTURE, np.random.default_rng(0))
    plain = RandomResizedCrop(16, 0.5)(PICTURE, np.random.default_rng(0))
    np.testing.assert_array_equal(seen[0], plain)
    np.testing.assert_array_equal(found, plain + 2)
