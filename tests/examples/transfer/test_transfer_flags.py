"""What flags of the programs do, given on a command line."""

import csv
import dataclasses

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from common import backbones
from common.backbones import pretrained
from common.backbones.preprocessing import IMAGENET, Preprocessing
from common.files.errors import UserError
from examples.transfer import generate_embedding, inputs, model, networks, predict, train

SIDE = 32  # of what conv4 sees
FILTERS = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic")}


@pytest.fixture
def pictures(tmp_path):
    """Two classes of five noisy pictures, each larger than what the network sees."""
    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(5):
            picture = rng.integers(0, 128, (50, 70, 3)) + 100 * (label == "b")
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "pictures" / label / f"{number}.png")
    return tmp_path / "pictures"


def resized(pictures, folder, name):
    """The same pictures at the network's size, by Pillow's filter."""
    for file in pictures.glob("*/*.png"):
        place = folder / file.parent.name / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).resize((SIDE, SIDE), FILTERS[name]).save(place)
    return folder


@pytest.fixture
def weights(tmp_path):
    """A file of parameters, with what they were trained with beside it."""
    net = backbones.network("conv4")
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, SIDE, SIDE)))
    net.save_parameters(str(tmp_path / "own.params"))
    values = (120.0, 110.0, 100.0), (1 / 60, 1 / 50, 1 / 40)
    own = Preprocessing(*values, size=SIDE, interpolation="bicubic", crop_share=0.8)
    pretrained.save_preprocessing(tmp_path / "own.params", own)
    return tmp_path / "own.params"


def generated(folder, *flags):
    """The vectors that generate_embedding.py writes into the folder above `folder`, of the pictures in that."""
    flags = ["--folder", folder, "-tm", "conv4", "-dir", folder.parent, "-b", "5", *flags]
    generate_embedding.main(generate_embedding.parse_args([str(flag) for flag in flags]))
    return np.load(folder.parent / "transferfeature_data.npy")


@pytest.mark.parametrize("name", FILTERS)
def test_interpolation_of_generate_embedding(pictures, tmp_path, name):
    def vectors(folder, interpolation):
        return generated(folder, "-weights", "None", "--interpolation", interpolation)

    found, same = vectors(pictures, name), vectors(resized(pictures, tmp_path / "resized", name), "nearest")
    np.testing.assert_array_equal(found, same)
    other = vectors(pictures, "bicubic" if name == "nearest" else "nearest")
    assert np.abs(found - other).max() > 1e-3


def test_interpolation_of_train(pictures, tmp_path):
    def vectors(folder, interpolation, run):
        flags = ["--data-path", folder, "--model", "conv4", "--weights", "None", "--folds", "1", "--run-dir", run]
        flags += ["--interpolation", interpolation, "--test-share", "0.4"]
        train.main(train.parse_args([str(flag) for flag in flags]))
        classifier = model.load(run / "model.params")
        assert classifier.backbone["interpolation"] == interpolation
        return classifier.mean

    small = resized(pictures, tmp_path / "resized", "bilinear")
    found = vectors(pictures, "bilinear", tmp_path / "1")
    np.testing.assert_array_equal(found, vectors(small, "nearest", tmp_path / "2"))
    assert np.abs(found - vectors(pictures, "nearest", tmp_path / "3")).max() > 1e-3


def test_the_filter_mean_and_deviation_of_the_weights(pictures, weights):
    """Those of the file beside them; where that says something else, the same by flags."""
    found = generated(pictures, "-weights", weights, "--interpolation", "weights")
    np.testing.assert_array_equal(found, generated(pictures, "-weights", weights, "--interpolation", "bicubic"))
    pretrained.save_preprocessing(weights, dataclasses.replace(IMAGENET, size=SIDE))
    flags = ["-weights", weights, "--interpolation", "bicubic"]
    own = generated(pictures, *flags, "--mean", 120, 110, 100, "--deviation", 60, 50, 40)
    np.testing.assert_allclose(own, found, rtol=1e-5, atol=1e-5)
    assert np.abs(generated(pictures, *flags) - found).max() > 1e-2


@pytest.mark.parametrize("aspect", [[], ["--keep-aspect"]])
def test_the_middle_is_cut_out(pictures, weights, tmp_path, aspect):
    """Of pictures of 50 x 70 pixels, by hand."""
    width, height = (56, 40) if aspect else (40, 40)
    for file in pictures.glob("*/*.png"):
        place = tmp_path / "cut" / file.parent.name / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        x, y = (width - SIDE) // 2, (height - SIDE) // 2
        Image.open(file).resize((width, height), FILTERS["bilinear"]).crop((x, y, x + SIDE, y + SIDE)).save(place)
    flags = ["-weights", weights, "--interpolation", "bilinear"]
    found = generated(pictures, *flags, "--resize", 40, *aspect)
    np.testing.assert_array_equal(found, generated(tmp_path / "cut", "-weights", weights))
    if aspect:
        assert np.abs(generated(pictures, *flags, *aspect) - found).max() > 1e-3  # its shorter side is then 32


def predicted(capsys, pictures, params):
    capsys.readouterr()
    predict.main(predict.parse_args([*map(str, pictures), "--params", str(params)]))
    return [float(row["score"]) for row in csv.DictReader(capsys.readouterr().out.splitlines())]


LOOK = [
    "--interpolation", "weights", "--resize", "36", "--keep-aspect", "--mean", "9", "8", "7",
    "--deviation", "40", "50", "60",
]  # fmt: skip


