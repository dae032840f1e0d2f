"""Losses, baselines, words, the network and the parts of a data set, against slow or closed-form answers."""

import argparse
import dataclasses
import gzip
import json
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score

from common import pack
from common.backbones import modelfile
from common.data.sets import ImageSet, Whole
from common.export import onnx
from common.files.errors import UserError
from examples.visual_semantic import data, evaluation, losses, model, train, words

RNG = np.random.default_rng(0)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


VECTORS, WORDS, LABELS = unit(RNG.normal(size=(9, 6))), unit(RNG.normal(size=(4, 6))), RNG.integers(0, 4, 9)


def slow_loss(name, vectors, i):
    """The loss of picture `i`."""
    label, cosines = LABELS[i], [float(vectors[i] @ t) for t in WORDS]
    if name == "cosine":
        return 1 - cosines[label]
    if name == "hinge":
        return sum(max(0.0, 0.3 - cosines[label] + c) for j, c in enumerate(cosines) if j != label)
    by_word = -np.log(np.exp(cosines[label] / 0.2) / sum(np.exp(c / 0.2) for c in cosines))
    if name == "softmax":
        return by_word
    of_others = (np.exp(v @ WORDS[label] / 0.2) for v, other in zip(vectors, LABELS) if other != label)
    own = np.exp(cosines[label] / 0.2)
    return (by_word - np.log(own / (own + sum(of_others)))) / 2


@pytest.mark.parametrize("name", losses.LOSSES)
def test_each_loss_equals_its_formula_and_its_gradient_a_difference(name):
    loss = losses.create(name, WORDS, margin=0.3, temperature=0.2)
    x = mx.nd.array(VECTORS)
    x.attach_grad()
    with autograd.record():
        value = loss(x, mx.nd.array(LABELS, dtype="int32"))
    value.backward()
    expected = [slow_loss(name, VECTORS, i) for i in range(len(VECTORS))]
    np.testing.assert_allclose(value.asnumpy(), expected, rtol=1e-5, atol=1e-6)
    numeric = np.zeros_like(VECTORS)
    for place in np.ndindex(*VECTORS.shape):
        step = np.zeros_like(VECTORS)
        step[place] = 1e-6
        ends = (sum(slow_loss(name, VECTORS + sign * step, i) for i in range(len(VECTORS))) for sign in (1, -1))
        numeric[place] = np.subtract(*ends) / 2e-6
    np.testing.assert_allclose(x.grad.asnumpy(), numeric, atol=1e-4)


def test_ridge_equals_scikit_learns():
    features, targets = RNG.normal(3, 2, (40, 12)), RNG.normal(size=(40, 5))
    ours, theirs = evaluation.Ridge(features, targets, 7.0), Ridge(alpha=7.0).fit(features, targets)
    new = RNG.normal(3, 2, (8, 12))
    np.testing.assert_allclose(ours(new), unit(theirs.predict(new)), rtol=1e-5, atol=1e-6)


def test_conse_mixes_the_likeliest_words():
    logits = np.log([[0.5, 0.3, 0.15, 0.05]])
    np.testing.assert_allclose(evaluation.conse(logits, WORDS, 2), unit(0.5 * WORDS[:1] + 0.3 * WORDS[1:2]), rtol=1e-5)
    everything = unit(np.array([[0.5, 0.3, 0.15, 0.05]]) @ WORDS)
    np.testing.assert_allclose(evaluation.conse(logits, WORDS, 10), everything, rtol=1e-5)


def test_two_ways_together_are_half_way():
    np.testing.assert_allclose(evaluation.together(np.eye(2), np.eye(2)[::-1]), np.full((2, 2), 0.5**0.5), rtol=1e-6)


