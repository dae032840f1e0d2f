"""The commands: training, resuming from a run and from a model file, pictures, errors."""

import csv
import hashlib
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest

import common  # noqa: F401
from common import cli
from common.backbones import modelfile as common_modelfile
from common.files.errors import UserError
from common.files.paths import REPO
from examples.im2vec import compare, data, modelfile, relations, spaces, train, visualize
from tests.conftest import require_weights

SCRIPT = str(REPO / "examples" / "im2vec" / "train.py")
FINE = ["lion", "tiger", "wolf", "bicycle", "bus"]
COARSE = ["large_carnivores", "large_omnivores_and_herbivores", "vehicles_1"]
GROUP_OF = {"lion": 0, "tiger": 0, "wolf": 0, "bicycle": 2, "bus": 2}


@pytest.fixture(scope="module")
def cifar100(tmp_path_factory):
    """A folder in CIFAR-100's binary layout: five classes of plain colours with noise, 40 training pictures each."""
    folder = tmp_path_factory.mktemp("cifar100") / "cifar-100-binary"
    folder.mkdir()
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 215, (5, 3))
    for name, count in (("train.bin", 40), ("test.bin", 8)):
        rows = []
        for fine in np.repeat(np.arange(5), count):
            pixels = (colours[fine][:, None, None] + rng.normal(0, 20, (3, 32, 32))).clip(0, 255).astype(np.uint8)
            rows.append(bytes([GROUP_OF[FINE[fine]], fine]) + pixels.tobytes())
        (folder / name).write_bytes(b"".join(rows))
    (folder / "fine_label_names.txt").write_text("\n".join(FINE) + "\n")
    (folder / "coarse_label_names.txt").write_text("\n".join(COARSE) + "\n")
    return folder


def run(cifar100, folder, *flags):
    args = ["--cifar100-dir", str(cifar100), "--run-dir", str(folder)]
    args += ["--batch-size", "6", "--epochs", "2", "--lr", "0.05"]
    train.main(train.parse_args([*args, *map(str, flags)]))
    return folder


@pytest.fixture(scope="module")
def first(cifar100, tmp_path_factory):
    """A run of the document's three classes, written to a model file of its own, pictures and all."""
    folder = tmp_path_factory.mktemp("first")
    run(cifar100, folder / "run", "--classes", "lion", "tiger", "wolf", "--output", folder / "three/lion_tiger_wolf")
    return folder


@pytest.mark.slow
def test_a_run_writes_everything(first):
    folder = first / "run"
    names = {path.name for path in folder.iterdir()}
    assert names >= {"args.json", "log.txt", "metrics.jsonl", "metrics.json", "model.params", "confusion.npy",
                     "report.html", "vectors.npy", "vectors.txt", "classes.txt", "nearest.csv"}  # fmt: skip
    plots = {path.name for path in (folder / "plots").iterdir()}
    assert plots >= {"similarity.png", "dendrogram.png", "pca.png", "tsne.png", "training.gif", "curves.png"}
    figures = json.loads((folder / "metrics.json").read_text())
    assert figures["accuracy"] > 0.6  # three colours
    assert "stability not measured, which takes 4 classes" in (folder / "log.txt").read_text()
    assert len(list((folder / "vectors").glob("epoch-*.npy"))) == 3
    assert np.load(folder / "confusion.npy").sum() == 3 * 8
    page = (folder / "report.html").read_text()
    assert page.count("data:image/") == 6 and "http" not in page
    assert f"Held-back pictures after epoch 2: accuracy {figures['accuracy']:.3f}" in page


def test_vectors_in_word2vec_format_equal_the_array(first):
    lines = (first / "run" / "vectors.txt").read_text().splitlines()
    assert lines[0] == "3 64"
    assert [line.split(" ")[0] for line in lines[1:]] == ["lion", "tiger", "wolf"]
    rows = np.array([line.split(" ")[1:] for line in lines[1:]], float)
    np.testing.assert_allclose(rows, np.load(first / "run" / "vectors.npy"), rtol=1e-5)