TAKEN = ["--interpolation", "weights", "--crop-share", "weights", "--layer", "-3", "--pooling", "gem"]
TUNED = ["--fine-tune", "--epochs", "1", "--crop-area", "0.5"]


@pytest.mark.parametrize(("look", "tuned"), [(LOOK, []), (LOOK, TUNED), (TAKEN, []), (TAKEN, TUNED)])
def test_predict_sees_pictures_as_the_classifier_did(pictures, weights, tmp_path, capsys, look, tuned):
    flags = ["--data-path", pictures, "--model", "conv4", "--weights", weights, "--folds", "1", *look, *tuned]
    run = tmp_path / "run"
    train.main(train.parse_args([str(flag) for flag in [*flags, "--run-dir", run]]))
    classifier = model.load(run / "model.params")
    features = np.load(run / f"{'finetuned' if tuned else 'features'}_data.npy")
    assert classifier.backbone["interpolation"] == "bicubic"  # as it says beside the weights
    files = sorted(pictures.glob("*/*.png"))
    found = predicted(capsys, files, run / "model.params")
    rows = sorted(classifier.probabilities(features).max(axis=1).round(4))
    np.testing.assert_allclose(sorted(found), rows, atol=2e-4)

    (run / "features_data.npy").unlink()  # resumed, it is read in the same way
    train.main(train.parse_args(["--resume", "--run-dir", str(run)]))
    again = model.load(run / "model.params")
    np.testing.assert_array_equal(again.weight, classifier.weight)
    if look is TAKEN:
        assert classifier.weight.shape[1] == 128 and classifier.backbone["crop_share"] == 0.8
        return
    with pytest.raises(UserError, match="--mean 9.0,8.0,8.0: .* begun with --mean 9.0,8.0,7.0"):
        train.parse_args(["--resume", "--run-dir", str(run), "--mean", "9", "8", "8"])


def test_all_probabilities_of_the_pictures_of_a_folder(pictures, weights, tmp_path, capsys):
    run, name = tmp_path / "run", ["--model", "conv4", "--weights", str(weights)]
    train.main(train.parse_args(["--data-path", str(pictures), *name, "--folds", "1", "--run-dir", str(run)]))
    capsys.readouterr()
    predict.main(predict.parse_args([str(pictures), "--all", "--params", str(run / "model.params")]))
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["path"] for row in rows] == [str(file) for file in sorted(pictures.glob("*/*.png"))]
    for row in rows:
        each = {label: float(row[label]) for label in "ab"}
        assert sum(each.values()) == pytest.approx(1, abs=2e-4) and each[row["class"]] == float(row["score"])


@pytest.mark.parametrize(("share", "short", "longer", "y", "x"), [
    (0.875, 256, 384, 16, 80), (0.9, 248, 372, 12, 74), (0.95, 235, 352, 6, 64), (1.0, 224, 336, 0, 56),
])  # fmt: skip
def test_the_crop_is_torchvisions(share, short, longer, y, x):
    """``Resize(floor(224 / share))`` and ``CenterCrop(224)``, worked out by hand; 5.5 pixels above become 6 there."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (333, 500, 3)).astype(np.uint8))
    for turned in (False, True):
        given = picture.transpose(Image.Transpose.TRANSPOSE) if turned else picture
        size, corner = ((short, longer), (y, x)) if turned else ((longer, short), (x, y))
        resized = given.resize(size, Image.Resampling.BICUBIC)
        expected = resized.crop((*corner, corner[0] + 224, corner[1] + 224))
        np.testing.assert_array_equal(inputs.cropped(given, 224, share, "bicubic"), np.asarray(expected))


def test_crop_share_goes_alone():
    for flag in (["--resize", "40"], ["--keep-aspect"]):
        args = train.parse_args(["--dataset", "glyphs", "--crop-share", "0.9", *flag])
        with pytest.raises(UserError, match=f"--crop-share 0.9 resizes the shorter .* leave out {flag[0]}"):
            networks.settle(args, None)
    args = train.parse_args(["--features", "f_data.npy", "--crop-share", "weights"])
    with pytest.raises(UserError, match="--crop-share weights needs the network"):
        networks.settle(args, None)


def test_features_made_before_note_how_pictures_are_seen(pictures, weights, tmp_path, capsys):
    vectors = generated(pictures, "-weights", weights, *LOOK)
    flags = ["--features", tmp_path / "transferfeature_data.npy", "--model", "conv4", "--weights", weights, *LOOK]
    train.main(train.parse_args([str(flag) for flag in [*flags, "--folds", "1", "--run-dir", tmp_path / "run"]]))
    expected = model.load(tmp_path / "run" / "model.params").probabilities(vectors).max(axis=1)
    found = predicted(capsys, sorted(pictures.glob("*/*.png")), tmp_path / "run" / "model.params")
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_a_run_of_generate_embedding_goes_on_as_it_was_begun_alone(pictures, weights, tmp_path):
    """What was written with another look is not taken for this one's."""

    def key(*look):
        flags = ["--folder", pictures, "-tm", "conv4", "-weights", weights, *look]
        args = generate_embedding.parse_args([str(flag) for flag in flags])
        source = inputs.from_folder(args.folder)
        net = networks.create("conv4", str(weights), mean=args.mean, deviation=args.deviation)
        return generate_embedding.settings_key(args, source, net, "mxnet")

    keys = [key(), key("--mean", 1, 2, 3), key("--deviation", 9, 9, 9), key("--resize", 40), key("--keep-aspect")]
    assert len(set(keys)) == 5
