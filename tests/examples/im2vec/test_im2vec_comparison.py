"""Closed forms, confidence and analogies against libraries, hands and slow loops."""

import numpy as np
import pytest
from scipy.spatial import procrustes
from sklearn.cross_decomposition import CCA

import common  # noqa: F401
from common import metrics
from common.files.errors import UserError
from examples.im2vec import analogies, baselines, comparison, confidence, evaluation, spaces

RNG = np.random.default_rng(0)
NAMES = ["king", "man", "queen", "woman", "black cat", "tom"]
SQUARE = np.array([[1, 1, 1.0], [1, -1, 0], [-1, 1, 1], [-1, -1, 0], [0, 0.1, -3], [0, 0, 0.9]])


def labelled(n=90, classes=4, width=6):
    labels = np.arange(n) % classes
    return RNG.normal(size=(n, width)) @ RNG.normal(size=(width, width)) + 2 * np.eye(width)[labels], labels


def test_canonical_variates_equal_scikit_learns():
    rows, labels = labelled()
    vectors, correlations = baselines.canonical(rows, labels, 4)
    library = CCA(3, max_iter=5000, tol=1e-12).fit(rows, np.eye(4)[labels])
    scores, of_classes = library.transform(rows, np.eye(4)[labels])
    wanted = [np.corrcoef(x, y)[0, 1] for x, y in zip(scores.T, of_classes.T)]
    np.testing.assert_allclose(correlations[:3], wanted, rtol=1e-5)
    assert correlations[3] == pytest.approx(0, abs=1e-5)  # four classes have three differences
    means = evaluation.class_means(scores, labels, 4)
    for mine, theirs in zip(vectors.T[:3], means.T):
        assert abs(np.corrcoef(mine, theirs)[0, 1]) == pytest.approx(1, abs=1e-5)


def test_canonical_variates_have_variance_one_and_are_uncorrelated():
    rows, labels = labelled()
    vectors, correlations = baselines.canonical(rows, labels, 4)
    shares = np.bincount(labels) / len(labels)
    np.testing.assert_allclose((vectors * shares[:, None]).T @ vectors, np.diag(correlations**2), atol=1e-5)


def test_weights_are_the_pictures_repeated_and_full_shrinkage_leaves_the_means():
    rows, labels = labelled()
    weights = confidence.drawn_again(labels, RNG)
    again = np.repeat(np.arange(len(labels)), weights)
    weighted = baselines.canonical(rows, labels, 4, 0.3, weights)
    repeated = baselines.canonical(rows[again], labels[again], 4, 0.3)
    np.testing.assert_allclose(weighted[1], repeated[1], rtol=1e-5)
    similar = [evaluation.similarity(vectors) for vectors, _ in (weighted, repeated)]
    np.testing.assert_allclose(*similar, atol=1e-4)
    means = evaluation.class_means(rows, labels, 4)
    np.testing.assert_allclose(
        evaluation.similarity(baselines.canonical(rows, labels, 4, 1.0)[0]), evaluation.similarity(means), atol=1e-4
    )


def test_pmi_by_hand():
    joint = np.array([[4.0, 2, 0], [0, 4, 0], [0, 0, 6]])  # with its transpose: 4 1 0, 1 4 0, 0 0 6
    found = baselines.pmi(joint, False)
    np.testing.assert_allclose(np.exp(found[:2, :2]) * 25 / 16, [[4, 1], [1, 4]])
    assert found[2].tolist() == pytest.approx([0, 0, np.log(16 / 6)])
    assert np.array_equal(baselines.pmi(joint, True), np.maximum(found, 0)) and found[0, 1] < 0
    margin = RNG.random(4)
    np.testing.assert_allclose(baselines.pmi(np.outer(margin, margin), False), 0, atol=1e-12)


def test_factors_give_the_matrix_back_and_its_best_approximation():
    rows = np.linalg.qr(RNG.normal(size=(7, 2)))[0] * [5, 4]  # squares 625 and 256: both are needed for ENERGY
    matrix = rows @ rows.T
    found = baselines.factors(matrix)
    assert found.shape == (7, 2)
    np.testing.assert_allclose(found @ found.T, matrix, atol=1e-9)
    values, axes = np.linalg.eigh(matrix)
    np.testing.assert_allclose(
        baselines.factors(matrix, 1) @ baselines.factors(matrix, 1).T, values[-1] * np.outer(axes[:, -1], axes[:, -1])
    )


