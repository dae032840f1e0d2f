"""Re-ranking beside the papers' equations written out, one picture after another."""

import numpy as np
import pytest

from common import metrics
from common.files.errors import UserError
from common.metrics import rerank


def vectors(n, d=6, classes=9, spread=0.5, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    centres = np.random.default_rng(9).normal(size=(classes, d))
    return metrics.unit(centres[labels] + rng.normal(0, spread, (n, d)))


class AsWritten:
    """Zhong et al. 2017, section 3, with sets."""

    def __init__(self, gallery, k1, k2, lambda_):
        self.gallery, self.k1, self.k2, self.lambda_ = gallery.astype(np.float64), k1, k2, lambda_
        self.sets = {
            (g, k): self.reciprocal(self.gallery[g], k, g) for g in range(len(gallery)) for k in {k1, max(k1 // 2, 1)}
        }
        self.codes = [self.code(vector, g) for g, vector in enumerate(self.gallery)]
        self.means = [self.averaged(vector, g) for g, vector in enumerate(self.gallery)]

    def near(self, p, k, me):
        """The k nearest of vector p, the gallery's number `me` or None; itself first."""
        cosines = self.gallery @ p
        order = [int(g) for g in np.argsort(-cosines, kind="stable") if g != me][:k]
        return ([] if me is None else [me]) + order

    def reciprocal(self, p, k, me):
        found = set()
        for g in self.near(p, k, me):
            if me is None:
                others = np.sort(np.delete(self.gallery @ self.gallery[g], g))[::-1]
                among = len(others) < k or self.gallery[g] @ p >= others[k - 1]
            else:
                among = me in self.near(self.gallery[g], k, g)
            if among:
                found.add(g)
        return found

    def code(self, p, me):
        """Equations 5 and 7."""
        small = self.reciprocal(p, self.k1, me)
        wide = set(small)
        for c in small:
            its = self.sets[c, max(self.k1 // 2, 1)]
            if len(small & its) >= 2 / 3 * len(its) - 1e-9:
                wide |= its
        code = np.zeros(len(self.gallery))
        for g in wide:
            code[g] = np.exp(-(1 - self.gallery[g] @ p))
        return code / max(code.sum(), 1e-300)

    def averaged(self, p, me):
        """Equation 11."""
        near = [g for g in self.near(p, self.k2 - 1, me) if g != me]
        return np.mean([self.code(p, me), *(self.codes[g] for g in near)], axis=0)

    def scores(self, p, me=None):
        mine = self.averaged(p, me)
        found = np.empty(len(self.gallery))
        for g, vector in enumerate(self.gallery):
            its = self.means[g]
            jaccard = 1 - np.minimum(mine, its).sum() / np.maximum(mine, its).sum()
            found[g] = 1 - (1 - self.lambda_) * jaccard - self.lambda_ * (1 - vector @ p)
        if me is not None:
            found[me] = -np.inf
        return found


@pytest.mark.parametrize("k1, k2, lambda_", [(8, 3, 0.3), (5, 1, 0.0), (3, 6, 0.6), (60, 4, 0.3), (1, 1, 0.5)])
@pytest.mark.parametrize("members", [6, 3, 0])
def test_k_reciprocal_is_what_the_paper_says(k1, k2, lambda_, members):
    gallery = vectors(24)
    queries, own = vectors(6, seed=1), np.full(6, -1)
    own[:members] = 3 * np.arange(members)
    queries[own >= 0] = gallery[own[own >= 0]]
    ours, slow = rerank.KReciprocal(gallery, k1, k2, lambda_), AsWritten(gallery, k1, k2, lambda_)
    similarity, indices = ours.search(queries, 24, own)
    assert similarity.shape == indices.shape == (6, 23 if members == 6 else 24)
    shorter, _ = ours.search(queries, 7, own)
    np.testing.assert_allclose(shorter, similarity[:, :7], atol=1e-6)
    for query, me, row, places in zip(queries, own, similarity, indices):
        expected = slow.scores(query.astype(np.float64), None if me < 0 else int(me))
        there = places >= 0
        assert len(set(places[there]) - {me}) == there.sum() == (23 if me >= 0 else 24)
        np.testing.assert_allclose(row[there], expected[places[there]], atol=2e-6)
        np.testing.assert_allclose(row[there], np.sort(expected)[::-1][: there.sum()], atol=2e-6)


def test_a_query_is_alone_whatever_others_are_asked():
    gallery = vectors(50)
    queries = vectors(9, seed=1)
    ours = rerank.KReciprocal(gallery, 6, 3, 0.3)
    together = ours.search(queries, 10)
    for number, query in enumerate(queries):
        alone = ours.search(query[None], 10)
        np.testing.assert_allclose(alone[0][0], together[0][number], atol=1e-6)


def test_tiny_galleries_have_what_there_is():
    gallery = vectors(2)
    similarity, indices = rerank.KReciprocal(gallery).search(gallery[:1], 5)
    assert indices.tolist() == [[0, 1]] and similarity[0, 0] > similarity[0, 1]
    similarity, indices = rerank.KReciprocal(gallery[:1]).search(gallery[1:], 5)
    assert indices.tolist() == [[0]]


@pytest.mark.parametrize("alpha", [0, 3])
def test_expansion_is_the_weighted_sum(alpha):
    gallery = vectors(30)
    queries = vectors(8, seed=1)
    for base, asked, mine in ((gallery, queries, [None] * 8), (None, gallery, range(30))):
        found = rerank.expand(5 * asked, 4, alpha, None if base is None else 3 * base)
        searched = asked if base is None else base
        for query, me, row in zip(asked, mine, found):
            cosines = searched @ query
            order = [g for g in np.argsort(-cosines) if g != me][:4]
            expected = query + sum(max(cosines[g], 0) ** alpha * searched[g] for g in order)
            np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=2e-6)


def test_neighbours_of_an_expanded_query_do_not_hold_itself():
    gallery = vectors(30)
    for augmented in (False, True):
        base = rerank.expand(gallery, 3, 2) if augmented else gallery
        asked = rerank.expand(gallery[4:9], 3, 2, base, np.arange(4, 9))
        similarity, indices = rerank.Expanded(gallery, 3, 2, augmented).search(gallery[4:9], 29, np.arange(4, 9))
        for me, (row, cosines, places) in enumerate(zip(asked, similarity, indices), 4):
            assert sorted(places) == [place for place in range(30) if place != me]
            np.testing.assert_allclose(cosines, base[places] @ row, atol=2e-6)
            assert (np.diff(cosines) <= 0).all()


def test_numbers_that_are_none_are_refused():
    gallery = vectors(20)
    gallery[3, 2] = np.nan
    with pytest.raises(UserError, match="embeddings"):
        rerank.KReciprocal(gallery)
