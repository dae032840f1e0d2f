"""Models in the format of the 2014 code, written here: arrays in an .npz, the dictionary as a Python 2 pickle."""

import collections
import pickle

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from common import backbones
from common.backbones import registry
from common.data import transforms
from common.files.errors import UserError
from examples.vse import model, search

WORDS = ["a", "dog", "runs", "dog's", "été", "rare", "rarer"]


def write(folder, encoder="gru", words=WORDS, protocol=0, drop=(), dim_image=9):
    rng = np.random.default_rng(0)
    dim_word, dim = (6, 6) if encoder == "bow" else (4, 6)
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


def test_own_pictures_through_the_network_of_the_features(tmp_path, monkeypatch, capsys):
    """Features of length one, of the middle of the picture; the best sentences as computed here."""
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path / "data"))
    mx.random.seed(1)
    plain = registry.network("conv4")
    plain.initialize()
    plain(mx.nd.zeros((1, 3, 32, 32)))
    plain.save_parameters(str(tmp_path / "conv4.params"))
    network = backbones.create("conv4", str(tmp_path / "conv4.params"), size=backbones.input_size("conv4"))
    path, arrays = write(tmp_path, dim_image=network.width)
    for part in ("train", "dev", "test"):
        np.save(tmp_path / f"f8k_{part}_ims.npy", np.eye(4, network.width))
        (tmp_path / f"f8k_{part}_caps.txt").write_text("a dog\ndog runs\na dog runs\nruns\n")
    pixels = np.random.default_rng(2).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "own.png")
    flags = [str(path), "--data-path", str(tmp_path), "--image", str(tmp_path / "own.png"), "-k", "4"]
    with pytest.raises(UserError, match="takes features from files: --features-by"):
        search.main(search.parse_args(flags))
    with pytest.raises(UserError, match="it gives 4096 numbers"):
        search.main(search.parse_args([*flags, "--features-by", "vgg19"]))
    flags += ["--features-by", "conv4", "--weights", str(tmp_path / "conv4.params")]
    capsys.readouterr()
    search.main(search.parse_args(flags))
    lines = capsys.readouterr().out.splitlines()[1:]
    side = backbones.input_size("conv4")
    seen = transforms.evaluation(round(side * 8 / 7), side, True)(pixels)
    features = network(mx.nd.array(seen[None], dtype="uint8")).asnumpy()[0]
    image = features / np.linalg.norm(features) @ arrays["ff_image_W"] + arrays["ff_image_b"]
    image /= np.linalg.norm(image)
    numbers = {word: i + 2 for i, word in enumerate(WORDS) if i + 2 < len(WORDS)}
    texts = ["a dog", "dog runs", "a dog runs", "runs"]
    scores = {text: image @ theano(arrays, text, numbers) for text in texts}
    assert [line.split("  ")[-1] for line in lines] == sorted(texts, key=scores.get, reverse=True)
    assert [float(line.split()[0]) for line in lines] == pytest.approx(sorted(scores.values(), reverse=True), abs=2e-3)


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
