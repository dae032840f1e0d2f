"""The engines that a network is read by."""

import argparse

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn

from common import backbones
from common.backbones import features
from common.export import engine
from common.files.errors import UserError
from tests.common.export.test_export import crops
from tests.conftest import require_weights

QUICK = {"conv4": 32, "squeezenet1.1": 64, "efficientnet_lite0": 64, "keras-mobilenet": 64}
SLOW = {
    "keras-vgg16": 64, "keras-vgg19": 64, "keras-resnet50": 64, "keras-xception": 80, "keras-inceptionv3": 96,
    "keras-inceptionresnetv2": 96, "efficientnet_lite1": 80, "efficientnet_lite2": 80, "vgg16": 64, "vgg19": 64,
    "resnet50_v1b": 64, "resnet50_v1": 64, "mobilenet1.0": 64, "xception": 80, "inceptionv3": 96,
}  # fmt: skip


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """Where graphs are kept."""
    monkeypatch.setattr(engine, "weights_dir", lambda: tmp_path)
    return tmp_path / "onnx"


def network(name, size):
    """A backbone with random weights."""
    mx.random.seed(0)
    backbone = backbones.create(name, size=size)
    backbone.initialize(mx.init.MSRAPrelu())
    return backbone


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(("name", "size"), [
    *QUICK.items(), *(pytest.param(*item, marks=pytest.mark.slow) for item in SLOW.items()),
])  # fmt: skip
def test_features_are_those_of_mxnet_for_every_network_of_transfers_table(name, size):
    backbone = network(name, size)
    pictures = mx.nd.array(crops(3, size), dtype="uint8")
    expected = backbone(pictures).asnumpy()
    found = engine.onnxruntime(backbone, size)(pictures).asnumpy()
    assert found.dtype == np.float32 and relative(found, expected) < 1e-4
    assert np.ptp(expected, axis=0).max() > 0.01 * np.abs(expected).max()  # of pictures that it tells apart


def test_a_network_in_training_is_read_and_stays_as_it_is(kept):
    """With trained weights: rounding is all that is left of random ones' features in the form that trains fastest."""
    require_weights("efficientnet_lite0")
    backbone = backbones.create("efficientnet_lite0", "imagenet", size=64)
    backbone.hybridize()
    backbone.speed_up_training()
    pictures = mx.nd.array(crops(2, 64), dtype="uint8")
    expected = backbone(pictures).asnumpy()
    assert relative(engine.onnxruntime(backbone, 64)(pictures).asnumpy(), expected) < 1e-4
    np.testing.assert_array_equal(backbone(pictures).asnumpy(), expected)


def test_the_graph_is_kept_for_the_same_weights_and_made_again_where_it_is_damaged(kept, monkeypatch):
    backbone = network("conv4", 32)
    engine.onnxruntime(backbone, 32)
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(engine.onnx, "write", None)  # would fail if it were called
        engine.onnxruntime(network("conv4", 32), 32)
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 400] = np.full(100, 1e9, np.float32).tobytes()  # still a graph
    for content in (b"", whole[:-100], bytes(damaged)):
        file.write_bytes(content)
        engine.onnxruntime(network("conv4", 32), 32)
        assert file.read_bytes() == whole
    backbone.body[0].weight.set_data(backbone.body[0].weight.data() * 2)
    engine.onnxruntime(backbone, 32)
    engine.onnxruntime(backbone, 64)
    assert len(list(kept.iterdir())) == 3


def test_a_network_is_loaded_once_until_it_changes(monkeypatch):
    import onnxruntime

    loaded, session = [], onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: loaded.append(1) or session(*a, **k))
    backbone, args = network("conv4", 32), argparse.Namespace(engine="auto", gpus=[])
    pictures = mx.nd.array(crops(2, 32), dtype="uint8")
    assert engine.choose(args, backbone, 32, 10**6) == "onnxruntime"
    first, again = (engine.named("onnxruntime")(backbone, 32) for _ in range(2))
    assert first is again and len(loaded) == 1
    backbone.body[0].weight.set_data(backbone.body[0].weight.data() * 2)
    changed = engine.onnxruntime(backbone, 32)(pictures).asnumpy()
    assert len(loaded) == 2 and relative(changed, backbone(pictures).asnumpy()) < 1e-4
    assert relative(first(pictures).asnumpy(), changed) > 1e-2
    engine.onnxruntime(backbone, 64)
    engine.onnxruntime(network("conv4", 64), 64)  # another one of the same weights
    assert len(loaded) == 4


