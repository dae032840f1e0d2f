"""Whether vectors are stable: the measure, the choice of the weight decay by it, what is shown; real features too."""

import json

import numpy as np
import pytest

import common  # noqa: F401  (before mxnet)
from common.files.errors import UserError
from examples.im2vec import evaluation, modelfile, stability, train, visualize
from tests.conftest import require_weights

RNG = np.random.default_rng(0)


class Vectors:
    """An objective that holds given vectors."""

    def __init__(self, table):
        self.table = table

    def class_vectors(self):
        return self.table

    def scores(self, f):
        import mxnet as mx

        return mx.nd.dot(f, mx.nd.array(self.table), transpose_b=True)


def test_halves_share_every_class_and_no_picture():
    labels = np.repeat(np.arange(6), [2, 5, 8, 1, 3, 4])
    one, other = stability.halves(labels, 3)
    assert not set(one) & set(other)
    assert np.bincount(labels[one]).tolist() == [1, 3, 4, 0, 2, 2]
    assert np.bincount(labels[other]).tolist() == [1, 2, 4, 0, 1, 2]  # the class of one picture is left out
    assert all(map(np.array_equal, stability.halves(labels, 3), (one, other)))
    assert stability.halves(np.repeat(np.arange(4), [2, 2, 2, 1]), 3) is None  # three classes say nothing


def test_agreement_is_the_correlation_of_the_cosines_of_all_pairs():
    labels = np.tile(np.arange(5), 8)
    rows = (RNG.normal(size=(5, 6))[labels] + 0.5 * RNG.normal(size=(40, 6))).astype(np.float32)
    tables = RNG.normal(size=(2, 5, 6))
    parts = stability.halves(labels, 0)
    got = stability.compare(rows, labels, parts, lambda x, y, number: ((lambda r: r), Vectors(tables[number])))
    similar = [evaluation.pairs(evaluation.similarity(table)) for table in tables]
    assert got["class"] == pytest.approx(np.corrcoef(similar)[0, 1])
    means = [np.stack([rows[part][labels[part] == c].mean(axis=0) for c in range(5)]) for part in parts]
    similar = [evaluation.pairs(evaluation.similarity(table)) for table in means]
    assert got["mean"] == pytest.approx(np.corrcoef(similar)[0, 1], abs=1e-5)
    right = [
        np.mean((rows[part] @ table.T).argmax(axis=1) == labels[part]) for part, table in zip(parts[::-1], tables)
    ]
    assert got["accuracy"] == pytest.approx(np.mean(right))


@pytest.mark.parametrize("table", [np.full((5, 6), np.nan), np.zeros((5, 6))], ids=["diverged", "all alike"])
def test_vectors_that_say_nothing_are_not_stable(table):
    labels, rows = np.tile(np.arange(5), 8), RNG.normal(size=(40, 6)).astype(np.float32)
    parts = stability.halves(labels, 0)
    assert stability.compare(rows, labels, parts, lambda *_: ((lambda r: r), Vectors(table)))["class"] == 0


@pytest.mark.parametrize(
    "found, taken, tried",
    [
        ([(0.9, 0.70)], 1, 1),  # the default is stable: no more is tried
        ([(0.2, 0.70), (0.5, 0.71), (0.8, 0.68)], 3, 3),
        ([(0.2, 0.70), (0.9, 0.50)], 1, 2),  # stable, but the accuracy is gone
        ([(0.2, 0.70), (0.3, 0.70), (0.4, 0.70), (0.5, 0.70), (0.6, 0.70)], 1, 5),  # none is: the default stays
    ],
)
def test_the_least_decay_that_is_stable_and_keeps_the_accuracy_is_taken(monkeypatch, found, taken, tried):
    asked = []

    def compare(rows, labels, parts, decay):
        asked.append(decay)
        learned, accuracy = found[len(asked) - 1]
        return {"class": learned, "mean": 0.9, "accuracy": accuracy}

    monkeypatch.setattr(stability, "compare", compare)
    labels = np.tile(np.arange(5), 4)
    chosen = stability.choose(None, labels, [1, 2, 3, 4, 5], lambda decay: decay, 0, log=lambda _: None)
    assert chosen["decay"] == taken and asked == [1, 2, 3, 4, 5][:tried]


