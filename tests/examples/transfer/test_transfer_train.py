"""Classifiers on features, fine-tuning, and the prediction of one's own pictures."""

import argparse
import csv
import json
import shutil
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from common import backbones
from common.export import engine
from common.files.errors import UserError
from examples.transfer import data, evaluation, finetune, model, networks, outputs, predict, train
from tests.examples.transfer.conftest import coloured_folder


@pytest.fixture
def clusters():
    """Three classes of 30 vectors each, of unequal scale, and two new ones of each."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 32)
    features = ((rng.normal(size=(96, 8)) + 4 * np.eye(3, 8)[labels]) * np.arange(1, 9)).astype(np.float32)
    new = np.arange(96) % 32 >= 30
    return features[~new], labels[~new], features[new], labels[new]


@pytest.fixture
def folder(tmp_path):
    return coloured_folder(tmp_path / "data", (20, 30))


def run(*flags):
    args = train.parse_args([str(flag) for flag in flags])
    train.main(args)


def fit_folder(folder, run_dir, *flags):
    common = ["--data-path", folder, "--model", "conv4", "--weights", "None", "--folds", "2", "--test-share", "0.25"]
    run(*common, "--batch-size", "5", "--run-dir", run_dir, *flags)


@pytest.mark.parametrize("kind", model.KINDS)
def test_classifiers_learn_and_read_back(tmp_path, clusters, kind):
    features, labels, new, expected = clusters
    fitted = model.fit(kind, features, labels, ["x", "y", "z"], {"name": None})
    fitted.save(tmp_path / "c.params")
    again = model.load(tmp_path / "c.params")
    assert again.classes.tolist() == ["x", "y", "z"] and (again.k, again.backbone) == (fitted.k, fitted.backbone)
    assert again.predict(new).tolist() == expected.tolist()
    np.testing.assert_array_equal(again.scores(features), fitted.scores(features))
    if kind != "svm":
        np.testing.assert_allclose(again.probabilities(new).sum(axis=1), 1, rtol=1e-5)


def skewed(rng, counts=(60, 6, 12)):
    labels = np.repeat(np.arange(3), counts)
    return (rng.normal(size=(len(labels), 8)) + 1.2 * np.eye(3, 8)[labels]).astype(np.float32), labels


@pytest.mark.parametrize("kind", ["logistic", "svm"])
def test_balance_weighs_each_picture_by_the_others_of_its_class(kind):
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    features, labels = skewed(np.random.default_rng(0))
    fitted = model.fit(kind, features, labels, list("xyz"), {}, balance=True)
    weights = [len(labels) / 3 / sum(other == label for other in labels) for label in labels]
    peer = LogisticRegression(C=0.01, max_iter=300) if kind == "logistic" else LinearSVC(C=0.001, random_state=123)
    peer.fit(((features - fitted.mean) / fitted.scale).astype(np.float32), labels, sample_weight=weights)
    np.testing.assert_allclose(fitted.weight, peer.coef_, atol=1e-4)
    np.testing.assert_allclose(fitted.bias, peer.intercept_, atol=1e-4)


@pytest.mark.parametrize("kind", ["logistic", "lda", "svm", "gluon"])
def test_balance_names_more_of_the_small_classes(kind):
    features, labels = skewed(np.random.default_rng(0))
    new, expected = skewed(np.random.default_rng(1), (200, 200, 200))
    right = [
        (model.fit(kind, features, labels, list("xyz"), {}, balance=balance).predict(new) == expected)[200:].mean()
        for balance in (False, True)
    ]
    assert right[1] > right[0] + 0.1


@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
def test_lda_is_the_densities_of_gaussians_that_share_a_covariance(shrinkage, balance):
    features, labels = skewed(np.random.default_rng(0))
    new, _ = skewed(np.random.default_rng(1))
    fitted = model.fit("lda", features, labels, list("xyz"), {}, balance=balance, shrinkage=shrinkage)
    x, at = ((values - features.mean(0)) / features.std(0) for values in (features, new))
    means = np.stack([x[labels == label].mean(0) for label in range(3)])
    priors = np.full(3, 1 / 3) if balance else np.bincount(labels) / len(labels)
    within = sum(p * np.cov(x[labels == label].T, bias=True) for label, p in enumerate(priors))  # classes count so too
    within = (1 - shrinkage) * within + shrinkage * np.trace(within) / 8 * np.eye(8)
    inverse = np.linalg.inv(within)
    away = at[None] - means[:, None]
    density = priors[:, None] * np.exp(-0.5 * np.einsum("cnd,de,cne->cn", away, inverse, away))
    np.testing.assert_allclose(fitted.probabilities(new), (density / density.sum(0)).T, atol=1e-3)


def test_lda_shrinks_by_ledoit_and_wolf_unless_it_is_told(clusters):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels, new, _ = clusters
    for chosen in (labels < 3, labels < 2):  # two classes: one score decides
        fitted = model.fit("lda", features[chosen], labels[chosen], np.unique(labels[chosen]), {})
        peer = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis("lsqr", shrinkage="auto"))
        peer.fit(features[chosen], labels[chosen])
        assert (fitted.predict(new) == peer.predict(new)).all()
        assert fitted.weight.shape == (len(np.unique(labels[chosen])), features.shape[1])


def test_balance_fine_tunes_on_all_classes_alike(tmp_path, folder):
    for name in ("3", "4", "5", "6", "7"):
        (folder / "blue" / f"{name}.png").unlink()
    flags = ["--data-path", str(folder), "--fine-tune", "--folds", "1", "--test-share", "0.3", "--batch-size", "5"]
    flags += ["--epochs", "3"]
    for more, counts in (([], [2, 6, 6]), (["--balance"], [4, 5, 5])):  # in name order: blue first
        loaded = data.load(args := train.parse_args([*flags, *more]))
        batches = data.Batches(loaded.image_set, loaded.train, [16], args)
        drawn = [np.bincount(np.concatenate([b[1] for b in batches.epoch(epoch)])) for epoch in range(3)]
        assert all(sorted(one.tolist()) == counts for one in drawn)
        assert all(image.shape == (16, 16, 3) for b in batches.epoch(0) for image in b[0])


def test_folds_follow_the_smallest_class(tmp_path, folder, capsys):
    assert data.load(args := train.parse_args(["--data-path", str(folder)])) and args.folds == 5
    for name in ("3", "4", "5", "6", "7"):
        (folder / "blue" / f"{name}.png").unlink()
    for folds, said in ((2, "2 folds: the smallest class has 2"), (1, "no cross-validation: the smallest class has 1")):
        data.load(args := train.parse_args(["--data-path", str(folder)]))
        assert args.folds == folds and f"{said} pictures to learn from (--folds)" in capsys.readouterr().out
        (folder / "blue" / "2.png").unlink(missing_ok=True)
    with pytest.raises(UserError, match="--folds 5"):
        data.load(train.parse_args(["--data-path", str(folder), "--folds", "5"]))


def test_logistic_regression_is_scikit_learns(clusters):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels, new, _ = clusters
    for chosen in (labels < 3, labels < 2):  # two classes: one score decides
        classes = np.unique(labels[chosen])
        fitted = model.fit("logistic", features[chosen], labels[chosen], classes, {})
        peer = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
        peer.fit(features[chosen], labels[chosen])
        expected = peer.predict_proba(new)
        if len(classes) > 2:
            np.testing.assert_allclose(fitted.probabilities(new), expected, atol=1e-3)
        assert (fitted.predict(new) == expected.argmax(axis=1)).all()


def test_neighbours_are_scikit_learns(clusters):
    features, labels, new, _ = clusters
    fitted = model.fit("knn", features, labels, range(3), {}, k=7)
    peer = KNeighborsClassifier(7).fit((features - fitted.mean) / fitted.scale, labels)
    np.testing.assert_allclose(fitted.scores(new), peer.predict_proba((new - fitted.mean) / fitted.scale), atol=1e-6)


def old_npz(path, fitted, **backbone):
    """A classifier.npz as it was written before model files."""
    text = json.dumps({"kind": fitted.kind, "backbone": {**fitted.backbone, **backbone}, "k": fitted.k})
    arrays = {name: getattr(fitted, name) for name in ("classes", "mean", "scale", "weight", "bias")}
    np.savez(path, about=np.array(text), **arrays)


def test_classifiers_of_before_are_read(tmp_path, clusters):
    features, labels, _, _ = clusters
    fitted = model.fit("svm", features, labels, ["x", "y", "z"], {"name": None})
    old_npz(tmp_path / "classifier.npz", fitted)
    again = model.load(tmp_path / "classifier.npz")
    assert again.classes.tolist() == ["x", "y", "z"] and again.kind == "svm" and not again.parameters
    np.testing.assert_array_equal(again.scores(features), fitted.scores(features))

    of = {"name": "conv4", "weights": "backbone.params", "interpolation": "nearest", "seed": 1}
    old_npz(tmp_path / "classifier.npz", fitted, **of)
    with pytest.raises(UserError, match="backbone.params is not .*the files that train.py --fine-tune wrote are want"):
        model.load(tmp_path / "classifier.npz")
    net = backbones.create("conv4")
    net.initialize()
    net.save_parameters(str(tmp_path / "backbone.params"))
    (tmp_path / "backbone.json").write_text(json.dumps(net.preprocessing.to_dict()))
    again = model.load(tmp_path / "classifier.npz")
    tuned = networks.tuned("conv4", again.preprocessing, again.parameters)
    pictures = mx.nd.random.uniform(0, 255, (2, 32, 32, 3))
    np.testing.assert_array_equal(tuned(pictures).asnumpy(), net(pictures).asnumpy())


def test_no_code_in_a_file_of_a_classifier_is_run(tmp_path):
    np.savez(tmp_path / "c.npz", about=np.array([{}], object))
    with pytest.raises(UserError, match="not a classifier of train.py"):
        model.load(tmp_path / "c.npz")


@pytest.mark.parametrize("kind", ["logistic", "lda", "svm", "gluon"])
def test_fine_tuning_starts_from_the_classifier(clusters, kind):
    features, labels, new, _ = clusters
    fitted = model.fit(kind, features, labels, range(3), {})
    head = finetune.dense(fitted, 0, mx.cpu())
    np.testing.assert_allclose(head(mx.nd.array(new)).asnumpy(), fitted.scores(new), rtol=1e-3, atol=1e-3)


def test_folds_hold_equal_shares_of_the_classes(clusters):
    features, labels, _, _ = clusters
    seen = []

    def fit(vectors, learned):
        seen.append(np.bincount(labels[learned]).tolist())
        return model.fit("logistic", vectors[learned], labels[learned], range(3), {})

    found = evaluation.cross_validate(fit, features, labels, np.arange(90), 5, 0)
    assert seen == [[24, 24, 24]] * 5 and found == [1.0] * 5


@pytest.mark.parametrize("kind", ["logistic", "knn", "svm"])
def test_what_is_said_of_a_picture_by_the_classifier_that_did_not_see_it(clusters, tmp_path, kind):
    features, labels, _, _ = clusters
    fitted = []

    def fit(vectors, learned):
        fitted.append((model.fit(kind, vectors[learned], labels[learned], range(3), {}), set(learned.tolist())))
        return fitted[-1][0]

    train = np.arange(0, 90, 2)
    loaded = data.Data(features, None, labels, np.array(["x", "y,z", "w"]), train, train + 1, train[:0])
    run = argparse.Namespace(folder=tmp_path, args=argparse.Namespace(classifier=kind, folds=3, seed=0))
    assert len(evaluation.out_of_sample(fit, features, loaded, run)) == 3
    file = tmp_path / "out_of_sample.csv"
    if kind == "svm":
        assert not file.exists()
        return
    with open(file, encoding="utf-8", newline="") as lines:
        names, *rows = csv.reader(lines)
    assert names == ["row", "label", "x", "y,z", "w"]
    assert [(int(row[0]), row[1]) for row in rows] == [(i, loaded.class_names[labels[i]]) for i in train]
    for i, row in zip(train, rows):
        (other,) = [classifier for classifier, learned in fitted if i not in learned]
        expected = other.probabilities(features[i][None])[0]
        np.testing.assert_allclose(np.array(row[2:], float), expected, rtol=1e-5, atol=1e-7)
        assert abs(sum(map(float, row[2:])) - 1) < 1e-6


def test_pictures_to_classifier_to_prediction(folder, tmp_path, capsys):
    fit_folder(folder, tmp_path / "run")
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert figures["accuracy"] == 1 and figures["test_pictures"] == 6 and len(figures["fold_accuracy"]) == 2
    for name in ("report.html", "model.params", "plots/confusion.png", "plots/features.png", "args.json"):
        assert (tmp_path / "run" / name).is_file()
    capsys.readouterr()
    pictures = sorted(folder.glob("*/*.png"))
    flags = [*map(str, pictures), "--params", str(tmp_path / "run" / "model.params"), "--batch-size", "7"]
    predict.main(predict.parse_args(flags))
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["path"] for row in rows] == [str(path) for path in pictures]
    assert [row["class"] for row in rows] == [path.parent.name for path in pictures]
    assert all(1 / 3 <= float(row["score"]) <= 1 for row in rows)
    predict.main(predict.parse_args([*flags, "--engine", "onnxruntime"]))
    assert len(list(engine.weights_dir().glob("onnx/*.onnx"))) == 1
    for row, other in zip(rows, csv.DictReader(capsys.readouterr().out.splitlines()), strict=True):
        assert row["class"] == other["class"] and float(row["score"]) == pytest.approx(float(other["score"]), abs=2e-4)


def test_a_table_with_its_own_splits_and_boxes(folder, tmp_path):
    """The other half of each picture is black, and outside of its box."""
    rows = ["path;product;split;x1;y1;x2;y2;category"]
    for file in sorted(folder.glob("*/*.png")):
        half = np.zeros((20, 60, 3), np.uint8)
        half[:, 30:] = np.asarray(Image.open(file))
        Image.fromarray(half).save(file)
        split = ["test", "test", "validation", *["train"] * 5][int(file.stem)]
        kind = "cold" if file.parent.name == "blue" else "warm"
        rows.append(f"{file.relative_to(tmp_path)};{file.parent.name};{split};30;0;60;20;{kind}")
    (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8-sig")
    table = ["--dataset", "csv", "--columns", "label=product"]
    fit_folder(tmp_path / "t.csv", tmp_path / "run", *table)
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (figures["train_pictures"], figures["test_pictures"], figures["accuracy"]) == (15, 6, 1)
    assert figures["coarse_accuracy"] == figures["validation_accuracy"] == 1
    loaded = data.load(train.parse_args([*table, "--data-path", str(tmp_path / "t.csv"), "--folds", "2"]))
    assert loaded.image_set.read(0).shape == (20, 30, 3) and loaded.image_set.read(0).max() > 100
    rows = [row.replace("train", "validation") if "blue" in row else row for row in rows]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    with pytest.raises(UserError, match="class 'blue' has no picture of split train, and is held back"):
        fit_folder(tmp_path / "t.csv", tmp_path / "run2", *table)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["svm", "knn", "gluon"])
def test_features_of_a_file(tmp_path, clusters, kind):
    features, labels, _, _ = clusters
    output = outputs.Output(tmp_path, "x", "csv", 8, "key")
    output.add(features, {})
    output.finish(np.array(list("abc"))[labels], [""] * 90)
    run("--features", tmp_path / "x.csv", "--classifier", kind, "--folds", 2, "--run-dir", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["accuracy"] > 0.9
    with pytest.raises(UserError, match="train.py --model NAME notes their network"):
        predict.main(predict.parse_args(["x.png", "--params", str(tmp_path / "run" / "model.params")]))


@pytest.mark.slow
def test_fine_tuning_changes_the_last_block_alone_and_resumes_exactly(folder, tmp_path, capsys):
    fit_folder(folder, tmp_path / "run", "--fine-tune", "--lr", "1e-3")
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {"accuracy", "before_fine_tuning_accuracy"} <= set(figures)
    mx.random.seed(123)
    plain = backbones.create("conv4")
    plain.initialize(mx.init.MSRAPrelu())
    tuned = model.load(tmp_path / "run" / "model.params").parameters
    early, _ = plain.early_late()
    early = {parameter.name for parameter in early}
    changed = {p.name for key, p in plain._collect_params_with_prefix().items() if (tuned[key] != p.data()).sum() > 0}
    assert changed and not changed & early and not any("batchnorm" in name for name in changed)

    stopped = tmp_path / "stopped"  # as it was after its first epoch
    shutil.copytree(tmp_path / "run", stopped)
    shutil.rmtree(stopped / "checkpoints" / "epoch-0002-batch-000000")
    for name in ("model.params", "finetuned_data.npy", "finetuned_labels.npy", "metrics.json"):
        (stopped / name).unlink()
    with pytest.raises(UserError, match="--lr 0.01: .* was begun with --lr 0.001"):
        fit_folder(folder, stopped, "--fine-tune", "--lr", "1e-2", "--resume")
    run("--resume", "--run-dir", stopped)
    for name in ("model.params", "finetuned_data.npy", "metrics.json"):
        assert (stopped / name).read_bytes() == (tmp_path / "run" / name).read_bytes(), name

    capsys.readouterr()
    flags = [str(folder / "red" / "0.png"), "--params", str(stopped / "model.params")]
    predict.main(predict.parse_args(flags))
    assert ",red," in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["--int8"]])
def test_another_seed_reads_nothing_again_and_another_interpolation_does(folder, tmp_path, kept, monkeypatch, flags):
    fit_folder(folder, tmp_path / "first", *flags)
    assert len(list(kept.iterdir())) == 1
    fit_folder(folder, tmp_path / "bilinear", "--interpolation", "bilinear", *flags)
    assert len(list(kept.iterdir())) == 2
    monkeypatch.setattr(data.inputs, "batches", None)  # would fail if it were called
    fit_folder(folder, tmp_path / "second", "--classifier", "knn", *flags)
    rows = [np.load(tmp_path / name / "features_data.npy") for name in ("first", "second", "bilinear")]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert not np.allclose(rows[0], rows[2])


def test_the_same_pictures_in_another_split_are_read_once(folder, tmp_path, monkeypatch):
    """Weights of a file: random ones would be others by another seed."""
    net = backbones.network("conv4")
    net.initialize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.save_parameters(str(tmp_path / "w.params"))
    flags = ["--data-path", folder, "--model", "conv4", "--weights", tmp_path / "w.params", "--folds", "1"]
    run(*flags, "--seed", "1", "--run-dir", tmp_path / "1")
    monkeypatch.setattr(data.inputs, "batches", None)
    run(*flags, "--seed", "2", "--run-dir", tmp_path / "2")
    rows = [np.load(tmp_path / seed / "features_data.npy") for seed in "12"]
    assert not np.array_equal(*rows)
    np.testing.assert_array_equal(*(each[np.lexsort(each.T)] for each in rows))


def test_features_are_read_in_the_engine_that_the_run_began_with(folder, tmp_path, kept, monkeypatch):
    def engine_of(name, *flags):
        fit_folder(folder, tmp_path / name, "--folds", "1", *flags)
        return json.loads((tmp_path / name / "args.json").read_text())["args"]["engine"]

    assert engine_of("few") == "mxnet" and engine_of("asked", "--engine", "onnxruntime") == "onnxruntime"
    rows = [np.load(tmp_path / name / "features_data.npy") for name in ("few", "asked")]
    assert 0 < np.abs(rows[0] - rows[1]).max() < 1e-4 * np.abs(rows[0]).max()
    monkeypatch.setattr(engine, "PAYS", 0)
    assert engine_of("many") == "onnxruntime" and engine_of("few", "--resume") == "mxnet"
    forgotten = json.loads((tmp_path / "few" / "args.json").read_text())
    del forgotten["args"]["engine"]  # as runs of before there was a choice
    (tmp_path / "few" / "args.json").write_text(json.dumps(forgotten))
    shutil.rmtree(kept)
    for name, begun in (("few", rows[0]), ("many", rows[1])):
        (tmp_path / name / "features_data.npy").unlink()
        fit_folder(folder, tmp_path / name, "--folds", "1", "--resume")
        np.testing.assert_array_equal(np.load(tmp_path / name / "features_data.npy"), begun)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("where", ["between the files", "before the state", "after the state", "before the folder"])
def test_a_kill_while_features_are_put_in_place_leaves_nothing(folder, tmp_path, monkeypatch, where):
    """Each of these left a folder behind, or files that were taken for whole."""
    fit_folder(folder, tmp_path / "whole", "--folds", "1")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        if where == "between the files":
            patch.setattr(outputs.os, "replace", killing(outputs.os.replace, "features_labels.npy"))
        elif where == "before the folder":
            patch.setattr(type(tmp_path), "rmdir", killing(type(tmp_path).rmdir, "features.part"))
        else:
            name = "state.json" if where == "before the state" else "vectors"
            patch.setattr(type(tmp_path), "unlink", killing(type(tmp_path).unlink, name))
        fit_folder(folder, tmp_path / "run", "--folds", "1")
    fit_folder(folder, tmp_path / "run", "--folds", "1", "--resume")
    assert not (tmp_path / "run" / "features.part").exists()
    for name in ("features_data.npy", "features_labels.npy"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def killing(function, name):
    """`function`, which does not come to a file of this name."""

    def call(path, *more, **options):
        if str(path).endswith(name):
            raise Killed
        return function(path, *more, **options)

    return call


def test_data_sets_in_memory_serve_too(tmp_path):
    flags = ["--dataset", "glyphs", "--model", "conv4", "--weights", "None", "--folds", "1", "--classifier", "knn"]
    with pytest.raises(UserError, match="at least 2 classes are needed"):
        run(*flags, "--folds", "50", "--run-dir", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    args = train.parse_args(flags)
    found = data.pictures(args)
    assert len(found.image_set) == len(found.train) + len(found.test) and len(found.test) * 3 == len(found.train)
    assert len(found.validation) == 0 and "validation pictures" not in found.counts()


@pytest.mark.parametrize(
    "flags, words",
    [
        ([], "give --features FILE, or pictures"),
        (["--features", "x", "--data-path", "y"], "give --features FILE, or pictures"),
        (["--features", "x", "--fine-tune"], "--fine-tune needs pictures"),
        (["--data-path", "x", "--int8", "--gpus=0"], "--int8 runs on the CPU"),
        (["--data-path", "x", "--shrinkage", "0.1"], "--shrinkage is of --classifier lda, not of logistic"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(flags, words, capsys):
    with pytest.raises(SystemExit) as end:
        train.parse_args(flags)
    error = capsys.readouterr().err
    assert end.value.code == 2 and words in error and error.count("\n") == 1


def write_features(folder, vectors, labels=None):
    np.save(folder / "x_data.npy", vectors)
    np.save(folder / "x_labels.npy", np.arange(len(vectors)) % 2 if labels is None else labels)
    return folder / "x_data.npy"


@pytest.mark.slow
@pytest.mark.parametrize("vectors", [
    np.ones((40, 6)), np.random.default_rng(0).normal(size=(40, 1)), np.random.default_rng(0).normal(size=(10, 6)),
    np.random.default_rng(0).normal(size=(40, 6)) * 1e30,
], ids=["constant", "single", "few", "huge"])  # fmt: skip
def test_features_that_make_no_map_still_make_a_report(tmp_path, vectors):
    """In a process of its own: of constant features t-SNE ended it."""
    vectors = vectors.copy()
    vectors[1::2] *= 3 if vectors.std() else 1
    flags = ["--features", write_features(tmp_path, vectors.astype(np.float32)), "--folds", "1"]
    command = [sys.executable, train.__file__, *flags, "--run-dir", tmp_path / "run"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "NaN" not in (tmp_path / "run" / "metrics.json").read_text()
    page, drawn = (
        (tmp_path / "run" / "report.html").read_text(),
        (tmp_path / "run" / "plots" / "features.png").is_file(),
    )
    assert drawn != ("too few or too much alike for a map" in page)
    assert drawn == (vectors.std() > 0 and len(vectors) > 10)


def test_huge_features_are_told_apart_as_small_ones_are(clusters):
    features, labels, new, expected = clusters
    fitted = model.fit("logistic", features * np.float32(1e30), labels, range(3), {})
    assert np.isfinite(fitted.scale).all() and fitted.predict(new * np.float32(1e30)).tolist() == expected.tolist()


@pytest.mark.parametrize("name, content, words", [
    ("x_data.npy", b"\x93NUMPY", "is not as it should be"),
    ("x.csv", b"", "is not as it should be"),
    ("x.csv", b"Class,n0\na,1\nb,two\n", "row 3, column n0: 'two' is no number"),
    ("x.csv", b"Class,n0,n1\na,1,2\nb,1,2\na,1\n", "row 4, column n1: '' is no number"),
    ("x.csv", b"Class,n0\na,1\nb,1,2,3\n", "is not as it should be"),
    ("x.csv", b"n0,n1\n1,2\n", "it has no column Class among n0, n1"),
    ("x.csv", b"Class,n0\n", "rows of numbers and as many labels are needed, not .0, 1. and .0,."),
    ("x.csv", b"Class,n0\na,1\nb,1e300\n", "1 of 2 rows hold numbers that are not finite .row 3."),
    ("x.csv", b"Class,n0\na,1\nb,nan\n", "1 of 2 rows hold numbers that are not finite .row 3."),
    ("x.parquet", b"PAR1", "is not as it should be"),
])  # fmt: skip
def test_broken_features_are_one_line(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    if name == "x_data.npy":
        np.save(tmp_path / "x_labels.npy", np.zeros(3))
    with pytest.raises(UserError, match=words) as error:
        outputs.load(tmp_path / name)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_features_that_claim_more_than_they_are_get_no_room(tmp_path):
    file = write_features(tmp_path, np.ones((4, 3), np.float32))
    for name in ("x_data.npy", "x_labels.npy"):
        whole = (tmp_path / name).read_bytes()
        with open(tmp_path / name, "wb") as claiming:
            header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 1)}
            np.lib.format.write_array_header_1_0(claiming, header)
        with pytest.raises(UserError, match="is not as it should be"):
            outputs.load(file)
        (tmp_path / name).write_bytes(whole)
    vectors = np.ones((4, 3), np.float32)
    vectors[2, 1] = np.nan
    with pytest.raises(UserError, match="x_data.npy: 1 of 4 rows hold numbers that are not finite .row 3."):
        outputs.load(write_features(tmp_path, vectors))
    (tmp_path / "x_labels.npy").unlink()
    with pytest.raises(UserError, match="its labels x_labels.npy are not beside it"):
        outputs.load(file)


def test_data_that_does_not_fit_is_one_line(folder, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        run("--features", tmp_path / "gone_data.npy")
    with pytest.raises(UserError, match="is not as it should be .*of generate_embedding.py is wanted"):
        run("--features", folder / "red" / "0.png")
    with pytest.raises(UserError, match="smallest of 6 pictures to learn from"):
        fit_folder(folder, tmp_path / "run", "--folds", "9")
    (folder / "red" / "0.png").write_bytes(b"none")
    with pytest.raises(UserError, match="0.png is not a picture"):
        fit_folder(folder, tmp_path / "run")