def test_metrics_of_a_perfect_and_of_a_biased_embedding():
    words_, labels = np.eye(6), np.repeat(np.arange(6), 4)
    vectors, known = words_[labels], labels < 4
    perfect = evaluation.word_metrics(vectors[known], labels[known], vectors[~known], labels[~known], words_, 4)
    assert all(perfect[name] == 1 for name in ("accuracy", "zero_shot", "seen", "unseen", "harmonic", "ausuc"))
    assert perfect["map_seen"] == perfect["map_unseen"] == 1 and perfect["precision@10_unseen"] == 0.4
    biased = unit(vectors + 2 * words_[0] * ~known[:, None])  # unseen pictures look like the first seen class
    arguments = vectors[known], labels[known], biased[~known], labels[~known], words_, 4
    found = evaluation.word_metrics(*arguments)
    assert (found["zero_shot"], found["unseen"], found["harmonic"]) == (1, 0, 0)
    mended = evaluation.word_metrics(*arguments, handicap=0.9)
    assert mended["calibrated_harmonic"] == 1 and mended["harmonic"] == 0  # calibrated stacking
    assert evaluation.chance(8, 2)["zero_shot"] == 0.5


def test_a_table_says_which_pictures_are_named_and_which_are_searched():
    rng = np.random.default_rng(0)
    words_, labels = unit(rng.normal(size=(6, 5))), np.repeat(np.arange(6), 5)
    vectors, known = unit(words_[labels] + rng.normal(size=(30, 5))), labels < 4
    asked = rng.random(30) < 0.7, rng.random(30) < 0.7
    parts = vectors[known], labels[known], vectors[~known], labels[~known]
    found = evaluation.word_metrics(*parts, words_, 4, asked=asked)
    queries, gallery = (np.flatnonzero(flag) for flag in asked)
    old = [i for i in queries if labels[i] < 4]
    assert found["accuracy"] == np.mean([np.argmax(words_[:4] @ vectors[i]) == labels[i] for i in old])
    new = [i for i in queries if labels[i] >= 4]
    assert found["zero_shot_accuracy"] == np.mean([4 + np.argmax(words_[4:] @ vectors[i]) == labels[i] for i in new])
    searched, of_searched = vectors[gallery], labels[gallery]
    average = {w: average_precision_score(of_searched == w, searched @ words_[w]) for w in set(of_searched)}
    assert found["map_seen"] == pytest.approx(np.mean([average[w] for w in average if w < 4]))
    assert found["map_unseen"] == pytest.approx(np.mean([average[w] for w in average if w >= 4]))
    rows = evaluation.by_class(vectors, labels, words_, 4, asked)
    for label, row in rows.items():
        own = [i for i in queries if labels[i] == label]
        assert row["pictures"] == len(own) and row["map"] == pytest.approx(average[label])
        assert row["generalised_accuracy"] == np.mean([np.argmax(words_ @ vectors[i]) == label for i in own])
    right = [rows[label]["accuracy"] for label in sorted({labels[i] for i in new})]
    assert np.mean(right) == pytest.approx(found["zero_shot"])


def test_nothing_in_the_gallery_is_said_before_training():
    """None marked at all is as no column."""
    valid, test = (ImageSet([f"{i}.png" for i in range(2)], np.zeros(2, int), ["a"]) for _ in range(2))
    none, some = np.zeros(2, bool), np.array([True, False])
    with_flags = [dataclasses.replace(part, is_query=none, is_gallery=none) for part in (valid, test)]
    for parts in ((valid, test), with_flags):
        found = evaluation.queries_and_gallery(SimpleNamespace(valid=parts[0], test=parts[1]))
        assert [flag.tolist() for flag in found] == [[True] * 4] * 2
    marked = SimpleNamespace(valid=with_flags[0], test=dataclasses.replace(test, is_query=some, is_gallery=none))
    with pytest.raises(UserError, match="no picture that is held back or of an unseen class is marked is_gallery"):
        evaluation.queries_and_gallery(marked)


def test_epochs_are_ordered_by_accuracy_and_then_by_loss():
    labels, words_ = np.array([0, 1, 2]), np.eye(3)
    loss = losses.create("cosine", words_)
    right, nearly = (evaluation.validation(unit(np.eye(3) + x), labels, loss, words=words_) for x in (0, 0.5))
    wrong = evaluation.validation(unit(np.eye(3)[[0, 1, 1]]), labels, loss, words=words_)
    assert right["accuracy"] == nearly["accuracy"] == 1 and wrong["accuracy"] == pytest.approx(2 / 3)
    assert right["score"] > nearly["score"] > wrong["score"]
    assert right["valid_loss"] == pytest.approx(0, abs=1e-6) and right["cosine"] == pytest.approx(1)
    assert nearly["cosine"] == pytest.approx(1 - nearly["valid_loss"], abs=1e-6)


