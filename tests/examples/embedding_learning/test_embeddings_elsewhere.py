"""Embeddings for other tools: table formats, the projector, a step of a scikit-learn pipeline."""

import csv
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from common.files.errors import UserError
from examples.embedding_learning import embed, gallery
from examples.embedding_learning.transformer import PictureEmbedder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Five bright and five dark pictures, in a folder for each class, one with a tab in its name."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name, level in (("bright ones", 200), ("dark", 60)):
        (root / name).mkdir()
        for i in range(5):
            pixels = np.clip(rng.normal(level, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / (f"{i}\t.png" if i == 4 else f"{i}.png"))
    return root


@pytest.fixture(scope="module")
def paths(pictures):
    return sorted(pictures.rglob("*.png"))


@pytest.fixture(scope="module")
def vectors(paths):
    return PictureEmbedder().transform(paths)


def test_embed_writes_a_table_and_a_map(pictures, paths, vectors, tmp_path, capsys):
    output = tmp_path / "found.parquet"
    embed.main(embed.parse_args([str(pictures), "--output", str(output), "--projector"]))
    table = pandas.read_parquet(output)
    assert list(table.columns) == ["path", "label", *(f"e{i}" for i in range(vectors.shape[1]))]
    assert sorted(table["path"]) == list(map(str, paths)) and set(table["label"]) == {"bright ones", "dark"}
    numbers = table.sort_values("path").drop(columns=["path", "label"]).to_numpy()
    assert numbers.dtype == np.float32
    np.testing.assert_array_equal(numbers, vectors)
    assert len((tmp_path / "found_projector" / "tensors.tsv").read_text().splitlines()) == 10
    assert Image.open(tmp_path / "found_projector" / "sprite.png").size == (256, 256)
    assert "10 embeddings" in capsys.readouterr().out


def test_the_table_for_orange_gives_all_back(paths, vectors, tmp_path):
    gallery.write(tmp_path / "found.tab", paths, vectors)
    with open(tmp_path / "found.tab", encoding="utf-8", newline="") as file:
        names, types, roles, *rows = csv.reader(file, delimiter="\t")
    width = vectors.shape[1]
    assert names == ["path", "label", *(f"e{i}" for i in range(width))]
    assert types == ["string", "discrete", *["continuous"] * width] and roles == ["meta", "class", *[""] * width]
    assert [row[:2] for row in rows] == [[str(path), path.parent.name] for path in paths]
    np.testing.assert_array_equal(np.array([row[2:] for row in rows], np.float32), vectors)


def test_an_array_that_cannot_be_written_leaves_the_paths_of_the_one_before(paths, vectors, tmp_path):
    gallery.write(tmp_path / "found.npy", paths, vectors)
    (tmp_path / "found.npy").unlink()
    (tmp_path / "found.npy").mkdir()  # cannot be replaced
    with pytest.raises(UserError, match=r"cannot write .*found\.npy"):
        gallery.write(tmp_path / "found.npy", paths[:3], vectors[:3])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["found.npy", "found.txt"]
    assert (tmp_path / "found.txt").read_text().splitlines() == list(map(str, paths))


def test_another_suffix_is_one_line(pictures, tmp_path):
    args = embed.parse_args([str(pictures), "--output", str(tmp_path / "found.xlsx")])
    with pytest.raises(UserError, match=r"found.xlsx: the name must end in .npy, .csv, .tab or .parquet"):
        embed.main(args)


def test_a_step_of_a_pipeline(paths, vectors):
    labels = [path.parent.name for path in paths]
    pipeline = make_pipeline(PictureEmbedder(), LogisticRegression()).fit(list(map(str, paths)), labels)
    assert pipeline.predict(paths).tolist() == labels
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    np.testing.assert_allclose(pipeline[0].transform(pixels), vectors, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_a_step_is_cloned_with_its_parameters(tmp_path):
    step = PictureEmbedder(tmp_path / "own.params", engine="mxnet").set_params(num_workers=0)
    copy = clone(step)
    assert copy is not step and copy.get_params() == step.get_params()
    assert copy.get_params() == {"params": tmp_path / "own.params", "engine": "mxnet", "gpus": (), "num_workers": 0}
    with pytest.raises(UserError, match="own.params"):
        copy.fit([]).transform([Path("a.png")])