@pytest.mark.parametrize(
    "learned, means, kind, said",
    [
        (0.9, 0.95, "class", "class vectors 0.90, means of f(x) 0.95; the class vectors are shown"),
        (0.1, 0.95, "mean", "stability between two halves of the pictures: class vectors 0.10"),
        (0.1, 0.3, "mean", "warning: neither is stable"),
        (0.3, 0.1, "class", "warning: neither is stable"),
    ],
)
def test_what_is_stable_is_shown_and_said(learned, means, kind, said):
    found = {"class": learned, "mean": means}
    assert stability.shown(found) == kind and said in stability.sentence(found)
    assert f"the {stability.NAMES[kind]} are shown" in stability.sentence(found)


@pytest.fixture(scope="module")
def few(cifar_folder, tmp_path_factory):
    """Forty pictures of each of five real classes, and where their features are kept."""
    root = tmp_path_factory.mktemp("few")
    for name in ("automobile", "cat", "dog", "frog", "truck"):
        (root / "pictures" / name).mkdir(parents=True)
        for path in sorted((cifar_folder / name).iterdir())[:40]:
            (root / "pictures" / name / path.name).write_bytes(path.read_bytes())
    return root


@pytest.fixture
def frozen(few, monkeypatch):
    """A run on frozen features of real pictures, in a folder that has the name given."""
    require_weights("squeezenet1.1")
    from examples.im2vec import data

    monkeypatch.setattr(data, "data_root", lambda: few)

    def run(name, *flags):
        where = ["--dataset", "folder", "--data-path", str(few / "pictures"), "--run-dir", str(few / name)]
        network = ["--model", "squeezenet1.1", "--use-pretrained", "--image-size", "64", "--epochs", "8"]
        train.main(train.parse_args([*where, *network, *flags]))
        return few / name

    return run


@pytest.mark.slow
def test_a_run_on_few_frozen_features_shows_what_is_stable(frozen, few):
    folder = frozen("few")
    found = json.loads((folder / "stability.json").read_text())
    figures = json.loads((folder / "metrics.json").read_text())
    assert figures["stability_class"] == found["class"] and figures["stability_mean"] == found["mean"]
    assert found["mean"] > 0.7  # of forty pictures
    model = modelfile.load(folder / "model.params")
    assert model.metadata["stability"] == found
    log = (folder / "log.txt").read_text()
    assert stability.sentence(found) in log and "weight decay 0.0045: vectors of two halves" in log
    called = stability.NAMES[stability.shown(found)]
    assert f"Cosine of the {called}" in (folder / "report.html").read_text()
    visualize.main(visualize.parse_args(["--run-dir", str(folder), "--output", str(few / "shown")]))
    assert f"Cosine of the {called}" in (few / "shown" / "report.html").read_text()
    automobile = [line for line in (folder / "nearest-means.csv").read_text().splitlines() if "automobile,1" in line]
    assert automobile[0].startswith("automobile,1,truck")


def test_the_choice_is_kept_for_a_resumed_run(frozen, few, monkeypatch):
    folder = frozen("kept", "--no-plots", "--epochs", "2")
    monkeypatch.setattr(stability, "choose", lambda *_: pytest.fail("chosen again"))
    frozen("kept", "--no-plots", "--epochs", "2", "--resume")
    (folder / "stability.json").write_text("half")
    with pytest.raises(UserError, match="stability.json is not as it should be .*: remove it"):
        frozen("kept", "--no-plots", "--epochs", "2", "--resume")


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--objective", "softmax"], ["--objective", "softmax", "--seed", "2"]])
def test_a_softmax_on_frozen_features_learns_at_its_default_rate(frozen, flags):
    folder = frozen("-".join(flags), "--no-plots", "--epochs", "15", *flags)
    losses = [row["loss"] for row in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())]
    assert np.isfinite(losses).all() and losses[-1] < 0.9 and max(losses) < 3  # log 5 is 1.6
    assert json.loads((folder / "metrics.json").read_text())["accuracy"] > 0.5  # chance is 0.2