@pytest.fixture(scope="module")
def net():
    mx.random.seed(1)
    made = model.create("conv4", None, ["cat", "dog"], ["ox"], RNG.normal(size=(3, 5)), mx.cpu(), 32)
    made.hybridize(static_alloc=True, static_shape=True)
    return made


PICTURES = mx.nd.array(RNG.integers(0, 256, (6, 32, 32, 3)), dtype="uint8")


def test_the_encoder_standardises_and_gives_unit_vectors(net):
    features = net.backbone(PICTURES).asnumpy()
    net.encoder.standardise(features)
    standard = (features - features.mean(axis=0)) / np.sqrt(features.var(axis=0) + 1e-3)
    expected = unit(standard @ net.encoder.head[-1].weight.data().asnumpy().T)
    np.testing.assert_allclose(net.embed(PICTURES).asnumpy(), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(net.embed_features(mx.nd.array(features)).asnumpy(), expected, rtol=1e-3, atol=1e-5)
    before = net.encoder.head[0].running_mean.data().asnumpy().copy()
    with autograd.record():  # training moves nothing of it
        out = net.embed(PICTURES).sum()
    out.backward()
    np.testing.assert_array_equal(net.encoder.head[0].running_mean.data().asnumpy(), before)


def test_the_gradient_of_the_head_is_right(net):
    """A batch norm with fixed statistics comes before it."""
    weight = net.encoder.head[-1].weight
    target = mx.nd.array(unit(RNG.normal(size=(6, 5))))
    features = mx.nd.array(net.backbone(PICTURES).asnumpy())

    def value():
        return float((net.embed_features(features) * target).sum().asscalar())

    with autograd.record():
        out = (net.embed_features(features) * target).sum()
    out.backward()
    gradient, start = weight.grad().asnumpy(), weight.data().asnumpy().copy()
    for i, j in ((0, 0), (2, 7), (4, 30)):
        ends = []
        for sign in (1, -1):
            moved = start.copy()
            moved[i, j] += sign * 1e-2
            weight.set_data(mx.nd.array(moved))
            ends.append(value())
        weight.set_data(mx.nd.array(start))
        assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(gradient[i, j], rel=0.05, abs=2e-3)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0), ("float16", 5e-3)])
