"""Features of many pictures."""

import threading

import numpy as np
import pytest

import common  # noqa: F401
from common import backbones
from common.backbones import features
from common.data.features import FeatureSet
from common.data.samplers import Sequential
from common.data.sets import ImageSet
from common.files import disk
from common.files.errors import UserError


@pytest.fixture(scope="module")
def backbone():
    import mxnet as mx

    mx.random.seed(0)
    backbone = backbones.create("squeezenet1.1")
    backbone.initialize(mx.init.Xavier())
    return backbone


def pictures(n, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 8, 8, 3)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    return ImageSet(images, np.zeros(n, np.int64), ["thing"])


def test_extract_equals_one_picture_at_a_time_whatever_the_last_batch(backbone):
    import mxnet as mx

    image_set = pictures(7)
    found = features.extract(backbone, image_set, 64, batch_size=3)
    one = [backbone(mx.nd.array(image[None], dtype="uint8")).asnumpy()[0] for image in image_set.images]
    assert found.shape == (7, 512) and found.dtype == np.float32
    np.testing.assert_allclose(found, one, rtol=1e-4, atol=1e-4 * np.abs(one).max())


@pytest.mark.parametrize(("fill", "sizes"), [(True, [3, 3, 3]), (False, [3, 3, 1])])
def test_a_network_is_run_over_rows_in_order(fill, sizes):
    rows, asked = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32), []
    loader = FeatureSet(rows, np.zeros(7, np.int64), sampler=Sequential(7, 3))
    found = features.encode(lambda x: asked.append(len(x)) or 2 * x, loader.epoch(), fill=fill)
    np.testing.assert_array_equal(found, 2 * rows)
    assert asked == sizes and features.encode(None, []).shape == (0, 0)


def test_int8_features_point_the_same_way(backbone):
    image_set = pictures(48)
    exact = features.extract(backbone, image_set, 64)
    int8 = features.extract(backbone, image_set, 64, int8=True)
    exact, int8 = exact - exact.mean(0), int8 - exact.mean(0)
    cosine = (exact * int8).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(int8, axis=1)
    assert cosine.mean() > 0.9  # untrained weights and noise: the hard case


def test_cached_is_read_again_only_for_the_same_weights_and_pictures(backbone, tmp_path, monkeypatch):
    first = features.cached(tmp_path, backbone, pictures(3), 64)
    features.cached(tmp_path, backbone, pictures(3, seed=1), 64)
    assert len(list(tmp_path.glob("*.npy"))) == 2
    monkeypatch.setattr(features, "extract", None)  # would fail if it were called
    np.testing.assert_array_equal(features.cached(tmp_path, backbone, pictures(3), 64), first)


@pytest.mark.parametrize("damage", [
    lambda file: file.write_bytes(file.read_bytes()[:-8]), lambda file: file.write_bytes(b""),
    lambda file: file.write_bytes(b"\x93NUMPY\x01\x00\xff\xff{'descr': "), lambda file: file.write_text("no array"),
    lambda file: np.save(file, np.zeros((2, 512), np.float32)), lambda file: np.save(file, np.array([{}, None, 3])),
    lambda file: np.save(file, np.full((3, 512), np.nan, np.float32)),
])  # fmt: skip
def test_a_broken_file_is_made_again(backbone, tmp_path, damage):
    first = features.cached(tmp_path, backbone, pictures(3), 64)
    (file,) = tmp_path.glob("*.npy")
    damage(file)
    np.testing.assert_array_equal(features.cached(tmp_path, backbone, pictures(3), 64), first)
    np.testing.assert_array_equal(np.load(file), first)


def test_two_that_want_the_same_features_extract_them_once(backbone, tmp_path, monkeypatch):
    """Each holds a lock of its own, as two processes do."""
    calls, extract = [], features.extract

    def slow(*args, **options):
        calls.append(1)
        second.start()
        second.join(0.2)  # it waits at the lock meanwhile
        return extract(*args, **options)

    def want():
        found.append(features.cached(tmp_path, backbone, pictures(3), 64))

    found: list = []
    second = threading.Thread(target=want)
    monkeypatch.setattr(features, "extract", slow)
    want()
    second.join()
    assert len(calls) == 1 and len(found) == 2
    np.testing.assert_array_equal(*found)
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_a_full_disk_is_one_line_and_leaves_no_half(backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(disk.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="cannot write .*npy: No space left on device"):
        features.cached(tmp_path, backbone, pictures(3), 64)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_network_of_one_size_says_so():
    backbone = backbones.create("vgg11")
    with pytest.raises(UserError, match="vgg11 takes pictures of 224 pixels only, not of 64"):
        features.prepare(backbone, pictures(1), 64)
