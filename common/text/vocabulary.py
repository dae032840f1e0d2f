"""The words of a sentence, and the dictionary that a model is saved with."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from common.files import outside
from common.files.disk import write_text
from common.files.errors import reading

END, UNKNOWN = "<eos>", "UNK"
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_TREEBANK = re.compile(r"[^\W_]+?(?=n't\b)|n't\b|'(?:s|m|d|ll|re|ve)\b|\w+(?:[-./]\w+)*|[^\w\s]")
_MARK = "\uffff"  # stands in for combining marks, which `re` does not count as word characters; no text has it
# Han and Hiragana, a word a character
_ALONE = "[\u3005-\u3007\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_LETTER = rf"(?:(?!{_ALONE})[^\W_]{_MARK}*)"
_MARKED = re.compile(rf"{_ALONE}{_MARK}*|{_LETTER}+(?:'{_LETTER}+)*")
_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}


def tokenise(text: str) -> list[str]:
    """The words of `text` in lower case, without punctuation: ``"A dog's ball ."`` -> ``["a", "dog's", "ball"]``.

    Composed and decomposed accents are the same (Unicode's NFC), Latin ligatures are their letters, and a combining
    mark belongs to the letter before it. Chinese and Japanese have no blanks: each of their characters is a word,
    but for runs of Katakana.
    """
    text = text.lower().replace("’", "'")
    if text.isascii():
        return _WORD.findall(text)
    text = unicodedata.normalize("NFC", text.translate(_LIGATURES))
    shape = "".join(_MARK if _is_mark(character) else character for character in text)
    return [text[found.start() : found.end()] for found in _MARKED.finditer(shape)]


def _is_mark(character: str) -> bool:
    """Whether it is a combining mark; the variation selectors after emoji are none."""
    kind, name = unicodedata.category(character), unicodedata.name(character, "")
    return kind in ("Mn", "Mc") and not name.startswith("VARIATION SELECTOR")


def treebank(text: str) -> list[str]:
    """The words of `text` in lower case, with punctuation, nearly as NLTK's ``word_tokenize`` cuts them.

    ``"A dog's ball, isn't it?"`` -> ``["a", "dog", "'s", "ball", ",", "is", "n't", "it", "?"]``. Of Flickr8k's 40,460
    captions 40,325 are cut as NLTK 3.10.4 cuts them; quotation marks it turns are left as they are.
    """
    return _TREEBANK.findall(text.lower().replace("’", "'"))


def split_name(name: str) -> list[str]:
    """The words of a class name: ``"polar+bear"`` -> ``["polar", "bear"]``."""
    return [part for part in re.split(r"[\s+_-]+", name) if part]


class Vocabulary:
    """The words a model knows, the most frequent first; 0 ends a sentence and 1 stands for any other word.

    Parameters
    ----------
    words : sequence of str
        Without the two special ones, numbered from 2.
    counts : sequence of int
        How often each occurred in training.

    Raises
    ------
    ValueError
        A word is there twice, or has no count.
    """

    def __init__(self, words: Sequence[str], counts: Sequence[int]):
        self.words, self.counts = [END, UNKNOWN, *words], [0, 0, *map(int, counts)]
        self.numbers = {word: number for number, word in enumerate(self.words)}
        if len(self.numbers) != len(self.words) or len(self.words) != len(self.counts):
            raise ValueError("words must differ from each other and have a count each")

    @classmethod
    def build(cls, sentences: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
        """The words of sentences, the most frequent first.

        Parameters
        ----------
        sentences : iterable of sequences of str
            Tokenised.
        min_count : int
            Words that occur less often become ``UNK``.

        Returns
        -------
        Vocabulary
        """
        counts = Counter(word for sentence in sentences for word in sentence)
        kept = sorted((w for w, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w))
        return cls(kept, [counts[word] for word in kept])

    def __len__(self) -> int:
        """How many words there are, with the two special ones."""
        return len(self.words)

    def encode(self, tokens: Sequence[str]) -> np.ndarray:
        """Numbers of the words, and 0 at the end: (len + 1,) int32."""
        return np.array([*(self.numbers.get(token, 1) for token in tokens), 0], np.int32)

    def to_dict(self) -> dict:
        """As JSON can hold it."""
        return {"words": self.words[2:], "counts": self.counts[2:]}

    def save(self, path) -> None:
        """Write words and counts as JSON."""
        write_text(Path(path), json.dumps(self.to_dict(), ensure_ascii=False))

    @classmethod
    def load(cls, path) -> Vocabulary:
        """What `save` wrote.

        Raises
        ------
        UserError
            The file is not there, or holds something else.
        """
        remedy = "it is no dictionary of words"
        with reading(path, remedy):
            return cls(**outside.read_json(path, remedy))
