"""Models in the format of the 2014 code, written here: arrays in an .npz, the dictionary as a Python 2 pickle."""

import collections
import pickle

import numpy as np
import pytest

from common.files.errors import UserError
from examples.vse import model

WORDS = ["a", "dog", "runs", "dog's", "été", "rare", "rarer"]


def write(folder, encoder="gru", words=WORDS, protocol=0, drop=()):
    rng = np.random.default_rng(0)
    dim_word, dim, dim_image = (6, 6, 9) if encoder == "bow" else (4, 6, 9)
    shapes = {"Wemb": (len(words), dim_word), "ff_image_W": (dim_image, dim), "ff_image_b": (dim,)}
    if encoder == "gru":
        shapes.update(
            encoder_W=(dim_word, 2 * dim), encoder_b=(2 * dim,), encoder_U=(dim, 2 * dim),
            encoder_Wx=(dim_word, dim), encoder_bx=(dim,), encoder_Ux=(dim, dim),
        )  # fmt: skip
    arrays = {k: rng.normal(0, 0.5, s).astype(np.float32) for k, s in shapes.items() if k not in drop}
    np.savez(folder / "f8k.npz", **arrays)
    numbers = collections.OrderedDict((word, i + 2) for i, word in enumerate(words))
    (folder / "f8k.npz.dictionary.pkl").write_bytes(pickle.dumps(numbers, protocol))
    return folder / "f8k.npz", arrays


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def theano(arrays, sentence, numbers):
    """A sentence's embedding as the 2014 code has it: masks are all ones for a single sentence."""
    words = [numbers.get(word, 1) for word in sentence.split()] + [0]
    if "encoder_U" not in arrays:
        h = arrays["Wemb"][words].sum(axis=0)
    else:
        dim = arrays["encoder_Ux"].shape[0]
        h = np.zeros(dim)
        for word in words:
            x = arrays["Wemb"][word]
            gates = sigmoid(h @ arrays["encoder_U"] + x @ arrays["encoder_W"] + arrays["encoder_b"])
            reset, update = gates[:dim], gates[dim:]
            new = np.tanh((h @ arrays["encoder_Ux"]) * reset + x @ arrays["encoder_Wx"] + arrays["encoder_bx"])
            h = update * h + (1 - update) * new
    return h / np.linalg.norm(h)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("encoder", ["gru", "bow"])
def test_encodes_as_the_2014_code(tmp_path, encoder, protocol):
    path, arrays = write(tmp_path, encoder, protocol=protocol)
    net = model.load(path)
    # As there, words numbered len(dictionary) and above are unknown: the last two.
    numbers = {word: i + 2 for i, word in enumerate(WORDS) if i + 2 < len(WORDS)}
    texts = ["a dog runs", "dog's été", "A dog runs .", "rarer a rare dog", "a"]
    expected = [theano(arrays, text, numbers) for text in texts]
    np.testing.assert_allclose(net.encode_sentences(texts), expected, rtol=1e-4, atol=1e-6)
    images = np.random.default_rng(1).normal(size=(3, 9)).astype(np.float32)
    expected = images @ arrays["ff_image_W"] + arrays["ff_image_b"]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(net.encode_images(images), expected, rtol=1e-4, atol=1e-6)


class Program:
    def __reduce__(self):
        return print, ("this ran",)


def test_a_pickled_program_is_refused(tmp_path, capsys):
    path, _ = write(tmp_path)
    (tmp_path / "f8k.npz.dictionary.pkl").write_bytes(pickle.dumps({"a": Program()}))
    with pytest.raises(UserError, match="dictionary.pkl.*asks for builtins.print"):
        model.load(path)
    assert "this ran" not in capsys.readouterr().out


def test_arrays_that_hold_objects_are_refused(tmp_path):
    path, arrays = write(tmp_path)
    np.savez(path, **{**arrays, "Wemb": np.array([Program()], dtype=object)})
    with pytest.raises(UserError, match="f8k.npz is not as it should be"):
        model.load(path)


def test_what_is_missing_is_named(tmp_path):
    path, _ = write(tmp_path, drop=("ff_image_b",))
    with pytest.raises(UserError, match="it has no ff_image_b"):
        model.load(path)
    path, _ = write(tmp_path)
    (tmp_path / "f8k.npz.dictionary.pkl").unlink()
    with pytest.raises(UserError, match="dictionary.pkl is not there"):
        model.load(path)
    write(tmp_path, words=WORDS)
    (tmp_path / "f8k.npz.dictionary.pkl").write_bytes(pickle.dumps({"a": 2, "b": 9}))
    with pytest.raises(UserError, match="not numbered from 2 to 6"):
        model.load(path)
