"""BERT's tokens: equal to those of the package `tokenizers`, recorded with its pieces cut to the ones that occur."""

import json
from pathlib import Path

import pytest

from common.files.errors import UserError
from common.text.wordpiece import WordPiece

RECORDED = json.loads((Path(__file__).parent / "recorded_pieces.json").read_text(encoding="utf-8"))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(RECORDED["tokenizer"]), encoding="utf-8")
    return path


def test_numbers_are_those_of_the_package(file):
    """Accents, capitals, sigmas, Chinese, Hindi, emoji, controls, special tokens, words of 100 and 101 letters."""
    tokens = WordPiece.load(file)
    for text, numbers in RECORDED["numbers"]:
        assert tokens.encode(text) == numbers, text


def test_a_long_text_is_cut_before_its_end_mark(file):
    tokens, whole = WordPiece.load(file), RECORDED["numbers"][2]
    assert tokens.encode(whole[0], 5) == [*whole[1][:4], whole[1][-1]]


def test_the_longest_piece_is_taken_first():
    tokens = WordPiece({"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "un": 3, "unlike": 4, "##like": 5, "##ly": 6, "##l": 7})
    assert tokens.encode("unlikely Unlike unlucky") == [0, 4, 6, 4, 2, 1]  # not un, like, ly; "##ucky" is not there
    assert tokens.encode("unlikely unlike", 3) == [0, 4, 1]


@pytest.mark.parametrize(("change", "said"), [
    (lambda c: c["normalizer"].update(lowercase=False), "not cut as those of an uncased BERT"),
    (lambda c: c["normalizer"].update(strip_accents=False), "not cut as those of an uncased BERT"),
    (lambda c: c["model"].update(type="BPE"), "not cut as those of an uncased BERT"),
    (lambda c: c["model"]["vocab"].update(odd=101), "no numbers of their own"),
    (lambda c: c["model"]["vocab"].update(odd="one"), "no numbers of their own"),
    (lambda c: c["model"]["vocab"].pop("[UNK]"), r"no \[UNK\]"),
    (lambda c: c.pop("added_tokens"), "added_tokens"),
])  # fmt: skip
def test_another_tokenizer_is_refused(file, change, said):
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=f"tokenizer.json is not as it should be .*{said}.*get_data.sh minilm"):
        WordPiece.load(file)
