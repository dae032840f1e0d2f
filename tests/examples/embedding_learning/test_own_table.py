"""One's own table: its splits are kept, and its queries are looked for in its gallery."""

import json

import numpy as np
import pytest
from PIL import Image

from common import metrics
from common.files.errors import UserError
from examples.embedding_learning import data, train

SIZE = 16
HEADER = "path,label,split,is_query,is_gallery"


def write(root, *rows, header=HEADER):
    """A table of rows such as ``a,train,,``, and the picture of each: noise around a colour of each class."""
    colours = np.random.default_rng(1).integers(40, 216, (26, 3))
    (root / "p").mkdir(parents=True, exist_ok=True)
    for i, row in enumerate(rows):
        noise = np.random.default_rng(i).integers(-60, 61, (SIZE, SIZE, 3))
        colour = colours[ord(row[0]) % 26]
        Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(root / "p" / f"{i}.png")
    lines = [header, *(f"p/{i}.png,{row}" for i, row in enumerate(rows))]
    (root / "t.csv").write_text("\n".join(lines) + "\n")
    return root / "t.csv"


def flags(path, *more):
    return train.parse_args(["--dataset", "csv", "--data-path", str(path), "--model", "conv4", *map(str, more)])


def trained(path, run, *more):
    small = ["--image-size", SIZE, "--resize", SIZE, "--embed-dim", 8, "--epochs", 2, "--epoch-batches", 2]
    train.main(flags(path, *small, "--run-dir", run, *more))
    return json.loads((run / "metrics.json").read_text()), (run / "log.txt").read_text()


def rows_of(asked):
    """Four classes to train on, and for each word such as ``e:qg`` a picture to test on: query, gallery or both."""
    found = [f"{label},train,," for label in "abcd" * 3]
    return found + [f"{w[0]},test,{'q' in w[2:]},{'g' in w[2:]}" for w in asked.split()]


# Two j and an h are not found.
ASKED = "e:q e:g e:g f:qg f:qg f:q g:qg g:g h:q h:qg e:q j:q j:q f:g g:qg k: k:g e:g g:g f:g"


def test_queries_are_looked_for_in_the_gallery_and_never_find_themselves(tmp_path):
    """Raw pixels, against comparing each query with each of the gallery."""
    path = write(tmp_path, *rows_of(ASKED))
    figures, log = trained(path, tmp_path / "run")
    words = ASKED.split()
    gallery = [i for i, word in enumerate(words) if "g" in word[2:]]
    queries = [i for i, word in enumerate(words) if "q" in word[2:]]
    able = [i for i in queries if any(words[j][0] == words[i][0] and j != i for j in gallery)]
    said = f"test: {len(able)} queries are looked for in a gallery of {len(gallery)}; 3 more are left out, the gallery"
    assert said in log and len(queries) - len(able) == 3
    pixels = data.load(flags(path)).test.array(SIZE).reshape(len(words), -1).astype(float)
    vectors = metrics.unit(pixels - pixels.mean(axis=0)).astype(float)
    first, precision = [], []
    for i in able:
        others = sorted((j for j in gallery if j != i), key=lambda j: -vectors[i] @ vectors[j])
        right = [words[j][0] == words[i][0] for j in others]
        first.append(1 + right.index(True))
        precision.append(np.mean(right[: sum(right)]))
    for k in (1, 2, 4, 8):
        assert figures[f"raw_pixels_recall@{k}"] == pytest.approx(np.mean(np.array(first) <= k))
    assert figures["raw_pixels_r_precision"] == pytest.approx(np.mean(precision))
    assert 0 <= figures["recall@1"] <= 1 and (tmp_path / "run" / "plots" / "retrieval.png").is_file()


def test_all_in_both_is_each_among_the_others(tmp_path):
    asked = " ".join(f"{label}:qg" for label in "eeeeffffgggg")
    both, _ = trained(write(tmp_path / "both", *rows_of(asked)), tmp_path / "both" / "run", "--no-plots")
    rows = [",".join(row.split(",")[:2]) for row in rows_of(asked)]
    one, _ = trained(write(tmp_path / "one", *rows, header="path,label,split"), tmp_path / "one" / "run", "--no-plots")
    assert both == pytest.approx(one)


@pytest.mark.parametrize(("header", "queries", "gallery", "own", "left_out"), [
    ("path,label,split,is_query,other", [0, 2, 4], [0, 1, 2, 3, 4], [0, 2, 4], 0),
    ("path,label,split,other,is_gallery", [0, 2, 4], [1, 3], [-1, -1, -1], 2),
])  # fmt: skip
def test_a_column_that_is_not_there_means_all(tmp_path, header, queries, gallery, own, left_out):
    path = write(tmp_path, *rows_of("e:q e:g e:q f:g f:q"), header=header)
    found = data.Searched.of(data.load(flags(path)).test, "test")
    assert (found.queries.tolist(), found.gallery.tolist(), found.own.tolist()) == (queries, gallery, own)
    assert found.left_out == left_out


def test_own_validation_pictures_choose_the_best_epoch_and_a_killed_run_goes_on(tmp_path):
    rows = [*rows_of("e:qg e:qg f:qg f:qg"), *(f"{label},validation,1,1" for label in "mmnn")]
    path = write(tmp_path, *rows, header="path,product,split,is_query,is_gallery")
    run, renamed = tmp_path / "run", ["--columns", "label=product"]
    figures, log = trained(path, run, "--no-plots", *renamed)
    assert "validation_recall@1" in figures and "4 pictures of csv's own validation list" in log
    args = json.loads((run / "args.json").read_text())["args"]
    assert args["columns"] == ["label=product"] and args["protocol"] == "unseen"
    train.main(train.parse_args(["--resume", "--run-dir", str(run), "--epochs", "3"]))
    assert json.loads((run / "metrics.json").read_text())["validation_recall@1"] >= 0
    assert len(data.load(flags(path, *renamed, "--validation-share", "0.5")).validation.class_names) == 2  # of training


def test_pictures_of_trained_classes_are_looked_for_among_the_training_pictures(tmp_path):
    rows = [f"{label},{split}" for split in ("train", "train", "test") for label in "abcdef"]
    figures, log = trained(write(tmp_path, *rows, header="path,label,split"), tmp_path / "run", "--no-plots")
    assert "all classes that are held back are trained on: --protocol seen" in log and "too few" not in log
    assert json.loads((tmp_path / "run" / "args.json").read_text())["args"]["protocol"] == "seen"
    assert figures["raw_pixels_recall@1"] > 0.3  # with one test picture a class no other test picture could be right


@pytest.mark.parametrize(("asked", "more", "line"), [
    ("e:q f:g e:q", [], r"split test of .*t.csv: of 2 queries \(is_query\) none has another picture of its class"),
    ("e:q e:q", [], r"of 2 queries .* in the gallery of 0 \(is_gallery\): mark more of them"),
    ("e:g e:g", [], "of 0 queries"),
    ("e:q f:g", [], "no test class has two pictures"),
    ("e:qg e:qg", ["--protocol", "seen"], "class 'e' has no picture of split train, and is held back"),
    ("e:qg e:qg", ["--unseen", "a"], "--unseen a has no effect here"),
])  # fmt: skip
def test_what_the_table_does_not_allow_is_one_line(tmp_path, asked, more, line):
    with pytest.raises(UserError, match=line):
        data.load(flags(write(tmp_path, *rows_of(asked)), *more))
