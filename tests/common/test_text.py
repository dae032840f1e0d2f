"""Vocabulary, tokens and word vectors of all formats."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import UserError
from common.samplers import LengthBuckets
from common.text import Vocabulary, WordVectors, tokenise

WORDS = {"dog": [1.0, 2.0], "polar": [3.0, 0.0], "bear": [1.0, 4.0], "Paris": [0.5, 0.5]}


def _write(path, kind):
    if kind == "bin":
        with open(path, "wb") as file:
            file.write(f"{len(WORDS)} 2\n".encode())
            for word, vector in WORDS.items():
                file.write(word.encode() + b" " + np.array(vector, "<f4").tobytes() + b"\n")
        return path
    lines = [f"{word} {' '.join(map(str, vector))}" for word, vector in WORDS.items()]
    path.write_text("\n".join([f"{len(WORDS)} 2"] * (kind == "vec") + lines) + "\n")
    return path


@pytest.mark.parametrize("kind", ["vec", "txt", "bin"])
def test_every_format_gives_the_same_vectors(tmp_path, kind):
    vectors = WordVectors.read(_write(tmp_path / f"words.{kind}", kind), ["dog", "bear", "polar"])
    assert set(vectors.vectors) == {"dog", "bear", "polar"}  # no other is kept
    np.testing.assert_array_equal(vectors["Dog"], [1, 2])
    np.testing.assert_array_equal(vectors["polar+bear"], [2, 2])
    np.testing.assert_array_equal(vectors.matrix(["dog", "polar bear"]), [[1, 2], [2, 2]])


@pytest.mark.parametrize("kind", ["vec", "txt", "bin"])
def test_unknown_word_names_near_ones_of_the_whole_file(tmp_path, kind):
    vectors = WordVectors.read(_write(tmp_path / f"words.{kind}", kind), ["dog"])
    with pytest.raises(UserError, match="'bean'.*did you mean bear"):
        vectors["bean"]
    with pytest.raises(UserError, match="'bean'.*did you mean bear"):
        WordVectors.read(tmp_path / f"words.{kind}", ["bean"])
    with pytest.raises(UserError, match="none of the words"):
        WordVectors.read(tmp_path / f"words.{kind}", ["bean", "dig"])


@pytest.mark.parametrize("kind", ["vec", "txt", "bin"])
def test_only_the_first_words(tmp_path, kind):
    vectors = WordVectors.read(_write(tmp_path / f"words.{kind}", kind), most=2)
    assert list(vectors.vectors) == ["dog", "polar"]
    assert "bear" in WordVectors.read(tmp_path / f"words.{kind}", most=99)


def test_damaged_and_missing_files(tmp_path):
    file = _write(tmp_path / "words.bin", "bin")
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(UserError, match="ends after 3 of 4"):
        WordVectors.read(file)
    with pytest.raises(UserError, match="none.vec"):
        WordVectors.read(tmp_path / "none.vec")


def test_vocabulary_counts_encodes_and_survives_a_file(tmp_path):
    sentences = [tokenise(text) for text in ("A dog's ball .", "A cat!", "a CAT, a bird")]
    assert sentences[0] == ["a", "dog's", "ball"]
    vocabulary = Vocabulary.build(sentences, least=2)
    assert vocabulary.words == ["<eos>", "UNK", "a", "cat"]
    assert vocabulary.counts == [0, 0, 4, 2]
    assert vocabulary.encode(["a", "zebra", "cat"]).tolist() == [2, 1, 3, 0]
    vocabulary.save(tmp_path / "words.json")
    assert Vocabulary.load(tmp_path / "words.json").to_dict() == vocabulary.to_dict()


def test_length_buckets_near_lengths_and_one_sentence_a_group():
    rng = np.random.default_rng(0)
    lengths, groups = rng.integers(3, 30, 1000), np.repeat(np.arange(200), 5)
    sampler = LengthBuckets(lengths, 32, groups, seed=1, least=1)
    batches = sampler.epoch(0)
    assert sorted(np.concatenate(batches)) == list(range(1000))
    for batch in batches:
        assert len(set(groups[batch])) == len(batch) <= 32
    full = [batch for batch in batches if len(batch) == 32]
    assert len(full) >= 28 and np.mean([np.ptp(lengths[batch]) for batch in full]) < 12
    assert any(lengths[a].max() > lengths[b].min() for a, b in zip(batches, batches[1:]))
    sharp = LengthBuckets(lengths, 50, seed=1, spread=0).epoch(0)
    assert max(np.ptp(lengths[batch]) for batch in sharp) <= 2  # 37 sentences of each length
    again = LengthBuckets(lengths, 32, groups, seed=1, least=1).epoch(0)
    assert all((a == b).all() for a, b in zip(batches, again))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(batches, sampler.epoch(1)))
    assert min(map(len, LengthBuckets(lengths, 32, groups, seed=1, least=20).epoch(0))) >= 20
