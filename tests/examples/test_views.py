"""`--views` in the examples: features of a picture and of its middles, averaged, in training and by the saved model."""

import functools
import json
import shutil
import sys

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from common import backbones
from common.backbones import modelfile
from common.data.transforms import Eval
from common.files.errors import UserError
from common.files.paths import REPO
from examples.im2vec import compare
from examples.im2vec import data as im2vec_data
from examples.im2vec import export as im2vec_export
from examples.im2vec import modelfile as im2vec_modelfile
from examples.im2vec import train as im2vec
from examples.transfer import evaluation, generate_embedding, inputs, networks, predict
from examples.transfer import export as transfer_export
from examples.transfer import model as transfer_model
from examples.transfer import train as transfer
from examples.visual_semantic import data, evaluate, export, model, pictures
from examples.visual_semantic import train as visual_semantic
from examples.visual_semantic.gallery import Searcher
from examples.vse import evaluate as vse_evaluate
from examples.vse import export as vse_export
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


def with_views(params, kind, views, path):
    """The model file with other views in its metadata."""
    file = modelfile.load(params, kind, {}, "")
    modelfile.save(path, kind, file.parameters, {**file.metadata, "views": views}, file.arrays)
    return path


def packed(program, folder, files, *flags):
    """What the package that `program` writes gives for files, read without the suite."""
    program.main(program.parse_args([*map(str, flags), "--package", str(folder)]))
    sys.path.insert(0, str(REPO / "runtime"))
    from image_embeddings import Model

    sys.path.pop(0)
    return Model(folder).embed(files)


@pytest.mark.parametrize("rate", ["0", pytest.param("0.1", marks=pytest.mark.slow)])
def test_visual_semantic(photographs, weights, words, tmp_path, capsys, monkeypatch, rate):
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

    asked = ["--params", params, "--data-path", photographs, "--output", tmp_path / "f.json"]
    asked += [] if rate == "0" else ["--engine", "onnxruntime", "--no-baselines"]
    evaluate.main(evaluate.parse_args(list(map(str, asked))))
    rows = json.loads((tmp_path / "f.json").read_text())
    assert rows["trained"]["zero_shot"] == known["zero_shot"] and rows["trained"]["accuracy"] == known["accuracy"]
    assert rows["trained"]["map_unseen"] == pytest.approx(known["map_unseen"])

    for name in ("contact_sheet", "confusion", "mistakes"):  # which take their time
        monkeypatch.setattr(pictures.plots, name, lambda *arguments, **options: None)
    splits = data.load(visual_semantic.parse_args(["--dataset", "grocery", "--data-path", str(photographs)]))
    view = pictures.View(tmp_path / "run", splits, tmp_path, mx.cpu())
    accuracy = json.loads((tmp_path / "run" / "stage1" / "metrics.json").read_text())["accuracy"]
    right = f"{round(accuracy * len(splits.valid))} of {len(splits.valid)} held-back pictures are right."
    assert view.classifier(heat_maps=2)[0][1][0] == right

    capsys.readouterr()
    export.main(export.parse_args(["--params", str(params), "--output", str(tmp_path / "mobile")]))
    said = "a picture alone; the figures of train.py are of the mean with its middles (0.75, 0.5"
    assert said in capsys.readouterr().out
    if rate == "0":
        found = packed(export, tmp_path / "package", files, "--params", params, "--vocabulary", 0)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    with pytest.raises(UserError, match=r"odd.params is not as it should be \(its 'views' cannot be \[2\]\)"):
        model.load(with_views(params, model.KIND, [2], tmp_path / "odd.params"))


