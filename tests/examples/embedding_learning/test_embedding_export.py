"""A model that sees several views of a picture is exported as one graph that takes them together."""

import json

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from common.files.errors import UserError
from common.files.paths import REPO
from examples.embedding_learning import export, model
from examples.embedding_learning.gallery import Embedder


@pytest.fixture
def pictures(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "pictures"
    folder.mkdir()
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (60, 50, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def test_views(pictures, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(REPO / "runtime"))
    from image_embeddings import Model

    mx.random.seed(0)
    net = model.create("conv4", 16, None, mx.cpu(), 32)
    metadata = {"crop": 32, "resize": 36, "keep_aspect": True, "views": [0.75, 0.5], "dataset": "grocery", "classes": 2}
    model.save(net, tmp_path / "model.params", **metadata)
    export.main(export.parse_args([
        "--params", str(tmp_path / "model.params"), "--package", str(tmp_path / "m"), "--pictures",
        str(tmp_path / "pictures"), "--calibrate", "3",
    ]))  # fmt: skip
    expected = Embedder(tmp_path / "model.params", 1, "mxnet", num_workers=0)(pictures)
    np.testing.assert_allclose(Model(tmp_path / "m").embed(pictures), expected, atol=1e-4)
    assert (Model(tmp_path / "m", int8=True).embed(pictures) * expected).sum(axis=1).min() > 0.8
    about = json.loads((tmp_path / "m" / "model.json").read_text())
    assert about["input"]["layout"] == "NVHWC" and about["input"]["views"] == [0.75, 0.5]


def test_the_catalogue_names_pictures(groceries, tmp_path):
    """Each class has the vector of its catalogue picture."""
    export.main(export.parse_args([
        "--package", str(tmp_path / "m"), "--dataset", "grocery", "--data-path", str(groceries),
    ]))  # fmt: skip
    about = json.loads((tmp_path / "m" / "model.json").read_text())
    assert len(about["classes"]["names"]) == 10 and "Royal Gala" in about["classes"]["titles"]
    assert np.load(tmp_path / "m" / "classes.npy").shape == (10, 128)


def test_wrong_use_is_told(tmp_path):
    with pytest.raises(UserError, match="--classes .*none is not a folder"):
        export.main(export.parse_args(["--package", str(tmp_path / "m"), "--classes", str(tmp_path / "none")]))
    with pytest.raises(SystemExit):
        export.parse_args(["--package", "m", "--data-path", "x"])
    assert not (tmp_path / "m").exists()
