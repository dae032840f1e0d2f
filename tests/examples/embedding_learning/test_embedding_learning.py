"""The embedding example as its user meets it: flags, training, embedding, searching."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common import metrics  # first: MXNet needs the numpy alias that common sets
from common.data.sets import glyphs
from common.files.errors import UserError
from tests.conftest import in_process

import mxnet as mx  # isort: skip

REPO = Path(__file__).resolve().parents[3]
EXAMPLE = REPO / "examples" / "embedding_learning"


def run(script, *arguments, **options):
    command = [sys.executable, str(EXAMPLE / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def here(script, *arguments):
    return in_process(f"embedding_learning/{script}", *arguments)


def test_help_lists_every_flag_of_the_document_with_its_default():
    shown = " ".join(run("train.py", "--help").stdout.split())
    defaults = {
        "--embed-dim": 128, "--epochs": 20, "--optimizer": "adam", "--lr": 0.0001,
        "--lr-beta": 0.1, "--margin": 0.2, "--beta": 1.2, "--nu": 0.0, "--factor": 0.5,
        "--steps": "12,14,16,18",
        "--wd": 0.0001, "--seed": 123, "--model": "resnet50_v2", "--save-model-prefix": "margin_loss_model",
        "--kvstore": "device", "--log-interval": 20,
    }  # fmt: skip
    assert "default is 70, fewer for fewer pictures" in shown and "default is 5, more of few classes" in shown
    others = ("--batch-size", "--batch-k", "--data-path", "--gpus", "--use-pretrained", "--num-cpus", "--resume")
    for flag in (*defaults, *others, "--run-dir"):
        assert f" {flag} " in shown
    from examples.embedding_learning.train import parse_args

    args = vars(parse_args([]))
    for flag, default in defaults.items():
        value = args[flag[2:].replace("-", "_")]
        assert (",".join(f"{step:g}" for step in value) if isinstance(value, list) else value) == default
    assert args["gpus"] == [] and not args["use_pretrained"]


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "text"), [
    (["--gpus=0,1", "--use-pretrained", "--dataset=glyphs"], "this machine has 0 GPUs"),
    (["--data-path", "nowhere"], "./get_data.sh cub200"),
    (["--dataset", "glyphs", "--model", "resnet51_v2"], "did you mean resnet50_v2"),
    (["--batch-size", "-1"], "--batch-size"),
    (["--dataset", "glyph"], "glyphs"),
    (["--dataset", "glyphs", "--model", "conv4", "--batch-size", "70", "--batch-k", "4"], "--batch-k 4"),
])  # fmt: skip
def test_wrong_use_is_one_line_and_status_2(flags, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = here("train.py", *flags, "--run-dir", tmp_path / "r")
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and text in lines[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_training_learns_resumes_and_writes_its_run(glyph_folder, tmp_path):
    flags = ["--dataset", "glyphs", "--model", "conv4", "--lr", "1e-3", "--epoch-batches", "25", "--num-cpus", "2"]
    flags += ["--batch-size", "40", "--embed-dim", "32", "--run-dir", tmp_path / "run", "--data-path", glyph_folder]
    first = run("train.py", *flags, "--epochs", "1", "--no-plots")
    assert first.returncode == 0, first.stderr
    again = here("train.py", *flags, "--epochs", "1", "--no-plots")
    assert again.returncode == 2 and "--resume" in again.stderr
    second = run("train.py", *flags, "--epochs", "2", "--resume")
    assert second.returncode == 0, second.stderr
    folder = tmp_path / "run"
    figures = json.loads((folder / "metrics.json").read_text())
    assert figures["recall@1"] > figures["raw_pixels_recall@1"] + 0.05
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows if row["batch"] == 0] == [1, 2]
    for name in (
        "args.json",
        "log.txt",
        "report.html",
        "margin_loss_model.params",
        "plots/tsne.png",
        "plots/retrieval.png",
    ):
        assert (folder / name).stat().st_size > 0
    page = (folder / "report.html").read_text()
    assert "data:image/png;base64," in page and "http" not in page.replace("http-equiv", "")


SHIPPED = EXAMPLE / "pretrained" / "glyphs_conv4.params"


@pytest.mark.slow
def test_training_goes_on_from_a_saved_model_with_its_batch_norm_kept(glyph_folder, tmp_path):
    flags = ["--dataset", "glyphs", "--model", "conv4", "--params", SHIPPED, "--freeze-batch-norm"]
    flags += ["--backbone-lr", "1", "--epoch-batches", "2", "--epochs", "1", "--batch-size", "20"]
    flags += ["--data-path", glyph_folder]
    done = here("train.py", *flags, "--run-dir", tmp_path / "run", "--no-plots")
    assert done.returncode == 0 and "file glyphs_conv4.params" in done.stdout, done.stderr
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert figures["before_training_recall@1"] > 0.65  # the dense layer came along
    before, after = mx.nd.load(str(SHIPPED)), mx.nd.load(str(tmp_path / "run" / "margin_loss_model.params"))
    assert set(before) == set(after) - {"meta:json", "meta:sha256"}
    for name, value in before.items():
        same = np.array_equal(value.astype("float32").asnumpy(), after[name].asnumpy())
        kept = any(part in name for part in ("gamma", "beta", "running"))
        assert same == kept, name


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "text"), [
    (["--params", SHIPPED, "--embed-dim", "64"], "holds --model conv4 --embed-dim 128"),
    (["--freeze-batch-norm"], "--freeze-batch-norm keeps what was learned before"),
    (["--backbone-lr", "0"], "--backbone-lr 0 keeps what was learned before"),
])  # fmt: skip
def test_flags_that_need_a_trained_network_say_so(flags, text, tmp_path):
    done = here("train.py", "--dataset", "glyphs", "--model", "conv4", *flags, "--run-dir", tmp_path / "run")
    assert done.returncode == 2 and text in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def pictures(glyph_folder, tmp_path_factory):
    """Ten characters in twelve faces, as files CHARACTER/FACE.png."""
    root = tmp_path_factory.mktemp("pictures")
    whole = glyphs.load(glyph_folder)
    for index in np.flatnonzero(whole.labels % 200 == 7)[: 10 * 12]:
        folder = root / "faces" / f"{whole.labels[index]:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(whole.images[index]).save(folder / f"{whole.domains[index]:02d}.png")
    return root / "faces"


@pytest.mark.slow
def test_shipped_model_embeds_and_finds(pictures, tmp_path):
    done = run("embed.py", pictures, "--output", tmp_path / "e.npy")
    assert done.returncode == 0, done.stderr
    vectors = np.load(tmp_path / "e.npy")
    paths = [Path(line) for line in (tmp_path / "e.txt").read_text().splitlines()]
    assert vectors.shape == (len(paths), 128)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    labels = np.unique([p.parent.name for p in paths], return_inverse=True)[1]
    assert metrics.recall_at_k(vectors, labels, (1,))["recall@1"] > 0.9

    assert here("embed.py", pictures, "--output", tmp_path / "e.csv").returncode == 0
    with open(tmp_path / "e.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][:2] == ["path", "e0"] and len(rows) == len(paths) + 1
    np.testing.assert_array_equal(np.array([row[1:] for row in rows[1:]], np.float32), vectors)

    found = run("search.py", paths[0], "--gallery", pictures, "--index", tmp_path / "i.faiss", "-k", 3)
    assert found.returncode == 0, found.stderr
    said, *hits = found.stdout.splitlines()
    assert said == f"{len(paths)} pictures are indexed in {tmp_path / 'i.faiss'}"
    assert hits[1].split() == ["1.000", str(paths[0])]
    again = here("search.py", paths[0], "--index", tmp_path / "i.faiss", "-k", 3, "--sheet", tmp_path / "s.png")
    assert again.stdout.splitlines()[:4] == hits[:4]
    assert Image.open(tmp_path / "s.png").size[0] > 200


def test_an_index_is_refused_to_another_model(pictures, tmp_path):
    from examples.embedding_learning import search

    def main(*more):
        search.main(search.parse_args([str(query), "--index", str(tmp_path / "i.faiss"), "-k", "2", *map(str, more)]))

    query = sorted(pictures.rglob("*.png"))[0]
    main("--gallery", pictures)
    other = tmp_path / "other.params"
    (tmp_path / "other.json").write_bytes(SHIPPED.with_suffix(".json").read_bytes())
    values = mx.nd.load(str(SHIPPED))
    mx.nd.save(str(other), {name: value * 0.5 for name, value in values.items()})
    with pytest.raises(UserError, match=r"i.faiss was made by another model .* than .*other.params"):
        main("--params", other)
    about = json.loads((tmp_path / "i.faiss.json").read_text())
    about["about"] = {}  # as it was written before
    (tmp_path / "i.faiss.json").write_text(json.dumps(about))
    main("--params", other)


def test_a_line_break_in_a_name_needs_a_table(pictures, tmp_path):
    from examples.embedding_learning import embed

    strange = tmp_path / "a\nb.png"
    strange.write_bytes(sorted(pictures.rglob("*.png"))[0].read_bytes())
    with pytest.raises(UserError, match=r"a\\nb.png has a line break in its name: --output NAME.csv"):
        embed.main(embed.parse_args([str(strange), "--output", str(tmp_path / "e.npy")]))
    embed.main(embed.parse_args([str(strange), "--output", str(tmp_path / "e.csv")]))
    with open(tmp_path / "e.csv", encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1][0] == str(strange)


def test_the_shipped_model_of_before_is_saved_in_one_file_and_comes_back(tmp_path):
    from examples.embedding_learning import model

    net, metadata = model.load(SHIPPED)
    assert metadata["metrics"]["recall@1"] > 0.7 and metadata["preprocessing"]["size"] == 32
    given = {name: value for name, value in metadata.items() if name not in ("model", "embed_dim", "preprocessing")}
    model.save(net, tmp_path / "m.params", **given)
    again, same = model.load(tmp_path / "m.params")
    for name in ("interpolation", "crop_share"):  # which were not noted before
        assert same["preprocessing"].pop(name)
    assert same == metadata and [file.name for file in tmp_path.iterdir()] == ["m.params"]
    pictures = mx.nd.random.uniform(0, 255, (3, 32, 32, 3))
    np.testing.assert_array_equal(again(pictures).asnumpy(), net(pictures).asnumpy())
    net = model.create("conv4", 128, str(tmp_path / "m.params"), mx.cpu(), 32)
    np.testing.assert_array_equal(again(pictures).asnumpy(), net(pictures).asnumpy())
    with pytest.raises(UserError, match="holds --model conv4 --embed-dim 128"):
        model.create("conv4", 64, str(tmp_path / "m.params"), mx.cpu(), 32)


@pytest.mark.parametrize("card", ["[]", "null", "{}", '{"embed_dim": 1e9}', "{", '{"mean": 3}'])
def test_a_model_whose_json_of_before_is_none_is_named(tmp_path, card):
    from examples.embedding_learning import model

    (tmp_path / "m.params").write_bytes(SHIPPED.read_bytes())
    (tmp_path / "m.json").write_text(card)
    with pytest.raises(UserError, match="m.json is not as it should be .*: give another --params"):
        model.load(tmp_path / "m.params")


def test_parameters_that_are_cut_off_are_named(tmp_path):
    from examples.embedding_learning import model

    (tmp_path / "m.params").write_bytes(SHIPPED.read_bytes()[:5000])
    (tmp_path / "m.json").write_bytes(SHIPPED.with_suffix(".json").read_bytes())
    with pytest.raises(UserError, match="m.params is not as it should be .*: give another --params"):
        model.load(tmp_path / "m.params")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [
    ["nowhere.png", "--output", "x.npy"],
    [str(REPO / "README.md"), "--output", "x.npy"],
    [str(REPO), "--output", "x.txt"],
])  # fmt: skip
def test_bad_input_of_embed_is_one_line(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = here("embed.py", *arguments)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