def test_disparity_is_scipys_and_does_not_mind_rotation_scale_or_width():
    a, b = RNG.normal(size=(2, 9, 4))
    assert metrics.procrustes(a, b) == pytest.approx(procrustes(a, b)[2])
    turn = np.linalg.qr(RNG.normal(size=(12, 12)))[0]
    wide = np.pad(a, ((0, 0), (0, 8))) @ turn * 3 + 5
    assert metrics.procrustes(a, wide) == metrics.procrustes(wide, a) == pytest.approx(0, abs=1e-12)
    assert metrics.procrustes(a, np.ones((9, 2))) == 1


def test_pictures_are_drawn_again_within_their_class():
    labels = RNG.permutation(np.repeat([0, 1, 3], [5, 2, 60]))
    drawn = np.array([confidence.drawn_again(labels, RNG) for _ in range(400)])
    assert all(np.bincount(labels, times).tolist() == [5, 2, 0, 60] for times in drawn)
    assert drawn.mean(axis=0) == pytest.approx(np.ones(67), abs=0.3)
    assert (drawn[:, labels == 3] == 0).mean() == pytest.approx(np.exp(-1), abs=0.03)


def test_a_certain_neighbour_is_always_there_and_one_of_two_alike_half_the_time():
    places = np.array([[0, 0, 0], [1, 0, 0], [9, 3, 0], [9, -3, 0], [9, 0, 0.0]])  # the last: between two as far
    labels = np.repeat(np.arange(5), 20)
    rows = places[labels] + RNG.normal(0, 0.2, (100, 3))
    rows -= rows[labels == 4].mean(axis=0) - places[4]
    drawn = (
        -np.linalg.norm(means[:, None] - means, axis=2)
        for means in (evaluation.class_means(rows, labels, 5, confidence.drawn_again(labels, RNG)) for _ in range(300))
    )
    share = confidence.share(drawn, 1)
    assert share[0, 1] == share[1, 0] == share[2, 4] == share[3, 4] == 1
    assert share[4, 2] + share[4, 3] == 1 and 0 < share[4, 2] < 1
    assert np.diag(share).tolist() == [0] * 5 and share.sum(axis=1).tolist() == [1] * 5


def test_overlap_of_the_nearest_by_hand():
    a = np.array([[1, 3, 2, 1], [3, 1, 2, 1], [1, 2, 1, 3], [0, 1, 2, 1.0]])
    b = a[:, [1, 0, 2, 3]][[1, 0, 2, 3]]  # the same for 0 and 1, who are each other's nearest; 2 and 3 find 0 for 1
    assert confidence.overlap([a, b], 1).tolist() == [1, 1, 1, 1]
    assert confidence.overlap([a, b], 2).tolist() == [1, 1, 0.5, 0.5]
    third = [confidence.overlap(pair, 2) for pair in ([a, b], [a, a], [b, a])]
    np.testing.assert_allclose(confidence.overlap([a, b, a], 2), np.mean(third, axis=0))
    assert confidence.among_nearest(a, 9).sum() == 12  # no class is near itself


def test_an_interval_is_the_normal_one_and_wider_where_values_belong_together():
    values = RNG.normal(5, 2, 400)
    mean, low, high = confidence.interval(values)
    half = 1.96 * values.std() / 20
    assert (mean, low, high) == pytest.approx((values.mean(), mean - half, mean + half), abs=0.05)
    _, low, high = confidence.interval(np.repeat(values, 4), np.repeat(np.arange(400), 4))
    assert high - low == pytest.approx(2 * half, rel=0.1)
    assert confidence.interval(np.ones(5)) == (1, 1, 1)


def pairs_file(tmp_path, text):
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    return path


def test_a_parallelogram_is_answered_by_both_methods(tmp_path):
    path = pairs_file(tmp_path, "# royalty\n: man to woman\nman\twoman\nking\tqueen\n\n: alone\nblack cat\ttom\n")
    found = analogies.questions(analogies.read(path, NAMES))
    assert found.terms.tolist() == [[1, 3, 0, 2], [0, 2, 1, 3]] and found.relations == ["man to woman", "alone"]
    right = analogies.right(SQUARE, found)
    assert right["3CosAdd"].all() and right["3CosMul"].all() and not right["nearest to c"].any()


