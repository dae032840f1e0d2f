"""Networks for use elsewhere."""

import errno
import functools
import os

import mxnet as mx
import numpy as np
import onnxruntime
import pytest
from sklearn.datasets import load_sample_images

from common import backbones
from common.backbones.quantize import quantize
from common.data import images
from common.export import gluon, onnx
from common.files import disk
from common.files.errors import UserError
from tests.conftest import require_weights


def crops(count, size, seed=0):
    """Pieces of scikit-learn's two photographs."""
    rng = np.random.default_rng(seed)
    result = []
    for i in range(count):
        picture = load_photographs()[i % 2]
        side = rng.integers(100, 420)
        y, x = rng.integers(0, picture.shape[0] - side), rng.integers(0, picture.shape[1] - side)
        result.append(images.resize(picture[y : y + side, x : x + side], (size, size)))
    return np.stack(result)


@functools.cache
def load_photographs():
    return load_sample_images().images


def cosine(a, b):
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean())


@pytest.fixture(scope="module", params=["squeezenet1.1", "efficientnet_lite0"])
def trained(request):
    """A pretrained backbone, pictures, and its features of them."""
    require_weights(request.param)
    backbone = backbones.create(request.param, "imagenet")
    pictures = crops(24, 128, seed=1)
    return backbone, pictures, backbone(mx.nd.array(pictures, dtype="uint8")).asnumpy()


def run(path, pictures):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options).run(None, {"data": pictures})[0]


@pytest.mark.slow
def test_onnx_agrees_with_gluon_for_any_batch(trained, tmp_path):
    backbone, pictures, features = trained
    path = onnx.write(backbone, tmp_path / "net.onnx", (1, 128, 128, 3))
    limit = 1e-4 * np.abs(features).max()
    np.testing.assert_allclose(run(path, pictures), features, atol=limit)
    np.testing.assert_allclose(run(path, pictures[:1]), features[:1], atol=limit)


@pytest.mark.slow
def test_onnx_int8_is_small_and_points_the_same_way(trained, tmp_path):
    backbone, pictures, features = trained
    path = onnx.write(backbone, tmp_path / "net.onnx", (1, 128, 128, 3))
    small = tmp_path / "net-int8.onnx"
    onnx.write_int8(path, small, crops(32, 128))
    assert small.stat().st_size < 0.32 * path.stat().st_size
    mean = features.mean(0)
    assert cosine(run(small, pictures) - mean, features - mean) > 0.95


@pytest.mark.slow
def test_gluon_int8_points_the_same_way(trained):
    backbone, pictures, features = trained
    quantized = quantize(backbone, crops(48, 128))
    found, mean = quantized(mx.nd.array(pictures, dtype="uint8")).asnumpy(), features.mean(0)
    assert cosine(found - mean, features - mean) > (0.988 if backbone.name_ == "squeezenet1.1" else 0.95)


def test_symbol_and_parameters_are_read_back(trained, tmp_path):
    backbone, pictures, features = trained
    json, params = gluon.write(backbone, tmp_path / "net", (1, 128, 128, 3))
    net = mx.gluon.SymbolBlock.imports(str(json), ["data"], str(params))
    found = net(mx.nd.array(pictures, dtype="uint8")).asnumpy()
    np.testing.assert_allclose(found, features, rtol=1e-4, atol=1e-5 * np.abs(features).max())


def test_int8_without_pictures_says_so():
    with pytest.raises(UserError, match="INT8 needs pictures"):
        quantize(backbones.create("conv4"), np.empty((0, 32, 32, 3), np.uint8))


SMALL = (1, 32, 32, 3)


@pytest.fixture(scope="module")
def conv4():
    net = backbones.create("conv4")
    net.initialize()
    net(mx.nd.zeros(SMALL, dtype="uint8"))
    return net


def to_symbol(net, folder):
    return gluon.write(net, folder / "net", SMALL)


def to_onnx(net, folder):
    return [onnx.write(net, folder / "net.onnx", SMALL)]


def to_int8(net, folder):
    source = onnx.write(net, folder.parent / "source" / "net.onnx", SMALL)
    onnx.write_int8(source, folder / "net-int8.onnx", crops(2, 32))
    return [folder / "net-int8.onnx"]


@pytest.mark.parametrize("write", [to_symbol, to_onnx, to_int8])
def test_a_full_disk_leaves_what_was_exported_before(conv4, tmp_path, monkeypatch, write):
    folder = tmp_path / "exported"
    folder.mkdir()
    before = {path: path.read_bytes() for path in write(conv4, folder)}
    assert set(folder.iterdir()) == set(before)
    original = disk.flush

    def full(path):
        if folder in path.parents:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(path)

    for module in (disk, gluon):
        monkeypatch.setattr(module, "flush", full)
    with pytest.raises(UserError, match=f"cannot write {folder}/net.*: No space left"):
        write(conv4, folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_parameters_whose_end_a_full_disk_took_are_not_kept(conv4, tmp_path, monkeypatch):
    written = to_symbol(conv4, tmp_path)
    before = [path.read_bytes() for path in written]
    whole = mx.gluon.HybridBlock.export

    def short(net, path):
        whole(net, path)
        os.truncate(f"{path}-0000.params", 1000)

    monkeypatch.setattr(mx.gluon.HybridBlock, "export", short)
    with pytest.raises(UserError, match=f"cannot write {tmp_path}/net: "):
        to_symbol(conv4, tmp_path)
    assert [path.read_bytes() for path in written] == before
    assert set(tmp_path.iterdir()) == set(written)
