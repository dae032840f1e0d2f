"""Networks for use elsewhere."""

import functools

import mxnet as mx
import numpy as np
import onnxruntime
import pytest
from sklearn.datasets import load_sample_images

from common import backbones, export, images
from common.errors import UserError
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


def test_onnx_agrees_with_gluon_for_any_batch(trained, tmp_path):
    backbone, pictures, features = trained
    path = export.onnx(backbone, tmp_path / "net.onnx", (1, 128, 128, 3))
    limit = 1e-4 * np.abs(features).max()
    np.testing.assert_allclose(run(path, pictures), features, atol=limit)
    np.testing.assert_allclose(run(path, pictures[:1]), features[:1], atol=limit)


def test_onnx_int8_is_small_and_points_the_same_way(trained, tmp_path):
    backbone, pictures, features = trained
    path = export.onnx(backbone, tmp_path / "net.onnx", (1, 128, 128, 3))
    small = export.onnx_int8(path, tmp_path / "net-int8.onnx", crops(32, 128))
    assert small.stat().st_size < 0.32 * path.stat().st_size
    mean = features.mean(0)
    assert cosine(run(small, pictures) - mean, features - mean) > 0.95


def test_gluon_int8_points_the_same_way(trained):
    backbone, pictures, features = trained
    quantized = export.quantize(backbone, crops(48, 128))
    found, mean = quantized(mx.nd.array(pictures, dtype="uint8")).asnumpy(), features.mean(0)
    assert cosine(found - mean, features - mean) > (0.988 if backbone.name_ == "squeezenet1.1" else 0.95)


def test_symbol_and_parameters_are_read_back(trained, tmp_path):
    backbone, pictures, features = trained
    json, params = export.symbol(backbone, tmp_path / "net", (1, 128, 128, 3))
    net = mx.gluon.SymbolBlock.imports(str(json), ["data"], str(params))
    found = net(mx.nd.array(pictures, dtype="uint8")).asnumpy()
    np.testing.assert_allclose(found, features, rtol=1e-4, atol=1e-5 * np.abs(features).max())


def test_int8_without_pictures_says_so():
    with pytest.raises(UserError, match="INT8 needs pictures"):
        export.quantize(backbones.create("conv4"), np.empty((0, 32, 32, 3), np.uint8))


@pytest.mark.parametrize("groups", [1, 3])
def test_weights_rounded_to_eight_bits_keep_their_products(groups):
    """On its grid, the largest weight as it was, and the products nearer than by rounding each weight for itself."""
    rng = np.random.default_rng(0)
    weight = rng.standard_t(3, (groups, 6, 20)).astype(np.float32)
    mixed = rng.normal(size=(groups, 20, 20)) * np.geomspace(1, 0.05, 20)[:, None]
    inputs = np.einsum("ngj,gjk->ngk", rng.normal(size=(400, groups, 20)), mixed) + 5
    rounded = export._rounded(weight, inputs)
    step = np.abs(weight).max(axis=2, keepdims=True) / 127
    np.testing.assert_allclose(rounded / step, np.round(rounded / step), atol=1e-3)
    np.testing.assert_allclose(np.abs(rounded).max(axis=2), np.abs(weight).max(axis=2))

    def error(other):
        lost = np.einsum("ngk,gok->ngo", inputs - inputs.mean(axis=0), weight - other)
        return float(np.square(lost).mean())

    assert error(rounded) < 0.4 * error(np.round(weight / step) * step)


def test_what_a_convolution_sees_is_found_under_its_kernel():
    """Products of the places found with the weights are values of the convolution, groups, strides and pads too."""
    import onnx

    rng = np.random.default_rng(1)
    value, weight = rng.normal(size=(1, 4, 7, 9)).astype(np.float32), rng.normal(size=(6, 2, 3, 3)).astype(np.float32)
    options = {"group": 2, "strides": [2, 1], "pads": [1, 0, 1, 2]}
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], **options)
    info = [onnx.helper.make_tensor_value_info(name, 1, None) for name in "xwy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", info[:2], info[2:]), ir_version=8,
                                   opset_imports=[onnx.helper.make_opsetid("", 13)])  # fmt: skip
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": value, "w": weight})[0]
    patches = export._patches(value, node, (3, 3), 50, rng)
    found = np.einsum("ngk,gok->ngo", patches, weight.reshape(2, 3, -1)).reshape(50, 6)
    everywhere = expected[0].reshape(6, -1).T
    nearest = np.abs(found[:, None] - everywhere[None]).max(axis=2).min(axis=1)
    np.testing.assert_allclose(nearest, 0, atol=1e-4)
