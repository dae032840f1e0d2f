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
from examples.im2vec import compare
from examples.im2vec import data as im2vec_data
from examples.im2vec import modelfile as im2vec_modelfile
from examples.im2vec import train as im2vec
from examples.transfer import generate_embedding, networks, predict
from examples.transfer import model as transfer_model
from examples.transfer import train as transfer
from examples.visual_semantic import analyze, evaluate, export, model
from examples.visual_semantic import train as visual_semantic
from examples.visual_semantic.gallery import Searcher
from examples.vse import evaluate as vse_evaluate
from examples.vse import model as vse_model
from examples.vse import pictures as vse_pictures
from examples.vse import train as vse
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


def mean_features(backbone, files, transform=None):
    """Of files of 144 x 120 pixels, each view by itself."""
    transform, pictures = transform or Eval(SIDE, SIDE), [np.array(Image.open(file)) for file in files]
    views = [lambda x: x, lambda x: x[15:105, 18:126], lambda x: x[30:90, 36:108]]
    parts = [np.stack([transform(view(picture)) for picture in pictures]) for view in views]
    return np.mean([backbone(mx.nd.array(part, dtype="uint8")).asnumpy() for part in parts], axis=0)


def with_views(params, views, path):
    """The model file with other views in its metadata."""
    found = mx.nd.load(str(params))
    text = json.loads(found.pop("meta:json").asnumpy().tobytes())
    arrays = {name[len("array:") :]: found.pop(name) for name in list(found) if name.startswith("array:")}
    modelfile.save(path, text["kind"], found, {**text, "views": views}, arrays)
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
        asked = ["--params", params, "--data-path", photographs, "--output", tmp_path / "f.json", *engine]
        evaluate.main(evaluate.parse_args(list(map(str, asked))))
        rows = json.loads((tmp_path / "f.json").read_text())
        assert rows["trained"]["zero_shot"] == known["zero_shot"] and rows["trained"]["accuracy"] == known["accuracy"]
        assert rows["trained"]["map_unseen"] == pytest.approx(known["map_unseen"])
    if rate == "0":
        analyze.main(analyze.parse_args(["--run-dir", str(tmp_path / "run"), "--heat-maps", "2", "--mistakes", "2"]))
        accuracy = json.loads((tmp_path / "run" / "stage1" / "metrics.json").read_text())["accuracy"]
        held = sum("/val/" in str(file) and file.parent.name in net.seen for file in photographs.rglob("*.jpg"))
        report = (tmp_path / "run" / "analysis" / "report.html").read_text()
        assert f"{round(accuracy * held)} of {held} held-back pictures are right" in report

    capsys.readouterr()
    export.main(export.parse_args(["--params", str(params), "--output", str(tmp_path / "mobile")]))
    said = "a picture alone; the figures of train.py are of the mean with its middles (0.75, 0.5"
    assert said in capsys.readouterr().out
    with pytest.raises(UserError, match=r"odd.params is not as it should be \(its 'views' cannot be \[2\]\)"):
        model.load(with_views(params, [2], tmp_path / "odd.params"))


