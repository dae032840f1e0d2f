"""The pictures of a run, and the arithmetic behind them."""

import json
import re
import shutil
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from common.data import images
from common.export import engine
from common.files.errors import UserError
from examples.visual_semantic import analyze, heat, model, pictures
from tests.examples.visual_semantic.conftest import SEEN, UNSEEN


@pytest.fixture(scope="module")
def run_folder(coloured, tmp_path_factory):
    """A run as train.py leaves it, of the model that was solved: two epochs each of stages 2a and 2b."""
    run = tmp_path_factory.mktemp("run")
    args = {"dataset": "folder", "data_path": str(coloured.pictures), "split": "standard", "unseen": UNSEEN,
            "valid_share": 0.5, "seed": 1}  # fmt: skip
    (run / "args.json").write_text(json.dumps({"args": args}))
    (run / "metrics.json").write_text(json.dumps({"harmonic": 0.75}))
    for stage in ("stage1", "stage2a", "stage2b"):
        (run / stage).mkdir()
        shutil.copy(coloured.params, run / stage / "model.params")
    net = model.load(coloured.params)
    arrays = {key: p.data().copy() for key, p in net._collect_params_with_prefix().items()}
    for stage in ("stage2a", "stage2b"):
        for epoch in (1, 2):
            folder = run / stage / "checkpoints" / f"epoch-{epoch:04d}-batch-000000"
            folder.mkdir(parents=True)
            noise = 0.05 if epoch == 1 else 0.0  # on the head's last layer
            moved = {k: v + noise * mx.nd.random.normal(shape=v.shape) * (len(v) == 300) for k, v in arrays.items()}
            mx.nd.save(str(folder / "net-0.params"), moved)
    return run


@pytest.mark.slow
def test_the_report_of_a_run(run_folder, tmp_path, monkeypatch, capsys):
    sheets, films = [], []
    monkeypatch.setattr(engine, "weights_dir", lambda: tmp_path)
    draw = pictures.plots.pca_film
    monkeypatch.setattr(pictures.plots, "pca_film", lambda *a, **k: films.append(a) or draw(*a, **k))
    confusion = pictures.plots.confusion
    monkeypatch.setattr(pictures.plots, "confusion", lambda *a, **k: sheets.append(a) or confusion(*a, **k))
    flags = ["--run-dir", str(run_folder), "--heat-maps", "4", "--classes", "red", "deep sky"]
    analyze.main(analyze.parse_args([*flags, "--engine", "onnxruntime"]))
    folder = run_folder / "analysis"
    names = {path.name for path in (folder / "plots").iterdir()}
    assert len(list((tmp_path / "onnx").iterdir())) == 3  # classifier, pictures among words, features: of one network
    assert {"confusion.png", "heat_maps.png", "words.png", "confusion_unseen.png", "pca_2a_epoch01.png",
            "pca_2a_epoch02.png", "pca_2a.gif", "pca_2b.gif"} <= names  # fmt: skip
    assert not any(name.startswith("mistakes") for name in names)  # the model makes none
    by_name = {path.name: counts for counts, _, path, *_ in sheets}
    np.testing.assert_array_equal(by_name["confusion.png"], np.eye(4))  # of fewer than ten, one is held back
    np.testing.assert_array_equal(by_name["confusion_unseen.png"], 8 * np.eye(2))
    with Image.open(folder / "plots" / "pca_2b.gif") as film:
        assert film.n_frames == 2
    for frames, labels, called, _, anchors, titles in films:  # both stages end with the same network
        assert called == ["red", "deep sky"] and titles[1].endswith("epoch 2")
        cosine = frames[1] @ anchors.T
        assert (cosine[np.arange(len(labels)), labels] > 0.95).all()
        assert np.abs(frames[0] - frames[1]).max() > 0.01
    np.testing.assert_allclose(films[0][0][1], films[1][0][1], atol=1e-4)
    page = (folder / "report.html").read_text()
    for heading in ("Figures", "Stage 1: confusion", "Stage 1: heat maps", "Stage 2: pictures and words",
                    "Stage 2: unseen classes among themselves", "Stage 2a through its epochs"):  # fmt: skip
        assert f">{heading}</h2>" in page
    assert "0.750" in page and page.count("data:image/gif") == 2
    assert not re.search('(src|href)="(?!data:|#)', page)
    assert "report.html" in capsys.readouterr().out


