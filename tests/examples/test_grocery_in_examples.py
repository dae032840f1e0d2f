"""The Grocery Store set in all five examples, on a small folder laid out as it is."""

import argparse
import json
import shutil

import mxnet as mx
import numpy as np
import pytest

from common import backbones, pack
from common.data import sets
from common.files.errors import UserError
from examples.embedding_learning import data as embedding_data
from examples.embedding_learning import train as embedding_learning
from examples.im2vec import compare, modelfile
from examples.im2vec import train as im2vec
from examples.transfer import train as transfer
from examples.visual_semantic import data as visual_semantic_data
from examples.visual_semantic import evaluate, model
from examples.visual_semantic import train as visual_semantic
from examples.vse import evaluate as vse_evaluate
from examples.vse import layouts
from examples.vse import train as vse
from tests.conftest import GROCERIES

WORDS = "royal gala pink lady lemon lime kaiser anjou oat milk soy leek ginger apple pear kind number"


def run(program, folder, *flags):
    flags = ["--dataset", "grocery", "--data-path", folder, *flags]
    program.main(program.parse_args([str(flag) for flag in flags]))


def figures(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Word vectors of the words that the products are called by."""
    rng, file = np.random.default_rng(0), tmp_path_factory.mktemp("words") / "words.vec"
    file.write_text("".join(f"{word} {' '.join(map(str, rng.normal(size=6).round(3)))}\n" for word in WORDS.split()))
    return file


@pytest.fixture(autouse=True)
def own_features(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path / "data"))


@pytest.fixture
def weights(tmp_path):
    """Parameters of a small network."""
    mx.random.seed(0)
    network = backbones.network("conv4")
    network.initialize(mx.init.MSRAPrelu())
    network(mx.nd.zeros((1, 3, 32, 32)))
    network.save_parameters(str(tmp_path / "conv4.params"))
    return tmp_path / "conv4.params"


EMBEDDING = ("--model", "conv4", "--epochs", "1", "--epoch-batches", "2", "--embed-dim", "8")


def test_embedding_learning_asks_the_test_list_in_the_training_list(groceries, tmp_path):
    for protocol, test, gallery in (("unseen", 10, 15), ("seen", 20, None)):
        folder = tmp_path / protocol
        run(embedding_learning, groceries, *EMBEDDING, "--protocol", protocol, "--run-dir", folder)
        counts = json.loads((folder / "args.json").read_text())["data"]
        assert counts["test pictures"] == test and counts.get("gallery pictures") == gallery
        assert counts.get("validation pictures") == (7 if protocol == "seen" else None)
        found = figures(folder)
        assert found["raw_pixels_recall@1"] > 0.9  # a product is a colour here
        assert ("validation_recall@1" in found) == (protocol == "seen")
        methods = ("", "raw_pixels_", "before_training_")
        assert all(0 <= found[f"{name}catalogue_{scope}hit@{k}"] <= 1 for name in methods for scope in ("", "all_")
                   for k in (1, 5, 10))  # fmt: skip
        log = (folder / "log.txt").read_text()
        assert "in a catalogue of 10 pictures too" in log and "catalogue_all_centred_hit@1" in log
        assert ("looked for among 15 others of their classes" in log) == (protocol == "unseen")
        assert ("7 pictures of grocery's own validation list" in log) == (protocol == "seen")
        assert (folder / "plots" / "retrieval.png").is_file()
    run(embedding_learning, groceries, *EMBEDDING, "--protocol", "seen", "--run-dir", tmp_path / "seen", "--resume")


def test_a_product_with_one_test_photograph_is_found_in_the_gallery(groceries):
    args = embedding_learning.parse_args(
        ["--dataset", "grocery", "--data-path", str(groceries), "--unseen", "Leek", "Lime", "--validation-share", "0.5"]
    )
    parts = embedding_data.load(args)
    assert parts.test.class_names == parts.gallery.class_names == ["Lime", "Leek"]
    assert len(parts.train.class_names) == len(parts.validation.class_names) == 4  # classes held out
    args = embedding_learning.parse_args(
        ["--dataset", "grocery", "--data-path", str(groceries), "--protocol", "seen", "--validation-share", "0.4"]
    )
    assert len(embedding_data.load(args).validation) == 10  # a share of the training list instead of the official list


def test_catalogue_pictures_are_learned_from_where_that_is_asked(groceries):
    grocery = ["--dataset", "grocery", "--data-path", str(groceries), "--with-catalogue"]
    for more, photographs, products in (["--protocol", "seen"], 30, 10), (["--unseen", "Leek", "Lime"], 24, 8):
        parts = embedding_data.load(embedding_learning.parse_args([*grocery, "--validation-share", "0", *more]))
        added = parts.train.subset(range(photographs, len(parts.train)))
        shown = [(parts.train.class_names[label], path.stem) for label, path in zip(added.labels, added.images)]
        assert len(shown) == products and all(file == f"{name}_Iconic" for name, file in shown)
        assert f"{products} catalogue pictures of the training classes are learned from too" in parts.notes
        assert not {"Leek", "Lime"} & {name for name, _ in shown} or "seen" in more
    folder = ["--dataset", "folder", "--data-path", str(groceries / "dataset" / "train" / "Apple"), "--with-catalogue"]
    with pytest.raises(UserError, match="--with-catalogue: folder has no catalogue pictures"):
        embedding_data.load(embedding_learning.parse_args(folder))


def test_transfer_reports_groups_and_the_validation_list(groceries, tmp_path, capsys):
    flags = ["--model", "conv4", "--weights", "None", "--folds", "1", "--run-dir", tmp_path / "run"]
    run(transfer, groceries, *flags)
    found = figures(tmp_path / "run")
    assert (found["train_pictures"], found["test_pictures"]) == (30, 20)
    assert found["coarse_accuracy"] >= found["accuracy"] > 0.5 < found["validation_accuracy"]
    assert f", of their groups {found['coarse_accuracy']:.4f}, of validation pictures" in capsys.readouterr().out


def test_im2vec_takes_products_or_groups(groceries, tmp_path):
    flags = ["--image-size", "32", "--epochs", "1", "--no-plots"]
    run(im2vec, groceries, *flags, "--objective", "hierarchical", "--run-dir", tmp_path / "all")
    assert len(modelfile.describe(tmp_path / "all" / "model.params")["group_names"]) == 7
    run(im2vec, groceries, *flags, "--classes", "Apple", "Leek", "Lime", "--run-dir", tmp_path / "some")
    found = modelfile.describe(tmp_path / "some" / "model.params")
    assert found["classes"] == ["Apple", "Leek", "Lime"] and found["counts"] == [6, 3, 3]
    with pytest.raises(UserError, match=r"--classes Pears: grocery has no such class \(did you mean Pear"):
        run(im2vec, groceries, "--classes", "Pears", "Leek")


def test_im2vec_compares_with_the_means_of_frozen_features(groceries, weights, tmp_path, capsys):
    flags = ["--model", "conv4", "--params", weights, "--image-size", "32", "--epochs", "1", "--no-plots"]
    run(im2vec, groceries, *flags, "--run-dir", tmp_path / "run")
    more = ["--output", tmp_path / "f.json", "--report", tmp_path / "page", "--refits", "2", "--resamples", "1"]
    compare.main(compare.parse_args([str(flag) for flag in (tmp_path / "run", *more)]))
    learned = (tmp_path / "page" / "nearest.csv").read_text(encoding="utf-8").splitlines()[1].split(",")
    assert learned[0] == "class vectors" and learned[-1] == "2" and learned[-2] in ("0", "0.5", "1")
    found = json.loads((tmp_path / "f.json").read_text())
    assert found["chance"]["purity"] == [pytest.approx(1 / 15)]  # four of ten are alone
    assert found["chance"]["purity of the 6 not alone"] == [pytest.approx(1 / 9)]
    net, whole = modelfile.load(tmp_path / "run" / "model.params").net, sets.load("grocery", groceries, "seen").train
    rows = net.backbone(mx.nd.array(whole.array(32), dtype="uint8")).asnumpy()
    means = np.stack([rows[whole.labels == label].mean(axis=0) for label in range(10)])
    unit = (means - means.mean(axis=0)) / np.linalg.norm(means - means.mean(axis=0), axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -2)
    groups = list(GROCERIES.values())
    right = [groups[row.argmax()] == group for row, group in zip(similar, groups)]
    assert found["means of features"]["purity"] == [np.mean(right)]
    assert found["means of features"]["purity of the 6 not alone"] == [np.sum(right) / 6]


def test_visual_semantic_names_products_never_seen(groceries, words, tmp_path, capsys):
    flags = ["--model", "conv4", "--word-vectors", words, "--batch-size", "4", "--no-plots"]
    flags += ["--epochs-1", "1", "--epochs-2a", "1", "--epochs-2b", "1", "--run-dir", tmp_path / "run"]
    run(visual_semantic, groceries, *flags, "--unseen", "Lime", "Kaiser")
    out = capsys.readouterr().out
    assert "24 pictures of 8 seen classes to train on, 5 held back, 4 of 2 unseen" in out
    params = tmp_path / "run" / "model.params"
    assert model.load(params).unseen == ["Lime", "Kaiser"]
    evaluate.main(evaluate.parse_args(["--params", str(params), "--data-path", str(groceries)]))
    assert "5 held-back pictures of 8 seen classes, 4 pictures of 2 unseen classes" in capsys.readouterr().out
    args = ["--dataset", "grocery", "--data-path", str(groceries)]
    with pytest.raises(UserError, match="no picture of the validation list is of a seen class"):
        unseen = list(GROCERIES)[:7]
        visual_semantic_data.load(visual_semantic.parse_args([*args, "--unseen", *unseen]))


def named(classes, **given):
    """The splits of a data set without pictures, whose classes have these groups."""
    return visual_semantic_data.Splits(None, None, None, list(classes), [], **given)


def test_a_brand_has_other_words_and_the_users_win():
    args = argparse.Namespace(dataset="grocery", words=["Satsumas=mandarin", "Leek=onion"])
    found = visual_semantic_data.word_of(args, named(["Satsumas", "Leek", "Oatly-Oat-Milk"]))
    assert found == {"Satsumas": "mandarin", "Leek": "onion", "Oatly-Oat-Milk": "oat milk"}
    args = argparse.Namespace(dataset="folder", words=[])
    assert visual_semantic_data.word_of(args, named(["Satsumas"])) == {}


def test_words_of_the_group_follow_those_of_the_name():
    groups = {"Kaiser": "Pear", "Oatly-Natural-Oatghurt": "Oatghurt", "Leek": "Leek", "Lime": "Lime"}
    args = argparse.Namespace(dataset="grocery", words=["Lime=citrus"], class_text="group")
    found = visual_semantic_data.word_of(args, named(groups, groups=groups))
    oat = {"Oatly-Natural-Oatghurt": "natural oat yoghurt"}
    assert found == {"Kaiser": "Kaiser Pear", "Leek": "Leek", "Lime": "citrus", **oat}
    with pytest.raises(UserError, match="--class-text group: --dataset awa2 has none"):
        visual_semantic_data.word_of(argparse.Namespace(dataset="awa2", words=[], class_text="group"), named(["ox"]))


def test_the_brands_words_are_of_products_or_groups_that_exist(real_grocery):
    from common.data.sets import grocery

    photographs, _, groups, _ = grocery.load(real_grocery)
    assert set(visual_semantic_data.WORDS["grocery"]) <= {*photographs.class_names, *groups.values()}


@pytest.mark.parametrize("kind", ["group", "description"])
def test_visual_semantic_names_products_by_their_groups_and_descriptions(groceries, weights, words, tmp_path, kind):
    flags = ["--model", "conv4", "--params", weights, "--image-size", "32", "--word-vectors", words, "--stages", "1,2a"]
    flags += ["--backbone-lr", "0", "--epochs-1", "1", "--epochs-2a", "1", "--batch-size", "4", "--no-plots"]
    flags += ["--class-text", kind]
    for seed in "12":
        folder = tmp_path / seed
        run(visual_semantic, groceries, *flags, "--seed", seed, "--run-dir", folder)
        evaluate.main(
            evaluate.parse_args(
                [
                    "--params",
                    str(folder / "model.params"),
                    "--data-path",
                    str(groceries),
                    "--output",
                    str(folder / "f.json"),
                ]
            )
        )
        rows = json.loads((folder / "f.json").read_text())
        assert set(rows) == {"chance", "features", "ridge", "ConSE", "classifier", "trained", "trained and ConSE"}
        assert rows["trained"]["zero_shot"] == figures(folder)["zero_shot"]
        assert rows["features"]["recall@1_unseen"] > 0.5 < rows["trained"]["recall@1_unseen"]  # a product is a colour
    parts = (tmp_path / "data" / "features").glob("conv4-32-*/*.npz")
    read = np.concatenate([np.load(part)["pictures"] for part in parts])
    assert len(read) == len(set(read))  # each picture once for both seeds


def test_vse_ranks_descriptions_of_products_never_seen(groceries, weights, tmp_path, capsys):
    flags = ["--model", "conv4", "--params", weights, "--image-size", "32", "--dim", "8", "--dim_word", "4"]
    run(vse, groceries, *flags, "--batch_size", "4", "--max_epochs", "1", "--no-plots", "--run-dir", tmp_path / "run")
    assert "grocery, test: 4 pictures of 2 things, 2 captions (1 a thing)" in capsys.readouterr().out  # the test list's
    assert len(list((tmp_path / "data" / "features").glob("conv4-32-*/*.npz"))) == 1  # all lists are read at once
    vse_evaluate.main(vse_evaluate.parse_args([str(tmp_path / "run" / "model.params")]))
    assert "test: 4 pictures of 2 things" in capsys.readouterr().out
    run(vse, groceries, *flags, "--max_epochs", "1", "--no-plots", "--protocol", "seen", "--run-dir", tmp_path / "seen")
    said = capsys.readouterr().out
    for part, pictures, things in (("train", 30, 10), ("dev", 7, 7), ("test", 20, 10)):
        of = f" of {things} things" * (pictures > things)
        assert f"grocery, {part}: {pictures} pictures{of}, {things} captions" in said
    vse_evaluate.main(vse_evaluate.parse_args([str(tmp_path / "seen" / "model.params")]))
    assert "test: 20 pictures of 10 things" in capsys.readouterr().out
    assert len(list((tmp_path / "data" / "features").glob("conv4-32-*/*.npz"))) == 1
    with pytest.raises(UserError, match="--protocol seen is for grocery"):
        layouts.load("glyphs", protocol="seen")


@pytest.mark.parametrize("protocol", ["unseen", "seen"])
def test_vse_reads_records(groceries, tmp_path, protocol):
    flags = ["--dataset", "grocery", "--data-path", str(groceries), "--output", str(tmp_path / "g.rec")]
    pack.main(pack.parse_args(flags))
    own, other = (layouts.load("grocery", path, protocol=protocol) for path in (groceries, tmp_path / "g.rec"))
    for name, split in own.items():
        assert split.texts == other[name].texts and split.names == other[name].names
        np.testing.assert_array_equal(split.image_labels, other[name].image_labels)
        np.testing.assert_array_equal(split.pictures.read(1), other[name].pictures.read(1))


def test_vse_leaves_out_what_cannot_be_read(groceries, tmp_path):
    shutil.copytree(groceries, tmp_path / "broken")
    (tmp_path / "broken" / "dataset" / "train" / "Leek" / "Leek" / "Leek_001.jpg").write_text("no picture")
    splits = layouts.load("grocery", tmp_path / "broken", on_error="skip")
    sizes = {name: len(split.pictures) for name, split in splits.items()}
    assert sizes["test"] == 4 and sum(sizes.values()) <= 8 * 4 + 4 and [split.names for split in splits.values()][0]
    told = {name for split in splits.values() for name in split.names}
    assert len(told) == 10 and not set(splits["train"].names) & set(splits["test"].names)
