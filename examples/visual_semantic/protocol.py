"""The protocol of Xian et al. (2019): features and attributes out of their files, every choice on classes held back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from common import metrics
from common.data.splits import held_back
from common.files import finite
from common.files.errors import reading
from examples.visual_semantic import baselines

REMEDY = "res101.mat and att_splits.mat of Xian et al.'s data are wanted"
VALID_SHARE = 0.2  # of the training classes' pictures, to choose the handicap by
FEATURES, SPLITS = ("features", "labels"), ("att", "trainval_loc", "test_seen_loc", "test_unseen_loc")
OPTIONAL = ("val_loc", "allclasses_names")  # of att_splits.mat: the files of 2019 lack the former
AMONG_ALL = ("unseen", "seen", "harmonic")


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
    held : int array or None
        The seen classes that choices are made on, where the files say it.
    class_names : list of str
    """

    features: np.ndarray
    labels: np.ndarray
    words: np.ndarray
    seen: int
    train: np.ndarray
    test_seen: np.ndarray
    test_unseen: np.ndarray
    held: np.ndarray | None
    class_names: list[str]

    def draws(self, seed: int = 0) -> list[np.ndarray]:
        """The seen classes that choices are made on, each time: the files' own once, else `baselines.held_back`."""
        return list(baselines.held_back(self.seen, seed)) if self.held is None else [self.held]