@pytest.mark.slow
def test_resume_input_output_continues_a_and_leaves_it_untouched(cifar100, first, tmp_path):
    a = first / "three" / "lion_tiger_wolf.params"
    before = hashlib.sha256(a.read_bytes()).hexdigest(), a.stat().st_mtime_ns
    flags = ["--resume", "--input", first / "three/lion_tiger_wolf", "--output", first / "three/lion_tiger_wolf2"]
    run(cifar100, tmp_path / "run", "--classes", "lion", "tiger", "wolf", *flags, "--lr", 1e-9, "--no-plots")
    assert (hashlib.sha256(a.read_bytes()).hexdigest(), a.stat().st_mtime_ns) == before
    old, new = modelfile.load(a), modelfile.load(first / "three" / "lion_tiger_wolf2")
    assert (old.metadata["epochs"], new.metadata["epochs"]) == (2, 4)
    np.testing.assert_allclose(new.objective.class_vectors(), old.objective.class_vectors(), atol=1e-6)
    started = np.load(tmp_path / "run" / "vectors" / "epoch-0000.npy")
    np.testing.assert_array_equal(started, old.objective.class_vectors())
    again = train.parse_args(["--resume", "--run-dir", str(tmp_path / "run"), "--epochs", "3"])
    assert again.resume and again.input == str(first / "three/lion_tiger_wolf") and again.lr == 1e-9
    train.main(again)
    assert modelfile.load(first / "three" / "lion_tiger_wolf2").metadata["epochs"] == 5


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_for_bit(cifar100, first, tmp_path, monkeypatch):
    """The same run, killed in its second epoch and resumed, gives the same model."""
    from common.train.session import Session

    batches = Session.batches

    def stopped(session, loader, epoch):
        for number, batch in enumerate(batches(session, loader, epoch)):
            if (epoch, number) == (1, 3):
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(Session, "batches", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(cifar100, tmp_path, "--classes", "lion", "tiger", "wolf", "--no-plots")
    run(cifar100, tmp_path, "--classes", "lion", "tiger", "wolf", "--no-plots", "--resume")
    left, right = modelfile.load(tmp_path / "model.params"), modelfile.load(first / "run" / "model.params")
    np.testing.assert_array_equal(left.objective.class_vectors(), right.objective.class_vectors())
    np.testing.assert_array_equal(left.means, right.means)


def test_a_coarse_name_is_one_class_of_its_members(cifar100):
    found = data.load("cifar100", cifar100, ["large_carnivores", "bus"])
    assert found.train.class_names == ["large_carnivores", "bus"]
    assert np.bincount(found.train.labels).tolist() == [120, 40]
    assert np.bincount(found.test.labels).tolist() == [24, 8]


@pytest.mark.parametrize(
    "classes, message",
    [
        (["lion", "tigr"], "--classes tigr: cifar100 has no such class .did you mean tiger"),
        (["lion", "large_carnivores"], "lion is in lion already"),
        (["lion"], "at least two classes"),
    ],
)
def test_wrong_classes(cifar100, classes, message):
    with pytest.raises(UserError, match=message):
        data.load("cifar100", cifar100, classes)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "emoji"])
def test_absent_data_is_fetched_to_the_folder_named(name, tmp_path, monkeypatch):
    asked = []

    def ensure(name, folder):
        asked.append((name, folder))
        raise UserError(f"cannot get it: ./get_data.sh {name} --mirror FOLDER_OR_URL")

    monkeypatch.setattr(data.get_data, "ensure", ensure)
    with pytest.raises(UserError, match=f"./get_data.sh {name} .*; --dataset glyphs needs no download"):
        data.load(name, tmp_path / "absent")
    assert asked == [(name, tmp_path / "absent")]


@pytest.mark.parametrize(
    "wanted, pictures, devices, workers, found",
    [(None, 50000, 1, 1, 64), (None, 558, 1, 1, 34), (None, 54, 1, 1, 8), (None, 5, 1, 1, 5), (None, 558, 4, 1, 32),
     (64, 54, 1, 1, 54), (64, 55, 2, 1, 54), (64, 55, 2, 3, 18), (None, 1600, 1, 2, 50), (None, 30, 16, 1, 16)],
)  # fmt: skip
def test_batches_fit_small_sets_and_share_equally(wanted, pictures, devices, workers, found):
    assert data.batch_size(wanted, pictures, devices, workers) == found


