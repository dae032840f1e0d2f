"""One's own folders, small ones too: protocol, batch and validation follow the data, and each figure is a figure."""

import json

import numpy as np
import pytest

from common import metrics
from common.files.errors import UserError
from common.files.paths import REPO
from examples.embedding_learning import data, evaluation, train

SIZE = 16


def flags(root, *more):
    return train.parse_args(["--dataset", "folder", "--data-path", str(root), "--model", "conv4", *map(str, more)])


def trained(root, tmp_path, *more):
    """The figures and the log of a very short run."""
    run = tmp_path / "run"
    small = ["--image-size", SIZE, "--resize", SIZE, "--embed-dim", 8, "--epochs", 2, "--epoch-batches", 2]
    train.main(flags(root, *small, "--run-dir", run, *more))
    return json.loads((run / "metrics.json").read_text()), (run / "log.txt").read_text(), run


@pytest.mark.parametrize("each", [2, 5, 50])
@pytest.mark.parametrize("classes", [2, 10, 20])
def test_a_folder_of_any_size_gives_parts_that_can_be_learned_and_asked(coloured, tmp_path, classes, each):
    args = flags(coloured(tmp_path, classes, each))
    parts = data.load(args)
    assert args.protocol == ("seen" if classes == 2 else "unseen")
    counts = np.bincount(parts.train.labels)
    assert len(counts) == len(parts.train.class_names) >= 2 and counts.min() >= 1
    assert args.batch_k <= max(2, counts.max()) and args.batch_size // args.batch_k <= len(counts)
    if args.protocol == "seen":
        assert set(parts.test.labels) == set(parts.train.labels)
    else:
        assert np.bincount(parts.test.labels).min() >= 2
    said = "\n".join(parts.notes)
    assert ("--protocol seen" in said) == (classes == 2)
    assert f"batches of {args.batch_size} pictures, {args.batch_k} of a class" in said


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "each", "more"), [
    (2, 2, []), (2, 50, []), (10, 2, ["--no-plots"]), (4, 5, ["--no-plots", "--validation-share", "0"]),
])  # fmt: skip
def test_a_small_folder_trains_with_no_flag_but_its_place(coloured, tmp_path, classes, each, more):
    figures, log, run = trained(coloured(tmp_path / "pictures", classes, each), tmp_path, *more)
    assert all(np.isfinite(value) for value in figures.values())
    assert 0 <= figures["recall@1"] <= 1 and "map@r" in figures
    assert ("nmi" in figures) == (classes == 10 or each > 2)  # a picture a class is a cluster a picture
    assert (run / "report.html").exists() == ("--no-plots" not in more)
    args = json.loads((run / "args.json").read_text())["args"]
    assert args["protocol"] == ("seen" if classes < 4 else "unseen")
    assert f"batches of {args['batch_size']} pictures" in log


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "each"), [(2, 2), (10, 5)])
def test_a_small_folder_trains_on_frozen_features(coloured, tmp_path, monkeypatch, classes, each):
    """As the README's command for one's own pictures does."""
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path / "data"))
    start = ["--params", REPO / "examples/embedding_learning/pretrained/glyphs_conv4.params", "--backbone-lr", 0]
    root = coloured(tmp_path / "pictures", classes, each)
    figures, _, run = trained(root, tmp_path, *start, "--embed-dim", 128, "--image-size", 32, "--resize", 32)
    assert all(np.isfinite(value) for value in figures.values())
    assert "backbone_features_recall@1" in figures and (run / "margin_loss_model.params").is_file()
    assert len(list((tmp_path / "data" / "features").rglob("*.npz"))) == 2  # training and test pictures


def test_held_back_pictures_are_looked_for_among_the_training_pictures(coloured, tmp_path):
    """With one test picture a class no other test picture could be right."""
    root = coloured(tmp_path / "pictures", 6, 4)
    figures, log, _ = trained(root, tmp_path, "--protocol", "seen", "--validation-share", "0")
    parts = data.load(flags(root, "--protocol", "seen", "--validation-share", "0"))
    assert np.bincount(parts.test.labels).tolist() == [1] * 6
    train_rows, test_rows = (p.array(SIZE).reshape(len(p), -1).astype(float) for p in (parts.train, parts.test))
    mean = train_rows.mean(axis=0)
    near = metrics.unit(test_rows - mean) @ metrics.unit(train_rows - mean).T
    right = np.mean(parts.train.labels[near.argmax(axis=1)] == parts.test.labels)
    assert right > 0.5 and figures["raw_pixels_recall@1"] == pytest.approx(right)
    alone = evaluation.Tested(parts.test, test_rows).found.mean()
    assert alone["recall@1"] == 0 and np.isnan(alone["map@r"])  # what was printed before


@pytest.mark.parametrize("protocol", ["unseen", "seen"])
def test_validation_pictures_are_none_of_the_others(coloured, tmp_path, protocol):
    root = coloured(tmp_path, 12, 8)
    args = flags(root, "--protocol", protocol, "--validation-share", "0.25")
    parts = data.load(args)
    paths = [set(part.images) for part in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, paths)) == len(set.union(*paths)) == 96
    same = set(parts.train.class_names) & set(parts.validation.class_names)
    if protocol == "unseen":
        assert not same and (len(parts.train.class_names), len(parts.validation.class_names)) == (4, 2)
    else:
        assert len(same) == 12 and np.bincount(parts.validation.labels).tolist() == [2] * 12
    for part in (parts.train, parts.validation):  # labels lead to their class
        assert [path.parent.name for path in part.images] == [part.class_names[label] for label in part.labels]
    again = data.load(flags(root, "--protocol", protocol, "--validation-share", "0.25"))
    assert again.validation.images == parts.validation.images
    other = data.load(flags(root, "--protocol", protocol, "--validation-share", "0.25", "--seed", 5))
    assert other.validation.images != parts.validation.images


