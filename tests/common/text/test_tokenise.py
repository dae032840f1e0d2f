"""Words of sentences in any script; those of ASCII, and of the data that models were trained on, stay as they were."""

import re

import pytest

from common.text.vocabulary import tokenise

BEFORE = re.compile(r"[^\W_]+(?:'[^\W_]+)*")  # all that there was before marks, ligatures and scripts without blanks


@pytest.mark.parametrize("text, words", [
    ("cafe\u0301s Caf\u00e9", ["caf\u00e9s", "caf\u00e9"]),  # an accent apart, or in its letter
    ("q\u0323'q\u0323", ["q\u0323'q\u0323"]),  # that no single character holds
    ("\ufb01re o\ufb00", ["fire", "off"]),
    ("\u0939\u093f\u0928\u094d\u0926\u0940 x", ["\u0939\u093f\u0928\u094d\u0926\u0940", "x"]),  # vowel signs of Hindi
    ("\u7ea2\u5fc3 a", ["\u7ea2", "\u5fc3", "a"]),
    ("\u30ab\u30bf\u30ab\u30ca\u8a9e\u3068", ["\u30ab\u30bf\u30ab\u30ca", "\u8a9e", "\u3068"]),
    ("\ud55c\uad6d \uc0ac\ub791", ["\ud55c\uad6d", "\uc0ac\ub791"]),  # Korean has blanks
    ("\u2764\ufe0f heart 1\ufe0f\u20e3 \u0301", ["heart", "1"]),  # selectors and marks alone are no words
    ("Crêpe, l’été", ["crêpe", "l'été"]),
])  # fmt: skip
def test_words_of_any_script(text, words):
    assert tokenise(text) == words


def test_ascii_is_cut_as_ever():
    text = "".join(map(chr, range(128))) * 2 + "It's a dog's_ball's 'x' don''t 3.5 U.S.A."
    assert tokenise(text) == BEFORE.findall(text.lower())


def test_the_captions_that_models_were_trained_on_are_cut_as_ever(shared_data, emoji_folder):
    for file in (shared_data / "flickr8k_text" / "Flickr8k.token.txt", emoji_folder / "captions.txt"):
        text = file.read_text(encoding="utf-8")
        assert tokenise(text) == BEFORE.findall(text.lower().replace("’", "'"))