def test_of_several_devices_the_first_is_read(kept):
    """Their batch norms have statistics of their own, and MXNet evaluates on the first device."""
    mx.random.seed(0)
    backbone = backbones.create("conv4", size=32)
    backbone.initialize(mx.init.MSRAPrelu(), ctx=[mx.cpu(0), mx.cpu(1)])
    norm = next(p for name, p in backbone.body.collect_params().items() if name.endswith("running_mean"))
    norm.list_data()[1][:] = 5
    pictures = mx.nd.array(crops(2, 32), dtype="uint8")
    assert relative(engine.onnxruntime(backbone, 32)(pictures).asnumpy(), backbone(pictures).asnumpy()) < 1e-4


def test_a_method_of_a_network_is_read_too(kept):
    backbone = network("squeezenet1.1", 64)

    class Halved(nn.Block):
        def __init__(self):
            super().__init__()
            self.backbone = backbone

        def half(self, pictures):
            return 0.5 * self.backbone(pictures)

    pictures = mx.nd.array(crops(2, 64), dtype="uint8")
    found = engine.onnxruntime(Halved().half, 64)(pictures).asnumpy()
    assert relative(found, 0.5 * backbone(pictures).asnumpy()) < 1e-4


class Unknown(nn.HybridBlock):
    """Something that ONNX has no operator for."""

    name_ = "unknown"

    def hybrid_forward(self, F, x):
        return F.contrib.fft(F.cast(x, "float32").reshape((0, -1)))


class Odd(nn.HybridBlock):
    """Gives other numbers when it is exported."""

    def hybrid_forward(self, F, x):
        return F.mean(F.cast(x, "float32"), axis=(1, 2)) * (2 if F is mx.sym else 1)


def test_a_network_that_cannot_be_read_or_disagrees_is_told(kept):
    with pytest.raises(UserError, match="onnxruntime cannot read this network .*: --engine mxnet does"):
        engine.onnxruntime(Unknown(), 8)
    with pytest.raises(UserError, match="other numbers for this network than MXNet: take --engine mxnet"):
        engine.onnxruntime(Odd(), 8)
    assert not kept.exists()


@pytest.mark.parametrize(("flags", "pictures", "chosen"), [
    ({}, 10**6, "onnxruntime"), ({}, 10, "mxnet"), ({"gpus": [0]}, 10**6, "mxnet"), ({"int8": True}, 10**6, "mxnet"),
    ({"resume": True}, 10**6, "mxnet"), ({"engine": "mxnet"}, 10**6, "mxnet"),
    ({"engine": "onnxruntime"}, 10, "onnxruntime"), ({"engine": "onnxruntime", "resume": True}, 10, "onnxruntime"),
])  # fmt: skip
def test_the_engine_is_chosen_by_what_there_is_to_read(flags, pictures, chosen):
    args = argparse.Namespace(**{"engine": "auto", "gpus": [], "int8": False, **flags})
    assert engine.choose(args, network("conv4", 32), 32, pictures) == chosen


def test_mxnet_reads_what_cannot_be_exported_and_says_so(capsys):
    args = argparse.Namespace(engine="auto", gpus=[])
    assert engine.choose(args, Unknown(), 8, 10**6) == "mxnet"
    assert "note: onnxruntime cannot read this network" in capsys.readouterr().err
    with pytest.raises(UserError, match="reads networks that are not trained, and this one is: leave it out"):
        engine.choose(argparse.Namespace(engine="onnxruntime", gpus=[]), Unknown(), 8, 0)
    for more in ({"gpus": [0]}, {"int8": True}):
        with pytest.raises(UserError, match="float32 on the CPU: leave out --gpus and --int8"):
            engine.choose(argparse.Namespace(**{"engine": "onnxruntime", "gpus": [], **more}), Unknown(), 8, 10)


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(kept, capsys):
    kept.write_text("a file")
    backbone = network("conv4", 32)
    pictures = mx.nd.array(crops(2, 32), dtype="uint8")
    assert relative(engine.onnxruntime(backbone, 32)(pictures).asnumpy(), backbone(pictures).asnumpy()) < 1e-4
    assert "note: cannot write" in capsys.readouterr().err


def test_threads_are_those_of_mxnet(monkeypatch):
    import onnxruntime

    asked, session = [], onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession",
        lambda model, options, **more: asked.append(options.intra_op_num_threads) or session(model, options, **more),
    )  # fmt: skip
    backbone = network("conv4", 32)
    for threads in ("1", "3", "2,1", ""):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        engine.onnxruntime(backbone, 32)
    assert asked == [1, 3, 2, 0]


def test_each_engines_features_are_kept_apart(tmp_path):
    from tests.common.backbones.test_features import pictures

    backbone, image_set = network("conv4", 32), pictures(5)
    ours = features.cached(tmp_path / "kept", backbone, image_set, 32)
    theirs = features.cached(tmp_path / "kept", backbone, image_set, 32, engine=engine.named("onnxruntime"))
    assert relative(theirs, ours) < 1e-4 and not np.array_equal(theirs, ours)
    assert len(list((tmp_path / "kept").iterdir())) == 2 and engine.named("mxnet") is None
