"""The protocol of Xian et al. on files in their format, written here: what is read, chosen by, and tested with.

As in the published files ``train_loc`` and ``val_loc`` hold pictures of ``test_seen_loc`` too.
"""

import json

import mxnet as mx
import numpy as np
import pytest
from scipy.io import savemat

from common.data.splits import held_back
from common.files.errors import UserError
from examples.visual_semantic import baselines, evaluate, model, protocol, train, tune, xian
from examples.visual_semantic import data as visual_semantic_data

SEEN, HELD, NEW = np.arange(0, 14), np.arange(10, 14), np.arange(14, 18)  # classes; HELD are some of SEEN
EACH = 16


def content(seed=0):
    """Features, a linear map of attributes and noise; four pictures of each seen class are to test with."""
    rng = np.random.default_rng(seed)
    att = rng.normal(size=(18, 5))
    att /= np.linalg.norm(att, axis=1, keepdims=True)
    labels = rng.permutation(np.repeat(np.arange(18), EACH))
    features = 3 + att[labels] @ rng.normal(size=(5, 12)) + rng.normal(0, 0.4, (len(labels), 12))
    number = np.array([np.sum(labels[:i] == label) for i, label in enumerate(labels)])

    def places(classes, *tested):
        return 1 + np.flatnonzero(np.isin(labels, classes) & np.isin(number >= EACH - 4, tested))[:, None]

    splits = {
        "att": att.T, "allclasses_names": np.array([[np.array([f"kind+{i}"])] for i in range(18)], object),
        "train_loc": places(np.setdiff1d(SEEN, HELD), True, False), "val_loc": places(HELD, True, False),
        "trainval_loc": places(SEEN, False), "test_seen_loc": places(SEEN, True),
        "test_unseen_loc": 1 + np.flatnonzero(np.isin(labels, NEW))[:, None],
    }  # fmt: skip
    names = np.array([["a.jpg"]], object)  # not read
    return {"features": features.T, "labels": 1.0 + labels[:, None], "image_files": names}, splits


