"""Models in the format of VSE++'s code, written here: a checkpoint as torch.save writes it, the vocabulary pickled."""

import argparse
import io
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from common.files.errors import UserError
from common.text.vocabulary import treebank
from examples.vse import evaluate, model

WORDS = ["<pad>", "<start>", "<end>", "<unk>", "a", "dog", "'s", "ball", "."]
DIM, DIM_WORD, DIM_IMAGE = 6, 4, 9
OPTIONS = {"data_name": "f8k_precomp", "measure": "cosine", "use_abs": False, "no_imgnorm": False, "finetune": False}


class Storage:
    def __init__(self, key, array):
        self.key, self.array = key, array


class Writer(pickle.Pickler):
    """Writes arrays as torch.save does: a call that rebuilds a tensor from a storage named by a persistent id."""

    def __init__(self, file, storages):
        super().__init__(file, 2)
        self.storages = storages

    def persistent_id(self, value):
        if isinstance(value, Storage):
            return ("storage", sys.modules["torch"].FloatStorage, value.key, "cpu", value.array.size)
        return None

    def reducer_override(self, value):
        if isinstance(value, np.ndarray):
            self.storages[str(len(self.storages))] = value
            storage = Storage(str(len(self.storages) - 1), value)
            strides = tuple(step // value.itemsize for step in value.strides)
            return sys.modules["torch._utils"]._rebuild_tensor_v2, (storage, 0, value.shape, strides, False, {})
        return NotImplemented


@pytest.fixture
def torch_names(monkeypatch):
    """Modules of the names that the files have; only while they are written."""
    for name in ("torch", "torch._utils", "vocab"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))

    def make(module, name, kind):
        made = kind(name)
        made.__module__ = module
        setattr(sys.modules[module], name, made)

    make("torch", "FloatStorage", lambda name: type(name, (), {}))
    make("vocab", "Vocabulary", lambda name: type(name, (), {}))

    def _rebuild_tensor_v2():
        pass

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    sys.modules["torch._utils"]._rebuild_tensor_v2 = _rebuild_tensor_v2


def write(folder, words=WORDS, protocol=2, place="vocab", drop=(), more=(), **options):
    rng = np.random.default_rng(0)

    def array(*shape):
        return rng.normal(0, 0.5, shape).astype(np.float32)

    images = {"fc.weight": array(DIM, DIM_IMAGE), "fc.bias": array(DIM), "module.cnn.weight": array(2, 2)}
    sentences = {
        "embed.weight": array(len(WORDS), DIM_WORD), "rnn.weight_ih_l0": array(3 * DIM, DIM_WORD),
        "rnn.weight_hh_l0": array(3 * DIM, DIM), "rnn.bias_ih_l0": array(3 * DIM), "rnn.bias_hh_l0": array(3 * DIM),
    }  # fmt: skip
    sentences.update({name: array(2, 2) for name in more})
    parts = [{name: value for name, value in part.items() if name not in drop} for part in (images, sentences)]
    content = {"epoch": 3, "best_rsum": 1.5, "model": parts, "opt": argparse.Namespace(**{**OPTIONS, **options})}
    pickled, storages = io.BytesIO(), {}
    Writer(pickled, storages).dump(content)
    with zipfile.ZipFile(folder / "model_best.pth.tar", "w") as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        for key, value in storages.items():
            archive.writestr(f"archive/data/{key}", value.tobytes())
    vocabulary = sys.modules["vocab"].Vocabulary()
    vocabulary.word2idx = {word: number for number, word in enumerate(words)}
    vocabulary.idx2word, vocabulary.idx = dict(enumerate(words)), len(words)
    (folder / place).mkdir(exist_ok=True)
    (folder / place / "f8k_precomp_vocab.pkl").write_bytes(pickle.dumps(vocabulary, protocol))
    return folder / "model_best.pth.tar", images, sentences


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def torch_gru(sentences, tokens):
    """The state after the last of the numbered words, by the equations of torch.nn.GRU."""
    state = np.zeros(DIM)
    for word in tokens:
        x = sentences["rnn.weight_ih_l0"] @ sentences["embed.weight"][word] + sentences["rnn.bias_ih_l0"]
        h = sentences["rnn.weight_hh_l0"] @ state + sentences["rnn.bias_hh_l0"]
        (xr, xz, xn), (hr, hz, hn) = np.split(x, 3), np.split(h, 3)
        reset, update = sigmoid(xr + hr), sigmoid(xz + hz)
        state = (1 - update) * np.tanh(xn + reset * hn) + update * state
    return state / np.linalg.norm(state)


