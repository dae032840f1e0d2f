"""BERT's tokens: a sentence cut into the pieces of words that a pretrained sentence encoder has vectors of."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping, Sequence

from common.files import outside
from common.files.errors import reading

REMEDY = "give a tokenizer.json of an uncased BERT, or get one by ./get_data.sh minilm"
LONGEST_WORD = 100  # characters; a longer word is unknown as a whole
START, END, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
_ASCII_MARKS = frozenset(string.punctuation)  # of these, Unicode counts $+<=>^`|~ among the symbols
_HAN = re.compile(
    "([\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f\U0002b920-\U0002ceaf"
    "\uf900-\ufaff\U0002f800-\U0002fa1f])"
)


class WordPiece:
    """Sentence -> numbers of word pieces, as the package ``tokenizers`` gives them for an uncased BERT.

    A text is cleaned and loses accents and capitals; words and punctuation marks are cut from each other; of each word
    the longest piece that the vocabulary has is taken from the left, again and again (Wu et al. 2016, section 4.1).

    Parameters
    ----------
    vocabulary : mapping of str to int
        Numbers of the pieces; those within a word start with ``##``. ``[CLS]``, ``[SEP]`` and ``[UNK]`` are in it.
    special : sequence of str
        Pieces that are taken as they are where a text has them.

    References
    ----------
    Y. Wu et al.: Google's Neural Machine Translation System. arXiv 1609.08144, 2016.
    """

    def __init__(self, vocabulary: Mapping[str, int], special: Sequence[str] = ()):
        self.vocabulary = vocabulary
        self._special = frozenset(special)
        self._parts = re.compile("|".join(map(re.escape, sorted(special)))) if special else None
        self._longest = max(map(len, vocabulary))

    @classmethod
    def load(cls, path) -> WordPiece:
        """The tokens of a ``tokenizer.json``.

        Raises
        ------
        UserError
            The file is not there, is damaged, or cuts sentences in another way than an uncased BERT's.
        """
        content = outside.read_json(path, REMEDY)
        with reading(path, REMEDY):
            model, cleaner = content["model"], content["normalizer"]
            wanted = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True}
            other = [key for key, value in wanted.items() if cleaner.get(key) != value]
            if other or cleaner.get("strip_accents") is False or model.get("type", "WordPiece") != "WordPiece":
                raise ValueError("its texts are not cut as those of an uncased BERT")
            vocabulary = model["vocab"]
            numbers = set(vocabulary.values())
            if not all(outside.whole(number, 0) for number in numbers) or len(numbers) < len(vocabulary):
                raise ValueError("its pieces have no numbers of their own")
            missing = [piece for piece in (START, END, UNKNOWN) if piece not in vocabulary]
            if missing:
                raise ValueError(f"it has no {missing[0]}")
            special = [token["content"] for token in content["added_tokens"] if token["content"] in vocabulary]
            return cls(vocabulary, special)

    def encode(self, text: str, max_length: int = 256) -> list[int]:
        """The numbers of a text's pieces, between those of ``[CLS]`` and ``[SEP]``.

        Parameters
        ----------
        text : str
        max_length : int
            So many numbers at most, these two included; the end of a longer text is left out.
        """
        pieces = [piece for word in self._words(text) for piece in self._pieces(word)]
        numbers = [self.vocabulary[piece] for piece in (START, *pieces[: max_length - 2], END)]
        return numbers

    def _words(self, text: str) -> list[str]:
        if self._parts is None:
            return _words(text)
        words: list[str] = []
        end = 0
        for found in self._parts.finditer(text):
            words += [*_words(text[end : found.start()]), found.group()]
            end = found.end()
        return words + _words(text[end:])

    def _pieces(self, word: str) -> list[str]:
        if word in self._special:
            return [word]
        if len(word) > LONGEST_WORD:
            return [UNKNOWN]
        pieces, start = [], 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(min(len(word), start + self._longest), start, -1)
            end = next((end for end in ends if mark + word[start:end] in self.vocabulary), None)
            if end is None:
                return [UNKNOWN]
            pieces.append(mark + word[start:end])
            start = end
        return pieces


def _words(text: str) -> list[str]:
    """Words and punctuation marks, without accents and in lower case."""
    kept = (" " if c.isspace() else c for c in text if not _is_dropped(c))
    text = unicodedata.normalize("NFD", _HAN.sub(r" \1 ", "".join(kept)))
    # Each character for itself: the lower case of a whole word would end Greek ones in another sigma.
    text = "".join(c.lower() for c in text if unicodedata.category(c) != "Mn")
    return "".join(f" {c} " if _is_mark(c) else c for c in text).split()


def _is_dropped(character: str) -> bool:
    if character in "\t\n\r":
        return False
    return character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co")


def _is_mark(character: str) -> bool:
    return character in _ASCII_MARKS or unicodedata.category(character).startswith("P")