def test_batches_that_cannot_be_shared():
    with pytest.raises(UserError, match="--batch-size 64 cannot be shared by 3 devices: give a multiple of 3"):
        data.batch_size(64, 1000, devices=3)
    with pytest.raises(UserError, match="5 pictures are too few for 6 devices"):
        data.batch_size(6, 5, devices=2, workers=3)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["softmax", "hierarchical"])
def test_other_objectives_learn_on_two_devices(cifar100, tmp_path, objective):
    run(cifar100, tmp_path, "--objective", objective, "--num-cpus", 2, "--no-plots", "--embed-dim", 8,
        "--batch-size", 10, "--lr", 0.1, "--epochs", 5)  # fmt: skip
    assert json.loads((tmp_path / "metrics.json").read_text())["accuracy"] > 0.5  # chance is 0.2
    model = modelfile.load(tmp_path / "model.params")
    assert model.objective.class_vectors().shape == model.means.shape == (5, 8)
    assert model.metadata["group_names"] == ["large_carnivores", "vehicles_1"]
    assert model.examples.shape == (5, 32, 32, 3)


@pytest.mark.parametrize("objective", ["negative", "softmax", "hierarchical"])
def test_a_model_of_before_is_read(tmp_path, objective):
    """Written as it was before model files: prefixes for network and objective, the metadata in an array."""
    metadata = {
        "dataset": "cifar10", "classes": ["a", "b", "c"], "counts": [3, 4, 5], "groups": [0, 0, 1],
        "group_names": ["x", "y"], "model": "conv4", "pretrained": False, "size": 16, "preprocessing": None, "dim": 4,
        "objective": objective, "negatives": 2, "epochs": 1,
    }  # fmt: skip
    made = modelfile.build(metadata)
    made.means, made.examples = np.ones((3, 4), np.float32), np.full((3, 16, 16, 3), 7, np.uint8)
    text = json.dumps({"format": "im2vec 1", **made.metadata}).encode()
    arrays = {f"net:{name}": value for name, value in common_modelfile.values(made.net).items()}
    arrays.update({f"objective:{name}": value for name, value in common_modelfile.values(made.objective).items()})
    arrays["about"] = mx.nd.array(np.frombuffer(text, np.uint8), dtype="uint8")
    arrays.update(means=mx.nd.array(made.means), examples=mx.nd.array(made.examples, dtype="uint8"))
    mx.nd.save(str(tmp_path / "old.params"), arrays)
    read = modelfile.load(tmp_path / "old")
    modelfile.save(tmp_path / "new", read)
    for one in (read, modelfile.load(tmp_path / "new")):
        assert one.metadata == made.metadata and one.metadata["preprocessing"]["size"] == 32
        np.testing.assert_array_equal(one.objective.class_vectors(), made.objective.class_vectors())
        np.testing.assert_array_equal(one.means, made.means)
        np.testing.assert_array_equal(one.examples, made.examples)
        pictures = mx.nd.ones((2, 16, 16, 3))
        np.testing.assert_array_equal(one.net(pictures).asnumpy(), made.net(pictures).asnumpy())
    del arrays["means"]
    mx.nd.save(str(tmp_path / "old.params"), arrays)
    with pytest.raises(UserError, match="it has no 'means'.: it is not a model that train.py wrote"):
        modelfile.load(tmp_path / "old")


