"""Networks cut before their classifier, and their pretrained weights."""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from PIL import Image
from sklearn.datasets import load_sample_images

from common import backbones
from common.backbones import pretrained
from common.backbones.preprocessing import Preprocessing
from common.files.errors import UserError
from tests.conftest import require_weights

TORCH = np.load(f"{__file__.rsplit('/', 3)[0]}/data/efficientnet_lite_torch.npz")


def photographs(size):
    """Scikit-learn's china.jpg and flower.jpg, their middles, at `size` pixels."""
    squares = [Image.fromarray(picture[:420, 100:520]) for picture in load_sample_images().images]
    return mx.nd.array([np.asarray(p.resize((size, size), Image.Resampling.NEAREST)) for p in squares], dtype="uint8")


@pytest.mark.parametrize("name", ["squeezenet1.1", "efficientnet_lite0"])
def test_pretrained_networks_know_the_temple(name):
    from gluoncv.data.imagenet.classification import ImageNet1kAttr

    require_weights(name)
    logits = backbones.create(name, "imagenet", classifier=True).logits(photographs(224)).asnumpy()
    best = [ImageNet1kAttr().classes[i] for i in logits[0].argsort()[::-1][:3]]
    assert {"stupa", "bell cote", "dome"} & set(best), best


@pytest.mark.parametrize("key", TORCH.files)
def test_efficientnet_lite_logits_equal_pytorch(key):
    name, size = key.split("/")
    require_weights(name)
    logits = backbones.create(name, "imagenet", classifier=True).logits(photographs(int(size))).asnumpy()
    np.testing.assert_allclose(logits[:, ::10], TORCH[key], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "name, width, size",
    [
        ("squeezenet1.0", 512, 224), ("resnet50_v2", 2048, 224), ("vgg16", 4096, 224), ("alexnet", 4096, 224),
        ("densenet121", 1024, 224), ("inceptionv3", 2048, 299), ("mobilenetv2_1.0", 1280, 224),
        ("mobilenetv3_small", 1280, 224), ("efficientnet_lite2", 1280, 260), ("xception", 2048, 299),
        ("nasnet_4_1056", 1056, 224), ("googlenet", 1024, 224), ("hrnet_w18_small_v1_c", 2048, 224),
        ("dla34", 1008, 224), ("keras-inceptionresnetv2", 1536, 299), ("cifar_resnet20_v1", 64, 32),
    ],
)  # fmt: skip
def test_width_is_known_without_a_forward(name, width, size):
    assert backbones.info(name) == (width, size)


@pytest.mark.slow
def test_every_name_can_be_cut():
    large = "residualattention", "cifar_residual"
    small = [name for name in backbones.list_backbones() if not name.startswith(large)]
    assert len(small) > 120
    for name in small[::7]:
        backbone = backbones.create(name, classifier=True)
        early, late = backbone.early_late()
        assert late and len(early) + len(late) <= len(backbone.collect_params().keys())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, size",
    [("squeezenet1.1", 64), ("densenet121", 64), ("resnet18_v1b", 50), ("mobilenetv3_small", 64), ("googlenet", 64),
     ("mobilenet0.25", 64), ("efficientnet_lite0", 75), ("dla34", 64), ("conv4", 32), ("cifar_resnet20_v2", 32)],
)  # fmt: skip
def test_any_size_gives_the_width_and_maps_and_logits(name, size):
    backbone = backbones.create(name, classifier=name != "conv4")
    backbone.initialize()
    x = mx.nd.random.uniform(0, 255, (2, size, size, 3))
    features = backbone(x)
    assert features.shape == (2, backbone.width) and features.dtype == np.float32
    eager = features.asnumpy()
    backbone.hybridize(static_alloc=True, static_shape=True)
    np.testing.assert_allclose(backbone(x).asnumpy(), eager, rtol=1e-4, atol=1e-5)
    if name != "conv4":
        assert backbone.logits(x).shape[0] == 2


