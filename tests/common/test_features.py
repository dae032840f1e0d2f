"""Features of many pictures."""

import numpy as np
import pytest

import common  # noqa: F401
from common import backbones, features
from common.datasets import ImageSet
from common.errors import UserError


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


def test_a_network_of_one_size_says_so():
    backbone = backbones.create("vgg11")
    with pytest.raises(UserError, match="vgg11 takes pictures of 224 pixels only, not of 64"):
        features.prepare(backbone, pictures(1), 64)