def test_a_saved_model_comes_back(net, tmp_path, dtype, tolerance):
    metadata = {"crop": 32, "resize": 36, "keep_aspect": False, "stage": "2a", "classifies": True}
    model.save(net, tmp_path / "m.params", dtype, **metadata)
    again = model.load(tmp_path / "m.params")
    assert again.class_names == ["cat", "dog", "ox"] and again.metadata["resize"] == 36
    for one, other in ((again.embed, net.embed), (again.classify, net.classify)):
        np.testing.assert_allclose(one(PICTURES).asnumpy(), other(PICTURES).asnumpy(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(again.words, net.words, atol=max(tolerance, 1e-7))
    np.testing.assert_allclose(
        net.classify(PICTURES).asnumpy(),  # class activation: the classifier weighs the means of the maps
        net.classifier(net.backbone(PICTURES)).asnumpy(), rtol=1e-5, atol=1e-6,
    )  # fmt: skip


def old_files(net, path, **metadata):
    """A model as it was written before model files: parameters, and a .json beside them."""
    mx.nd.save(str(path), modelfile.values(net))
    described = {"model": "conv4", "dim": net.dim, "hidden": 0, "dropout": 0.0, "seen": net.seen, "unseen": net.unseen}
    of_pictures = {"crop": 32, "resize": 36, "keep_aspect": False, **net.backbone.preprocessing.to_dict()}
    path.with_suffix(".json").write_text(json.dumps({**described, **of_pictures, **metadata}))


def test_a_model_of_before_is_read_and_saved_in_one_file(net, tmp_path):
    old_files(net, tmp_path / "old.params", stage="2a", figures={"accuracy": 0.5})
    read = model.load(tmp_path / "old.params")
    assert read.metadata["metrics"] == {"accuracy": 0.5} and read.metadata["resize"] == 36
    model.save(read, tmp_path / "new.params")
    again = model.load(tmp_path / "new.params")

    def noted(metadata):  # before, how pictures are resized and cut was not
        later = ("interpolation", "crop_share")
        of_pictures = {name: value for name, value in metadata["preprocessing"].items() if name not in later}
        return {**metadata, "preprocessing": of_pictures}

    assert noted(again.metadata) == noted(read.metadata) and not (tmp_path / "new.json").exists()
    for one in (read, again):
        np.testing.assert_array_equal(one.embed(PICTURES).asnumpy(), net.embed(PICTURES).asnumpy())
    for name in ("old.params", "new.params"):
        assert model.is_model(tmp_path / name)
        model.restore(net, tmp_path / name)
        assert noted(net.metadata) == noted(read.metadata)
    net.metadata = {}


def test_models_that_do_not_fit_are_refused(net, tmp_path):
    file = tmp_path / "m.params"
    model.save(net, file, crop=32, resize=32, keep_aspect=False, stage="2b", classifies=False)
    with pytest.raises(UserError, match="stage1/model.params"):
        model.load(file).classify(PICTURES)
    other = model.attach(net.backbone, ["cat", "cow"], ["ox"], np.ones((3, 5)), mx.cpu())
    with pytest.raises(UserError, match="another set of seen classes"):
        model.restore(other, file)
    words_differ = model.attach(net.backbone, net.seen, net.unseen, np.ones((3, 5)), mx.cpu())
    with pytest.raises(UserError, match="another word vectors"):
        model.restore(words_differ, file)
    with pytest.raises(UserError, match="no model there"):
        model.load(tmp_path / "none.params")
    old_files(net, tmp_path / "old.params")
    (tmp_path / "old.json").write_text(json.dumps({"seen": ["a"]}))
    with pytest.raises(UserError, match="it has no .model.*: give another --params, a model that train.py wrote"):
        model.load(tmp_path / "old.params")
    old_files(net, tmp_path / "old.params", dim=1000)
    with pytest.raises(UserError, match=r"old.json .*its classes and 'dim' give \(3, 1000\)"):
        model.load(tmp_path / "old.params")
    parts = argparse.Namespace(seen=["cat", "dog"], unseen=["fox"])
    with pytest.raises(UserError, match="'fox' is unseen in the data only"):
        model.match_classes(net, parts, "m.params")


def test_classes_in_another_order_keep_what_is_theirs():
    labels = np.array([2, 0, 1, 0, 2])
    parts = [ImageSet(np.arange(5 * 12).reshape(5, 2, 2, 3), labels, ["b", "a", "c"]) for _ in range(3)]
    splits = data.Splits(*parts, ["b", "a"], ["c"], vectors=np.array([[1], [0], [2]]), choose_by=["b", "a"])
    found = splits.ordered(["a", "b"], ["c"])
    assert (found.seen, found.class_names, found.choose_by) == (["a", "b"], ["a", "b", "c"], ["a", "b"])
    np.testing.assert_array_equal(found.vectors, [[0], [1], [2]])
    for part in (found.train, found.valid, found.test):
        np.testing.assert_array_equal(part.labels, [0, 1, 1, 2, 2])
        np.testing.assert_array_equal(part.images, parts[0].images[[2, 1, 3, 0, 4]])
    assert splits.ordered(["b", "a"], ["c"]) is splits


def test_the_encoder_goes_to_onnx(net, tmp_path):
    import onnxruntime

    file = onnx.write(net.encoder, tmp_path / "e.onnx", (1, 32, 32, 3))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    given = session.run(None, {"data": PICTURES.asnumpy()})[0]
    np.testing.assert_allclose(given, net.embed(PICTURES).asnumpy(), atol=1e-5)


@pytest.fixture(scope="module")
def vec(tmp_path_factory):
    """fastText's format, 300 numbers a word, a few thousand words, with a common part and uneven directions."""
    file = tmp_path_factory.mktemp("words") / "wiki.vec"
    names = ["polar", "bear", "killer", "whale", "cow", *(f"word{i}" for i in range(3000))]
    rows = RNG.normal(size=(len(names), 300)) * np.linspace(0.2, 3, 300) + 2
    body = "".join(f"{name} {' '.join(f'{x:.4f}' for x in row)}\n" for name, row in zip(names, rows))
    file.write_text(f"{len(names)} 300\n{body}", encoding="utf-8")
    return file, dict(zip(names, rows.round(4)))


def test_classes_get_their_words(vec):
    file, rows = vec
    given = words.vectors(["polar+bear", "killer whale", "ox"], file, {"ox": "cow"})
    expected = [(rows["polar"] + rows["bear"]) / 2, (rows["killer"] + rows["whale"]) / 2, rows["cow"]]
    np.testing.assert_allclose(given, expected, rtol=1e-5)
    assert words.known(["polar+bear", "killer bee", "cow"], file) == {"polar+bear", "cow"}
    assert words.pairs(["ox=cow", "a=b=c"]) == {"ox": "cow", "a": "b=c"}


@pytest.mark.parametrize(("names", "renamed", "text"), [
    (["cow", "wale"], {}, "class 'wale': .*did you mean whale.*--words wale=WORD"),
    (["cow"], {"cows": "cow"}, "no class is called 'cows' .did you mean cow"),
])  # fmt: skip
def test_a_word_that_is_not_there_is_said(vec, names, renamed, text):
    with pytest.raises(UserError, match=text):
        words.vectors(names, vec[0], renamed)


def test_a_description_is_the_mean_of_its_words_rare_ones_weighing_more(tmp_path, capsys):
    file = tmp_path / "w.vec"
    file.write_text("a 1 0 0\nred 0 1 0\nround 0 0 1\nox 1 1 1\n")
    texts = {"apple": "A red, round -- flavorsome a", "lime": "a round", "cow": "a"}
    found = words.vectors(["apple", "lime", "cow"], file, {"cow": "ox"}, texts)
    weight = {"a": np.log(3 / 2), "red": np.log(3), "round": np.log(3 / 2)}  # of two texts: cow's is not read
    total = 2 * weight["a"] + weight["red"] + weight["round"]
    np.testing.assert_allclose(found[0], np.array([2 * weight["a"], weight["red"], weight["round"]]) / total, rtol=1e-6)
    np.testing.assert_allclose(found[1:], [[0.5, 0, 0.5], [1, 1, 1]], rtol=1e-6)
    assert "1 words of the descriptions have no vector: flavorsome" in capsys.readouterr().out
    with pytest.raises(UserError, match="no word of the description of class 'lime' has a vector: --words lime=WORD"):
        words.vectors(["apple", "lime"], file, {}, {"apple": "red", "lime": "flavorsome"})


def test_whitened_words_have_no_mean_and_equal_variances(vec):
    file, rows = vec
    every = np.stack(list(rows.values()))
    assert words.space("raw", file) is None
    centre, same = words.space("centred", file)
    np.testing.assert_allclose(centre, every.mean(axis=0), rtol=1e-4)
    np.testing.assert_array_equal(same, np.eye(300))
    centre, turn = words.space("whitened", file)
    np.testing.assert_allclose(np.cov(((every - centre) @ turn).T), np.eye(300), atol=1e-2)
    net = model.attach(model.backbones.create("conv4"), ["a", "b"], ["c"], every[:3], mx.cpu(), space=(centre, turn))
    np.testing.assert_allclose(net.words, unit((every[:3] - centre) @ turn), atol=1e-4)
    net.metadata = {"word_vectors": str(file)}
    mean = net.embed_words(every[None, :2].mean(axis=1))[0]
    np.testing.assert_allclose(words.query(net, "Polar bear"), mean, atol=1e-5)
    np.testing.assert_array_equal(words.query(net, "B"), net.words[1])  # a class: as it was trained


def image_set(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    names = [f"class{i}" for i in range(len(counts))]
    return ImageSet(np.zeros((len(labels), 4, 4, 3), np.uint8), labels, names)


@pytest.mark.parametrize(("unseen", "seen"), [
    (["class1", "class3"], ["class0", "class2", "class4"]), ([], [f"class{i}" for i in range(5)]), (None, None),
])  # fmt: skip
def test_parts_share_one_numbering_seen_classes_first(monkeypatch, tmp_path, unseen, seen):
    whole = image_set([20, 10, 4, 10, 30])
    monkeypatch.setattr(data.folder, "load", lambda place, *_: Whole(whole))
    args = argparse.Namespace(
        dataset="folder", data_path=tmp_path, unseen=unseen, valid_share=0.1, seed=1, split="standard"
    )
    parts = data.load(args)
    assert parts.seen == (seen or parts.seen) and len(parts.unseen) == (2 if unseen is None else len(unseen))
    assert sorted(parts.class_names) == whole.class_names
    assert len(parts.train) + len(parts.valid) + len(parts.test) == 74
    for part, ours in ((parts.train, True), (parts.valid, True), (parts.test, False)):
        assert part.class_names == parts.class_names
        assert all((label < len(parts.seen)) == ours for label in part.labels)
    args.unseen = ["class9"]
    with pytest.raises(UserError, match="'class9' .did you mean"):
        data.load(args)
    args.unseen = whole.class_names[1:]
    with pytest.raises(UserError, match="1 classes are left"):
        data.load(args)


def table_of(tmp_path, text):
    """A table with a row for each word such as ``train:a``, and its arguments."""
    from PIL import Image

    rows = ["path,label,split"]
    for i, word in enumerate(text.split()):
        Image.new("RGB", (8, 8), (i, 9, 9)).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{word.split(':')[1]},{word.split(':')[0]}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    return argparse.Namespace(
        dataset="csv", data_path=tmp_path / "t.csv", unseen=None, valid_share=0.1, seed=1, split="standard", columns=[]
    )


@pytest.mark.parametrize(("text", "unseen", "seen", "train", "valid", "test"), [
    # The classes with nothing to train on are unseen, whatever split their rows are of.
    ("train:b train:a validation:b test:z test:y test:y validation:z", None, "ab", [0, 1], [2], [3, 4, 5, 6]),
    # Without validation rows the seen classes' test rows are held back.
    ("train:b train:a test:a test:z", None, "ab", [0, 1], [2], [3]),
    # Without either some of the rows to train on.
    ("train:b train:b train:a train:a test:z", None, "ab", [0, 2], [1, 3], [4]),
    # Others are named: their rows to train on are left to test with.
    ("train:b train:a train:c validation:a test:c test:b", ["c"], "ab", [0, 1], [3], [2, 4]),
    ("train:b train:a validation:a test:b", [], "ab", [0, 1], [2], []),
])  # fmt: skip
def test_the_splits_of_a_table_are_kept(tmp_path, text, unseen, seen, train, valid, test):
    args = table_of(tmp_path, text)
    args.unseen = unseen
    parts = data.load(args)
    assert parts.seen == list(seen)
    for part, expected in ((parts.train, train), (parts.valid, valid), (parts.test, test)):
        assert [int(path.stem) for path in part.images] == expected
        words = [text.split()[int(path.stem)].split(":")[1] for path in part.images]
        assert [parts.class_names[label] for label in part.labels] == words


def test_a_table_of_trained_classes_alone_has_unseen_ones_drawn(tmp_path):
    text = " ".join(f"{split}:{label}" for split in ("train", "validation", "test") for label in "abcdef")
    parts = data.load(table_of(tmp_path, text))
    assert len(parts.unseen) == 2 and (len(parts.train), len(parts.valid), len(parts.test)) == (4, 4, 6)


def test_a_table_that_does_not_fit_is_one_line(tmp_path):
    args = table_of(tmp_path, "train:b train:a train:c test:z test:y")
    args.unseen = ["z"]
    with pytest.raises(UserError, match="class 'y' has no picture of split train: name it after --unseen too"):
        data.load(args)
    args.data_path = tmp_path / "none.csv"
    with pytest.raises(UserError, match="none.csv is not there: --data-path takes a table"):
        data.load(args)
    args.data_path = None
    with pytest.raises(UserError, match="--dataset csv needs --data-path, a table"):
        data.load(args)
    args.dataset, args.data_path, args.columns = "folder", tmp_path, ["path=x"]
    with pytest.raises(UserError, match="--columns path=x has no effect on --dataset folder"):
        data.load(args)


def test_cifar10_leaves_out_cat_and_truck(tmp_path):
    folder, names = tmp_path / "cifar-10-batches-bin", ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog"]
    names += ["horse", "ship", "truck"]
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("\n".join(names))
    rows = np.zeros((30, 3073), np.uint8)
    rows[:, 0] = np.arange(30) % 10
    for file in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        (folder / file).write_bytes(rows.tobytes())
    args = argparse.Namespace(
        dataset="cifar10", data_path=tmp_path, unseen=None, valid_share=0.2, seed=1, split="standard"
    )
    parts = data.load(args)
    assert parts.unseen == ["cat", "truck"] and len(parts.seen) == 8
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (96, 24, 30)
    args.dataset, args.data_path = "awa2", tmp_path / "none"
    with pytest.raises(UserError, match="get_data.sh awa2"):
        data.load(args)


def test_a_head_with_a_hidden_layer(net, tmp_path):
    deep = model.attach(net.backbone, net.seen, net.unseen, np.ones((3, 5)), mx.cpu(), hidden=7, dropout=0.5)
    model.save(deep, tmp_path / "d.params", crop=32, resize=32, keep_aspect=False, stage="2a", classifies=True)
    again = model.load(tmp_path / "d.params")
    np.testing.assert_array_equal(again.embed(PICTURES).asnumpy(), deep.embed(PICTURES).asnumpy())  # no dropout now
    with pytest.raises(UserError, match="another hidden"):
        model.restore(net, tmp_path / "d.params")
    dropped = model.attach(net.backbone, net.seen, net.unseen, np.ones((3, 5)), mx.cpu(), hidden=7, dropout=0.2)
    model.restore(dropped, tmp_path / "d.params")  # another stage may drop another share
    np.testing.assert_array_equal(dropped.embed(PICTURES).asnumpy(), deep.embed(PICTURES).asnumpy())
    features = mx.nd.ones((1, net.backbone.width))
    with autograd.record():  # in training it does drop
        drawn = [deep.embed_features(features * i).asnumpy() for i in (1, 1)]
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3


@pytest.mark.parametrize("suffix", [".vec", ".vec.gz"])
def test_phrases_archives_and_bad_lines_of_word_vectors(tmp_path, capsys, suffix):
    """A name that the file has as a whole is no mean of its words; what cannot be used is counted and said."""
    rows = ["6 3", "polar-bear 1 2 3", "polar 9 9 9", "bear 9 9 9", "ox 4 5 6", "cow 1 2", "rat nan 1 1"]
    file = tmp_path / f"some{suffix}"
    with (gzip.open if suffix.endswith("gz") else open)(file, "wt", encoding="utf-8") as text:
        text.write("\n".join(rows) + "\n")
    np.testing.assert_array_equal(words.vectors(["polar+bear", "ox"], file), [[1, 2, 3], [4, 5, 6]])
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and f"left out of {file.name}" in said and "1 lines of another width" in said
    with pytest.raises(UserError, match="class 'rat'.*--words rat=WORD"):
        words.vectors(["ox", "rat"], file)
    clean = tmp_path / "clean.vec"
    clean.write_text("2 3\nox 4 5 6\ncow 1 2 3\n")
    capsys.readouterr()
    words.vectors(["ox"], clean)
    assert capsys.readouterr().out == ""


def test_awa2_in_records_has_the_split_that_it_has_in_folders(animals, tmp_path):
    pack.main(pack.parse_args(f"--dataset awa2 --data-path {animals} --output {tmp_path / 'a.rec'}".split()))
    places = animals, tmp_path / "a.rec"
    own, other = (data.load(train.parse_args(["--dataset", "awa2", "--data-path", str(path)])) for path in places)
    assert (own.seen, own.unseen) == (other.seen, other.unseen) == (["antelope", "polar+bear", "ox"], ["rat"])
    for name in ("train", "valid", "test"):
        a, b = getattr(own, name), getattr(other, name)
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_array_equal(a.read(2), b.read(2))
