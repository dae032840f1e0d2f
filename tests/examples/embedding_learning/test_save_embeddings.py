"""``--save-embeddings``: what is kept agrees with the metrics of the run."""

import csv
import json

import numpy as np
import pytest

from common import metrics
from examples.embedding_learning import train


def trained(run, *more):
    argv = ["--model", "conv4", "--image-size", 16, "--resize", 16, "--embed-dim", 4, "--epochs", 1]
    argv += ["--batch-size", 4, "--batch-k", 2, "--epoch-batches", 1, "--no-plots", "--run-dir", run, *more]
    train.main(train.parse_args([str(word) for word in argv]))
    return run / "embeddings", json.loads((run / "metrics.json").read_text())


def table(file):
    with open(file, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def recall(rows, queries):
    """Of the table of neighbours: the fraction whose nearest is right."""
    first = [row for row in rows if row["rank"] == "1"]
    assert len(first) == queries
    return np.mean([row["is_right"] == "1" for row in first])


@pytest.mark.parametrize("more", [["--protocol", "unseen"], ["--protocol", "seen"]])
def test_queries_and_gallery_are_kept_with_their_neighbours(groceries, tmp_path, more):
    flags = ["--dataset", "grocery", "--data-path", groceries, "--save-embeddings", *more]
    folder, figures = trained(tmp_path / "run", *flags)
    queries, gallery = table(folder / "queries.csv"), table(folder / "gallery.csv")
    vectors, searched = np.load(folder / "queries.npy"), np.load(folder / "gallery.npy")
    assert vectors.dtype == np.float32 and vectors.shape == (len(queries), 4) and searched.shape == (len(gallery), 4)
    assert all("/test/" in row["path"] and f"/{row['class']}/" in row["path"] for row in queries)
    assert all("/train/" in row["path"] for row in gallery)
    labels = [np.array([int(row["label"]) for row in rows]) for rows in (queries, gallery)]
    again = metrics.recall_at_k(vectors, labels[0], (1,), searched, labels[1])["recall@1"]
    rows = table(folder / "neighbours.csv")
    assert figures["recall@1"] == pytest.approx(again) == pytest.approx(recall(rows, len(queries)))
    for row in rows[:50]:
        query, place = int(row["query"]), int(row["neighbour"])
        assert float(row["cosine"]) == pytest.approx(float(vectors[query] @ searched[place]), abs=1e-5)
        assert row["class"] == gallery[place]["class"]
        assert row["is_right"] == str(int(row["class"] == queries[query]["class"]))


def test_pictures_that_are_looked_for_in_each_other_have_one_table(glyph_folder, tmp_path):
    flags = ["--dataset", "glyphs", "--data-path", glyph_folder, "--save-embeddings", "--validation-share", 0]
    folder, figures = trained(tmp_path / "run", *flags)
    assert {file.name for file in folder.iterdir()} == {"queries.npy", "queries.csv", "neighbours.csv"}
    queries, rows = table(folder / "queries.csv"), table(folder / "neighbours.csv")
    assert queries[0]["path"] == "" and len(rows) == 16 * len(queries)
    assert not any(row["query"] == row["neighbour"] for row in rows)
    assert recall(rows, len(queries)) == pytest.approx(figures["recall@1"], abs=0.01)  # which counts ties as wrong


def test_queries_that_a_table_names_are_kept_alone(groceries, tmp_path):
    lines = ["path,label,split,is_query,is_gallery"]
    for part, flags in (("train", "0,1"), ("test", "1,0")):
        for file in sorted((groceries / "dataset" / part).rglob("*.jpg")):
            lines += [f"{file},{file.parent.name},test,{flags}"]
    others = sorted([*(groceries / "dataset" / "val").rglob("*.jpg"), *groceries.rglob("*_Iconic.jpg")])
    lines += [f"{file},x{file.parent.name},train,0,0" for file in others]
    (tmp_path / "own.csv").write_text("\n".join(lines) + "\n")
    folder, figures = trained(
        tmp_path / "run", "--dataset", "csv", "--data-path", tmp_path / "own.csv", "--save-embeddings",
        "--validation-share", 0,
    )  # fmt: skip
    queries = table(folder / "queries.csv")
    assert all("/test/" in row["path"] for row in queries) and len(queries) == 20
    assert all("/train/" in row["path"] for row in table(folder / "gallery.csv"))
    assert recall(table(folder / "neighbours.csv"), 20) == pytest.approx(figures["recall@1"])


def test_nothing_is_kept_unless_it_is_asked_for_and_a_resumed_run_may_ask(groceries, tmp_path):
    flags = ["--dataset", "grocery", "--data-path", groceries]
    folder, figures = trained(tmp_path / "run", *flags)
    assert not folder.exists()
    train.main(train.parse_args(["--resume", "--run-dir", str(tmp_path / "run"), "--no-plots", "--save-embeddings"]))
    assert recall(table(folder / "neighbours.csv"), len(table(folder / "queries.csv"))) == figures["recall@1"]