def test_normalisation_is_the_formula_in_either_channel_order():
    rgb = Preprocessing((1.0, 2.0, 3.0), (0.5, 0.25, 2.0))
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)
    for bgr in (False, True):
        for rotated in (False, True):
            layer = backbones.Normalize(Preprocessing(rgb.mean, rgb.scale, bgr), rotated)
            layer.initialize()
            expected = (x[..., ::-1] if bgr else x).astype(np.float32)
            expected = ((expected - rgb.mean) * rgb.scale).transpose(0, 3, 1, 2)
            expected = expected[:, :, ::-1, ::-1] if rotated else expected
            np.testing.assert_allclose(layer(mx.nd.array(x, dtype="uint8")).asnumpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bgr", [False, True])
def test_own_mean_and_deviation(tmp_path, bgr):
    """A picture seen with them is one seen without that was changed by hand."""
    net = backbones.network("conv4")
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.save_parameters(str(tmp_path / "net.params"))
    before = Preprocessing((99.0, 88.0, 77.0), (0.5, 0.25, 0.125), bgr, 32)
    pretrained.save_preprocessing(tmp_path / "net.params", before)
    mean, deviation = np.array([11.0, 22.0, 33.0]), np.array([2.0, 3.0, 4.0])
    plain = backbones.create("conv4", str(tmp_path / "net.params"))
    options = {"mean": mean.tolist(), "deviation": deviation.tolist()}
    own = backbones.create("conv4", str(tmp_path / "net.params"), **options)
    assert own.preprocessing.mean == tuple(mean) and not own.preprocessing.bgr
    x = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    same = (x - mean) / deviation / plain.preprocessing.scale + plain.preprocessing.mean
    expected, found = plain(mx.nd.array(same)).asnumpy(), own(mx.nd.array(x)).asnumpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_feature_maps_lie_as_the_picture_does():
    """Also in a network that runs rotated: a bright corner is seen in that corner."""
    require_weights("efficientnet_lite0")
    backbone = backbones.create("efficientnet_lite0", "imagenet")
    blank = mx.nd.full((1, 224, 224, 3), 127)
    marked = blank.copy()
    marked[0, :64, 160:] = photographs(64)[0].astype("float32")
    change = (backbone.feature_maps(marked) - backbone.feature_maps(blank)).abs().sum(axis=(0, 1)).asnumpy()
    assert np.unravel_index(change.argmax(), change.shape) in [(0, 6), (0, 5), (1, 6), (1, 5)]


def test_the_last_block_of_squeezenet_is_its_last_fire_module():
    early, late = backbones.create("squeezenet1.1").early_late()
    assert len(late) == 6 and len(early) == 44
    assert sum(int(np.prod(p.shape)) for p in late) == 64 * 512 + 64 + 64 * 256 + 256 + 64 * 256 * 9 + 256


def test_unknown_names_and_files_are_one_line(tmp_path):
    with pytest.raises(UserError, match="did you mean squeezenet1.1"):
        backbones.create("squeezenet11")
    with pytest.raises(UserError, match="no such file"):
        backbones.create("squeezenet1.1", str(tmp_path / "none.params"))
    (tmp_path / "bad.params").write_bytes(b"not parameters")
    with pytest.raises(UserError, match="does not fit --model squeezenet1.1"):
        backbones.create("squeezenet1.1", str(tmp_path / "bad.params"))


def test_weights_that_cannot_be_had_name_the_command(monkeypatch, tmp_path):
    from gluoncv.model_zoo import model_store as gluoncv_store
    from mxnet.gluon.model_zoo import model_store

    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path))
    monkeypatch.setattr(model_store, "get_model_file", unreachable)
    monkeypatch.setattr(gluoncv_store, "get_model_file", unreachable)
    with pytest.raises(UserError, match=r"\./get_data\.sh squeezenet1\.1") as error:
        backbones.create("resnet50_v2", "imagenet")
    assert "\n" not in str(error.value)


def test_pictures_that_are_pooled_away_are_one_line():
    with pytest.raises(UserError, match="--image-size 16 is too small for --model squeezenet1.1"):
        backbones.create("squeezenet1.1", size=16)


def test_statistics_follow_the_batches_at_the_momentum_that_is_set():
    pictures = mx.nd.random.uniform(0, 255, (4, 32, 32, 3))
    found = {}
    for momentum in (0.0, 0.75):
        mx.random.seed(0)
        net = backbones.create("conv4")
        net.initialize(mx.init.MSRAPrelu())
        net.follow_batches(momentum)
        net.hybridize()
        with autograd.record():
            net(pictures)
        statistics = {k: p.data() for k, p in net._collect_params_with_prefix().items() if "running" in k}
        found[momentum] = {name: array.asnumpy() for name, array in statistics.items()}
    assert len(found[0]) > 2
    for name, of_batch in found[0].items():
        begun = 1.0 if "var" in name else 0.0
        if name.startswith("normalize"):
            np.testing.assert_array_equal(found[0.75][name], of_batch)
        else:
            np.testing.assert_allclose(found[0.75][name], 0.75 * begun + 0.25 * of_batch, rtol=1e-4, atol=1e-4)