def test_model_file_runs_nothing_and_tells_what_it_is_not(tmp_path):
    (tmp_path / "a.params").write_bytes(b"not a model")
    with pytest.raises(UserError, match="is not a model that train.py wrote"):
        modelfile.load(tmp_path / "a")
    with pytest.raises(UserError, match="no such model"):
        modelfile.load(tmp_path / "b")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--input", "a"], "add --resume"),
        (["--embed-dim", "1"], "--embed-dim 1"),
        (["--use-pretrained"], "resnet20 is trained from scratch"),
        (["--int8"], "--int8 reads a frozen backbone"),
        (["--resume", "--input", "a", "--output", "./a"], "--output is --input"),
        (["--resume", "--input", "a", "--params", "b"], "--input brings its own parameters: leave out --params"),
    ],
)
def test_wrong_flags_end_with_one_line_and_status_2(flags, message, capsys):
    with pytest.raises(SystemExit) as stop:
        train.parse_args(flags)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "flags, classes, frozen, rates, decay",
    [([], 10, False, (0.1, 0.1), 5e-4), ([], 1000, False, (0.1, 1.0), 5e-4),
     (["--objective", "softmax"], 1000, False, (0.1, 0.1), 5e-4), ([], 10, True, (0.1, 0.1), 0.01 / 10**0.5),
     ([], 2500, True, (0.1, 2.5**0.5), 2e-4), (["--lr", "0.01", "--weight-decay", "0"], 40, True, (0.01, 0.02), 0),
     (["--objective", "softmax"], 100, True, (0.01, 0.01), 0.01),
     (["--objective", "hierarchical"], 100, True, (0.01, 0.01), 1e-3),
     (["--objective", "softmax", "--lr", "0.2"], 100, True, (0.2, 0.2), 0.01)],
)  # fmt: skip
def test_rate_and_decay_fit_the_number_of_classes(flags, classes, frozen, rates, decay):
    from examples.im2vec import sgd

    args = train.parse_args(flags)
    decays = sgd.decays(args.weight_decay, classes, args.objective, frozen)
    assert decays[0] == pytest.approx(decay) and decays == sorted(decays)
    assert (len(decays) > 1) == (frozen and "--weight-decay" not in flags)
    found = sgd.options(args, classes, args.objective, frozen, decays[0])
    assert found == tuple({"learning_rate": pytest.approx(r), "momentum": 0.9, "wd": decays[0]} for r in rates)


