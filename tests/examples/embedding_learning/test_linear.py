"""PCA whitening, LDA and WCCN of frozen features, and the models that ``--head`` makes of them."""

import csv
import json

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from common import metrics
from common.backbones.features import encode
from common.files.errors import UserError
from common.files.paths import REPO
from examples.embedding_learning import data, embed, linear, model, search, train

SHIPPED = REPO / "examples/embedding_learning/pretrained/glyphs_conv4.params"
SIZE = 32


@pytest.fixture(scope="module")
def drawn():
    """Features of twelve classes with a spread of their own in each direction, one class of one, and held-out ones."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 9)[:100]
    rows = rng.normal(size=(12, 30))[labels] + rng.normal(size=(100, 30)) * rng.uniform(0.2, 3, 30)
    return rows.astype(np.float32), labels, rng.normal(size=(50, 30)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:Only one sample available")
@pytest.mark.parametrize("shrinkage", [None, 0.2, 0.9])
def test_lda_is_that_of_scikit_learn_on_held_out_features(drawn, shrinkage):
    rows, labels, held_out = (part.astype(np.float64) if part.dtype == np.float32 else part for part in drawn)
    theirs = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto" if shrinkage is None else shrinkage)
    theirs.fit(rows, labels)
    wanted = theirs.transform(held_out) - theirs.transform(rows.mean(axis=0, keepdims=True))
    ours = linear.lda(*drawn[:2], 99, shrinkage)(held_out)
    assert ours.shape == wanted.shape == (50, 11)
    np.testing.assert_allclose(ours * np.sign(np.sum(ours * wanted, axis=0)), wanted, atol=2e-3)
    few = linear.lda(*drawn[:2], 4, shrinkage)(held_out)
    np.testing.assert_allclose(np.abs(few), np.abs(ours[:, :4]), atol=1e-4)


@pytest.mark.parametrize("shrinkage", [0.2, 0.9])
def test_wccn_gives_the_inner_products_of_mahalanobis_space(drawn, shrinkage):
    rows, labels, held_out = drawn[0].astype(np.float64), *drawn[1:]
    spread = np.zeros((30, 30))
    for row, label in zip(rows, labels):
        away = row - rows[labels == label].mean(axis=0)
        spread += np.outer(away, away) / len(rows)
    spread = (1 - shrinkage) * spread + shrinkage * np.trace(spread) / 30 * np.eye(30)
    away = held_out - rows.mean(axis=0)
    ours = linear.wccn(*drawn[:2], 99, shrinkage)(held_out)
    assert ours.shape == (50, 30)  # twelve classes do not bound it
    np.testing.assert_allclose(ours @ ours.T, away @ np.linalg.inv(spread) @ away.T, rtol=1e-3, atol=1e-3)
    few = linear.wccn(*drawn[:2], 14, shrinkage)
    np.testing.assert_allclose(np.abs(few(held_out)), np.abs(ours[:, :14]), atol=1e-4)
    variances = few(rows).var(axis=0)
    assert variances == pytest.approx(sorted(variances, reverse=True))


@pytest.mark.parametrize(("n", "dims", "there"), [(100, 7, 7), (100, 99, 30), (9, 99, 8)])
def test_pca_whitening_leaves_no_covariance(drawn, n, dims, there):
    rows, held_out = drawn[0][:n].astype(np.float64), drawn[2]
    fitted = linear.pca_whitening(rows, dims)
    white = fitted(rows)
    assert white.shape == (n, there)
    np.testing.assert_allclose(white.T @ white / n, np.eye(there), atol=1e-4)
    values, vectors = np.linalg.eigh(np.cov(rows.T, bias=True))
    wanted = (held_out - rows.mean(axis=0)) @ vectors[:, ::-1][:, :there] / np.sqrt(values[::-1][:there])
    np.testing.assert_allclose(np.abs(fitted(held_out)), np.abs(wanted), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("rows", "labels", "text"), [
    (np.eye(4), [0, 0, 1, 1], "LDA needs 3 training classes, and there are 2"),
    (np.eye(4), [0, 1, 2, 3], "LDA needs a training class with 2 pictures"),
    (np.eye(3)[[0, 0, 1, 1, 2, 2]], [0, 0, 1, 1, 2, 2], "all look the same to the network"),
    (np.full((6, 2), np.nan), [0, 0, 1, 1, 2, 2], "the features: 6 of 6 rows hold numbers that are not finite"),
])  # fmt: skip
def test_too_few_for_lda_or_wccn_is_one_line(rows, labels, text):
    for name, fit in linear.FITS.items():
        with pytest.raises(UserError, match=text.replace("LDA", name.upper())):
            fit(rows, np.array(labels), 2)


def test_two_pictures_are_too_few_for_pca():
    with pytest.raises(UserError, match="2 training pictures vary in 1 directions, and PCA needs 2"):
        linear.pca_whitening(np.eye(2), 2)


@pytest.fixture(scope="module")
def pictures(coloured, tmp_path_factory):
    return coloured(tmp_path_factory.mktemp("pictures"), 16, size=SIZE, noise=90)


def flags(pictures, *more):
    argv = ["--dataset", "folder", "--data-path", pictures, "--model", "conv4", "--image-size", SIZE, "--resize", SIZE]
    return train.parse_args([str(word) for word in (*argv, *more)])


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path / "data"))


@pytest.mark.parametrize(("head", "share", "views"), [
    ("lda", "0.3", []), ("lda", "0", []), ("wccn", "0.3", []), ("wccn", "0", []),
    ("wccn", "0", ["--views", "0.75,0.5"]),
])  # fmt: skip
def test_a_closed_form_writes_a_model_that_embeds_and_finds(pictures, tmp_path, home, head, share, views, capsys):
    run = tmp_path / "run"
    more = ["--params", SHIPPED, "--head", head, "--validation-share", share, "--run-dir", run, *views]
    args = flags(pictures, *more)
    train.main(args)
    figures, log = json.loads((run / "metrics.json").read_text()), (run / "log.txt").read_text()
    parts = data.load(flags(pictures, *more))
    classes = len(parts.train.class_names)
    dims, first = (classes - 1, "Ledoit-Wolf") if head == "lda" else (len(parts.train) - 1, "0.5")
    assert f"{head.upper()} of {classes} classes: {dims} dimensions, shrinkage " in log
    assert (f"the best by validation_recall@1 ({first}: " in log) == (share == "0.3")
    assert ("validation_recall@1" in figures) == (share == "0.3") and "choice on test data" not in log
    assert figures["epoch"] == 0 and not (run / "metrics.jsonl").exists() and not list((run / "checkpoints").iterdir())
    assert (run / "report.html").is_file()
    if share == "0":  # the same as the baseline's
        assert figures["recall@1"] == figures[f"{head}_recall@1"]

    net, metadata = model.load(run / "margin_loss_model.params")
    key = "validation_recall@1" if share == "0.3" else "recall@1"
    assert metadata["embed_dim"] == dims and metadata["metrics"][key] == figures[key]
    output = tmp_path / "e.npy"
    files = [str(path) for path in parts.test.images]
    embed.main(embed.parse_args([*files, "--params", str(run / "margin_loss_model.params"), "--output", str(output)]))
    vectors = np.load(output)
    assert vectors.shape == (len(files), dims)
    assert metrics.recall_at_k(vectors, parts.test.labels)["recall@1"] == pytest.approx(figures["recall@1"])
    if share == "0":
        transform = data.eval_transform(args, SIZE)
        rows = {
            name: encode(net.backbone, data.in_order(split, transform, 0).epoch())
            for name, split in parts.by_name().items()
        }
        wanted = metrics.unit(linear.FITS[head](rows["train"], parts.train.labels, dims)(rows["test"]))
        np.testing.assert_allclose(vectors, wanted, atol=1e-4)
    params = ["--params", str(run / "margin_loss_model.params")]
    capsys.readouterr()
    search.main(search.parse_args([files[0], "--gallery", str(pictures), "-k", "1", *params]))
    assert capsys.readouterr().out.splitlines()[-1].split() == ["1.000", files[0]]

    train.main(train.parse_args(["--resume", "--run-dir", str(run), "--no-plots"]))  # fits it once more
    assert json.loads((run / "metrics.json").read_text()) == figures


@pytest.mark.parametrize("head", ["lda", "wccn"])
@pytest.mark.parametrize(("more", "text"), [
    ([], "--head {head} is fitted to features of a network that has learned"),
    (["--params", SHIPPED, "--unseen", *(f"c{i:02d}" for i in range(14))], "{title} needs 3 training classes"),
])  # fmt: skip
def test_a_closed_form_without_what_it_needs_is_one_line(pictures, tmp_path, home, head, more, text):
    with pytest.raises(UserError, match=text.format(head=head, title=head.upper())):
        train.main(flags(pictures, "--head", head, "--run-dir", tmp_path / "run", *more))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("head", ["lda", "wccn"])
@pytest.mark.parametrize("more", [
    ["--margin", 0.3], ["--batch-size", 20], ["--epochs", 3], ["--lr", 0.1], ["--steps", 3], ["--patience", 2],
    ["--backbone-lr", 0.1],
])  # fmt: skip
def test_a_closed_form_refuses_flags_of_a_training(pictures, head, more):
    with pytest.raises(UserError, match=f"{more[0]} has no effect on --head {head}"):
        flags(pictures, "--head", head, *more)
    flags(pictures, "--head", head, "--backbone-lr", 0)


def test_some_baselines_need_more_than_two_classes(pictures, tmp_path, home):
    start = ["--params", SHIPPED, "--backbone-lr", 0, "--epochs", 1, "--epoch-batches", 1, "--no-plots"]

    def figures(name, *more):
        train.main(flags(pictures, *start, "--run-dir", tmp_path / name, *more))
        kept = json.loads((tmp_path / name / "metrics.json").read_text())
        return kept, (tmp_path / name / "log.txt").read_text()

    kept, log = figures("all")
    assert all(0 <= kept[f"{name}_{key}"] <= 1 for name in ("pca", "lda", "wccn") for key in ("recall@1", "map@r"))
    assert "backbone features, PCA whitened  " in log and "backbone features, LDA  " in log
    assert "backbone features, WCCN  " in log
    kept, log = figures("few", "--unseen", *(f"c{i:02d}" for i in range(14)))
    assert "lda_recall@1" not in kept and "pca_recall@1" in kept
    assert "backbone features, LDA: no figure. LDA needs 3 training classes, and there are 2" in log


def test_a_row_a_class(pictures, tmp_path):
    """Of twenty-one test classes the page has the twenty that are found worst, and the table all."""
    root = tmp_path / "more"
    for source in sorted(pictures.rglob("*.png")):
        for copy in "ab":
            target = root / f"{source.parent.name}{copy}" / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    (root / "c00a" / "0.png").unlink()
    unseen = [path.name for path in sorted(root.iterdir())][:21]
    small = ["--epochs", 1, "--epoch-batches", 1, "--embed-dim", 4, "--run-dir", tmp_path / "run"]
    train.main(flags(root, *small, "--unseen", *unseen))
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    with open(tmp_path / "run" / "classes.csv", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:3] == ["class", "pictures", "recall@1"] and sorted(row[0] for row in rows) == sorted(unseen)
    for name, *column in zip(header[2:], *(row[2:] for row in rows)):
        assert figures[f"class_{name}"] == pytest.approx(np.mean([float(value) for value in column]))
    values = [float(row[2]) for row in rows]
    assert values == sorted(values) and figures["class_recall@1"] == pytest.approx(np.mean(values))
    assert figures["recall@1"] == pytest.approx(np.average(values, weights=[int(row[1]) for row in rows]))
    assert {row[0]: row[1] for row in rows}["c00a"] == "3"
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"<td>{rows[19][0]}</td>" in page and f"<td>{rows[20][0]}</td>" not in page
    assert "1 more classes, found better, are in classes.csv" in page
