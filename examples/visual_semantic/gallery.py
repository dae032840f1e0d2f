"""Searching: pictures and words among each other, by their vectors in one space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import devices
from common.data import transforms
from common.data.sets import ImageSet
from common.export import engine
from common.files.errors import UserError
from common.search.index import Index
from common.search.page import Hit
from common.text.vectors import WordVectors
from common.text.vocabulary import split_name
from examples.visual_semantic import data, model, words

KEPT = 50_000  # of the most frequent words, in memory while the page is served: a file of millions is slow to read
FOUND = 6  # words shown for a picture on the page


class Searcher:
    """A model, the pictures of a gallery, and words.

    Parameters
    ----------
    params : path
        A model of train.py.
    kind : {"hnsw", "exact"}
        See `common.search.index.Index.build`.
    word_vectors : path, optional
        The file that words which are no class are looked up in; default is the one the model was trained with.
    gpus, num_workers
        As the flags.

    Attributes
    ----------
    net : examples.visual_semantic.model.VisualSemanticNet
    index : common.search.index.Index or None
        The gallery: `build` makes it, `open` reads it.
    vocabulary : common.search.index.Index or None
        Words that pictures are named by, besides the classes: `read_vocabulary` makes it.
    """

    def __init__(self, params, kind: str = "hnsw", word_vectors=None, gpus: Sequence[int] = (), num_workers: int = 2):
        self.params, self.kind, self.num_workers = Path(params), kind, num_workers
        self.context = devices.contexts(gpus)[0]
        self.net = model.load(self.params, self.context)
        metadata = self.net.metadata
        self.word_vectors = word_vectors or metadata["word_vectors"]
        self.transform = transforms.saved(metadata)
        self._read_by, self._head = self.net.halves(self.net.embed, self.transform)
        self.index: Index | None = None
        self.vocabulary: Index | None = None
        self.known: WordVectors | None = None

    def choose(self, args, pictures: int) -> None:
        """Settle ``--engine``, for about so many pictures; without it MXNet reads."""
        self._read_by = engine.reader(args, self._read_by, self.net.metadata["crop"], pictures)

    @property
    def beside(self) -> Path:
        """Where the index of the gallery is kept unless the user says otherwise."""
        return self.params.with_suffix(".faiss")

    def build(self, paths: Sequence[Path], file=None) -> None:
        """Index the pictures in `paths`, and keep the index in `file` (default: beside the model)."""
        pictures = ImageSet(list(paths), np.zeros(len(paths), np.int64), [""])
        names = [str(Path(path).resolve()) for path in paths]
        self.index = Index.build(self._embed(pictures, self.num_workers), names, self.kind, params=self.params)
        self.index.save(file or self.beside)

    def open(self, file=None) -> None:
        """Read the index that `build` kept.

        Raises
        ------
        UserError
            There is none, or another model made it.
        """
        file = Path(file or self.beside)
        if not file.is_file():
            raise UserError(f"{file}: no gallery was indexed yet: give --gallery FOLDER")
        self.index = Index.load(file, self.params)

    def read_vocabulary(self, max_words: int) -> None:
        """Let pictures be named by the most frequent words of the file, those that are spelled with letters alone.

        Raises
        ------
        UserError
            The model's words are of a sentence encoder, which has no such file.
        """
        if self._encodes:
            raise UserError(f"--vocabulary: {words.ENCODER} encodes sentences and has no list of words: leave it out")
        known = self._frequent(max_words)
        spelled = [word for word in list(known.vectors)[:max_words] if word.isalpha()]
        self.vocabulary = Index.build(self.net.embed_words(known.matrix(spelled)), spelled, self.kind)

    def keep_words(self) -> None:
        """Keep the most frequent words in memory, or the sentence encoder."""
        if self._encodes:
            words.encoder()
        else:
            self._frequent(KEPT)

    def of_text(self, text: str) -> np.ndarray:
        """Where `text` is: see `words.query`."""
        parts = split_name(text)
        known = {part for name in self.net.class_names for part in [name, *split_name(name)]}
        if self.known and parts and not known & set(parts) and all(part in self.known for part in parts):
            return self.net.embed_words(np.mean([self.known[part] for part in parts], axis=0)[None])[0]
        return words.query(self.net, text, self.word_vectors)

    def of_pictures(self, pictures: Sequence) -> np.ndarray:
        """Where pictures are, given as paths or (H, W, 3) uint8 arrays: (n, dim)."""
        images = list(pictures) if isinstance(pictures[0], Path) else np.stack(pictures)
        return self._embed(ImageSet(images, np.zeros(len(pictures), np.int64), [""]), 0)

    def pictures(self, vectors: np.ndarray, k: int) -> list[list[tuple[float, int]]]:
        """The `k` pictures of the gallery nearest to each of `vectors`: cosine, and index in ``index.names``."""
        scores, indices = self.index.query(vectors, k)
        return [[(float(s), int(p)) for s, p in zip(*row) if p >= 0] for row in zip(scores, indices)]

    def classes(self, vectors: np.ndarray, k: int) -> list[list[tuple[float, str]]]:
        """The `k` classes, seen or not, whose word is nearest to each of `vectors`."""
        scores = vectors @ self.net.words.T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [[(float(row[j]), plain(self.net.class_names[j])) for j in best] for row, best in zip(scores, order)]

    def any_words(self, vectors: np.ndarray, k: int) -> list[list[tuple[float, str]]]:
        """The `k` words of the vocabulary nearest to each of `vectors`."""
        scores, indices = self.vocabulary.query(vectors, k)
        return [[(float(s), self.vocabulary.names[p]) for s, p in zip(*row) if p >= 0] for row in zip(scores, indices)]

    def app(self):
        """The search page, a Flask application."""
        from common.search import page

        metadata, net, names = self.net.metadata, self.net, self.index.names
        captions = [plain(Path(name).parent.name) for name in names]

        def hits(vectors, k):
            return [Hit(score, captions[index], index) for score, index in self.pictures(vectors, k)[0]]

        def by_text(text, k):
            return hits(self.of_text(text)[None], k)

        def by_image(picture, k):
            vectors = self.of_pictures([picture])
            groups = {"Classes": self.classes(vectors, FOUND)[0]}
            if self.vocabulary:
                groups["Any word"] = self.any_words(vectors, FOUND)[0]
            groups = {heading: [Hit(score, word) for score, word in found] for heading, found in groups.items()}
            return {**groups, "Pictures": hits(vectors, k)}

        hint = (
            f"{metadata['model']}, trained on {len(net.seen)} classes; {len(net.unseen)} others, and any word, are"
            " found by their word vectors; several words are averaged."
        )
        tries = [plain(name) for name in [*net.unseen[:4], *net.seen[:4]]]
        return page.create_app("Visual-semantic search", [Path(n) for n in names], by_text, by_image, hint, tries)

    def _embed(self, pictures: ImageSet, num_workers: int) -> np.ndarray:
        return data.read(self._read_by, pictures, self.transform, self.context, num_workers, self._head)

    def _frequent(self, max_words: int) -> WordVectors:
        if self.known is None or len(self.known.vectors) < max_words:
            self.known = WordVectors.read(words.file_of(self.word_vectors), max_words=max_words)
        return self.known

    @property
    def _encodes(self) -> bool:
        return str(self.word_vectors) == words.ENCODER

def plain(name: str) -> str:
    """A class name as one says it: ``"polar+bear"`` -> ``"polar bear"``."""
    return name.replace("+", " ").replace("_", " ")
