"""Features of many pictures."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import common  # noqa: F401
from common import backbones
from common.backbones import feature_store, features
from common.data.features import FeatureSet
from common.data.loader import Batch
from common.data.samplers import Sequential
from common.data.sets import ImageSet
from common.data.transforms import Eval, Views
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


def test_features_of_several_views_are_their_mean(backbone, tmp_path):
    image_set, views = pictures(5), Views(64, 64, middles=(0.75, 0.5))
    found = features.cached(tmp_path, backbone, image_set, transform=views, batch_size=2)
    middles = [image_set.images, image_set.images[:, 8:56, 8:56], image_set.images[:, 16:48, 16:48]]
    parts = [features.extract(backbone, ImageSet(part, np.zeros(5, np.int64), ["thing"]), 64) for part in middles]
    np.testing.assert_allclose(found, np.mean(parts, axis=0), rtol=1e-4, atol=1e-4 * np.abs(found).max())
    plain = features.cached(tmp_path, backbone, image_set, transform=Eval(64, 64))
    np.testing.assert_allclose(plain, parts[0], rtol=1e-4, atol=1e-4 * np.abs(found).max())


@pytest.mark.parametrize(("fill", "sizes"), [(True, [3, 3, 3]), (False, [3, 3, 1])])
def test_a_network_is_run_over_rows_in_order(fill, sizes):
    rows, asked = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32), []
    loader = FeatureSet(rows, np.zeros(7, np.int64), sampler=Sequential(7, 3))
    found = features.encode(lambda x: asked.append(len(x)) or 2 * x, loader.epoch(), fill=fill)
    np.testing.assert_array_equal(found, 2 * rows)
    assert asked == sizes and features.encode(None, []).shape == (0, 0)


@pytest.mark.parametrize("fill", [True, False])
def test_a_head_sees_the_mean_of_the_views_and_its_output_is_given(fill):
    """Also a head that gives the same array each time, as a network with static memory does."""
    import mxnet as mx

    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 2, 2, 3)).astype(np.uint8)
    batches = [Batch(pixels[i : i + 2], None, None, 0) for i in (0, 2, 4)]
    kept = {}

    def head(x):
        return mx.nd.elemwise_add(x, x, out=kept.setdefault(x.shape, mx.nd.zeros(x.shape)))

    def net(x):
        return x.astype("float32").mean(axis=(1, 2))

    found = features.encode(net, batches, fill=fill, head=head)
    np.testing.assert_allclose(found, 2 * pixels.mean(axis=(1, 2, 3)), rtol=1e-5)
    single = [Batch(batch.images[:, 0], None, None, 0) for batch in batches]
    np.testing.assert_allclose(features.encode(net, single, fill=fill, head=head), 2 * pixels[:, 0].mean(axis=(1, 2)))


def test_int8_features_point_the_same_way(backbone):
    image_set = pictures(48)
    exact = features.extract(backbone, image_set, 64)
    int8 = features.extract(backbone, image_set, 64, int8=True)
    exact, int8 = exact - exact.mean(0), int8 - exact.mean(0)
    cosine = (exact * int8).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(int8, axis=1)
    assert cosine.mean() > 0.9  # untrained weights and noise: the hard case


def unread(monkeypatch):
    """Have any reading of pictures fail."""
    monkeypatch.setattr(features, "prepare", None)


def test_what_was_read_is_read_again_only_by_other_weights_or_another_transform(backbone, tmp_path, monkeypatch):
    first = features.cached(tmp_path, backbone, pictures(3), 64)
    other = features.cached(tmp_path, backbone, pictures(3), 64, transform=Eval(72, 64))
    assert len(list(tmp_path.iterdir())) == 2 and not np.allclose(first, other)
    unread(monkeypatch)
    np.testing.assert_array_equal(features.cached(tmp_path, backbone, pictures(3), 64), first)


def test_another_split_of_the_same_pictures_reads_nothing_again(backbone, tmp_path, monkeypatch):
    whole = pictures(7)
    rows = features.cached(tmp_path, backbone, whole, 64)
    unread(monkeypatch)
    for chosen in ([6, 2], [0, 1, 3, 4, 5], [2, 2, 0]):
        np.testing.assert_array_equal(features.cached(tmp_path, backbone, whole.subset(chosen), 64), rows[chosen])


def test_only_new_pictures_are_read_each_once(backbone, tmp_path, monkeypatch):
    asked, prepare = [], features.prepare

    def counting(*args):
        net = prepare(*args)
        return lambda x: asked.append(x.asnumpy()) or net(x)

    monkeypatch.setattr(features, "prepare", counting)
    whole = pictures(6)
    features.cached(tmp_path, backbone, whole.subset([0, 1, 2]), 64)
    rows = features.cached(tmp_path, backbone, whole.subset([4, 1, 5, 4, 0]), 64, batch_size=2)
    np.testing.assert_array_equal(np.concatenate(asked), whole.images[[0, 1, 2, 4, 5]])
    np.testing.assert_allclose(
        rows, features.extract(backbone, whole.subset([4, 1, 5, 4, 0]), 64), rtol=1e-4, atol=1e-4
    )


def test_pictures_in_files_are_known_by_path_box_and_change(backbone, tmp_path, monkeypatch):
    files = []
    for i, picture in enumerate(pictures(2).images):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(picture).save(files[-1])
    labels, boxes = np.zeros(2, np.int64), np.array([[0, 0, 20, 20], [5, 5, 30, 30]])
    whole, cut = ImageSet(files, labels, ["thing"]), ImageSet(files, labels, ["thing"], boxes)
    rows = features.cached(tmp_path / "kept", backbone, whole, 64)
    assert not np.allclose(features.cached(tmp_path / "kept", backbone, cut, 64), rows)
    monkeypatch.chdir(tmp_path)
    beside = ImageSet([Path(file.name) for file in files[::-1]], labels, ["thing"])
    with monkeypatch.context() as patch:
        unread(patch)
        np.testing.assert_array_equal(features.cached(tmp_path / "kept", backbone, beside, 64), rows[::-1])
    Image.fromarray(pictures(1, seed=1).images[0]).save(files[0])
    changed = features.cached(tmp_path / "kept", backbone, whole, 64)
    np.testing.assert_array_equal(changed[1], rows[1])
    assert not np.allclose(changed[0], rows[0])


def test_int8_is_kept_for_the_set_that_its_ranges_came_from(backbone, tmp_path, monkeypatch):
    whole = pictures(8)
    first = features.cached(tmp_path, backbone, whole, 64, int8=True)
    part = features.cached(tmp_path, backbone, whole.subset([1, 0]), 64, int8=True)
    np.testing.assert_array_equal(part, features.extract(backbone, whole.subset([1, 0]), 64, int8=True))
    unread(monkeypatch)
    np.testing.assert_array_equal(features.cached(tmp_path, backbone, whole, 64, int8=True), first)


def test_what_was_read_before_a_kill_is_kept_and_the_rest_is_read_in_batches_of_the_same_size(
    backbone, tmp_path, monkeypatch
):
    """The last digits of some networks' features depend on the size of the batch; here the first ones do."""
    monkeypatch.setattr(feature_store, "PART", 4)
    left = [1, 1, 1]

    def net(x):
        left.pop()  # as a kill would end it, when there is none
        return backbone(x) + len(x)

    monkeypatch.setattr(features, "prepare", lambda *_: net)
    whole = pictures(9)
    expected = features.cached(tmp_path / "whole", backbone, whole, 64, batch_size=4)
    left = [1, 1]
    with pytest.raises(IndexError):
        features.cached(tmp_path / "killed", backbone, whole, 64, batch_size=4)
    assert len(list((tmp_path / "killed").rglob("*.npz"))) == 1
    left = [1, 1]
    np.testing.assert_array_equal(features.cached(tmp_path / "killed", backbone, whole, 64, batch_size=4), expected)