@pytest.mark.parametrize("method", analogies.METHODS)
def test_answers_equal_a_loop_and_leave_the_given_classes_out(method):
    vectors = RNG.normal(size=(9, 4))
    found = analogies.questions({"any": [(0, 1), (2, 3), (4, 5)]})
    rows = vectors - vectors.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for (a, b, c, _), answer in zip(found.terms, analogies.answers(vectors, found, method)):
        scores = {}
        for d in {*range(9)} - {a, b, c}:
            x, y, z = (rows[d] @ rows[i] for i in (b, c, a))
            scores[d] = {
                "3CosAdd": x + y - z, "nearest to c": y,
                "3CosMul": (x + 1) / 2 * (y + 1) / 2 / ((z + 1) / 2 + 0.001),
            }[method]  # fmt: skip
        assert answer == max(scores, key=scores.get)


def test_questions_about_one_pair_are_one_group():
    found = analogies.questions({"one": [(0, 1), (2, 3), (4, 5)], "other": [(0, 1), (2, 3), (3, 4)]})
    assert len(found) == 6 + 4 and len(set(found.asked)) == 3 + 3  # (2, 3) and (3, 4) share a class


@pytest.mark.parametrize(
    "text, message",
    [
        (": r\nman\twoman\nking\tqueens\n", "line 3: no class is called 'queens'.*did you mean queen"),
        ("man\twoman\n", "line 1: a line `: relation` has to come before"),
        (": r\nman woman\n", "line 2: two different classes with a tab between are wanted, not 'man woman'"),
        (": r\nman\tman\n", "line 2: two different classes"),
        (": r\nman\twoman\n", "asks nothing: a relation needs two pairs"),
        ("", "asks nothing"),
    ],
)
def test_wrong_pairs_name_their_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        analogies.read(pairs_file(tmp_path, text), NAMES)


def test_pairs_that_names_tell():
    letters = list("aAbBcC1é")
    found = analogies.known({"dataset": "glyphs", "classes": letters})
    assert found == {"lower to upper case": [(0, 1), (2, 3), (4, 5)]}
    assert analogies.known({"dataset": "glyphs", "classes": list("aA1")}) == {}
    assert analogies.known({"dataset": "cifar10", "classes": ["cat", "dog"]}) == {}
    for path in analogies.SHIPPED.glob("*.txt"):
        lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if "\t" in line]
        names = [name for pair in lines for name in pair]
        assert len(analogies.questions(analogies.read(path, sorted(set(names))))) > 10
    some = ["Bravo-Apple-Juice", "Bravo-Orange-Juice", "God-Morgon-Apple-Juice", "God-Morgon-Orange-Juice", "Leek"]
    found = analogies.questions(analogies.known({"dataset": "grocery", "classes": some}))
    assert found.terms.tolist() == [[0, 1, 2, 3], [2, 3, 0, 1]]


def test_figures_know_what_chance_gives():
    learned = RNG.normal(size=(40, 8))
    groups = np.repeat(np.arange(10), 4).tolist()
    vectors = {spaces.LEARNED: learned, "turned": learned @ np.linalg.qr(RNG.normal(size=(8, 8)))[0]}
    metadata = {"classes": [str(i) for i in range(40)], "groups": groups, "group_names": list("abcdefghij")}
    run = spaces.Examined(metadata, 0.5, RNG.random((40, 40)), vectors, {})
    asked = comparison.members(metadata, [])
    found = comparison.figures([run], (None, []), asked)
    assert found["turned"][comparison.SPEARMAN] == [pytest.approx(1)]
    assert found["turned"][comparison.DISPARITY] == [pytest.approx(0, abs=1e-5)]
    assert found["chance"]["purity"] == [pytest.approx(3 / 39)]
    assert found["chance"][comparison.SPEARMAN] == [pytest.approx(0, abs=0.03)]
    assert 0.3 < found["chance"][comparison.DISPARITY][0] < 1
    assert found["turned"][f"{comparison.DISPARITY} by chance"] == [
        pytest.approx(found["chance"][comparison.DISPARITY][0], abs=0.05)
    ]
    sure = comparison.intervals([run, run], asked, None, 3)
    assert sure["turned"]["purity less class vectors"] == (0, 0, 0)
    assert sure["turned"]["3 nearest shared by two runs"] == (1, 1, 1)
    assert sure["chance"]["3 nearest shared by two runs"][0] == pytest.approx(3 / 39)
    one = comparison.neighbours([run], 2, 0, 0)[spaces.LEARNED]
    assert len(one) == 80 and one[0].share is None and one[0].samples == 1