@pytest.mark.parametrize("how", [[], pytest.param(["--finetune", "--batch_size", "4"], marks=pytest.mark.slow)])
def test_vse(photographs, weights, tmp_path, how):
    flags = ["--model", "conv4", "--params", weights, "--image-size", SIDE, "--dim", "8", "--dim_word", "4", *how]
    run(vse, photographs, *flags, *VIEWS, "--max_epochs", "2", "--no-plots", "--run-dir", tmp_path / "run")
    params, net = tmp_path / "run" / "model.params", vse_model.load(tmp_path / "run" / "model.params")
    backbone = net.backbone or backbones.create("conv4", weights, size=SIDE)
    files = sorted(photographs.rglob("test/**/*.jpg"))
    read = vse_pictures.Reader(net.metadata, net if how else None, keep=False)
    expected = mean_features(backbone, files, Eval(round(SIDE * 8 / 7), SIDE, keep_aspect=True))
    np.testing.assert_allclose(read(vse_pictures.files(files)), expected, rtol=1e-4, atol=1e-4)
    if not how:
        found = packed(vse_export, tmp_path / "package", files, "--params", params)
        np.testing.assert_allclose(found, net.encode_images(expected), atol=1e-4)
    known = json.loads((tmp_path / "run" / "metrics.json").read_text())
    vse_evaluate.main(vse_evaluate.parse_args([str(params), "--output", str(tmp_path / "f.json")]))
    found = json.loads((tmp_path / "f.json").read_text())["model.params"]
    assert found["rsum"] == pytest.approx(known["rsum"])
    np.save(tmp_path / "t_train_ims.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(UserError, match="--views needs pictures, and t here is features"):
        vse.main(vse.parse_args(["--data", "t", "--data-path", str(tmp_path), *VIEWS]))


@pytest.mark.parametrize("rate", ["0", pytest.param("0.1", marks=pytest.mark.slow)])
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
        found = packed(im2vec_export, tmp_path / "package", whole.train.images, "--input", params)
        np.testing.assert_allclose(found, vectors, rtol=1e-3, atol=1e-4)
    more = ["--resume", "--input", params, "--epochs", "1", "--no-plots", "--run-dir", tmp_path / "more"]
    with pytest.raises(UserError, match="of --views 0.75,0.5: leave out --views 0.5"):
        run(im2vec, photographs, *more, "--views", "0.5")
    run(im2vec, photographs, *more, "--backbone-lr", rate)
    assert im2vec_modelfile.describe(tmp_path / "more" / "model.params")["views"] == [0.75, 0.5]
    with pytest.raises(UserError, match="was trained without --views: leave out --views 0.5"):
        old = with_views(params, im2vec_modelfile.KIND, [], tmp_path / "old.params")
        run(im2vec, photographs, "--resume", "--input", old, "--views", "0.5")


@pytest.mark.parametrize("how", [[], pytest.param(["--fine-tune", "--epochs", "1"], marks=pytest.mark.slow)])
def test_transfer(photographs, weights, tmp_path, how, capsys, monkeypatch):
    """Both programs that read features, and predict.py by what the model file says."""
    monkeypatch.setattr(evaluation, "report", lambda *arguments: None)  # which takes its time
    flags = ["--model", "conv4", "--weights", weights, "--image-size", SIDE, "--interpolation", "bilinear", *VIEWS]
    run(transfer, photographs, *flags, *how, "--folds", "1", "--run-dir", tmp_path / "run")
    files = sorted(photographs.rglob("test/**/*.jpg"))

    def pil(picture, side=SIDE):
        return np.array(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR))

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
    found = packed(transfer_export, tmp_path / "package", files, "--params", tmp_path / "run" / "model.params")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    folder, net = photographs / "dataset" / "test" / "Apple", backbones.create("conv4", weights)
    flags = ["--folder", folder, "-tm", "conv4", "-weights", weights, "-b", "3", "-dir", tmp_path]
    flags += ["--interpolation", "bilinear", "-n", "x", *VIEWS]
    generate_embedding.main(generate_embedding.parse_args(list(map(str, flags))))
    vectors, paths = np.load(tmp_path / "x_data.npy"), np.load(tmp_path / "x_paths.npy").ravel()
    expected = mean_features(net, paths, functools.partial(pil, side=net.input_size))
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-4)
    several = inputs.middle(inputs.from_folder(folder), SIDE, None, False, [0.75, 0.5])
    ranges = inputs.spread(several, 2, SIDE, "bilinear")
    assert ranges.shape == (6, SIDE, SIDE, 3)  # INT8 is calibrated on all views
    with pytest.raises(SystemExit):
        transfer.parse_args(["--features", str(tmp_path / "x_data.npy"), *VIEWS])
    assert "--views needs pictures, not --features" in capsys.readouterr().err