def write_hdf5(path, arrays):
    """As MATLAB 7.3 writes: HDF5 after 512 bytes that say so, tables turned round."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            if array.dtype != object:
                file[name] = np.ascontiguousarray(array.T)
            elif name == "allclasses_names":  # references to columns of characters
                texts = [str(np.ravel(text)[0]) for text in array.ravel()]
                kept = [file.create_dataset(f"#refs#/{i}", data=[[ord(c)] for c in t]) for i, t in enumerate(texts)]
                file[name] = np.array([[one.ref for one in kept]], h5py.ref_dtype)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


@pytest.fixture
def files(tmp_path):
    features, splits = content()
    savemat(tmp_path / "res101.mat", features)
    savemat(tmp_path / "att_splits.mat", splits)
    return tmp_path / "res101.mat", tmp_path / "att_splits.mat"


def test_both_formats_are_read_alike_seen_classes_first(files, tmp_path):
    features, splits = content()
    write_hdf5(tmp_path / "f73.mat", features)
    write_hdf5(tmp_path / "s73.mat", splits)
    old, new = protocol.load(*files), protocol.load(tmp_path / "f73.mat", tmp_path / "s73.mat")
    for name, value in vars(old).items():
        np.testing.assert_array_equal(value, getattr(new, name), err_msg=name)
    np.testing.assert_allclose(old.features, features["features"].T, rtol=1e-6)
    np.testing.assert_allclose(old.words, splits["att"].T, rtol=1e-5)  # classes 0..13 are seen already
    np.testing.assert_array_equal(old.labels, features["labels"].ravel() - 1)
    assert (old.seen, list(old.held)) == (14, list(HELD))
    assert old.class_names == [f"kind+{i}" for i in range(18)]
    assert (len(old.train), len(old.test_seen), len(old.test_unseen)) == (14 * (EACH - 4), 14 * 4, 4 * EACH)


@pytest.mark.parametrize("name", ["eszsl", "ale"])
def test_figures_are_those_written_out(files, name):
    data = protocol.load(*files)
    found = protocol.evaluate(name, data)
    train = data.train
    model = baselines.fit(name, data.features[train], data.labels[train], data.words[:14], held=[data.held])

    def per_class(pictures, among, handicap=0.0):
        scores = model(data.features[pictures]) @ data.words.T - handicap * (np.arange(18) < 14)
        right = np.array(among)[scores[:, among].argmax(axis=1)] == data.labels[pictures]
        return np.mean([right[data.labels[pictures] == label].mean() for label in np.unique(data.labels[pictures])])

    everything = list(range(18))
    for start, handicap in (("", 0.0), ("calibrated_", found["handicap"])):
        unseen, seen = (per_class(part, everything, handicap) for part in (data.test_unseen, data.test_seen))
        assert (found[f"{start}unseen"], found[f"{start}seen"]) == pytest.approx((unseen, seen))
        assert found[f"{start}harmonic"] == pytest.approx(2 * unseen * seen / (unseen + seen))
    assert found["zero_shot"] == pytest.approx(per_class(data.test_unseen, everything[14:]))
    assert found["zero_shot"] > 0.6


def test_the_handicap_is_the_best_for_held_back_classes_and_pictures(files):
    data = protocol.load(*files)
    labels, features = data.labels[data.train], data.features[data.train]
    tested = np.isin(labels, HELD) | held_back(labels, 0.2, 0)
    model = baselines.fit_with("eszsl", (0.1, 0.1), features[~tested], labels[~tested], data.words[:10])
    cosines, own = model(features[tested]) @ data.words[:14].T, labels[tested]

    def harmonic(handicap):
        right = (cosines - handicap * (np.arange(14) < 10)).argmax(axis=1) == own
        of_class = np.array([right[own == label].mean() for label in range(14)])
        seen, new = of_class[:10].mean(), of_class[10:].mean()
        return 2 * seen * new / max(seen + new, 1e-12)

    given = data.features[data.train], data.labels[data.train], data.words[:14]
    found = protocol.calibrate(baselines.refit("eszsl", (0.1, 0.1)), *given, [HELD])
    assert harmonic(found) >= max(map(harmonic, np.linspace(-1, 1, 401))) - 0.02 > harmonic(0.0) - 0.02


def test_no_choice_looks_at_what_is_tested_with(files):
    """Constants and handicap stay the same when the pictures to test with become noise."""
    data = protocol.load(*files)
    noise = data.features.copy()
    tested = np.concatenate([data.test_seen, data.test_unseen])
    noise[tested] = np.random.default_rng(1).normal(size=noise[tested].shape)
    other = protocol.Data(**{**vars(data), "features": noise})
    assert protocol.evaluate("eszsl", data)["handicap"] == protocol.evaluate("eszsl", other)["handicap"]


def test_the_program_writes_what_it_shows(files, tmp_path, capsys):
    argv = ["--features", *files[:1], "--splits", *files[1:], "--output", tmp_path / "f.json", "--baselines", "eszsl"]
    xian.main(xian.parse_args([str(word) for word in argv]))
    said, found = capsys.readouterr().out, json.loads((tmp_path / "f.json").read_text())
    assert "168 pictures of 14 seen classes to train on, 4 of these to choose by; 56 of seen and 64 of 4 unseen" in said
    assert set(found) == {"ESZSL"} and f"{found['ESZSL']['calibrated_harmonic']:.3f}" in said


def test_without_val_loc_and_names_classes_are_drawn_and_numbered(tmp_path):
    """As in the files of 2019."""
    features, splits = content()
    savemat(tmp_path / "res101.mat", features)
    left = {name: value for name, value in splits.items() if name not in ("train_loc", "val_loc", "allclasses_names")}
    savemat(tmp_path / "att_splits.mat", left)
    data = protocol.load(tmp_path / "res101.mat", tmp_path / "att_splits.mat")
    assert data.held is None and data.class_names[0] == "class1"
    np.testing.assert_array_equal(data.draws(3), list(baselines.held_back(14, 3)))
    assert protocol.evaluate("eszsl", data)["zero_shot"] > 0.6


FEW = ("--epochs-1", 2, "--epochs-2a", 8, "--lr-1", 0.05, "--lr-2a", 0.05, "--batch-size", 32, "--loss", "softmax")


@pytest.fixture
def run(files, tmp_path):
    """Runs one of the programs on the files, and gives the folder or the figures that it writes."""

    def run(program, *more, name="run"):
        to = ("--output", tmp_path / f"{name}.json") if program is evaluate else ("--run-dir", tmp_path / name)
        argv = ["--dataset", "xian", "--data-path", files[0].parent, *to, *more]
        argv += FEW if program is not evaluate else ()
        program.main(program.parse_args([str(word) for word in argv]))
        return json.loads(to[1].read_text()) if program is evaluate else to[1]

    return run


def with_noise(files):
    """The files with noise instead of the features that are tested with."""
    features, splits = content()
    tested = np.concatenate([splits["test_seen_loc"], splits["test_unseen_loc"]]).ravel() - 1
    features["features"][:, tested] = np.random.default_rng(1).normal(size=(12, len(tested)))
    savemat(files[0], features)


def test_a_head_is_trained_on_given_features_and_stands_beside_the_baselines(run, files):
    folder = run(train, "--stages", "1,2a", "--no-plots")
    log = (folder / "log.txt").read_text()
    assert "168 pictures of 14 seen classes to train on, 56 of these to test with, 64 of 4 unseen" in log
    assert json.loads((folder / "metrics.json").read_text())["zero_shot"] > 0.6
    asked = "--handicap", 0.2, "--baselines", "ridge", "eszsl", "conse"
    found = run(evaluate, "--params", folder / "model.params", *asked)
    assert {"ridge", "ESZSL", "ConSE", "trained"} <= set(found)
    other = protocol.evaluate("eszsl", protocol.load(*files), seed=123)
    names = ("zero_shot", "seen", "unseen", "harmonic", "calibrated_harmonic", "ausuc")
    assert [found["ESZSL"][name] for name in names] == pytest.approx([other[name] for name in names])
    of_model = found["trained"]
    assert of_model["calibrated_seen"] < of_model["seen"] and of_model["calibrated_unseen"] > of_model["unseen"]
    with pytest.raises(UserError, match="trained on given features and reads no pictures"):
        model.load(folder / "model.params")


def test_training_and_its_search_never_look_at_what_is_tested_with(run, files):
    argv = train, "--stages", "2a", "--no-plots"
    search = tune, "--lrs", "0.001,0.05", "--epochs", "8", "--wds", "1e-4"
    trained, tuned = run(*argv), json.loads((run(*search, name="tune") / "best.json").read_text())
    with_noise(files)
    again, other = run(*argv, name="again"), json.loads((run(*search, name="other") / "best.json").read_text())
    first, second = (mx.nd.load(str(folder / "model.params")) for folder in (trained, again))
    assert all((first[n].asnumpy() == second[n].asnumpy()).all() for n in first if not n.startswith("meta:"))
    assert tuned == other
    assert tuned["flags"] == {"--lr-2a": 0.05, "--wd": 1e-4, "--epochs-2a": 8}


def test_the_search_holds_back_the_classes_of_val_loc(run, files, tmp_path):
    said = (run(tune, "--lrs", "0.05", "--wds", "0", "--stage", "1", "--epochs", "2") / "log.txt").read_text()
    assert f"to choose by: {', '.join(f'kind+{i}' for i in HELD)}\n" in said
    args = tune.parse_args(["--dataset", "xian", "--data-path", str(files[0].parent)])
    splits = visual_semantic_data.load(args)
    some = visual_semantic_data.without_some_classes(splits, splits.choose_by, 0)
    assert (some.seen, some.unseen) == ([f"kind+{i}" for i in range(10)], [f"kind+{i}" for i in HELD])
    np.testing.assert_array_equal(some.vectors, splits.vectors[:14])
    rows = np.concatenate([part.images for part in (some.train, some.valid, some.test)])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, splits.train.images))  # each once, and no other
    assert set(some.test.labels) == set(HELD) and set(some.train.labels) == set(some.valid.labels) == set(range(10))


def test_the_search_for_2b_starts_from_a_2a_without_the_held_back_classes(run, monkeypatch):
    seen = []
    for name, stage in list(train.TRAIN.items()):

        def noted(args, net, of, name=name, stage=stage):
            seen.append((name, len(net.seen)))
            return stage(args, net, of)

        monkeypatch.setitem(train.TRAIN, name, noted)
    folder = run(tune, "--lrs", "0.001,0.01", "--wds", "0", "--stage", "2b", "--epochs", "1")
    assert seen == [("2a", 10), ("2b", 10), ("2b", 10)]
    assert set(json.loads((folder / "best.json").read_text())["flags"]) >= {"--lr-2b", "--epochs-2b"}


@pytest.mark.parametrize(("flags", "said"), [
    (["--unseen", "kind+1"], "leave out --unseen"),
    (["--word-space", "whitened"], "no --word-space"),
    (["--params", "x.params"], "no --params"),
    (["--class-text", "description"], "no --class-text"),
])  # fmt: skip
def test_flags_of_pictures_and_words_are_refused(run, flags, said):
    with pytest.raises(UserError, match=said):
        run(train, *flags)


@pytest.mark.parametrize(("change", "said"), [
    (lambda f, s: f.pop("labels"), "res101.mat .*it has no labels"),
    (lambda f, s: f.update(features=np.array([["a"]], object)), "res101.mat .*features is no table of numbers"),
    (lambda f, s: f["features"].__setitem__((2, 3), np.nan), "res101.mat.*row 4"),
    (lambda f, s: f.update(labels=f["labels"][:-1]), "att_splits.mat .*287 labels for 288 pictures"),
    (lambda f, s: s.update(att=s["att"][:, :9]), "att_splits.mat .*att has 9 classes"),
    (lambda f, s: s.update(test_seen_loc=np.array([[999]])), "att_splits.mat .*test_seen_loc names pictures"),
    (lambda f, s: s.update(test_unseen_loc=s["test_seen_loc"]), "classes of test_unseen_loc are trained on"),
    (lambda f, s: s.update(test_seen_loc=s["trainval_loc"]), "pictures of test_seen_loc are trained on"),
    (lambda f, s: s.update(val_loc=s["trainval_loc"]), "val_loc must be of some of the classes of trainval_loc"),
])  # fmt: skip
def test_files_that_do_not_fit_are_one_line(tmp_path, change, said):
    features, splits = content()
    change(features, splits)
    savemat(tmp_path / "res101.mat", features)
    savemat(tmp_path / "att_splits.mat", splits)
    with pytest.raises(UserError, match=said):
        protocol.load(tmp_path / "res101.mat", tmp_path / "att_splits.mat")


@pytest.mark.parametrize("start", [b"", b"MATLAB 7.3 MAT-file", b"x" * 300])
def test_a_damaged_file_is_one_line(files, start):
    files[0].write_bytes(start)
    with pytest.raises(UserError, match="res101.mat is not as it should be"):
        protocol.load(*files)
