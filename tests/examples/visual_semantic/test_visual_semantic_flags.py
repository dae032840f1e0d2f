"""What flags of the programs do, given on a command line."""

import json
import math
import shutil

import faiss
import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from common.data import images
from common.data.sets import awa2
from common.files.errors import UserError
from examples.visual_semantic import evaluate, lay_out_emoji, model, search, split_awa2, train
from tests.examples.visual_semantic.conftest import COLOURS, SEEN, UNSEEN

SIDE = 16


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Twelve small pictures of each colour."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir()
        for number in range(12):
            picture = (np.array(colour) + rng.normal(0, 12, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(picture).save(root / name / f"{name}_{10001 + number}.png")
    return root


@pytest.fixture(scope="module")
def run(pictures, coloured, tmp_path_factory):
    """Trains stages 1 and 2a for an epoch, and gives the run folder."""

    def run(*more):
        folder = tmp_path_factory.mktemp("run") / "run"
        argv = [
            "--dataset", "folder", "--data-path", pictures, "--word-vectors", coloured.words, "--unseen", *UNSEEN,
            "--model", "conv4", "--image-size", SIDE, "--resize", SIDE, "--stages", "1,2a", "--epochs-1", 1,
            "--epochs-2a", 1, "--batch-size", 8, "--log-interval", 1, "--no-plots", "--run-dir", folder, *more,
        ]  # fmt: skip
        train.main(train.parse_args([str(word) for word in argv]))
        return folder

    return run


def losses(folder, stage):
    rows = map(json.loads, (folder / f"stage{stage}" / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if row["batch"]]


def vectors(file):
    lines = (line.split(" ") for line in file.read_text().splitlines()[1:])
    return {name: np.array(numbers, float) for name, *numbers in lines}


@pytest.mark.parametrize("kind", ["raw", "centred", "whitened"])
def test_word_space_is_that_of_the_words_in_the_model(run, coloured, kind):
    known = vectors(coloured.words)
    every = np.stack(list(known.values()))
    rows = np.stack([known[name] for name in SEEN])
    if kind != "raw":
        rows, every = rows - every.mean(axis=0), every - every.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = model.load(run("--word-space", kind) / "model.params").words
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    cosines = rows @ rows.T
    if kind == "whitened":  # those of Mahalanobis
        products = rows @ np.linalg.inv(np.cov(every.T)) @ rows.T
        cosines = products / np.sqrt(np.outer(products.diagonal(), products.diagonal()))
    np.testing.assert_allclose(found[: len(SEEN)] @ found[: len(SEEN)].T, cosines, atol=1e-4)


def test_valid_share_of_the_seen_pictures_is_held_back(run):
    """Of twelve pictures of each of four seen classes."""
    for share, count in ((0.5, 24), (0.25, 12)):
        data = json.loads((run("--valid-share", share, "--stages", "1") / "args.json").read_text())["data"]
        assert (data["held-back pictures"], data["training pictures"]) == (count, 48 - count)


def test_hidden_units_stand_before_the_words(run):
    def shapes(folder):
        return {array.shape for array in mx.nd.load(str(folder / "model.params")).values()}

    width = 128  # of conv4's features at this size
    linear, deep = shapes(run()), shapes(run("--hidden", 7))
    assert (300, width) in linear and (300, width) not in deep
    assert {(7, width), (300, 7)} <= deep


def test_temperature_levels_the_classes(run):
    """So hot that all classes are as likely, whatever the picture."""
    even, sharp = (losses(run("--loss", "softmax", "--temperature", x), "2a") for x in (1e5, 0.1))
    np.testing.assert_allclose(even, math.log(len(SEEN)), rtol=1e-4)
    assert np.abs(np.array(sharp) - math.log(len(SEEN))).max() > 0.01


def test_dropout_changes_what_is_learned_from(run):
    plain, dropped = (losses(run("--dropout", share), "1") for share in (0.0, 0.9))
    assert plain == losses(run(), "1") and plain[0] == dropped[0]  # at first the classifier is all zeros
    assert abs(plain[1] - dropped[1]) > 1e-4


def test_keep_aspect_sees_the_middle_of_a_wide_picture(run, pictures, tmp_path, capsys):
    middle = np.array(Image.open(pictures / "red" / "red_10001.png"))
    Image.fromarray(np.concatenate([255 - middle, middle, 255 - middle], axis=1)).save(tmp_path / "wide.png")

    def cosines(folder):
        said = []
        for file in (pictures / "red" / "red_10001.png", tmp_path / "wide.png"):
            capsys.readouterr()
            search.main(search.parse_args(["--params", str(folder / "model.params"), "--image", str(file)]))
            said.append(capsys.readouterr().out.splitlines()[1:])
        return said

    same, other = cosines(run("--keep-aspect")), cosines(run())
    assert same[0] == same[1] and other[0] != other[1]


def test_a_solved_head_is_eszsl(run, pictures):
    """What the model file gives is what the baseline gives on the same features."""
    folder = run("--head", "eszsl")
    file = folder / "figures.json"
    argv = ["--params", str(folder / "model.params"), "--baselines", "eszsl", "--output", str(file)]
    evaluate.main(evaluate.parse_args([*argv, "--data-path", str(pictures), "--unseen", *UNSEEN]))
    found = json.loads(file.read_text())
    for name, value in found["trained"].items():  # which has no handicap
        assert found["ESZSL"][name] == pytest.approx(value, abs=1e-6), name
    for wrong in (["--hidden", "4"], ["--find-lr", "--stages", "2a", "--use-pretrained"]):
        with pytest.raises(UserError, match="--head eszsl .* leave out " + wrong[0]):
            run("--head", "eszsl", *wrong)


def test_a_table_of_the_same_pictures_gives_the_same_model(run, pictures, tmp_path, capsys):
    names = sorted(pictures.glob("*/*.png"))
    (tmp_path / "t.csv").write_text("\n".join(["p\tname", *(f"{path}\t{path.parent.name}" for path in names)]))
    table = ["--dataset", "csv", "--data-path", str(tmp_path / "t.csv"), "--columns", "path=p", "label=name"]
    folders = run(), run(*table)
    first, second = (mx.nd.load(str(folder / "stage2a" / "model.params")) for folder in folders)
    weights = [name for name in first if ":" not in name]
    assert weights and all((first[name].asnumpy() == second[name].asnumpy()).all() for name in weights)
    asked = ["--params", str(folders[1] / "model.params"), "--no-baselines", *table]
    capsys.readouterr()
    evaluate.main(evaluate.parse_args(asked))
    said = capsys.readouterr().out
    assert "pictures of 2 unseen classes" in said
    evaluate.main(evaluate.parse_args([*asked, "--engine", "onnxruntime"]))
    assert capsys.readouterr().out == said


@pytest.fixture(scope="module")
def asked(coloured, tmp_path_factory):
    """Evaluates the model of colours, and gives the figures by method."""

    def asked(*more, of_folder=("--data-path", coloured.pictures, "--unseen", *UNSEEN)):
        file = tmp_path_factory.mktemp("asked") / "figures.json"
        argv = ["--params", coloured.params, *of_folder, "--output", file]
        evaluate.main(evaluate.parse_args([str(word) for word in (*argv, *more)]))
        return json.loads(file.read_text())

    return asked


def test_handicap_is_taken_off_seen_classes_beside_the_plain_figures(asked):
    plain, never = (asked("--no-baselines", "--handicap", x)["trained"] for x in (0, 3))
    calibrated = {name: value for name, value in never.items() if name.startswith("calibrated_")}
    assert {name: value for name, value in never.items() if name not in calibrated} == plain and plain["seen"] == 1
    assert calibrated["calibrated_seen"] == calibrated["calibrated_harmonic"] == 0  # 3 is more than cosines differ by
    assert calibrated["calibrated_unseen"] == never["zero_shot"]


def test_no_baselines_leaves_them_out(asked):
    assert set(asked("--no-baselines")) == {"chance", "trained"}
    assert {"ridge", "ConSE", "trained"} <= set(asked())


def test_baselines_are_those_asked_for(asked):
    found = asked("--baselines", "eszsl", "sje", "ale", "devise")
    assert set(found) == {"chance", "features", "ESZSL", "SJE", "ALE", "DeViSE", "trained"}
    assert all({"zero_shot", "harmonic", "ausuc"} <= set(found[name]) for name in ("ESZSL", "SJE", "ALE", "DeViSE"))


def test_classes_in_another_order_give_the_same_figures(asked, coloured, tmp_path):
    """As `split_awa2.py` leaves them, which is by the alphabet, and as the lists of the same folder have them."""
    root = tmp_path / "laid_out"
    root.mkdir()
    (root / "JPEGImages").symlink_to(coloured.pictures)
    seen, unseen = SEEN[2:] + SEEN[:2], UNSEEN[::-1]
    for kind, names in (("", seen + unseen), ("train", seen), ("test", unseen)):
        (root / f"{kind}classes.txt").write_text("".join(f"{name}\n" for name in names))
    layout = ["--dataset", "awa2", "--data-path", root, "--baselines", "ridge", "conse"]
    listed = asked(*layout, of_folder=())
    split_awa2.main(split_awa2.parse_args(["--copy", "--data-path", str(root)]))
    assert listed == asked(*layout, of_folder=()) and listed["trained"]["zero_shot"] == listed["trained"]["seen"] == 1
    in_turn = asked("--unseen", *UNSEEN[::-1], of_folder=("--data-path", coloured.pictures))
    assert in_turn == asked()


def test_a_model_is_taken_up_with_its_classes_in_another_order(asked, coloured, tmp_path):
    net = model.load(coloured.params)
    places, vectors = [3, 2, 1, 0, 5, 4], net.word_vectors.data().asnumpy()
    turned = model.attach(net.backbone, SEEN[::-1], UNSEEN[::-1], vectors[places], mx.cpu())
    model.restore(turned, coloured.params)
    picture = mx.nd.array(images.read(next(coloured.pictures.glob("red/*")))[None], dtype="uint8")
    np.testing.assert_array_equal(turned.classify(picture).asnumpy(), net.classify(picture).asnumpy()[:, ::-1])
    np.testing.assert_array_equal(turned.words, net.words[places])
    model.save(turned, tmp_path / "m.params")
    assert model.load(tmp_path / "m.params").class_names == SEEN[::-1] + UNSEEN[::-1]
    assert asked("--classifier", tmp_path / "m.params") == asked()  # its scores are put in the order of --params


@pytest.mark.parametrize(("flags", "index"), [(["--exact"], faiss.IndexFlat), ([], faiss.IndexHNSW)])
def test_exact_compares_with_all(coloured, tmp_path, flags, index, capsys):
    argv = ["--params", coloured.params, "--gallery", coloured.pictures, "--index", tmp_path / "x.faiss", "-k", 1]
    search.main(search.parse_args([str(word) for word in (*argv, "--text", "red", *flags)]))
    assert "red_" in capsys.readouterr().out
    assert isinstance(faiss.read_index(str(tmp_path / "x.faiss")), index)


def test_categories_are_the_emoji_laid_out(tmp_path):
    root, words = tmp_path / "emoji", tmp_path / "words.vec"
    animals, food = ["dog", "cat", "cow", "goat"], ["pizza", "burger", "salad", "bread"]
    for artist in ("noto", "openmoji"):
        (root / "images" / artist).mkdir(parents=True)
        for code in range(8):
            Image.new("RGB", (64, 64), (code, 90, 9)).save(root / "images" / artist / f"1f43{code}.jpg")
    kinds = {**dict.fromkeys(animals, "Animals"), **dict.fromkeys(food, "Food")}
    lines = [f"1f43{code},{name},{kind},x" for code, (name, kind) in enumerate(kinds.items())]
    (root / "classes.csv").write_text("\n".join(["code,name,category,subcategory", *lines]) + "\n")
    (root / "captions.txt").write_text("")
    words.write_text("\n".join(["8 2", *(f"{name} 1 {i}" for i, name in enumerate(animals + food))]) + "\n")

    def laid_out(*categories):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        argv = ["--data-path", root, "--output", tmp_path / "out", "--word-vectors", words, "--unseen-share", 0.5]
        lay_out_emoji.main(lay_out_emoji.parse_args([*map(str, argv), "--categories", *categories]))
        return {name for names in awa2.split_names(tmp_path / "out") for name in names}

    assert laid_out("Animals", "Food") == {*animals, *food}
    assert laid_out("Food") == set(food)
