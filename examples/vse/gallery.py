"""What a model finds: pictures for a sentence, sentences for a picture, as lists and as contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import metrics
from common.files.errors import UserError
from common.search.index import Index
from common.show import plots
from examples.vse.data import Split
from examples.vse.model import VSE

Found = "list[tuple[float, int]]"  # score and index, the best first


class Gallery:
    """Pictures and sentences, embedded by a model.

    Parameters
    ----------
    net : VSE
    split : Split
        What is searched.
    images, sentences : (n, dim) and (m, dim) arrays
        Its embeddings.
    index : common.search.index.Index, optional
        Of `images`: pictures are searched for through it.
    """

    def __init__(
        self, net: VSE, split: Split, images: np.ndarray, sentences: np.ndarray, index: Index | None = None
    ):
        self.net, self.split, self.images, self.sentences, self.index = net, split, images, sentences, index
        self.score = metrics.MEASURES[net.metadata["measure"]]
        self.directions = metrics.unit(images) if net.metadata["no_imgnorm"] else images  # to compare pictures by

    def pictures_for(self, text: str, k: int) -> Found:
        """The `k` pictures that fit `text` best.

        Raises
        ------
        UserError
            The model knows none of its words.
        """
        vector = self.encode([text])
        return self._through(vector[0], k) if self.index else _best(self.score(self.images, vector)[:, 0], k)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings (n, dim) of texts that a user gives.

        Raises
        ------
        UserError
            The model knows none of the words of one.
        """
        for text in texts:
            if not self.net.knows(text):
                learned = "" if self.net.encoder else f": it learned {len(self.net.vocabulary) - 2} words"
                raise UserError(f"the model knows no word of {text!r}{learned}")
        return self.net.encode_sentences(texts)

    def changed(self, image: np.ndarray, minus: Sequence[str], plus: Sequence[str]) -> np.ndarray:
        """An image's embedding less those of some words, with those of others, of length one (Kiros et al. 2014).

        Parameters
        ----------
        image : (dim,) array
        minus, plus : sequence of str
            Words or sentences.

        Raises
        ------
        UserError
            The model knows none of the words of one, or compares by order, where differences mean nothing.
        """
        if self.net.metadata["measure"] == "order":
            raise UserError("--minus and --plus: a model of --measure order has no differences; take one of cosine")
        if self.net.metadata["no_imgnorm"]:
            image = metrics.unit(image[None])[0]
        for sign, texts in ((-1, minus), (1, plus)):
            if texts:
                image = image + sign * self.encode(texts).sum(axis=0)
        length = np.linalg.norm(image)
        if length < 1e-6:
            raise UserError("--minus takes away all that the picture is: leave it out")
        return image / length

    def sentences_for(self, image: np.ndarray, k: int) -> Found:
        """The `k` sentences that fit an image's embedding (dim,) best, each text once."""
        found = _best(self.score(image[None], self.sentences)[0], len(self.sentences))
        by_text = {self.split.texts[index]: (score, index) for score, index in reversed(found)}
        return sorted(by_text.values(), key=lambda pair: -pair[0])[:k]

    def pictures_like(self, image: np.ndarray, k: int, but: int | None = None) -> Found:
        """The `k` pictures whose embeddings are nearest to an image's (dim,); picture number `but` is left out."""
        if self.index:
            return [found for found in self._through(image, k + (but is not None)) if found[1] != but][:k]
        scores = self.directions @ image
        if but is not None:
            scores[but] = -np.inf
        return [found for found in _best(scores, k) if found[1] != but]

    def _through(self, vector: np.ndarray, k: int) -> Found:
        scores, places = self.index.query(vector, k)
        return [(float(score), int(place)) for score, place in zip(scores[0], places[0]) if place >= 0]

    def read(self, index: int):
        """Picture `index` (H, W, 3); None where there are only features."""
        return None if self.split.pictures is None else self.split.pictures.read(index)

    def title(self, index: int) -> str:
        """A word on picture `index`: its file, or its number and its first sentence."""
        pictures = self.split.pictures
        own = np.flatnonzero(self.split.sentence_labels == self.split.image_labels[index])
        text = self.split.texts[own[0]] if len(own) else ""
        if pictures is not None and not pictures.in_memory:
            return f"{pictures.images[index]}  {text}".rstrip()
        return f"picture {index}  {text}".rstrip()

    def sections(self, folder, rows: int = 8, k: int = 7, seed: int = 0) -> list[tuple]:
        """Sections of a report: some sentences with their pictures, some pictures with their sentences."""
        rng = np.random.default_rng(seed)
        texts = rng.choice(len(self.split.texts), min(rows, len(self.split.texts)), replace=False)
        images = rng.choice(len(self.images), min(rows, len(self.images)), replace=False)
        headings = "A sentence and its best pictures", "A picture and its best sentences"
        by_text, by_image = [self.text_row(i, k) for i in texts], [self.image_row(i, k) for i in images]
        if self.split.pictures is None:  # what there is to see of a picture are its sentences
            return [
                (heading, [{row[0][1]: {f"{i + 1}.": cell[1] for i, cell in enumerate(row[1:])} for row in rows}])
                for heading, rows in zip(headings, (by_text, by_image))
            ]
        return [
            (heading, [plots.sheet(rows, folder / f"{name}.png", f"{heading} (green or ✓: right)")])
            for heading, name, rows in zip(headings, ("pictures", "sentences"), (by_text, by_image))
        ]

    def text_row(self, text: int, k: int) -> list[tuple]:
        """A row of `common.show.plots.sheet`: sentence number `text` of the split, and the pictures found for it."""
        row = [(None, self.split.texts[text], None)]
        scores = self.score(self.images, self.sentences[text : text + 1])[:, 0]
        for _, index in _best(scores, k):
            right = bool(self.split.image_labels[index] == self.split.sentence_labels[text])
            colour = plots.RIGHT if right else plots.WRONG
            row.append((self.read(index), self.mark(right, index), colour))
        return row

    def mark(self, right: bool, index: int) -> str:
        """What stands at a picture in a row: nothing, as its frame tells; without pictures a sentence of it."""
        return f"{'✓ ' * right}{self.title(index)}" if self.split.pictures is None else ""

    def image_row(self, image: int, k: int) -> list[tuple]:
        """A row: picture number `image` of the split, and the sentences found for it."""
        row = [(self.read(image), self.mark(False, image), plots.QUERY)]
        for _, index in self.sentences_for(self.images[image], k):
            right = int(self.split.image_labels[image]) in self.labels_of(self.split.texts[index])
            row.append((None, f"{'✓ ' * right}{self.split.texts[index]}", None))
        return row

    def labels_of(self, text: str) -> set[int]:
        """The labels of all sentences of these very words."""
        return {int(label) for t, label in zip(self.split.texts, self.split.sentence_labels) if t == text}


def build_index(net: VSE, images: np.ndarray, paths: Sequence, args) -> Index:
    """Index the embeddings of pictures and keep the index in ``--index``.

    Raises
    ------
    UserError
        It cannot be written, or the model compares by order or by length, which no index does.
    """
    if net.metadata["measure"] == "order":
        raise UserError("--index needs a model of --measure cosine: no index compares by order")
    if net.metadata["no_imgnorm"]:
        raise UserError("--index needs embeddings of length one: the model is of --no-imgnorm")
    names = [str(Path(path).resolve()) for path in paths]
    index = Index.build(images, names, args.kind, params=args.params)
    index.save(args.index)
    return index


def _best(scores: np.ndarray, k: int) -> Found:
    """The `k` highest, ties in their order."""
    k = min(k, len(scores))
    chosen = np.argpartition(-scores, k - 1)[:k] if k < len(scores) else np.arange(len(scores))
    chosen = chosen[np.lexsort((chosen, -scores[chosen]))]
    return [(float(scores[index]), int(index)) for index in chosen]
