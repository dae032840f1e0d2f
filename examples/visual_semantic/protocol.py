"""The protocol of Xian et al. (2019): features and attributes out of their files, every choice on classes held back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from common import metrics
from common.data.splits import held_back
from common.files import finite
from common.files.errors import reading
from examples.visual_semantic import baselines

REMEDY = "res101.mat and att_splits.mat of Xian et al.'s data are wanted"
VALID_SHARE = 0.2  # of the training classes' pictures, to choose the handicap by
FEATURES, SPLITS = ("features", "labels"), ("att", "trainval_loc", "val_loc", "test_seen_loc", "test_unseen_loc")


@dataclasses.dataclass(frozen=True)
class Data:
    """Features and attributes, with the classes numbered anew: those seen first.

    Attributes
    ----------
    features : (n, width) float32
    labels : (n,) int
        Rows of `words`.
    words : (classes, dim) float32
        The attributes of each class, at length one.
    seen : int
        How many classes are trained on.
    train, test_seen, test_unseen : int arrays
        Pictures to train on, and the seen and unseen ones to test with.
    held : int array
        The seen classes that choices are made on.
    """

    features: np.ndarray
    labels: np.ndarray
    words: np.ndarray
    seen: int
    train: np.ndarray
    test_seen: np.ndarray
    test_unseen: np.ndarray
    held: np.ndarray


def read_mat(path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Tables of numbers in a MATLAB file of version 4, 5 or 7.3 (HDF5), as MATLAB has them; nothing else is read.

    Parameters
    ----------
    path : path
    names : tuple of str

    Raises
    ------
    UserError
        The file is not there, is damaged, or lacks one of them.
    """
    path = Path(path)
    with reading(path, REMEDY):
        with open(path, "rb") as file:
            start = file.read(16)
        if start.startswith(b"MATLAB 7.3"):
            import h5py

            with h5py.File(path, "r") as file:
                found = {name: file[name][()].T for name in names if name in file}
        else:
            from scipy.io import loadmat

            found = loadmat(path, variable_names=list(names))
        missing = next((name for name in names if name not in found), None)
        if missing:
            raise ValueError(f"it has no {missing}")
        wrong = next((name for name in names if np.asarray(found[name]).dtype.kind not in "fiu"), None)
        if wrong:
            raise ValueError(f"{wrong} is no table of numbers")
    return {name: np.asarray(found[name]) for name in names}


def load(features, splits) -> Data:
    """Read ``res101.mat`` (features of a column a picture, labels) and ``att_splits.mat`` (attributes, splits).

    Parameters
    ----------
    features, splits : path

    Raises
    ------
    UserError
        A file cannot be read, or they do not fit each other.
    """
    found, split = read_mat(features, FEATURES), read_mat(splits, SPLITS)
    rows, labels = np.ascontiguousarray(found["features"].T, np.float32), found["labels"].ravel().astype(np.int64) - 1
    finite.check(rows, f"{features}, a column counted as a row", REMEDY)
    with reading(splits, REMEDY):
        words = np.ascontiguousarray(split["att"].T, np.float32)
        if len(rows) != len(labels):
            raise ValueError(f"{len(labels)} labels for {len(rows)} pictures")
        if not np.isfinite(words).all() or labels.min() < 0 or labels.max() >= len(words):
            raise ValueError(f"att has {len(words)} classes, the pictures others")
        parts = {name: split[name].ravel().astype(np.int64) - 1 for name in SPLITS[1:]}
        odd = next((n for n, part in parts.items() if not len(part) or part.min() < 0 or part.max() >= len(rows)), None)
        if odd:
            raise ValueError(f"{odd} names pictures that are not there, or none")
        seen, new = np.unique(labels[parts["trainval_loc"]]), np.unique(labels[parts["test_unseen_loc"]])
        if np.intersect1d(seen, new).size or np.setdiff1d(labels[parts["test_seen_loc"]], seen).size:
            raise ValueError("classes of test_unseen_loc are trained on, or some of test_seen_loc are not")
        if np.intersect1d(parts["trainval_loc"], parts["test_seen_loc"]).size:
            raise ValueError("pictures of test_seen_loc are trained on")
        held = np.unique(labels[parts["val_loc"]])
        if np.setdiff1d(held, seen).size or len(seen) - len(held) < 2 or len(held) < 2:
            raise ValueError("val_loc must be of some of the classes of trainval_loc, two at least, and leave two")
    order = np.concatenate([seen, new])
    number = np.full(len(words), -1)
    number[order] = np.arange(len(order))
    return Data(
        rows, number[labels], metrics.unit(words[order]), len(seen), parts["trainval_loc"], parts["test_seen_loc"],
        parts["test_unseen_loc"], np.sort(number[held]),
    )  # fmt: skip


def evaluate(name: str, data: Data, seed: int = 0) -> dict[str, float]:
    """The metrics of a baseline, 0..1, all means over classes.

    Parameters
    ----------
    name : {"eszsl", "sje", "ale", "devise"}
    data : Data
    seed : int

    Returns
    -------
    dict of str to float
        ``zero_shot``; ``unseen``, ``seen`` and ``harmonic`` among all classes; the same with ``calibrated_`` before
        them, the ``handicap`` that `calibrate` chose taken off the cosines of seen classes; and ``ausuc``.
    """
    train, seen = data.train, data.seen
    model = baselines.fit(name, data.features[train], data.labels[train], data.words[:seen], seed, [data.held])
    handicap = calibrate(name, model.constants, data, seed)
    tested = np.concatenate([data.test_seen, data.test_unseen])
    cosines, labels = model(data.features[tested]) @ data.words.T, data.labels[tested]
    is_seen = np.arange(len(data.words)) < seen
    kept = ("zero_shot", "unseen", "seen", "harmonic")
    plain, fair = (metrics.zero_shot(cosines - off * is_seen, labels, is_seen) for off in (0, handicap))
    result = {name: plain[name] for name in kept}
    result.update({f"calibrated_{name}": fair[name] for name in kept[1:]}, handicap=handicap)
    return {**result, "ausuc": metrics.area_seen_unseen(cosines, labels, is_seen)}


def calibrate(name: str, constants: tuple, data: Data, seed: int = 0) -> float:
    """What is best taken off the cosines of seen classes, by the harmonic mean on training data alone.

    The classes of `data.held` stand for unseen ones, and a fifth of the other training pictures is tested on.

    Parameters
    ----------
    name : str
    constants : tuple
        Of `baselines.fit_with`.
    data : Data
    seed : int
    """
    others = np.setdiff1d(np.arange(data.seen), data.held)
    order = np.concatenate([others, data.held])
    labels, features = np.argsort(order)[data.labels[data.train]], data.features[data.train]
    new = labels >= len(others)
    tested = new.copy()
    tested[~new] = held_back(labels[~new], VALID_SHARE, seed)
    words, is_seen = data.words[order], np.arange(len(order)) < len(others)
    model = baselines.fit_with(name, constants, features[~tested], labels[~tested], words[: len(others)], seed)
    cosines = model(features[tested]) @ words.T
    gaps = cosines[:, is_seen].max(axis=1) - cosines[:, ~is_seen].max(axis=1)
    tried = np.quantile(gaps, np.linspace(0, 1, 101))

    def harmonic(off):
        return metrics.zero_shot(cosines - off * is_seen, labels[tested], is_seen)["harmonic"]

    return float(max(tried, key=harmonic))
