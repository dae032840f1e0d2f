"""Measures against closed forms and slow loops."""

import types

import numpy as np
import pytest
from PIL import Image

import common  # noqa: F401
from common.files.errors import UserError
from examples.im2vec import comparison, evaluation, findings, modelfile, pictures, relations

RNG = np.random.default_rng(0)
NAMES = ["lion", "tiger", "grey wolf", "+", "truck"]


def test_accuracy_counts_the_classes_ahead():
    scores = np.array([[3, 2, 1, 0, -1, -2.0], [0, 1, 2, 3, 4, 5.0], [0, 9, 1, 1, 1, 1.0]])
    assert evaluation.accuracy(scores, np.array([0, 0, 2])) == {"accuracy": 1 / 3, "accuracy@5": 2 / 3}


def test_a_tie_counts_as_wrong():
    assert evaluation.accuracy(np.zeros((3, 6)), np.array([0, 1, 2])) == {"accuracy": 0, "accuracy@5": 0}


def test_class_means_by_hand():
    means = evaluation.class_means(np.array([[1.0, 2], [3, 4], [5, 6]]), np.array([1, 1, 0]), 2)
    assert means.tolist() == [[5, 6], [2, 3]]


def test_similarity_ignores_what_all_vectors_share():
    vectors = RNG.normal(size=(6, 4))
    got = evaluation.similarity(vectors + [5, -3, 2, 9])
    centred = vectors - vectors.mean(axis=0)
    for i in range(6):
        for j in range(6):
            cosine = centred[i] @ centred[j] / np.linalg.norm(centred[i]) / np.linalg.norm(centred[j])
            assert got[i, j] == pytest.approx(cosine, abs=1e-5)


def test_stability_is_the_mean_correlation_of_pairs_of_seeds():
    a = RNG.normal(size=(5, 5))
    b, c = a + RNG.normal(size=(5, 5)), RNG.normal(size=(5, 5))
    rows = [evaluation.pairs(m) for m in (a, b, c)]
    slow = np.mean([np.corrcoef(rows[i], rows[j])[0, 1] for i, j in ((0, 1), (0, 2), (1, 2))])
    assert evaluation.stability([a, b, c]) == pytest.approx(slow)
    assert evaluation.stability([a, 2 * a + 1]) == pytest.approx(1)


def test_nearest_leaves_the_class_itself_out():
    similar = np.array([[1, 0.2, 0.7], [0.2, 1, 0.1], [0.7, 0.1, 1]])
    found = evaluation.nearest(similar, ["a", "b", "c"], 5)
    assert found == {"a": [("c", 0.7), ("b", 0.2)], "b": [("a", 0.2), ("c", 0.1)], "c": [("a", 0.7), ("b", 0.1)]}


def test_analogy_finds_the_fourth_corner():
    vectors = np.array([[1, 1, 0], [1, -1, 0], [-1, -1, 0.1], [-1, 1, 0.1], [0, 0, -0.2]])
    assert evaluation.analogy("lion - tiger + grey wolf", vectors, NAMES, 1)[0][0] == "+"
    named = {name for name, _ in evaluation.analogy("lion - tiger + grey wolf", vectors, NAMES)}
    assert named == {"+", "truck"}


@pytest.mark.parametrize(
    "text, terms",
    [
        ("lion - tiger + grey wolf", [(1, "lion"), (-1, "tiger"), (1, "grey wolf")]),
        ("lion", [(1, "lion")]),
        ("lion - +", [(1, "lion"), (-1, "+")]),
    ],
)
def test_parse(text, terms):
    assert evaluation.parse(text, NAMES) == terms


def test_analogy_with_an_unknown_class_lists_near_names():
    with pytest.raises(UserError, match="no class is called 'tigre'.*did you mean tiger"):
        evaluation.parse("lion - tigre", NAMES)


def test_word_similarity_takes_the_mean_of_a_names_known_words(tmp_path):
    (tmp_path / "w.vec").write_text("3 3\nmaple 1 0 0\ntree 0 1 0\nlion 0 0 2\n")
    cosine, known = evaluation.word_similarity(["maple_tree", "lion", "qqq", "Tree"], tmp_path / "w.vec")
    assert known == [0, 1, 3]
    np.testing.assert_allclose(cosine, [[1, 0, 0.5**0.5], [0, 1, 0], [0.5**0.5, 0, 1]], atol=1e-6)
    with pytest.raises(UserError, match="no word vector for 'qqq'"):
        evaluation.word_similarity(["qqq"], tmp_path / "w.vec")


def shown(table, folder):
    """What is said of a model of these vectors."""
    classes = [f"class {i}" for i in range(len(table))]
    about = {"classes": classes, "groups": None, "dataset": "folder", "stability": None}
    objective = types.SimpleNamespace(class_vectors=lambda: table)
    examples = RNG.integers(0, 256, (len(table), 8, 8, 3), dtype=np.uint8)
    said = []
    model = modelfile.Model(None, objective, about, table, examples)
    relations.draw(model, folder, kind="class", log=said.append)
    return said


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (RNG.normal(size=(2, 8)), "2 are too few, 3 are needed"),
        (np.zeros((6, 8)), "all lie on one point"),
        (np.ones((6, 8)), "all lie on one point"),
    ],
)
def test_vectors_that_no_map_can_place_are_shown_without_it(table, why, tmp_path):
    said = shown(table.astype(np.float32), tmp_path)
    assert any(why in line for line in said)
    assert why in (tmp_path / "report.html").read_text()
    assert (tmp_path / "plots" / "pca.png").is_file() and not (tmp_path / "plots" / "tsne.png").exists()


def test_a_map_wider_than_high_leaves_no_empty_paper(tmp_path):
    coords = np.stack([np.linspace(0, 1, 40), np.full(40, 0.5)], axis=1)
    examples = np.zeros((40, 8, 8, 3), np.uint8)
    names = [f"c{i}" for i in range(40)]
    with Image.open(pictures.class_map(coords, examples, names, tmp_path / "m.png", "")) as drawn:
        ink = (np.asarray(drawn.convert("L")) == 0).any(axis=1)  # the examples, or letters
    assert drawn.width > 1.5 * drawn.height and ink[: drawn.height // 4].any() and ink[-drawn.height // 4 :].any()


@pytest.mark.filterwarnings("error:Glyph")  # of a character that the font lacks
def test_any_name_can_be_drawn(tmp_path):
    names = ["emoji \U0001f600 \u6f22\u5b57", r"$\frac$ of a price", "plain"]
    coords, examples = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.zeros((3, 8, 8, 3), np.uint8)
    pairs = zip(names, names[1:] + names[:1])
    found = [comparison.Neighbour("means", name, 1, other, 0.5, 0.9, 5) for name, other in pairs]
    assert pictures.class_map(coords, examples, names, tmp_path / "map.png", "").is_file()
    assert pictures.nearest_chart(found, tmp_path / "chart.png", "").is_file()


def test_vectors_that_are_not_finite_are_not_shown(tmp_path):
    with pytest.raises(UserError, match="class vectors: 1 of 4 rows hold numbers that are not finite"):
        shown(np.diag([1, 2, 3, np.nan]).astype(np.float32), tmp_path)


def test_a_comparison_with_equal_confusions_prints_no_figure():
    similar = evaluation.similarity(RNG.normal(size=(4, 3)))
    found = comparison.agreement(similar, np.eye(4), similar, None, [], None, {})
    assert findings.spread([found["own confusions"]]) == "not defined"
    assert findings.spread([found["others' confusions"], found["own confusions"]]) == "not defined"
    assert findings.spread([found["others' confusions"]]) == "1.000"