@pytest.mark.parametrize(("classes", "each", "protocol", "share"), [
    (80, 2, "unseen", 0.1), (60, 2, "unseen", 0.0), (10, 6, "seen", 0.1), (10, 5, "seen", 0.0),
])  # fmt: skip
def test_validation_is_held_out_where_there_is_enough(coloured, tmp_path, classes, each, protocol, share):
    args = flags(coloured(tmp_path, classes, each), "--protocol", protocol)
    parts = data.load(args)
    assert args.validation_share == share and (parts.validation is None) == (share == 0)
    assert ("choice on test data" in parts.notes[1]) == (share == 0)


@pytest.mark.parametrize("share", ["0.3", "0"])
def test_the_best_epoch_is_chosen_on_validation_and_the_test_asked_once(coloured, tmp_path, monkeypatch, share):
    asked = []
    real = metrics.search

    def counted(embeddings, labels, *gallery, **options):
        asked.append(len(labels))
        return real(embeddings, labels, *gallery, **options)

    monkeypatch.setattr(metrics, "search", counted)
    root = coloured(tmp_path / "pictures", 16, 3)
    figures, log, run = trained(root, tmp_path, "--validation-share", share, "--no-plots")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = {row["epoch"]: row for row in rows if row["batch"] == 0}
    # 24 test pictures: raw pixels, before training, where they choose each epoch, and once for all that is reported
    assert asked == ([24, 24, 6, 6, 24] if share == "0.3" else [24, 24, 24, 24, 24])
    key = "validation_recall@1" if share == "0.3" else "recall@1"
    values = [epochs[epoch][key] for epoch in (1, 2)]
    assert figures["epoch"] == 1 + int(values[1] > values[0]) and figures[key] == max(values)
    assert ("recall@1" in epochs[1]) == (share == "0")
    assert ("best on 2 classes held out" if share == "0.3" else "choice on test data") in log
    from common.backbones.features import encode
    from examples.embedding_learning import model  # the figures are those of the parameters that are kept

    parts = data.load(flags(root, "--validation-share", share))
    net, _ = model.load(run / "margin_loss_model.params")
    still = data.Eval(SIZE, SIZE)
    vectors = encode(net, data.in_order(parts.test, still, 0).epoch())
    assert real(vectors, parts.test.labels).mean()["recall@1"] == pytest.approx(figures["recall@1"])


@pytest.mark.parametrize(("classes", "each", "more", "text"), [
    (2, 5, ["--protocol", "unseen"], "--protocol unseen leaves 1 class to train on, two are needed: --protocol seen"),
    (3, 5, ["--unseen", "c00", "c01"], "--protocol unseen leaves 1 class to train on"),
    (8, 1, [], "no test class has two pictures"),
    (8, 1, ["--protocol", "seen"], "none of 8 classes has two pictures, which it takes to hold one back"),
    (8, 4, ["--protocol", "seen", "--unseen", "c01"], "--unseen c01 has no effect here, --protocol seen"),
    (4, 4, ["--validation-share", "0.5"], "--validation-share 0.5 would hold out 2 of 2 training classes"),
    (4, 4, ["--protocol", "seen", "--validation-share", "1"], "--validation-share 1 would leave a class without"),
    (4, 2, ["--protocol", "seen", "--validation-share", "0.1"], "--validation-share 0.1 would leave a class without"),
])  # fmt: skip
def test_what_the_data_do_not_allow_is_one_line(coloured, tmp_path, classes, each, more, text):
    with pytest.raises(UserError, match=text):
        data.load(flags(coloured(tmp_path, classes, each), *more))


@pytest.mark.parametrize("name", ["cub200", "cars196", "sop"])
def test_unseen_is_refused_where_the_split_is_official(tmp_path, name):
    args = train.parse_args(["--dataset", name, "--data-path", str(tmp_path), "--unseen", "x"])
    with pytest.raises(UserError, match=f"--unseen x has no effect here, {name} is split by class already"):
        data.load(args)


def test_batch_flags_that_are_given_and_cannot_be_are_one_line(coloured, tmp_path):
    root = coloured(tmp_path / "pictures", 8, 4)
    with pytest.raises(UserError, match="--batch-size 70 with --batch-k 5 needs at least 14 classes"):
        trained(root, tmp_path, "--batch-size", 70, "--batch-k", 5)
    assert not (tmp_path / "run").exists()


def test_pictures_that_cannot_be_read_end_the_run_or_are_listed(coloured, tmp_path):
    root = coloured(tmp_path / "pictures", 8, 4)
    (root / "c03" / "1.png").write_bytes(b"no picture")
    (root / "c03" / "._2.png").write_bytes(b"x")
    with pytest.raises(UserError, match="c03/1.png is not a picture that can be read"):
        trained(root, tmp_path / "stop", "--no-plots")
    _, log, run = trained(root, tmp_path, "--no-plots", "--on-error", "skip")
    assert "32 pictures of 8 classes; 1 skipped: 1 of macOS" in log
    assert "1 skipped: 1 pictures that cannot be read (c03/1.png)" in log
    listed = (run / "skipped.txt").read_text().splitlines()
    assert [line.split("\t")[1] for line in listed] == [str(root / "c03" / "._2.png"), str(root / "c03" / "1.png")]
