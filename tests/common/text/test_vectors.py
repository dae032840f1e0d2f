"""Vocabulary, tokens and word vectors of all formats."""

from __future__ import annotations

import gzip
import zipfile

import numpy as np
import pytest

from common.data.samplers import LengthBuckets
from common.files.errors import UserError
from common.text.vectors import WordVectors, phrases
from common.text.vocabulary import Vocabulary, tokenise

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
    vectors = WordVectors.read(_write(tmp_path / f"words.{kind}", kind), max_words=2)
    assert list(vectors.vectors) == ["dog", "polar"]
    assert "bear" in WordVectors.read(tmp_path / f"words.{kind}", max_words=99)


def test_damaged_and_missing_files(tmp_path):
    file = _write(tmp_path / "words.bin", "bin")
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(UserError, match="ends after 3 of 4"):
        WordVectors.read(file)
    with pytest.raises(UserError, match="none.vec"):
        WordVectors.read(tmp_path / "none.vec")


@pytest.mark.parametrize("kind", ["vec", "txt", "bin"])
def test_compressed_files_give_the_same_vectors(tmp_path, kind):
    whole = _write(tmp_path / f"words.{kind}", kind)
    with gzip.open(tmp_path / f"words.{kind}.gz", "wb") as file:
        file.write(whole.read_bytes())
    with zipfile.ZipFile(tmp_path / "words.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(whole, f"folder/words.{kind}")
    for name in (f"words.{kind}.gz", "words.zip"):
        vectors = WordVectors.read(tmp_path / name)
        assert {word: vector.tolist() for word, vector in vectors.vectors.items()} == WORDS
        assert vectors.report() == ""


def test_broken_compressed_files_are_one_line(tmp_path):
    whole = gzip.compress(_write(tmp_path / "words.txt", "txt").read_bytes())
    (tmp_path / "cut.txt.gz").write_bytes(whole[:-12])
    (tmp_path / "junk.zip").write_bytes(b"no archive")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.50d.txt", "a 1 2")
        archive.writestr("a.100d.txt", "a 1 2")
    for name, reason in (("cut.txt.gz", ""), ("junk.zip", ""), ("two.zip", "holds 2 files .*unpack the one")):
        with pytest.raises(UserError, match=f"{name}.*{reason}") as error:
            WordVectors.read(tmp_path / name)
        assert "\n" not in str(error.value)


def test_phrases_come_before_the_mean_of_their_parts(tmp_path):
    lines = ["New_York 1 0", "polar-bear 2 0", "sea_lion 3 0"]
    lines += [f"{word} 0 1" for word in ("new", "york", "polar", "bear")] + ["ice 0 4"]
    (tmp_path / "words.txt").write_text("\n".join(lines))
    names = ["new york", "polar+bear", "sea lion", "ice bear"]
    vectors = WordVectors.read(tmp_path / "words.txt", names)
    assert vectors.matrix(names).tolist() == [[1, 0], [2, 0], [3, 0], [0, 2.5]]
    assert vectors["New York"].tolist() == [1, 0] and "polar bear" in vectors and "ice bear" not in vectors
    assert phrases("dog") == ["dog"] and phrases("Dog") == ["Dog", "dog"]


def test_what_cannot_be_used_is_counted_and_said(tmp_path):
    """GloVe's words may hold spaces: "a b" is a word, "c 5" is a word and a number too many."""
    lines = ["\ufeffdog 1 2", "zero 0 0", "nan nan 1", "inf 1 -inf", "short 1", "c 5 1 2", "text x y", "dog 3 4", "",
             "a b 5 6", "cat 7 8"]  # fmt: skip
    (tmp_path / "words.txt").write_text("\n".join(lines), encoding="utf-8")
    vectors = WordVectors.read(tmp_path / "words.txt")
    assert {word: vector.tolist() for word, vector in vectors.vectors.items()} == {
        "dog": [1, 2], "a b": [5, 6], "cat": [7, 8],
    }  # fmt: skip
    assert vectors.left_out == {
        "byte order mark at the start": 1, "of zeros alone": 1, "of numbers that are not finite": 2,
        "lines of another width": 3, "lines with something else than numbers": 1, "of a word that came before": 1,
    }  # fmt: skip
    assert vectors.report().startswith("word vectors left out of words.txt: 1 byte order mark at the start, 1 of zeros")
    with pytest.raises(UserError, match="none of the words asked for .*1 of zeros alone"):
        WordVectors.read(tmp_path / "words.txt", ["zero", "nan"])


@pytest.mark.parametrize(("name", "content", "reason"), [
    ("a.vec", b"3 -5\na 1 2\n", "vectors of -5 numbers"), ("a.vec", b"3 9999999\na 1 2\n", "vectors of 9999999"),
    ("a.vec", b"3 0\na 1 2\n", "vectors of 0 numbers"), ("a.vec", b"3 many\na 1 2\n", "line 1: expected"),
    ("a.vec", b"3 2\n", "none of the words"), ("a.txt", b"", "vectors of 0 numbers"),
    ("a.txt", b"\0" * 300_000, "a line of more than"), ("a.txt", b"a " + b"1 " * 20_000, "vectors of 20000 numbers"),
    ("a.bin", b"3 -5\na ", "vectors of -5"), ("a.bin", b"-3 5\na ", "-3 words"), ("a.bin", b"\xff" * 500, "line 1"),
    ("a.bin", b"3 9999999999\na " + bytes(100), "vectors of 9999999999"), ("a.bin", b"", "line 1"),
    ("a.bin", b"4000000000 2\na " + bytes(8), "ends after 1 of 4000000000"),
])  # fmt: skip
def test_files_of_odd_sizes_are_one_line(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}.*{reason}") as error:
        WordVectors.read(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_folder_without_vectors_is_named(tmp_path):
    with pytest.raises(UserError, match="is a folder without word vectors"):
        WordVectors.read(tmp_path)


def test_vocabulary_counts_encodes_and_survives_a_file(tmp_path):
    sentences = [tokenise(text) for text in ("A dog's ball .", "A cat!", "a CAT, a bird")]
    assert sentences[0] == ["a", "dog's", "ball"]
    vocabulary = Vocabulary.build(sentences, min_count=2)
    assert vocabulary.words == ["<eos>", "UNK", "a", "cat"]
    assert vocabulary.counts == [0, 0, 4, 2]
    assert vocabulary.encode(["a", "zebra", "cat"]).tolist() == [2, 1, 3, 0]
    vocabulary.save(tmp_path / "words.json")
    assert Vocabulary.load(tmp_path / "words.json").to_dict() == vocabulary.to_dict()


def test_length_buckets_near_lengths_and_one_sentence_a_group():
    rng = np.random.default_rng(0)
    lengths, groups = rng.integers(3, 30, 1000), np.repeat(np.arange(200), 5)
    sampler = LengthBuckets(lengths, 32, groups, seed=1, min_size=1)
    batches = sampler.epoch(0)
    assert sorted(np.concatenate(batches)) == list(range(1000))
    for batch in batches:
        assert len(set(groups[batch])) == len(batch) <= 32
    full = [batch for batch in batches if len(batch) == 32]
    assert len(full) >= 28 and np.mean([np.ptp(lengths[batch]) for batch in full]) < 12
    assert any(lengths[a].max() > lengths[b].min() for a, b in zip(batches, batches[1:]))
    sharp = LengthBuckets(lengths, 50, seed=1, spread=0).epoch(0)
    assert max(np.ptp(lengths[batch]) for batch in sharp) <= 2  # 37 sentences of each length
    again = LengthBuckets(lengths, 32, groups, seed=1, min_size=1).epoch(0)
    assert all((a == b).all() for a, b in zip(batches, again))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(batches, sampler.epoch(1)))
    assert min(map(len, LengthBuckets(lengths, 32, groups, seed=1, min_size=20).epoch(0))) >= 20
