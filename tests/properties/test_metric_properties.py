"""Metrics against slow and obvious versions: with ties, zero vectors, one class, classes of one; NaN is refused."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import labels, vectors
from hypothesis import given, settings
from hypothesis import strategies as st

from common import metrics
from common.files.errors import UserError
from common.metrics import ranking

CLOSE = 2e-7  # of cosines in double precision that are one in single
KS = (1, 2, 3, 5, 8)


def places(similar, right):
    """The places of the right ones among `similar`, from 1: behind all wrong ones that tie with them."""
    best_first = sorted((similar[i] for i in range(len(similar)) if right[i]), reverse=True)
    wrong = [similar[i] for i in range(len(similar)) if not right[i]]
    return [sum(w > s - CLOSE for w in wrong) + number for number, s in enumerate(best_first, 1)]


@st.composite
def retrieval(draw):
    """Queries with labels, and a gallery with other ones beside or none at all; some queries may be in the gallery."""
    n, dim = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    queries = draw(vectors(n, dim)), draw(labels(n))
    if draw(st.booleans()):
        m = draw(st.integers(1, 12))
        gallery, of_gallery, own = draw(vectors(m, dim)), draw(labels(m, 5)), None
        if draw(st.booleans()):
            own = np.array(draw(st.lists(st.integers(-1, m - 1), min_size=n, max_size=n)))
            gallery[own[own >= 0]], of_gallery[own[own >= 0]] = (rows[own >= 0] for rows in queries)
            own = np.where((gallery[own] == queries[0]).all(axis=1) & (of_gallery[own] == queries[1]), own, -1)
        return *queries, gallery, of_gallery, own
    return *queries, None, None, None


def asked(drawn):
    """For each query: cosines with what it may find, and which of these are right."""
    queries, of_queries, gallery, of_gallery, own = drawn
    for i, query in enumerate(queries.astype(np.float64)):
        others = range(len(queries)) if gallery is None else range(len(gallery))
        itself = i if gallery is None else -1 if own is None else own[i]
        others = [j for j in others if j != itself]
        base, base_labels = (queries, of_queries) if gallery is None else (gallery, of_gallery)
        yield [float(query @ base[j]) for j in others], [base_labels[j] == of_queries[i] for j in others]


@given(retrieval())
def test_recall_equals_the_slow_one_and_grows_with_k(drawn):
    ours = metrics.recall_at_k(drawn[0], drawn[1], KS, *drawn[2:])
    first = [min(places(*query), default=np.inf) for query in asked(drawn)]
    assert ours == pytest.approx({f"recall@{k}": np.mean([place <= k for place in first]) for k in KS})
    values = [ours[f"recall@{k}"] for k in KS]
    assert values == sorted(values)


@given(retrieval())
def test_map_at_r_equals_the_slow_one(drawn):
    ours = metrics.map_at_r(*drawn)
    average, precision = [], []
    for similar, right in asked(drawn):
        r = sum(right)
        if r:
            within = [place for place in places(similar, right) if place <= r]
            average.append(sum((number + 1) / place for number, place in enumerate(within)) / r)
            precision.append(len(within) / r)
    if not average:
        assert np.isnan([*ours.values()]).all()
        return
    assert ours == pytest.approx({"map@r": np.mean(average), "r_precision": np.mean(precision)}, abs=1e-6)
    assert 0 <= ours["map@r"] <= ours["r_precision"] <= 1


@given(retrieval())
def test_each_metric_of_a_search_equals_the_slow_one(drawn):
    found = metrics.search(*drawn, KS)
    for row, (similar, right) in zip(found.values, asked(drawn)):
        at, r = places(similar, right), sum(right)
        expected = [any(place <= k for place in at) for k in KS] + [sum(place <= k for place in at) / k for k in KS]
        precision = [number / place for number, place in enumerate(at, 1)]
        within = [p for p, place in zip(precision, at) if place <= r]
        whole = [sum(within), len(within), sum(precision)]
        expected += [value / r if r else np.nan for value in whole]
        np.testing.assert_allclose(row, expected, atol=1e-6)


@given(retrieval(), st.data())
def test_retrieval_does_not_depend_on_the_order_or_on_the_lengths(drawn, data):
    queries, of_queries, gallery, of_gallery, own = drawn
    order = np.array(data.draw(st.permutations(range(len(queries)))))
    other = None if gallery is None else np.array(data.draw(st.permutations(range(len(gallery)))))
    found = None if own is None else np.where(own < 0, -1, np.argsort(other)[own])[order]
    moved = (3 * queries[order], of_queries[order], *((None, None) if other is None else
             (gallery[other] / 7, of_gallery[other])), found)  # fmt: skip
    assert metrics.recall_at_k(*moved[:2], KS, *moved[2:]) == metrics.recall_at_k(*drawn[:2], KS, *drawn[2:])
    assert metrics.map_at_r(*moved) == pytest.approx(metrics.map_at_r(*drawn), nan_ok=True)


@given(retrieval(), st.integers(1, 30))
def test_neighbours_are_the_nearest_and_never_the_query_itself(drawn, k):
    queries, _, gallery, _, own = drawn
    base = queries if gallery is None else gallery
    if own is None:
        own = np.arange(len(queries)) if gallery is None else np.full(len(queries), -1)
    for start, similarity, found in metrics.neighbours(queries, k, gallery, drawn[4]):
        assert start == 0 and found.shape == (len(queries), min(k, len(base) - (own >= 0).all()))
        for i, row in enumerate(found):
            every = queries[i].astype(np.float64) @ np.delete(base, [own[i]] if own[i] >= 0 else [], axis=0).T
            assert (row[: len(every)] >= 0).all() and (row[len(every) :] == -1).all()
            row = row[: len(every)]
            assert len(set(row)) == len(row) and (own[i] < 0 or own[i] not in row)
            similar = similarity[i, : len(row)]
            np.testing.assert_allclose(similar, np.sort(every)[::-1][: len(row)], atol=CLOSE)
            np.testing.assert_allclose(similar, base[row].astype(np.float64) @ queries[i], atol=CLOSE)


@st.composite
def sides(draw):
    """Pictures and sentences with labels; some have no answer on the other side."""
    n, m, dim = draw(st.integers(1, 8)), draw(st.integers(1, 12)), draw(st.integers(1, 4))
    return draw(vectors(n, dim)), draw(vectors(m, dim)), draw(labels(n, 5)), draw(labels(m, 5))


def scores_of(images, sentences, measure):
    a, b = images.astype(np.float64), sentences.astype(np.float64)
    if measure == "cosine":
        return np.array([[float(i @ s) for s in b] for i in a])
    return np.array([[-np.sqrt(sum(max(0, y - x) ** 2 for x, y in zip(i, s))) for s in b] for i in a])


@given(sides(), st.sampled_from(["cosine", "order"]))
def test_ranks_equal_the_slow_ones(drawn, measure):
    images, sentences, of_images, of_sentences = drawn
    scores, right = scores_of(images, sentences, measure), of_images[:, None] == of_sentences
    of_pictures, of_texts = metrics.ranks_both(*drawn, measure)
    assert of_pictures.tolist() == [min(places(s, r), default=0) for s, r in zip(scores, right)]
    assert of_texts.tolist() == [min(places(s, r), default=0) for s, r in zip(scores.T, right.T)]


@given(sides(), st.sampled_from(["cosine", "order"]))
def test_published_ranks_are_places_in_an_order_by_score(drawn, measure):
    """Where nothing ties both rules say the same; where something does, the published one says no worse place."""
    images, sentences, of_images, of_sentences = drawn
    scores, right = scores_of(images, sentences, measure), of_images[:, None] == of_sentences
    ours, theirs = (metrics.ranks_both(*drawn, measure, ties) for ties in ("against", "published"))
    for table, answers, worst, found in zip((scores, scores.T), (right, right.T), ours, theirs):
        for row, good, last, place in zip(table, answers, worst, found):
            best = max(row[good], default=-np.inf)
            least = 1 + sum(row[~good] > best + CLOSE) if good.any() else 0
            assert least <= place <= last
            if good.any() and not np.any(np.abs(row[~good] - best) < CLOSE):
                assert place == last


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20).filter(any))
def test_the_summary_of_places(found):
    ours, answered = ranking.summary(np.array(found)), [place for place in found if place]
    for k in ranking.KS:
        assert ours[f"recall@{k}"] == pytest.approx(sum(place <= k for place in answered) / len(answered))
    assert ours["mean_rank"] == pytest.approx(sum(answered) / len(answered))
    in_order = sorted(answered)
    assert ours["median_rank"] == (in_order[(len(in_order) - 1) // 2] + in_order[len(in_order) // 2]) // 2


@st.composite
def recognition(draw):
    """Scores with many ties, the right classes, and which classes were trained on."""
    n, classes = draw(st.integers(1, 10)), draw(st.integers(2, 5))
    scores = draw(st.lists(st.lists(st.integers(-2, 2), min_size=classes, max_size=classes), min_size=n, max_size=n))
    seen = draw(st.lists(st.booleans(), min_size=classes, max_size=classes))
    return np.array(scores, float), draw(labels(n, classes)), np.array(seen)


def slow_per_class(of_pictures, guesses):
    classes = sorted(set(of_pictures))
    return np.mean([np.mean([g == c for g, own in zip(guesses, of_pictures) if own == c]) for c in classes])


@given(recognition())
def test_hits_and_confusion_equal_the_slow_ones(drawn):
    scores, right, _ = drawn
    place = [sum(other >= row[own] for other in row) for row, own in zip(scores, right)]
    ours = metrics.accuracy_at_k(scores, right, (1, 2, 5))
    assert ours == pytest.approx({metrics.accuracy_key(k): np.mean([p <= k for p in place]) for k in (1, 2, 5)})
    guesses, classes = scores.argmax(axis=1), scores.shape[1]
    table = metrics.confusion(right, guesses, classes)
    pairs = list(zip(right.tolist(), guesses.tolist()))
    assert table.tolist() == [[pairs.count((i, j)) for j in range(classes)] for i in range(classes)]
    assert metrics.per_class_accuracy(right, guesses) == pytest.approx(slow_per_class(right.tolist(), guesses))


@given(recognition())
def test_zero_shot_figures_equal_the_slow_ones(drawn):
    scores, right, seen = drawn
    ours, expected = metrics.zero_shot(scores, right, seen, (1, 2)), {}
    new = [i for i in range(len(right)) if not seen[right[i]]]
    old = [i for i in range(len(right)) if seen[right[i]]]
    guesses = [max(range(len(seen)), key=lambda c: (row[c], -c)) for row in scores]
    if new:
        fresh = [c for c in range(len(seen)) if not seen[c]]
        alone = [max(fresh, key=lambda c: (scores[i, c], -c)) for i in new]
        expected["zero_shot"] = slow_per_class([right[i] for i in new], alone)
        expected["unseen"] = slow_per_class([right[i] for i in new], [guesses[i] for i in new])
        for k in (1, 2):
            for name, among in (("zero_shot", fresh), ("generalised", range(len(seen)))):
                hits = [sum(scores[i, c] >= scores[i, right[i]] for c in among) <= k for i in new]
                expected[f"{name}_{metrics.accuracy_key(k)}"] = np.mean(hits)
    if old:
        expected["seen"] = slow_per_class([right[i] for i in old], [guesses[i] for i in old])
    if old and new:
        s, u = expected["seen"], expected["unseen"]
        expected["harmonic"] = 2 / (1 / s + 1 / u) if s and u else 0.0
    assert ours == pytest.approx(expected)


@given(st.floats(0, 1), st.floats(0, 1))
def test_harmonic_mean_lies_between_and_is_zero_where_one_is(a, b):
    found = metrics.harmonic_mean(a, b)
    assert min(a, b) * (1 - 1e-9) <= found <= max(a, b) * (1 + 1e-9) or min(a, b) == found == 0
    assert found == metrics.harmonic_mean(b, a)


@given(recognition())
def test_area_equals_the_trapezoids_over_all_amounts(drawn):
    scores, right, seen = drawn
    scores = scores - np.arange(scores.shape[1]) * 1e-3  # no two classes tie: the first would count, and is not said to
    known = seen[right]
    if known.all() or not known.any():
        with pytest.raises(ValueError, match="seen and of unseen"):
            metrics.area_seen_unseen(scores, right, seen)
        return
    gaps = sorted({round(row[seen].max() - row[~seen].max(), 9) for row in scores})
    amounts = [gaps[0] - 1, *[(low + high) / 2 for low, high in zip(gaps, gaps[1:])], gaps[-1] + 1]
    curve = []
    for amount in amounts:
        guesses = (scores - amount * seen).argmax(axis=1)
        curve.append([slow_per_class(right[part].tolist(), guesses[part]) for part in (known, ~known)])
    area = sum((s + t) / 2 * (v - u) for (s, u), (t, v) in zip(curve, curve[1:]))
    assert metrics.area_seen_unseen(scores, right, seen) == pytest.approx(area)


@st.composite
def word_search(draw):
    words, n = draw(st.integers(1, 4)), draw(st.integers(1, 10))
    table = draw(st.lists(st.lists(st.integers(-1, 1), min_size=n, max_size=n), min_size=words, max_size=words))
    right = draw(st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=words, max_size=words))
    return np.array(table, float), np.array(right)


@given(word_search(), st.integers(1, 12))
def test_text_to_image_equals_the_slow_one(drawn, k):
    scores, right = drawn
    if not right.any(axis=1).all():
        with pytest.raises(ValueError, match="has no right picture"):
            metrics.text_to_image(scores, right)
        return
    ours = metrics.text_to_image(scores, right, (k,))
    for word, (row, good) in enumerate(zip(scores, right)):
        found = places(row, good)
        average = np.mean([(number + 1) / place for number, place in enumerate(found)])
        assert ours["average_precision"][word] == pytest.approx(average)
        share = sum(place <= k for place in found) / min(k, len(row))
        assert ours[f"precision@{k}"][word] == pytest.approx(share)


@given(st.data(), st.integers(2, 7))
def test_purity_and_its_chance_equal_the_slow_ones(data, n):
    similar = np.array(data.draw(st.lists(st.integers(-2, 2), min_size=n * n, max_size=n * n)), float).reshape(n, n)
    groups = data.draw(labels(n))
    keep = data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True))
    others = [[j for j in range(n) if j != i] for i in range(n)]
    near = {i: [j for j in others[i] if similar[i, j] == max(similar[i, others[i]])] for i in keep}
    right = [all(groups[j] == groups[i] for j in near[i]) for i in keep]
    chance = [np.mean([groups[j] == groups[i] for j in others[i]]) for i in keep]
    assert metrics.purity(similar, groups, keep) == pytest.approx((np.mean(right), np.mean(chance)))


@given(st.data(), st.integers(3, 6))
def test_spearman_equals_the_correlation_of_ranks(data, n):
    pair = [np.array(data.draw(st.lists(st.integers(-3, 3), min_size=n * n, max_size=n * n))).reshape(n, n)
            for _ in range(2)]  # fmt: skip
    first, second = ([(m[i, j] + m[j, i]) / 2 for i in range(n) for j in range(i + 1, n)] for m in pair)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert metrics.spearman(*pair) is None
        return
    a, b = ([sum(x < v for x in row) + sum(x == v for x in row) / 2 for v in row] for row in (first, second))
    assert metrics.spearman(*pair) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)


@given(st.data(), st.integers(2, 10), st.integers(1, 3))
@settings(max_examples=5)  # k-means from five starts takes its time
def test_nmi_is_a_share_that_the_names_of_classes_do_not_change(data, n, dim):
    x, y = data.draw(vectors(n, dim)), data.draw(labels(n, 3))
    found = metrics.nmi(x, y)
    assert -1e-9 <= found <= 1 + 1e-9
    assert metrics.nmi(x, 7 - y) == pytest.approx(found, abs=1e-6)


BAD = {
    "recall": lambda x, y: metrics.recall_at_k(x, y),
    "recall in a gallery": lambda x, y: metrics.recall_at_k(np.ones_like(x), y, gallery=x, gallery_labels=y),
    "map": lambda x, y: metrics.map_at_r(x, y),
    "map in a gallery": lambda x, y: metrics.map_at_r(np.ones_like(x), y, x, y),
    "nmi": lambda x, y: metrics.nmi(x, y),
    "pictures": lambda x, y: metrics.image_sentence(x, np.ones_like(x), y, y),
    "sentences": lambda x, y: metrics.image_sentence(np.ones_like(x), x, y, y, "order", "published"),
    "hits": lambda x, y: metrics.accuracy_at_k(x, y * 0),
    "zero-shot": lambda x, y: metrics.zero_shot(x, y * 0, np.arange(x.shape[1]) % 2),
    "area": lambda x, y: metrics.area_seen_unseen(x, np.arange(len(x)) % 2, np.arange(x.shape[1]) % 2),
    "words": lambda x, y: metrics.text_to_image(x, np.ones(x.shape, bool)),
}


@pytest.mark.parametrize("figure", BAD)
@given(st.data(), st.integers(2, 6), st.integers(2, 4), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_no_figure_is_taken_from_numbers_that_are_not_finite(figure, data, n, dim, bad):
    x, y = data.draw(vectors(n, dim)), data.draw(labels(n))
    rows = data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True))
    x[rows, data.draw(st.integers(0, dim - 1))] = bad
    with pytest.raises(UserError, match=f"{len(rows)} of {n} rows .* not finite"):
        BAD[figure](x, y)


@given(st.integers(3, 6), st.data())
def test_structure_refuses_similarities_that_are_not_finite(n, data):
    similar = np.eye(n)
    i, j = data.draw(st.permutations(range(n)))[:2]
    similar[i, j] = np.nan
    for figure in (lambda: metrics.purity(similar, range(n)), lambda: metrics.spearman(np.eye(n), similar)):
        with pytest.raises(UserError, match="not finite"):
            figure()
