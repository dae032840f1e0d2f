"""Image-sentence ranking: the rank of the first right answer, both ways (Hodosh et al. 2013, Kiros et al. 2014).

One pass of matrix products over blocks of pictures serves both directions; there is no loop over queries. A picture
and a sentence belong together when their labels are equal, so an image may have any number of sentences (five in
Flickr8k) and a sentence any number of pictures (each artist's drawing of the same thing).

Ties count against the model: a wrong answer whose score is within `TIE` of the best right one stands before it. The
programs of 2014 and 2018 sort each query's scores by `numpy.argsort` and turn the order round, so that NumPy's sort,
which is not stable, decides between equal ones; ``ties="published"`` ranks by this very call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg.blas import sgemm

from common.files import finite
from common.metrics.retrieval import TIE

CELLS = 1 << 22  # scores held at once
KS = (1, 5, 10)


def inner(images: np.ndarray, sentences: np.ndarray) -> np.ndarray:
    """Inner product of every pair: the cosine where the rows have length one.

    By SciPy's BLAS: that of NumPy 1.26 is older and falls back to slow kernels on newer processors.

    Parameters
    ----------
    images, sentences : (b, d) and (m, d) float32

    Returns
    -------
    (b, m) float32
    """
    return sgemm(1.0, sentences.T, images.T, trans_a=True).T


def order(images: np.ndarray, sentences: np.ndarray) -> np.ndarray:
    """Minus the order violation of every pair (Vendrov et al. 2016, equation 2): -||max(0, s - i)||.

    Parameters
    ----------
    images, sentences : (b, d) and (m, d) float32

    Returns
    -------
    (b, m) float32
    """
    scores = np.empty((len(images), len(sentences)), np.float32)
    size = max(1, CELLS // max(1, images.size))
    for start in range(0, len(sentences), size):
        above = np.maximum(sentences[start : start + size] - images[:, None], 0)
        scores[:, start : start + size] = -np.sqrt(np.einsum("bmd,bmd->bm", above, above))
    return scores


TIES = ("against", "published")
MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"cosine": inner, "order": order}


def ranks_both(
    images: np.ndarray,
    sentences: np.ndarray,
    image_labels: np.ndarray,
    sentence_labels: np.ndarray,
    measure: str = "cosine",
    ties: str = "against",
) -> tuple[np.ndarray, np.ndarray]:
    """The rank of the first right answer: for each picture among the sentences, for each sentence among the pictures.

    Parameters
    ----------
    images : (n, d) array
        As the model gives them: of length one for ``cosine``.
    sentences : (m, d) array
    image_labels, sentence_labels : (n,) and (m,) int arrays
        Equal labels belong together.
    measure : {"cosine", "order"}
    ties : {"against", "published"}
        Whether a wrong answer of the same score stands before a right one, or where `numpy.argsort` puts it.

    Returns
    -------
    of_images : (n,) int64
        From 1; 0 where the query has no right answer at all.
    of_sentences : (m,) int64

    Raises
    ------
    UserError
        Embeddings that are not finite.
    """
    score = MEASURES[measure]
    images = finite.check(np.asarray(images, np.float32), "the embeddings of pictures", finite.NO_FIGURE)
    sentences = finite.check(np.asarray(sentences, np.float32), "the embeddings of sentences", finite.NO_FIGURE)
    image_labels, sentence_labels = np.asarray(image_labels), np.asarray(sentence_labels)
    if ties == "published":
        return _sorted(score, images, sentences, image_labels, sentence_labels)
    pairs = _pairs(image_labels, sentence_labels)
    of_pairs = _pair_scores(score, images, sentences, pairs)
    best_image = np.full(len(images), np.inf, np.float32)
    best_sentence = np.full(len(sentences), np.inf, np.float32)
    _first(best_image, pairs[:, 0], of_pairs)
    _first(best_sentence, pairs[:, 1], of_pairs)
    ahead_image = np.zeros(len(images), np.int64)
    ahead_sentence = np.zeros(len(sentences), np.int64)
    size = max(1, CELLS // max(1, len(sentences)))
    for start in range(0, len(images), size):
        stop = start + size
        scores = score(images[start:stop], sentences)
        low, high = np.searchsorted(pairs[:, 0], (start, stop))
        scores[pairs[low:high, 0] - start, pairs[low:high, 1]] = -np.inf  # what is left are wrong answers
        ahead_image[start:stop] = np.count_nonzero(scores >= best_image[start:stop, None] - TIE, axis=1)
        ahead_sentence += np.count_nonzero(scores >= best_sentence - TIE, axis=0)
    return np.where(np.isfinite(best_image), ahead_image + 1, 0), np.where(
        np.isfinite(best_sentence), ahead_sentence + 1, 0
    )


def ranks(queries: np.ndarray, gallery: np.ndarray, query_labels: np.ndarray, gallery_labels: np.ndarray) -> np.ndarray:
    """One direction of `ranks_both`, by inner product.

    Parameters
    ----------
    queries, gallery : (n, d) and (m, d) arrays
    query_labels, gallery_labels : (n,) and (m,) int arrays
        Equal labels belong together.

    Returns
    -------
    (n,) int64
        From 1; 0 where the query has no right answer at all.
    """
    return ranks_both(queries, gallery, query_labels, gallery_labels)[0]


def image_sentence(
    images: np.ndarray,
    sentences: np.ndarray,
    image_labels: np.ndarray,
    sentence_labels: np.ndarray,
    measure: str = "cosine",
    ties: str = "against",
) -> dict[str, float]:
    """The metrics of the ranking papers, both ways.

    Parameters
    ----------
    images, sentences, image_labels, sentence_labels, measure, ties
        As in `ranks_both`.

    Returns
    -------
    dict of str to float
        ``i2t_`` (picture to sentences) and ``t2i_`` (sentence to pictures) each with ``recall@1``, ``recall@5``,
        ``recall@10`` (0..1), ``median_rank`` (rounded down, as in the 2014 code) and ``mean_rank`` (from 1);
        and ``rsum``, the sum of the six recalls in percent (0..600; Faghri et al. 2018).
    """
    both = ranks_both(images, sentences, image_labels, sentence_labels, measure, ties)
    found = {}
    for way, of_queries in zip(("i2t", "t2i"), both):
        found.update({f"{way}_{name}": value for name, value in summary(of_queries).items()})
    found["rsum"] = 100 * sum(value for name, value in found.items() if "recall@" in name)
    return found


def summary(found: np.ndarray, ks: Sequence[int] = KS) -> dict[str, float]:
    """Recall, median and mean of the ranks of queries.

    Parameters
    ----------
    found : (n,) int array
        Ranks from 1; queries without a right answer, at 0, are left out.
    ks : sequence of int

    Returns
    -------
    dict of str to float
        ``recall@1`` and so on, 0..1, ``median_rank``, rounded down, and ``mean_rank``.
    """
    found = found[found > 0]
    recalls = {f"recall@{k}": float(np.mean(found <= k)) for k in ks}
    return {**recalls, "median_rank": float(np.floor(np.median(found))), "mean_rank": float(found.mean())}


def five_folds(
    images: np.ndarray,
    sentences: np.ndarray,
    image_labels: np.ndarray,
    sentence_labels: np.ndarray,
    measure: str = "cosine",
    size: int = 1000,
    ties: str = "against",
) -> dict[str, float]:
    """`image_sentence` as the mean over five folds of `size` labels each: COCO's 1k protocol.

    Folds are runs of labels in the order in which the pictures come, as in Karpathy's and the later codes. On all
    5,000 pictures at once (the 5k protocol) call `image_sentence`.

    Parameters
    ----------
    images, sentences, image_labels, sentence_labels, measure, ties
        As in `ranks_both`.
    size : int
        Labels of a fold.

    Returns
    -------
    dict of str to float
        As `image_sentence` gives it.

    Raises
    ------
    ValueError
        There are fewer than five folds' labels.
    """
    image_labels, sentence_labels = np.asarray(image_labels), np.asarray(sentence_labels)
    _, first = np.unique(image_labels, return_index=True)
    in_order = image_labels[np.sort(first)]
    if len(in_order) < 5 * size:
        raise ValueError(f"five folds of {size} need {5 * size} pictures, not {len(in_order)}")
    folds = []
    for start in range(0, 5 * size, size):
        fold = in_order[start : start + size]
        i, s = np.isin(image_labels, fold), np.isin(sentence_labels, fold)
        folds.append(image_sentence(images[i], sentences[s], image_labels[i], sentence_labels[s], measure, ties))
    return {name: float(np.mean([fold[name] for fold in folds])) for name in folds[0]}


def _sorted(score, images, sentences, image_labels, sentence_labels) -> tuple[np.ndarray, np.ndarray]:
    """`ranks_both` as the published programs have it, query by query."""
    of_images, of_sentences = np.zeros(len(images), np.int64), np.zeros(len(sentences), np.int64)
    size = max(1, CELLS // max(1, len(sentences)))
    for start in range(0, len(images), size):
        scores = np.ascontiguousarray(score(images[start : start + size], sentences))
        for number, row in enumerate(scores, start):
            of_images[number] = _rank(row, sentence_labels == image_labels[number])
    size = max(1, CELLS // max(1, len(images)))
    for start in range(0, len(sentences), size):
        scores = np.ascontiguousarray(score(images, sentences[start : start + size]).T)
        for number, row in enumerate(scores, start):
            of_sentences[number] = _rank(row, image_labels == sentence_labels[number])
    return of_images, of_sentences


def _rank(scores: np.ndarray, right: np.ndarray) -> int:
    """The rank of the first `right` one in ``numpy.argsort(scores)[::-1]``, from 1; 0 if none is."""
    found = np.flatnonzero(right[np.argsort(scores)[::-1]])
    return int(found[0]) + 1 if len(found) else 0


def _pairs(image_labels: np.ndarray, sentence_labels: np.ndarray) -> np.ndarray:
    """All (picture, sentence) of equal labels, by picture: (p, 2) int64."""
    by_label = np.argsort(sentence_labels, kind="stable")
    ordered = sentence_labels[by_label]
    low = np.searchsorted(ordered, image_labels, "left")
    count = np.searchsorted(ordered, image_labels, "right") - low
    picture = np.repeat(np.arange(len(image_labels)), count)
    within = np.arange(len(picture)) - np.repeat(np.cumsum(count) - count, count)
    return np.stack([picture, by_label[np.repeat(low, count) + within]], axis=1)


def _pair_scores(score, images: np.ndarray, sentences: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    scores = np.empty(len(pairs), np.float32)
    size = 4096
    for start in range(0, len(pairs), size):
        block = pairs[start : start + size]
        a, b = images[block[:, 0]], sentences[block[:, 1]]
        if score is inner:
            scores[start : start + size] = np.einsum("pd,pd->p", a, b)
        else:
            scores[start : start + size] = -np.linalg.norm(np.maximum(b - a, 0), axis=1)
    return scores


def _first(best: np.ndarray, indices: np.ndarray, scores: np.ndarray) -> None:
    """Put the highest of the `scores` of each index into `best`, which stays infinite where there is none."""
    best[indices] = -np.inf
    np.maximum.at(best, indices, scores)
