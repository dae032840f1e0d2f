"""Text: tokens stay tokens however they are written; dictionaries and word vectors come back as they went."""

from __future__ import annotations

import gzip
import re
import unicodedata
import zipfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.text.vectors import WordVectors
from common.text.vocabulary import Vocabulary, tokenise

texts = st.text(max_size=30) | st.text("aAéÉßİıΣſﬁ’'_-\u0301\u0327\u0345한ㅎ中あカﾊ゙ \t", max_size=15)


@given(texts)
@example("İstanbul’s Σ ﬁn")
def test_tokens_are_their_own_tokens(text):
    tokens = tokenise(text)
    assert tokenise(" ".join(tokens)) == tokens
    assert all(token and not re.search(r"\s", token) for token in tokens)


@given(texts)
def test_composed_and_decomposed_are_the_same(text):
    assert tokenise(unicodedata.normalize("NFC", text)) == tokenise(unicodedata.normalize("NFD", text))


@given(st.text(st.characters(max_codepoint=127), max_size=40))
def test_ascii_is_cut_at_all_but_letters_digits_and_apostrophes_within(text):
    parts = [part for word in re.split("[^a-z0-9']+", text.lower()) for part in word.split("''")]
    assert tokenise(text) == [part.strip("'") for part in parts if part.strip("'")]


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(lambda word: word not in ("<eos>", "UNK"))
sentences = st.lists(st.lists(words, max_size=5), max_size=6)


@given(sentences, st.integers(1, 3))
def test_a_dictionary_comes_back(new_folder, drawn, least):
    built = Vocabulary.build(drawn, least)
    path = new_folder() / "words.json"
    built.save(path)
    again = Vocabulary.load(path)
    assert (again.words, again.counts, again.numbers) == (built.words, built.counts, built.numbers)
    flat = [word for sentence in drawn for word in sentence]
    assert set(built.words[2:]) == {word for word in flat if flat.count(word) >= least}
    assert built.counts[2:] == [flat.count(word) for word in built.words[2:]] == sorted(built.counts[2:], reverse=True)
    for sentence in drawn:
        numbers = again.encode(sentence)
        assert numbers[-1] == 0 and len(numbers) == len(sentence) + 1
        assert [built.words[n] if n > 1 else None for n in numbers[:-1]] == [w if flat.count(w) >= least else None
                                                                           for w in sentence]  # fmt: skip


letters = st.characters(codec="utf-8", exclude_categories=("Zs", "Zl", "Zp", "Cc", "Cf"))
spelled = st.text(letters, min_size=1, max_size=8)
numbers = st.floats(-1e6, 1e6, width=32)


@st.composite
def tables(draw):
    dim = draw(st.integers(2, 5))
    rows = st.lists(numbers, min_size=dim, max_size=dim).filter(any)
    drawn = draw(st.dictionaries(spelled, rows, min_size=1, max_size=6))
    return {word: np.array(row, np.float32) for word, row in drawn.items()}


def content(table, kind: str) -> bytes:
    head = f"{len(table)} {len(next(iter(table.values())))}\n".encode()
    if kind == "bin":
        return head + b"".join(word.encode() + b" " + row.tobytes() + b"\n" for word, row in table.items())
    lines = "".join(f"{word} {' '.join(str(x) for x in row.tolist())}\n" for word, row in table.items()).encode()
    return lines if kind == "txt" else head + lines


@pytest.mark.parametrize("kind", ["txt", "vec", "bin"])
@given(tables(), st.sampled_from(["", ".gz", ".zip"]), st.data())
def test_word_vectors_come_back(new_folder, kind, table, packed, data):
    path, whole = new_folder() / f"words.{kind}{packed}", content(table, kind)
    if packed == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(f"inside/words.{kind}", whole)
    else:
        path.write_bytes(gzip.compress(whole) if packed else whole)
    read = WordVectors.read(path)
    assert read.vectors.keys() == table.keys() and not read.left_out
    assert all(np.array_equal(read.vectors[word], row) for word, row in table.items())
    wanted = data.draw(st.lists(st.sampled_from(sorted(table)), min_size=1))
    some = WordVectors.read(path, wanted)
    assert set(wanted) <= set(some.vectors) <= set(table)
    assert np.array_equal(some.matrix(wanted), [table[word] for word in wanted])