@pytest.mark.parametrize(("measure", "use_abs", "no_imgnorm"), [
    ("cosine", False, False), ("order", True, False), ("order", False, False), ("cosine", True, True),
    ("cosine", False, True),
])  # fmt: skip
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_encodes_as_vsepp(tmp_path, torch_names, protocol, measure, use_abs, no_imgnorm):
    options = {"measure": measure, "use_abs": use_abs, "no_imgnorm": no_imgnorm}
    path, images, sentences = write(tmp_path, protocol=protocol, **options)
    net = model.load(path)
    sign = np.abs if use_abs else np.asarray
    texts = {"A dog's ball .": [1, 4, 5, 6, 7, 8, 2], "a cat": [1, 4, 3, 2]}
    expected = [sign(torch_gru(sentences, tokens)) for tokens in texts.values()]
    np.testing.assert_allclose(net.encode_sentences(list(texts)), expected, rtol=1e-4, atol=1e-6)
    x = np.random.default_rng(1).normal(size=(3, DIM_IMAGE)).astype(np.float32)
    expected = x @ images["fc.weight"].T + images["fc.bias"]
    expected = sign(expected / (1 if no_imgnorm else np.linalg.norm(expected, axis=1, keepdims=True)))
    np.testing.assert_allclose(net.encode_images(x), expected, rtol=1e-4, atol=1e-6)


def test_the_programs_take_it(tmp_path, torch_names, capsys):
    path, _, _ = write(tmp_path, no_imgnorm=True, use_abs=True)
    data = tmp_path / "f8k_precomp"
    data.mkdir()
    for part in ("train", "dev", "test"):
        np.save(data / f"{part}_ims.npy", np.random.default_rng(2).normal(size=(4, DIM_IMAGE)))
        (data / f"{part}_caps.txt").write_text("A dog.\n" * 4)
    evaluate.main(evaluate.parse_args([str(path), "--data", "f8k", "--data-path", str(data)]))
    assert "test: 4 pictures, 4 captions (1 a picture)" in capsys.readouterr().out


class Program:
    def __reduce__(self):
        return print, ("this ran",)


def test_a_pickled_program_is_refused(tmp_path, torch_names, capsys):
    path, _, _ = write(tmp_path, extra=Program())
    with pytest.raises(UserError, match="model_best.pth.tar.*names __builtin__.print"):
        model.load(path)
    path, _, _ = write(tmp_path, words=[*WORDS[:-1], Program()])
    with pytest.raises(UserError, match="f8k_precomp_vocab.pkl.*names __builtin__.print"):
        model.load(path)
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize(("given", "words"), [
    ({"drop": ["fc.bias"]}, "it has no fc.bias"),
    ({"words": WORDS[:-1]}, "vectors of 9 words, its vocabulary 8"),
    ({"words": WORDS[1:] + ["x"]}, "with <pad>, <start>, <end>, <unk> among them"),
    ({"place": "elsewhere"}, "the vocabulary belongs beside the model, or in vocab/"),
    ({"data_name": "../f8k"}, "'../f8k', which is no name"),
    ({"measure": "euclidean"}, "it was trained with measure euclidean: here are cosine and order"),
    ({"finetune": True}, "network of pictures was trained too"),
    ({"more": ["rnn.weight_ih_l1"]}, "several layers"),
])  # fmt: skip
def test_what_does_not_fit_is_named(tmp_path, torch_names, given, words):
    path, _, _ = write(tmp_path, **given)
    with pytest.raises(UserError, match=words):
        model.load(path)


def test_words_are_cut_as_nltk_cuts_them():
    assert treebank("A dog's ball, isn't it? They'll see T-shirts at 5.30.") == [
        "a", "dog", "'s", "ball", ",", "is", "n't", "it", "?", "they", "'ll", "see", "t-shirts", "at", "5.30", ".",
    ]  # fmt: skip