@pytest.mark.parametrize("how", [[], ["--finetune", "--batch_size", "4"]])
def test_vse(photographs, weights, tmp_path, how):
    flags = ["--model", "conv4", "--params", weights, "--image-size", SIDE, "--dim", "8", "--dim_word", "4", *how]
    run(vse, photographs, *flags, *VIEWS, "--max_epochs", "2", "--no-plots", "--run-dir", tmp_path / "run")
    params, net = tmp_path / "run" / "model.params", vse_model.load(tmp_path / "run" / "model.params")
    backbone = net.backbone or backbones.create("conv4", weights, size=SIDE)
    files = sorted(photographs.rglob("test/**/*.jpg"))
    read = vse_pictures.Reader(net.metadata, net if how else None, keep=False)
    expected = mean_features(backbone, files, Eval(round(SIDE * 8 / 7), SIDE, keep_aspect=True))
    np.testing.assert_allclose(read(vse_pictures.files(files)), expected, rtol=1e-4, atol=1e-4)
    known = json.loads((tmp_path / "run" / "metrics.json").read_text())
    vse_evaluate.main(vse_evaluate.parse_args([str(params), "--output", str(tmp_path / "f.json")]))
    found = json.loads((tmp_path / "f.json").read_text())["model.params"]
    assert found["rsum"] == pytest.approx(known["rsum"])
    np.save(tmp_path / "t_train_ims.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(UserError, match="--views needs pictures, and t here is features"):
        vse.main(vse.parse_args(["--data", "t", "--data-path", str(tmp_path), *VIEWS]))


@pytest.mark.parametrize("rate", ["0", "0.1"])
def test_im2vec(photographs, weights, tmp_path, rate):
    flags = ["--model", "conv4", "--params", weights, "--image-size", SIDE, "--epochs", "1", "--no-plots"]
    run(im2vec, photographs, *flags, *VIEWS, "--backbone-lr", rate, "--run-dir", tmp_path / "run")
    params = tmp_path / "run" / "model.params"
    model, whole = im2vec_modelfile.load(params), im2vec_data.load("grocery", photographs, seed=123)
    assert model.metadata["views"] == [0.75, 0.5]
    features = mean_features(model.net.backbone, whole.train.images)
    vectors = model.net.head(mx.nd.array(features)).asnumpy()
    means = [vectors[whole.train.labels == label].mean(axis=0) for label in range(len(whole.train.class_names))]
    np.testing.assert_allclose(model.means, means, rtol=1e-3, atol=1e-4)
    if rate == "0":  # compare.py reads the same features again
        kept = im2vec_data.kept_features(model, whole.train, whole.test, False)[0]
        np.testing.assert_allclose(kept, features, rtol=1e-4, atol=1e-4)
        compare.main(compare.parse_args([str(tmp_path / "run")]))
    more = ["--resume", "--input", params, "--epochs", "1", "--no-plots", "--run-dir", tmp_path / "more"]
    with pytest.raises(UserError, match="of --views 0.75,0.5: leave out --views 0.5"):
        run(im2vec, photographs, *more, "--views", "0.5")
    run(im2vec, photographs, *more, "--backbone-lr", rate)
    assert im2vec_modelfile.describe(tmp_path / "more" / "model.params")["views"] == [0.75, 0.5]
    with pytest.raises(UserError, match="was trained without --views: leave out --views 0.5"):
        old = with_views(params, [], tmp_path / "old.params")
        run(im2vec, photographs, "--resume", "--input", old, "--views", "0.5")


@pytest.mark.parametrize("how", [[], ["--fine-tune", "--epochs", "1"]])
def test_transfer(photographs, weights, tmp_path, how, capsys):
    """Both programs that read features, and predict.py by what the model file says."""
    flags = ["--model", "conv4", "--weights", weights, "--interpolation", "bilinear", *VIEWS]
    run(transfer, photographs, *flags, *how, "--folds", "1", "--run-dir", tmp_path / "run")
    files = sorted(photographs.rglob("test/**/*.jpg"))

    def pil(picture):
        return np.array(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR))

    found = transfer_model.load(tmp_path / "run" / "model.params")
    net = backbones.create("conv4", weights, size=SIDE)
    if how:
        net = networks.tuned("conv4", found.preprocessing, found.parameters)
    expected = mean_features(net, files, pil)
    labels = found.classes[found.predict(expected)]
    capsys.readouterr()
    predict.main(predict.parse_args([*map(str, files), "--params", str(tmp_path / "run" / "model.params")]))
    assert [row.split(",")[1] for row in capsys.readouterr().out.splitlines()[1:]] == labels.tolist()
    if how:
        return
    folder = photographs / "dataset" / "test"
    flags = ["--folder", folder, "-tm", "conv4", "-weights", weights, "-b", "3", "-dir", tmp_path]
    for name, more in (("plain", []), ("several", VIEWS), ("eight", [*VIEWS, "--int8"])):
        asked = [*flags, "--interpolation", "bilinear", "-n", name, "--with-path", *more]
        generate_embedding.main(generate_embedding.parse_args(list(map(str, asked))))
    vectors, paths = np.load(tmp_path / "several_data.npy"), np.load(tmp_path / "several_paths.npy")
    np.testing.assert_allclose(vectors, mean_features(net, paths, pil), rtol=1e-4, atol=1e-4)
    assert np.abs(np.load(tmp_path / "plain_data.npy") - vectors).max() > 0.01
    eight = np.load(tmp_path / "eight_data.npy")
    assert np.corrcoef(eight.ravel(), vectors.ravel())[0, 1] > 0.98
    with pytest.raises(SystemExit):
        transfer.parse_args(["--features", str(tmp_path / "several_data.npy"), *VIEWS])
    assert "--views needs pictures, not --features" in capsys.readouterr().err