def read_mat(path, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Tables of numbers in a MATLAB file of version 4, 5 or 7.3 (HDF5), as MATLAB has them, and columns of texts.

    Parameters
    ----------
    path : path
    names : tuple of str
        Tables of numbers.
    optional : tuple of str
        What may be missing: ``allclasses_names`` is a column of texts, the others tables of numbers.

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
                found = {name: file[name][()].T for name in (*names, *optional) if name in file}
                if found.get("allclasses_names", np.empty(0)).dtype == object:  # references to arrays of characters
                    texts = ["".join(map(chr, file[one][()].ravel())) for one in found["allclasses_names"].ravel()]
                    found["allclasses_names"] = np.array(texts)
        else:
            from scipy.io import loadmat

            found = loadmat(path, variable_names=[*names, *optional])
        found = {name: value for name, value in found.items() if name in (*names, *optional)}
        missing = next((name for name in names if name not in found), None)
        if missing:
            raise ValueError(f"it has no {missing}")
        texts = found.pop("allclasses_names", None)
        wrong = next((name for name, value in found.items() if np.asarray(value).dtype.kind not in "fiu"), None)
        if wrong:
            raise ValueError(f"{wrong} is no table of numbers")
    result = {name: np.asarray(value) for name, value in found.items()}
    if texts is not None:
        result["allclasses_names"] = np.array([str(np.ravel(text)[0]) for text in np.ravel(texts)])
    return result


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
    found, split = read_mat(features, FEATURES), read_mat(splits, SPLITS, OPTIONAL)
    rows, labels = np.ascontiguousarray(found["features"].T, np.float32), found["labels"].ravel().astype(np.int64) - 1
    finite.check(rows, f"{features}, a column counted as a row", REMEDY)
    with reading(splits, REMEDY):
        words = np.ascontiguousarray(split["att"].T, np.float32)
        if len(rows) != len(labels):
            raise ValueError(f"{len(labels)} labels for {len(rows)} pictures")
        if not np.isfinite(words).all() or labels.min() < 0 or labels.max() >= len(words):
            raise ValueError(f"att has {len(words)} classes, the pictures others")
        parts = {name: split[name].ravel().astype(np.int64) - 1 for name in (*SPLITS[1:], "val_loc") if name in split}
        odd = next((n for n, part in parts.items() if not len(part) or part.min() < 0 or part.max() >= len(rows)), None)
        if odd:
            raise ValueError(f"{odd} names pictures that are not there, or none")
        seen, new = np.unique(labels[parts["trainval_loc"]]), np.unique(labels[parts["test_unseen_loc"]])
        if np.intersect1d(seen, new).size or np.setdiff1d(labels[parts["test_seen_loc"]], seen).size:
            raise ValueError("classes of test_unseen_loc are trained on, or some of test_seen_loc are not")
        if np.intersect1d(parts["trainval_loc"], parts["test_seen_loc"]).size:
            raise ValueError("pictures of test_seen_loc are trained on")
        if len(seen) < baselines.FEWEST or len(new) < 2:
            raise ValueError(f"{len(seen)} seen and {len(new)} unseen classes: {baselines.FEWEST} and 2 are needed")
        held = np.unique(labels[parts["val_loc"]]) if "val_loc" in parts else None  # the classes alone: see the README
        if held is not None and (np.setdiff1d(held, seen).size or len(seen) - len(held) < 2 or len(held) < 2):
            raise ValueError("val_loc must be of some of the classes of trainval_loc, two at least, and leave two")
        names = split.get("allclasses_names", np.array([f"class{i + 1}" for i in range(len(words))]))
        if len(names) != len(words) or len(set(names)) != len(names):
            raise ValueError(f"allclasses_names has {len(set(names))} names for {len(words)} classes")
    order = np.concatenate([seen, new])
    number = np.full(len(words), -1)
    number[order] = np.arange(len(order))
    return Data(
        rows, number[labels], metrics.unit(words[order]), len(seen), parts["trainval_loc"], parts["test_seen_loc"],
        parts["test_unseen_loc"], None if held is None else np.sort(number[held]), [str(names[i]) for i in order],
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
    seen, given = data.seen, (data.features[data.train], data.labels[data.train], data.words[: data.seen])
    draws = data.draws(seed)
    model = baselines.fit(name, *given, seed, draws)
    handicap = calibrate(baselines.refit(name, model.constants, seed), *given, draws, seed)
    tested = np.concatenate([data.test_seen, data.test_unseen])
    cosines, labels = model(data.features[tested]) @ data.words.T, data.labels[tested]
    is_seen = np.arange(len(data.words)) < seen
    plain = metrics.zero_shot(cosines, labels, is_seen)
    result = {name: plain[name] for name in ("zero_shot", *AMONG_ALL)}
    result.update(calibrated(cosines, labels, is_seen, handicap), handicap=handicap)
    return {**result, "ausuc": metrics.area_seen_unseen(cosines, labels, is_seen)}


def calibrated(cosines: np.ndarray, labels: np.ndarray, is_seen: np.ndarray, handicap: float) -> dict[str, float]:
    """Accuracies among all classes with calibrated stacking (Chao et al. 2016): seen classes' cosines less `handicap`.

    Parameters
    ----------
    cosines : (n, classes) array
    labels : (n,) int array
    is_seen : (classes,) bool array
    handicap : float

    Returns
    -------
    dict of str to float
        ``calibrated_unseen``, ``calibrated_seen`` and ``calibrated_harmonic``, those there are pictures for.
    """
    found = metrics.zero_shot(cosines - handicap * is_seen, labels, is_seen)
    return {f"calibrated_{name}": found[name] for name in AMONG_ALL if name in found}


def calibrate(
    fit: Callable, features: np.ndarray, labels: np.ndarray, words: np.ndarray, draws: Iterable[np.ndarray],
    seed: int = 0,
) -> float:  # fmt: skip
    """What is best taken off the cosines of seen classes, by the harmonic mean on training data alone.

    Some classes stand for unseen ones, and a fifth of the others' pictures is tested on: none of either is fitted to.

    Parameters
    ----------
    fit : callable (features, labels, words) -> callable (features) -> unit vectors
    features : (n, width) array
    labels : (n,) int array
    words : (classes, dim) array
        Unit vectors of the classes trained on.
    draws : iterable of int arrays
        The classes that stand for unseen ones, each time.
    seed : int

    Returns
    -------
    float
        The mean over the draws.
    """
    found = []
    for held in draws:
        kept = np.setdiff1d(np.arange(len(words)), held)
        order = np.concatenate([kept, held])
        own = np.argsort(order)[labels]
        tested = own >= len(kept)
        tested[~tested] = held_back(own[~tested], VALID_SHARE, seed)
        model = fit(features[~tested], own[~tested], words[kept])
        is_seen = np.arange(len(order)) < len(kept)
        found.append(best_handicap(model(features[tested]) @ words[order].T, own[tested], is_seen))
    return float(np.mean(found))


def best_handicap(cosines: np.ndarray, labels: np.ndarray, is_seen: np.ndarray) -> float:
    """The handicap of seen classes with the highest harmonic mean; cosines (n, classes), labels (n,), (classes,) bool.

    Tried are 101 quantiles of how far the best seen class lies above the best unseen one.
    """
    gaps = cosines[:, is_seen].max(axis=1) - cosines[:, ~is_seen].max(axis=1)

    def harmonic(handicap):
        return metrics.zero_shot(cosines - handicap * is_seen, labels, is_seen)["harmonic"]

    return float(max(np.quantile(gaps, np.linspace(0, 1, 101)), key=harmonic))
