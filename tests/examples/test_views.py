"""`--views` in the examples: features of a picture and of its middles, averaged, in training and by the saved model."""

import json
import shutil

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from common import backbones
from common.backbones import modelfile
from common.data.transforms import Eval
from common.files.errors import UserError
from examples.visual_semantic import analyze, evaluate, export, model
from examples.visual_semantic import train as visual_semantic
from examples.visual_semantic.gallery import Searcher
from tests.conftest import GROCERIES

SIDE, VIEWS = 32, ["--views", "0.75,0.5"]


@pytest.fixture(autouse=True)
def own_features(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path / "data"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Parameters of a small network."""
    mx.random.seed(0)
    network, file = backbones.network("conv4"), tmp_path_factory.mktemp("weights") / "conv4.params"
    network.initialize(mx.init.MSRAPrelu())
    network(mx.nd.zeros((1, 3, SIDE, SIDE)))
    network.save_parameters(str(file))
    return file


@pytest.fixture(scope="module")
def photographs(groceries, tmp_path_factory):
    """`groceries` with something else around the middle of each photograph."""
    root, rng = shutil.copytree(groceries, tmp_path_factory.mktemp("photographs") / "grocery"), np.random.default_rng(0)
    for file in sorted(root.rglob("*_0*.jpg")):
        pixels = np.array(Image.open(file))
        around = np.full((120, 144, 3), rng.integers(30, 220, 3), np.uint8)
        around[40:80, 48:96] = pixels
        Image.fromarray(around).save(file)
    return root


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    rng, file = np.random.default_rng(0), tmp_path_factory.mktemp("words") / "words.vec"
    spelled = {word for name in GROCERIES for word in name.lower().split("-")}
    file.write_text("".join(f"{word} {' '.join(map(str, rng.normal(size=6).round(3)))}\n" for word in sorted(spelled)))
    return file


def run(program, folder, *flags):
    flags = ["--dataset", "grocery", "--data-path", folder, *flags]
    program.main(program.parse_args([str(flag) for flag in flags]))


def mean_features(backbone, files, transform=Eval(SIDE, SIDE)):
    """Of files of 144 x 120 pixels, each view by itself."""
    pictures = [np.array(Image.open(file)) for file in files]
    views = [lambda x: x, lambda x: x[15:105, 18:126], lambda x: x[30:90, 36:108]]
    parts = [np.stack([transform(view(picture)) for picture in pictures]) for view in views]
    return np.mean([backbone(mx.nd.array(part, dtype="uint8")).asnumpy() for part in parts], axis=0)


def with_views(params, views, path):
    """The model file with other views in its metadata."""
    found = mx.nd.load(str(params))
    text = json.loads(found["meta:json"].asnumpy().tobytes())
    modelfile.save(path, text["kind"], {k: v for k, v in found.items() if ":" not in k}, {**text, "views": views})
    return path


@pytest.mark.parametrize("rate", ["0", "0.1"])
def test_visual_semantic(photographs, weights, words, tmp_path, capsys, rate):
    """With the backbone frozen and trained, the program of every kind sees what the training's figures are of."""
    flags = ["--model", "conv4", "--params", weights, "--image-size", SIDE, "--resize", SIDE, "--word-vectors", words]
    flags += ["--batch-size", "4", "--stages", "1,2a", "--epochs-1", "2", "--epochs-2a", "2", "--backbone-lr", rate]
    run(visual_semantic, photographs, *flags, *VIEWS, "--no-plots", "--run-dir", tmp_path / "run")
    params = tmp_path / "run" / "model.params"
    known = json.loads((tmp_path / "run" / "metrics.json").read_text())
    files = sorted(photographs.rglob("test/**/*.jpg"))
    searcher = Searcher(params)
    net = searcher.net
    assert net.metadata["views"] == [0.75, 0.5]
    expected = net.embed_features(mx.nd.array(mean_features(net.backbone, files))).asnumpy()
    np.testing.assert_allclose(searcher.of_pictures(files), expected, atol=1e-4)
    searcher.choose(evaluate.parse_args(["--engine", "onnxruntime"]), 100)
    np.testing.assert_allclose(searcher.of_pictures(files), expected, atol=1e-4)
    pixels = np.array(Image.open(files[0]))
    np.testing.assert_allclose(searcher.of_pictures([pixels]), expected[:1], atol=1e-4)

    for engine in ([], ["--engine", "mxnet"], ["--engine", "onnxruntime"]):
        asked = ["--params", str(params), "--data-path", str(photographs), "--output", str(tmp_path / "f.json"), *engine]
        evaluate.main(evaluate.parse_args(asked))
        rows = json.loads((tmp_path / "f.json").read_text())
        assert rows["trained"]["zero_shot"] == known["zero_shot"] and rows["trained"]["accuracy"] == known["accuracy"]
        assert rows["trained"]["map_unseen"] == pytest.approx(known["map_unseen"])
    analyze.main(analyze.parse_args(["--run-dir", str(tmp_path / "run"), "--heat-maps", "2", "--mistakes", "2"]))
    right = round(known["accuracy"] * len(sorted(photographs.rglob("val/**/*.jpg"))))
    report = (tmp_path / "run" / "analysis" / "report.html").read_text()
    assert "held-back pictures are right" in report and right >= 0

    capsys.readouterr()
    export.main(export.parse_args(["--params", str(params), "--output", str(tmp_path / "mobile")]))
    assert "a picture alone; the figures of train.py are of the mean with its middles (0.75, 0.5" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"odd.params is not as it should be \(its 'views' cannot be \[2\]\)"):
        model.load(with_views(params, [2], tmp_path / "odd.params"))
