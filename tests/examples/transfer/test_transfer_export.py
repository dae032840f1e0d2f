"""An exported classifier names pictures as predict.py does."""

import csv
import io
import json

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from common.data import images
from common.files.errors import UserError
from examples.transfer import export, inputs, model, networks, predict


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures, and classifiers of each kind on a random network."""
    root, rng = tmp_path_factory.mktemp("transfer"), np.random.default_rng(0)
    (root / "pictures").mkdir()
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(root / "pictures" / f"{number}.png")
    backbone = {"name": "conv4", "weights": "None", "interpolation": "bilinear", "seed": 3, "resize": 40,
                "keep_aspect": True, "size": None, "mean": None, "deviation": None}  # fmt: skip
    net = networks.create("conv4", "None", seed=3)
    x = rng.normal(size=(40, net.width))
    for kind in ("logistic", "svm", "knn"):
        model.fit(kind, x, np.arange(40) % 3, ["a", "b", "c"], backbone).save(root / f"{kind}.params")
    tuned = model.Classifier("gluon", np.array(["a", "b"]), *(np.zeros(net.width), np.ones(net.width)),
                             rng.normal(size=(2, net.width)), np.zeros(2), {**backbone, "resize": None,
                             "keep_aspect": False})  # fmt: skip
    for name in ("mean", "scale", "weight", "bias"):
        setattr(tuned, name, getattr(tuned, name).astype(np.float32))
    tuned.preprocessing = net.preprocessing.to_dict()
    tuned.save(root / "gluon.params", net)
    return root


@pytest.mark.parametrize("kind", ["svm", "gluon"])
def test_it_gives_what_predict_gives(folder, kind, tmp_path, capsys):
    export.main(export.parse_args(["--params", str(folder / f"{kind}.params"), "--package", str(tmp_path / "m")]))
    capsys.readouterr()
    paths = sorted((folder / "pictures").iterdir())
    predict.main(predict.parse_args([*map(str, paths), "--params", str(folder / f"{kind}.params")]))
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    about = json.loads((tmp_path / "m" / "model.json").read_text())
    steps, side = about["input"]["resize"], about["input"]["crop"][0]
    assert steps["interpolation"] == "bilinear" and steps["jpeg_min_side"] is None
    source = inputs.Files(paths, np.zeros(6), list(map(str, paths)))
    source = inputs.middle(source, side, steps["size"], steps["keep_aspect"])
    seen = np.stack([source.read(i, side, steps["interpolation"]) for i in range(6)])
    session = onnxruntime.InferenceSession(str(tmp_path / "m" / "model.onnx"))
    scores, features = session.run([about["output"]["name"], about["embedding"]["name"]], {"data": seen})
    assert features.shape == (6, about["embedding"]["size"])
    for row, found in zip(rows, scores):
        assert about["classes"]["names"][found.argmax()] == row["class"]
        assert found.max() == pytest.approx(float(row["score"]), abs=2e-4)
    assert about["output"]["kind"] == ("scores" if kind == "svm" else "probabilities")
    if kind != "svm":
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_neighbours_are_no_network(folder, tmp_path):
    with pytest.raises(UserError, match="compares with all its training pictures .knn., which no network does"):
        export.main(export.parse_args(["--params", str(folder / "knn.params"), "--package", str(tmp_path / "m")]))
    assert not list(tmp_path.iterdir())


def test_the_runner_names_and_searches(folder, tmp_path):
    import sys

    from common.files.paths import REPO

    sys.path.insert(0, str(REPO / "runtime"))
    from image_embeddings import Model, ModelError

    export.main(export.parse_args([
        "--params", str(folder / "logistic.params"), "--package", str(tmp_path / "m"), "--resize-in-graph",
    ]))  # fmt: skip
    whole = Model(tmp_path / "m")
    export.main(export.parse_args(["--params", str(folder / "logistic.params"), "--package", str(tmp_path / "n")]))
    outside, paths = Model(tmp_path / "n"), sorted((folder / "pictures").iterdir())
    for path in paths:
        assert whole.name(path, 1)[0][0] == outside.name(path, 1)[0][0]
    assert outside.search(paths, paths[2], 1) == [(str(paths[2]), pytest.approx(1, abs=1e-5))]
    assert whole.embed(images.read(paths[0])).shape == outside.embed(paths[0]).shape
    with pytest.raises(ModelError, match="gives probabilities of its classes, and takes no new one"):
        outside.add_class("d", pictures=paths[:2])
