"""How well a model ranks, and where its words start."""

from __future__ import annotations

import mxnet as mx

from common import metrics
from common.text import WordVectors
from examples.vse.data import Part
from examples.vse.model import VSE


def figures(net: VSE, part: Part, folds: bool = False) -> dict[str, float]:
    """Recall@1, 5 and 10, median and mean rank both ways, and rsum, see `common.metrics.image_sentence`.

    `folds`: the mean over five folds of 1,000 pictures (COCO's 1k protocol).
    """
    measure = metrics.five_folds if folds else metrics.image_sentence
    images, sentences = net.encode_images(part.features), net.encode_sentences(part.tokens)
    return measure(images, sentences, part.image_labels, part.sentence_labels, net.about["measure"])


def line(found: dict[str, float]) -> str:
    """Both directions in one line, recalls in percent."""
    text = []
    for way, name in (("i2t", "picture to sentence"), ("t2i", "sentence to picture")):
        recalls = " ".join(f"{100 * found[f'{way}_recall@{k}']:.1f}" for k in (1, 5, 10))
        text.append(f"{name} R@1/5/10 {recalls} median {found[f'{way}_median_rank']:.0f}")
    return ", ".join(text) + f", rsum {found['rsum']:.1f}"


def start_words(net: VSE, path) -> int:
    """Put the vectors of `path` into the word embedding, where it has the word; return how many."""
    vectors = WordVectors.read(path, net.vocabulary.words[2:])
    if vectors.dim != net.about["dim_word"]:
        from common.errors import UserError

        raise UserError(f"{path} has vectors of {vectors.dim} numbers: add --dim_word {vectors.dim}")
    values = net.sentences.words.weight.data().asnumpy()
    known = [number for number, word in enumerate(net.vocabulary.words) if number > 1 and word in vectors]
    for number in known:
        values[number] = vectors[net.vocabulary.words[number]]
    net.sentences.words.weight.set_data(mx.nd.array(values))
    return len(known)