def test_input_of_other_data_or_classes_is_refused(cifar100, first, tmp_path):
    a = first / "three" / "lion_tiger_wolf"
    with pytest.raises(UserError, match="was trained on cifar100: add --dataset cifar100"):
        train.main(train.parse_args(["--resume", "--input", str(a), "--dataset", "glyphs"]))
    with pytest.raises(UserError, match="has other classes .lion, tiger, wolf.: leave out --classes"):
        run(cifar100, tmp_path, "--resume", "--input", a, "--classes", "lion", "bus")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--model", "squeezenet1.1"], "is of --model resnet20: leave out --model squeezenet1.1"),
        (["--objective", "softmax"], "is of --objective negative: leave out --objective softmax"),
        (["--negatives", "5"], "is of --negatives 10: leave out --negatives 5"),
        (["--embed-dim", "32"], "is of --embed-dim 64: leave out --embed-dim 32"),
        (["--image-size", "48"], "is of --image-size 32: leave out --image-size 48"),
    ],
)
def test_input_of_another_shape_is_refused(cifar100, first, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        run(cifar100, tmp_path, "--resume", "--input", first / "three" / "lion_tiger_wolf", *flags)


def test_visualize_a_model_file(first, tmp_path, capsys):
    flags = ["--input", str(first / "three/lion_tiger_wolf"), "--output", str(tmp_path), "--vectors", "mean"]
    visualize.main(visualize.parse_args([*flags, "--analogy", "lion - tiger + wolf", "--analogy", "lion"]))
    printed = capsys.readouterr().out
    assert re.search(r"^lion = (tiger|wolf) -?[\d.]+, (wolf|tiger)", printed, re.M)
    assert "Analogies" in (tmp_path / "report.html").read_text()
    assert "Cosine of the means of f(x)" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_both_kinds_of_vectors_are_kept_centred_as_the_heat_map_is(first, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr("common.show.plots.cosines", lambda matrix, *_: drawn.update(matrix=matrix))
    model = modelfile.load(first / "three" / "lion_tiger_wolf")
    files = {"class": ("vectors", model.objective.class_vectors()), "mean": ("means", model.means)}
    for kind, (stem, table) in files.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("common.show.report.write", lambda *_: None)  # it would look for the heat map
            relations.draw(model, tmp_path, kind=kind, log=lambda _: None)
        for place in (tmp_path, first / "run"):  # whichever was shown
            rows = [line.split(" ")[1:] for line in (place / f"{stem}.txt").read_text().splitlines()[1:]]
            rows = np.array(rows, float)
            np.testing.assert_allclose(rows, table - table.mean(axis=0), rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(rows, np.load(place / f"{stem}.npy"), rtol=1e-5, atol=1e-5)
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        np.testing.assert_allclose(drawn["matrix"], unit @ unit.T, atol=1e-5)
    nearest = [(tmp_path / name).read_text() for name in ("nearest.csv", "nearest-means.csv")]
    assert nearest[0] != nearest[1] and all("class,rank,nearest,cosine" in text for text in nearest)


def test_a_place_that_cannot_be_written_is_one_line(first, tmp_path):
    (tmp_path / "file").write_text("")
    flags = ["--input", str(first / "three" / "lion_tiger_wolf"), "--output", str(tmp_path / "file" / "x")]
    with pytest.raises(UserError, match="cannot write .*file/x: .*give another --output"):
        visualize.main(visualize.parse_args(flags))


def test_no_plots_writes_the_vectors_all_the_same(cifar100, tmp_path):
    run(cifar100, tmp_path, "--no-plots", "--epochs", "1")
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"vectors.npy", "vectors.txt", "means.npy", "means.txt", "classes.txt", "nearest.csv"}
    assert "report.html" not in names


def test_classes_whose_names_differ_by_a_blank_alone_stay_apart(tmp_path):
    from PIL import Image

    for name in ("a b", "a_b", "a__b", "c"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), (number, 9, 9)).save(tmp_path / "pictures" / name / f"{number}.png")
    flags = ["--dataset", "folder", "--data-path", str(tmp_path / "pictures"), "--run-dir", str(tmp_path / "run")]
    train.main(train.parse_args([*flags, "--epochs", "1", "--no-plots", "--image-size", "8"]))
    rows = (tmp_path / "run" / "vectors.txt").read_text().splitlines()
    assert [row.split(" ")[0] for row in rows[1:]] == ["a___b", "a__b", "a_b", "c"]  # folders in name order
    assert (tmp_path / "run" / "classes.txt").read_text().splitlines() == ["a b", "a__b", "a_b", "c"]


def test_a_table_with_boxes_splits_and_categories(tmp_path, capsys):
    """Each picture is grey but for the box, which is what is seen."""
    from PIL import Image

    rows = ["file,label,split,x1,y1,x2,y2,category"]
    for number in range(24):
        pixels, label = np.full((20, 20, 3), 128, np.uint8), "abcd"[number % 4]
        pixels[4:12, 2:14] = 60 * (number % 4)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        split = "train" if number < 12 else "test" if number < 20 else "validation"
        rows.append(f"{number}.png,{label},{split},2,4,14,12,{'low' if label in 'ab' else 'high'}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    flags = ["--dataset", "csv", "--data-path", str(tmp_path / "t.csv"), "--columns", "path=file", "--image-size", "8"]
    train.main(train.parse_args([*flags, "--epochs", "1", "--no-plots", "--run-dir", str(tmp_path / "run")]))
    assert "4 validation pictures are left aside" in capsys.readouterr().out
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "csv: 12 pictures of 4 classes, 8 held back" in log
    metadata = modelfile.describe(tmp_path / "run" / "model.params")
    assert metadata["classes"] == list("abcd") and metadata["group_names"] == ["high", "low"]
    model = modelfile.load(tmp_path / "run" / "model.params")
    assert model.examples.reshape(4, -1).std(axis=1).max() == 0 and model.examples[3].max() == 180
    one = spaces.read(tmp_path / "run")
    assert one.vectors["raw pixels"].shape == (4, 32 * 32 * 3)
    rows = [",".join(row.split(",")[:2]) for row in rows]  # without a column split a part of each class is held back
    (tmp_path / "t.csv").write_text("\n".join(rows))
    whole = data.load("csv", tmp_path / "t.csv", columns=["path=file"])
    assert (len(whole.train), len(whole.test), whole.validation) == (20, 4, None)


@pytest.mark.parametrize(
    "flags",
    [["--image-size", "1"], ["--image-size", "4"], ["--image-size", "1000000"],
     ["--image-size", "10", "--model", "squeezenet1.1"]],
)  # fmt: skip
def test_a_size_that_no_picture_can_have_is_one_line(cifar100, tmp_path, flags, capsys):
    """MXNet ends the process at some."""
    with pytest.raises(SystemExit) as ended:
        cli.launch(lambda args: run(cifar100, tmp_path / "run", *flags), lambda: None)
    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and len(said) == 1 and said[0].startswith("error: ")
    assert "--image-size" in said[0] and flags[1] in said[0] and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flags, message",
    [(["--dataset", "folder", "--data-path", "nowhere"], "nowhere is not there: --data-path takes a folder"),
     (["--dataset", "folder"], "needs --data-path")],
)  # fmt: skip
def test_a_mistyped_folder_names_its_own_remedy(flags, message, tmp_path):
    with pytest.raises(UserError, match=message) as refused:
        train.main(train.parse_args([*flags, "--run-dir", str(tmp_path / "run")]))
    assert "official folder" not in str(refused.value)


def test_help_names_every_flag_of_the_document_and_loads_no_mxnet():
    command = [sys.executable, "-X", "importtime", SCRIPT, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
    assert "common.cli" in imported and "mxnet" not in imported  # which takes seconds
    text = shown.stdout
    for flag in ("epochs", "weight-decay", "momentum", "batch-size", "num-workers", "classes", "resume", "input",
                 "output", "lr", "cifar10-dir", "cifar100-dir", "dataset", "kvstore", "num-cpus", "seed"):  # fmt: skip
        assert f"--{flag} " in text.replace("\n", " ")


def test_pictures_of_characters_are_not_mirrored():
    from common.data.sets import glyphs

    found = data.load("glyphs", None, ["b", "d", "l", "1"])
    assert found.train.class_names == ["b", "d", "l", "1"]
    assert len(found.train) == 4 * (len(glyphs.FACES) - 3)

    model = SimpleNamespace(net=SimpleNamespace(size=32), metadata={})
    args = train.parse_args(["--dataset", "glyphs"])
    _, loader, _ = data.moving(model, found.train, found.test, None, args)
    assert not loader.transform.mirror
    args = train.parse_args(["--dataset", "cifar10"])
    assert data.moving(model, found.train, found.test, None, args)[1].transform.mirror


def test_emoji_are_called_by_name_and_grouped_by_subcategory(emoji_folder):
    found = data.load("emoji", emoji_folder, ["tiger", "wolf", "drink"])
    assert found.train.class_names == ["tiger", "wolf", "drink"]
    assert np.bincount(found.train.labels).tolist() == [3, 3, 3 * 16]
    whole = data.load("emoji", emoji_folder)
    assert len(whole.train.class_names) == 1202 and len(data.groups(whole)[0]) == 94


def test_frozen_features_are_read_once_whatever_the_split(cifar_folder, tmp_path, monkeypatch):
    """The rows of either part equal those read picture by picture; a second seed reads nothing."""
    import mxnet as mx

    from common import backbones

    require_weights("squeezenet1.1")
    monkeypatch.setattr(data, "data_root", lambda: tmp_path)
    backbone = backbones.create("squeezenet1.1", "imagenet", size=64)
    model = SimpleNamespace(net=SimpleNamespace(backbone=backbone, head=None, size=64), metadata={})
    args = SimpleNamespace(int8=False, num_workers=1, engine="mxnet")
    small = tmp_path / "pictures"
    for name in ("cat", "ship"):
        (small / name).mkdir(parents=True)
        for path in sorted((cifar_folder / name).iterdir())[:10]:
            (small / name / path.name).write_bytes(path.read_bytes())
    for seed in (1, 2):
        found = data.load("folder", small, None, seed)
        _, _, still = data.frozen(model, found.train, found.test, None, args)
        for part, rows in zip((found.train, found.test), still):
            assert rows.labels.tolist() == part.labels.tolist()
            one = np.concatenate([backbone(mx.nd.array(p[None], dtype="uint8")).asnumpy() for p in part.array(64)])
            np.testing.assert_allclose(rows.features, one, atol=1e-4)
        monkeypatch.setattr(data.features, "prepare", lambda *a, **k: pytest.fail("read again"))


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--int8"], ["--backbone-lr", "0.01"]], ids=["frozen", "int8", "moving"])
def test_pretrained_backbone(emoji_folder, tmp_path, monkeypatch, flags):
    require_weights("efficientnet_lite0")
    monkeypatch.setattr(data, "data_root", lambda: tmp_path)
    chosen = ["--classes", "tiger", "wolf", "--batch-size", "6", "--epochs", "2", "--lr", "0.01", "--image-size", "64"]
    where = ["--dataset", "emoji", "--data-path", str(emoji_folder), "--run-dir", str(tmp_path), "--no-plots"]
    pretrained = ["--model", "efficientnet_lite0", "--use-pretrained"]
    train.main(train.parse_args([*chosen, *where, *pretrained, *flags]))
    model = modelfile.load(tmp_path / "model.params")
    assert model.metadata["pretrained"] and model.means.shape == (2, 256)
    assert model.examples.shape == (2, 64, 64, 3)  # as large as the network sees them, as maps show more of them
    from common import backbones

    fresh = backbones.create("efficientnet_lite0", "imagenet", size=64)
    name = next(k for k in fresh._collect_params_with_prefix() if k.endswith("weight"))
    before, after = (b._collect_params_with_prefix()[name].data().asnumpy() for b in (fresh, model.net.backbone))
    assert np.array_equal(before, after) == ("--backbone-lr" not in flags)


def test_compare_runs(cifar100, first, tmp_path, capsys):
    (tmp_path / "w.vec").write_text("lion 1 0 0\ntiger 1 1 0\nwolf 0 1 1\n")
    files = ["--words", str(tmp_path / "w.vec"), "--output", str(tmp_path / "f"), "--resamples", "3"]
    flags = [str(first / "run"), str(first / "run"), *files]
    compare.main(compare.parse_args([*flags, "--nearest", "1", "--report", str(tmp_path / "page")]))
    figures = json.loads((tmp_path / "f").read_text())
    assert figures["class vectors"]["stability"] == [pytest.approx(1)]
    assert set(figures["raw pixels"]) >= {"own confusions", "others' confusions", "word vectors", "purity"}
    assert "own confusions" not in figures["SVD of confusions"]
    assert figures["chance"]["purity"] == [1]  # lion, tiger and wolf are all of one group
    assert figures["intervals"]["raw pixels"]["1 nearest shared by two runs"] == [1, 1, 1]  # a run beside itself
    assert figures["intervals"]["chance"]["1 nearest shared by two runs"] == [0.5] * 3
    assert "class vectors" in capsys.readouterr().out
    with open(tmp_path / "page" / "nearest.csv", encoding="utf-8", newline="") as file:
        nearest = list(csv.DictReader(file))
    assert {row["samples"] for row in nearest} == {"2", "6"} and all(0 <= float(row["share"]) <= 1 for row in nearest)
    names = {row["vectors"] for row in nearest}
    assert names == {"class vectors", "means of f(x)", "canonical variates", "SVD of confusions", "SVD of posteriors",
                     "raw pixels"}  # fmt: skip
    page = (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    assert page.count("<img") == 6 + len(figures["intervals"]["class vectors"])
    assert json.loads((tmp_path / "page" / "comparison.json").read_text())["intervals"] == figures["intervals"]
    compare.main(compare.parse_args([*flags, "--groups", "large_", "large_carnivores"]))
    figures = json.loads((tmp_path / "f").read_text())
    assert figures["class vectors"]["purity large_"] == figures["chance"]["purity large_"] * 2 == [1, 1]
    with pytest.raises(UserError, match="--groups large_carnivors: no group is called so .did you mean large_carnivor"):
        compare.main(compare.parse_args([*flags, "--groups", "large_carnivors"]))
    with pytest.raises(UserError, match="--refits: the network of .* learned too"):
        compare.main(compare.parse_args([*flags, "--refits", "1"]))
    with pytest.raises(UserError, match="nowhere.vec"):
        compare.main(compare.parse_args([str(first / "run"), "--words", str(tmp_path / "nowhere.vec")]))
    with pytest.raises(UserError, match="is not the folder of a finished run"):
        compare.main(compare.parse_args([str(tmp_path)]))