@pytest.mark.parametrize("damage", [
    lambda file: file.write_bytes(file.read_bytes()[:-8]), lambda file: file.write_bytes(b""),
    lambda file: file.write_bytes(b"\x93NUMPY\x01\x00\xff\xff{'descr': "), lambda file: file.write_text("no array"),
    lambda file: file.write_bytes(bytes(b ^ (i == 999) for i, b in enumerate(file.read_bytes()))),
    lambda file: save(file, features=np.zeros((2, 512), np.float32)), lambda file: save(file, features=[{}, None, 3]),
    lambda file: save(file, features=np.full((3, 512), np.nan, np.float32)), lambda file: save(file, pictures=[1, 2]),
    lambda file: np.savez(file, features=np.zeros((3, 512), np.float32)),
])  # fmt: skip
def test_a_broken_file_is_made_again(backbone, tmp_path, damage):
    first = features.cached(tmp_path, backbone, pictures(3), 64)
    (file,) = tmp_path.rglob("*.npz")
    damage(file)
    np.testing.assert_array_equal(features.cached(tmp_path, backbone, pictures(3), 64), first)
    np.testing.assert_array_equal(np.load(file)["features"], first)


def save(file, **changed):
    with np.load(file) as part:
        content = {**part, **changed}
    np.savez(file, **{name: np.asarray(value) for name, value in content.items()})


def test_two_that_want_the_same_features_extract_them_once(backbone, tmp_path, monkeypatch):
    """Each holds a lock of its own, as two processes do."""
    calls, prepare = [], features.prepare

    def slow(*args):
        calls.append(1)
        second.start()
        second.join(0.2)  # it waits at the lock meanwhile
        return prepare(*args)

    def want():
        found.append(features.cached(tmp_path, backbone, pictures(3), 64))

    found: list = []
    second = threading.Thread(target=want)
    monkeypatch.setattr(features, "prepare", slow)
    want()
    second.join()
    assert len(calls) == 1 and len(found) == 2
    np.testing.assert_array_equal(*found)
    assert len(list(tmp_path.rglob("*.npz"))) == 1


def test_a_full_disk_is_one_line_and_leaves_no_half(backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(disk.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="cannot write .*npz: No space left on device"):
        features.cached(tmp_path, backbone, pictures(3), 64)
    assert not list(tmp_path.rglob("*.npz"))


def test_a_network_of_one_size_says_so():
    backbone = backbones.create("vgg11")
    with pytest.raises(UserError, match="vgg11 takes pictures of 224 pixels only, not of 64"):
        features.prepare(backbone, pictures(1), 64)
