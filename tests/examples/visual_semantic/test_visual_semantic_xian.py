"""The protocol of Xian et al. on files in their format, written here: what is read, chosen by, and tested with."""

import json

import numpy as np
import pytest
from scipy.io import savemat

from common.data.splits import held_back
from common.files.errors import UserError
from examples.visual_semantic import baselines, protocol, xian

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

    def places(classes, tested):
        return 1 + np.flatnonzero(np.isin(labels, classes) & ((number >= EACH - 4) == tested))[:, None]

    splits = {
        "att": att.T, "allclasses_names": np.array([[f"class{i}"] for i in range(18)], object),
        "train_loc": places(np.setdiff1d(SEEN, HELD), False), "val_loc": places(HELD, False),
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

    found = protocol.calibrate("eszsl", (0.1, 0.1), data)
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