def test_heat_adds_up_to_the_logit(coloured):
    net = model.load(coloured.params)
    shown = np.stack([images.read(coloured.pictures / name / f"{name}_10002.png") for name in SEEN])
    classes = np.array([0, 2, 1, 3])
    activation = heat.class_activation(net, shown, classes)
    logits = net.classify(mx.nd.array(shown, dtype="uint8")).asnumpy()
    free = logits - net.classifier[-1].bias.data().asnumpy()
    np.testing.assert_allclose(
        activation.mean(axis=(1, 2)), free[np.arange(4), classes] - free.mean(axis=1), rtol=1e-3, atol=1e-2
    )
    likeliest = heat.class_activation(net, shown, free.argmax(axis=1))
    assert (heat.heat(likeliest).max(axis=(1, 2)) == 1).all()  # some place speaks for it, however low all logits are
    hot = heat.heat(np.array([[[-1.0, 2.0], [0.0, 4.0]], [[-1.0, -2.0], [-3.0, -4.0]]]))
    np.testing.assert_allclose(hot, [[[0, 0.5], [0, 1]], [[0, 0], [0, 0]]])


def test_heat_runs_as_the_picture_does(coloured):
    net = model.load(coloured.params)
    pictures = np.full((3, 64, 64, 3), 128, np.uint8)
    pictures[1, :24, 40:] = pictures[2, 40:, :24] = (30, 60, 220)  # blue at the top right, and at the bottom left
    plain, above, below = heat.class_activation(net, pictures, np.array([SEEN.index("blue")] * 3))
    above, below = np.abs(above - plain), np.abs(below - plain)
    assert above[0, -1] > 1.5 * below[0, -1] and below[-1, 0] > 1.5 * above[-1, 0]


def test_which_classes():
    names = ["cow", "horse", "water+buffalo", "spouting+whale", "buffalo+wing"]
    assert pictures.choose(names, None, analyze.ANIMALS, 2).tolist() == [0, 2]
    assert pictures.choose(["a", "b", "c", "d", "cow"], None, analyze.ANIMALS, 3).tolist() == [0, 1, 3, 4]
    assert pictures.choose(names, ["spouting whale", "cow"], analyze.ANIMALS, 2).tolist() == [0, 3]
    with pytest.raises(UserError, match="no class is called 'hors'.*horse"):
        pictures.choose(names, ["hors"], analyze.ANIMALS, 2)


def test_many_classes_are_cut_to_the_worst():
    counts = 5 * np.eye(6, dtype=np.int64)
    counts[2, 4] = 3
    cut, names = pictures.worst(counts, list("abcdef"), max_shown=2)
    assert names == ["c", "e", "all others"]
    np.testing.assert_array_equal(cut, [[5, 3, 0], [0, 5, 0], [0, 0, 20]])


def test_wrong_use(run_folder, tmp_path):
    with pytest.raises(UserError, match="no run of train.py there"):
        analyze.main(analyze.parse_args(["--run-dir", str(tmp_path)]))
    shutil.copy(run_folder / "args.json", tmp_path)
    with pytest.raises(UserError, match="no stage is finished"):
        analyze.main(analyze.parse_args(["--run-dir", str(tmp_path)]))
    other = json.loads((run_folder / "args.json").read_text())
    other["args"]["unseen"] = ["blue"]
    (tmp_path / "args.json").write_text(json.dumps(other))
    (tmp_path / "stage1").symlink_to(run_folder / "stage1")
    with pytest.raises(UserError, match="stage1/model.params: 'blue' is seen in the model only: has the data"):
        analyze.main(analyze.parse_args(["--run-dir", str(tmp_path)]))
    done = subprocess.run(
        [sys.executable, analyze.__file__, "--run-dir", "none"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
