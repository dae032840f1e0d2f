"""What flags of the programs do, given on a command line."""

import json

import faiss
import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from common import metrics
from common.data.transforms import Eval
from common.files.errors import UserError
from examples.embedding_learning import data, embed, model, search, train

SIZE = 16


@pytest.fixture(scope="module")
def pictures(coloured, tmp_path_factory):
    return coloured(tmp_path_factory.mktemp("pictures"), 6)


def trained(pictures, run, *more):
    argv = [
        "--dataset", "folder", "--data-path", pictures, "--model", "conv4", "--image-size", SIZE, "--resize", SIZE,
        "--embed-dim", 4, "--batch-size", 4, "--batch-k", 2, "--epochs", 1, "--epoch-batches", 1, "--no-plots",
        "--run-dir", run, *more,
    ]  # fmt: skip
    train.main(train.parse_args([str(word) for word in argv]))
    return run


def rows(run):
    """What ``metrics.jsonl`` says of each epoch."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def squeezed(pictures, tmp_path_factory):
    return trained(pictures, tmp_path_factory.mktemp("squeezed") / "run") / "margin_loss_model.params"


def test_patience_ends_a_training_that_gains_nothing(pictures, tmp_path):
    flags = ("--epochs", 6, "--lr", "1e-12", "--lr-beta", 0)
    run = trained(pictures, tmp_path / "run", *flags, "--patience", 2)
    recalls = [row["recall@1"] for row in rows(run)]
    assert len(recalls) == 1 + np.argmax(recalls) + 2 < 6  # two more after the best
    assert "stopped early" in (run / "log.txt").read_text()
    assert len(rows(trained(pictures, tmp_path / "all", *flags))) == 6


@pytest.mark.parametrize("engine", ["mxnet", "onnxruntime"])
def test_a_trained_network_sees_the_mean_of_the_views(pictures, tmp_path, monkeypatch, engine):
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path / "data"))
    run = trained(pictures, tmp_path / "run", "--views", "0.75,0.5", "--save-embeddings")
    params, output = run / "margin_loss_model.params", tmp_path / "x.npy"
    kept = np.load(run / "embeddings" / "queries.npy")
    paths = (run / "embeddings" / "queries.csv").read_text().splitlines()[1:]
    files = [row.split(",")[0] for row in paths]
    embed.main(embed.parse_args([*files, "--params", str(params), "--output", str(output), "--engine", engine]))
    np.testing.assert_allclose(np.load(output), kept, atol=1e-4)
    net, metadata = model.load(params)
    assert metadata["views"] == [0.75, 0.5]
    transform = Eval(SIZE, SIZE)
    picture = np.array(Image.open(files[0]))
    views = [transform(part) for part in (picture, picture[2:14, 2:14], picture[4:12, 4:12])]
    means = net.backbone(mx.nd.array(np.stack(views), dtype="uint8")).mean(axis=0, keepdims=True)
    np.testing.assert_allclose(net.embed(means).asnumpy()[0], kept[0], atol=1e-4)
    model.save(net, tmp_path / "odd.params", **{**metadata, "views": [2]})
    with pytest.raises(UserError, match=r"odd.params is not as it should be \(its 'views' cannot be \[2\]"):
        embed.main(embed.parse_args([*files, "--params", str(tmp_path / "odd.params"), "--output", str(output)]))


def test_keep_aspect_sees_the_middle_of_a_wide_picture(pictures, squeezed, tmp_path):
    kept = trained(pictures, tmp_path / "run", "--keep-aspect") / "margin_loss_model.params"
    middle = np.array(Image.open(pictures / "c00" / "0.png"))
    Image.fromarray(np.concatenate([255 - middle, middle, 255 - middle], axis=1)).save(tmp_path / "wide.png")

    def both(params):
        files = [str(pictures / "c00" / "0.png"), str(tmp_path / "wide.png")]
        embed.main(embed.parse_args([*files, "--params", str(params), "--output", str(tmp_path / "x.npy")]))
        return np.load(tmp_path / "x.npy")

    same, other = both(kept), both(squeezed)
    np.testing.assert_allclose(same[0], same[1], atol=1e-5)
    assert np.abs(other[0] - other[1]).max() > 1e-3


def test_keep_whole_does_not_cut_birds_out(tmp_path):
    tables = {
        "classes.txt": [f"{i} {i:03d}.Bird{i}" for i in range(1, 201)],
        "images.txt": [f"{i} {i:03d}.Bird{i}/a.jpg" for i in range(1, 201)]
        + [f"{i + 200} {i:03d}.Bird{i}/b.jpg" for i in range(1, 201)],
        "image_class_labels.txt": [f"{i} {(i - 1) % 200 + 1}" for i in range(1, 401)],
        "bounding_boxes.txt": [f"{i} 4.0 2.0 10.0 6.0" for i in range(1, 401)],
    }
    for name, lines in tables.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    for line in tables["images.txt"]:
        file = tmp_path / "images" / line.split()[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20)).save(file)

    def shape(*more):
        args = train.parse_args(["--dataset", "cub200", "--data-path", str(tmp_path), *more])
        return data.load(args).test.read(0).shape

    assert shape() == (6, 10, 3) and shape("--keep-whole") == (20, 30, 3)


@pytest.mark.parametrize(("kind", "index"), [
    ("exact", faiss.IndexFlat), ("hnsw", faiss.IndexHNSW), ("binary", faiss.IndexBinaryFlat),
])  # fmt: skip
def test_kind_is_how_the_gallery_is_searched(pictures, squeezed, tmp_path, kind, index, capsys):
    query, file = pictures / "c01" / "2.png", tmp_path / "gallery.faiss"
    flags = [query, "--gallery", pictures, "--index", file, "--kind", kind, "--params", squeezed, "-k", 1]
    search.main(search.parse_args([str(flag) for flag in flags]))
    nearest = capsys.readouterr().out.splitlines()[-1]
    assert nearest.split()[0] == "1.000" and (kind == "binary" or str(query) in nearest)  # of four bits several agree
    assert isinstance((faiss.read_index_binary if kind == "binary" else faiss.read_index)(str(file)), index)


def test_signs_are_reported_beside_the_numbers(pictures, tmp_path):
    run = trained(pictures, tmp_path / "run", "--signs", "--save-embeddings")
    rows, labels = np.load(run / "embeddings" / "queries.npy"), np.genfromtxt(
        run / "embeddings" / "queries.csv", delimiter=",", names=True, dtype=None, encoding="utf-8"
    )["label"]  # fmt: skip
    found = json.loads((run / "metrics.json").read_text())["signs_of_trained_recall@1"]
    assert found == metrics.recall_at_k(np.where(rows > 0, 1.0, -1.0), labels)["recall@1"]
