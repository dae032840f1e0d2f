"""What a run reports: chance, folds, and what a gallery finds, against full sorts."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from common import metrics
from common.files.errors import UserError
from common.text.vocabulary import Vocabulary
from examples.vse import data, evaluation, gallery, model


def part_of(count, captions=5):
    labels = np.repeat(np.arange(count), captions)
    return data.Split(None, np.arange(count), [f"w{i} x" for i in labels], labels)


def test_chance_is_that_of_random_ranks():
    figures = evaluation.chance(part_of(400))
    assert figures["t2i_recall@10"] == pytest.approx(10 / 400, rel=0.3)
    assert figures["t2i_mean_rank"] == pytest.approx(200, rel=0.05)


def test_five_folds_where_there_are_five_thousand_pictures():
    rng = np.random.default_rng(0)
    part = part_of(5000, captions=1)
    images = metrics.unit(rng.normal(size=(5000, 4)))
    sentences = metrics.unit(images + 0.1 * rng.normal(size=(5000, 4)))
    examined = evaluation.EvaluationSet(part)
    assert evaluation.has_folds(part) and not evaluation.has_folds(part_of(4999, 1))
    whole, folds = (examined.judge(images, sentences, "cosine", folds) for folds in (False, True))
    assert folds == metrics.five_folds(images, sentences, part.image_labels, part.sentence_labels)
    assert folds["rsum"] > whole["rsum"]  # a fifth of the wrong answers


def test_all_right_answers_count_where_the_measure_is_the_cosine():
    """Average precision and MAP@R both ways, of all five captions of a picture."""
    rng = np.random.default_rng(0)
    part = part_of(40)
    images = metrics.unit(rng.normal(size=(40, 6)))
    sentences = metrics.unit(images[part.sentence_labels] + 0.5 * rng.normal(size=(200, 6)))
    examined = evaluation.EvaluationSet(part)
    found = examined.rows("ours", images, sentences, {"measure": "cosine"})["ours"]
    assert found | examined.judge(images, sentences, "cosine") == found
    right = part.sentence_labels == part.image_labels[:, None]
    for way, scores, good in (("i2t", images @ sentences.T, right), ("t2i", sentences @ images.T, right.T)):
        average = [average_precision_score(*row) for row in zip(good, scores)]
        assert found[f"{way}_map"] == pytest.approx(np.mean(average), abs=1e-6)
        hits = np.take_along_axis(good, np.argsort(-scores, axis=1), axis=1)
        r = good.sum(axis=1)[0]
        assert found[f"{way}_r_precision"] == pytest.approx(hits[:, :r].mean())
        assert found[f"{way}_precision@10"] == pytest.approx(hits[:, :10].mean())
        precision = np.cumsum(hits, axis=1)[:, :r] / np.arange(1, r + 1)
        assert found[f"{way}_map@r"] == pytest.approx(np.mean(precision * hits[:, :r]))
    assert "i2t_map" not in examined.rows("ours", images, sentences, {"measure": "order"})["ours"]


def test_tables_have_both_directions_in_percent():
    found = evaluation.chance(part_of(20))
    text = evaluation.table({"chance": found})
    assert f"{100 * found['i2t_recall@1']:.1f}" in text and f"{found['rsum']:.1f}" in text.splitlines()[2]
    assert "sentence to picture" in evaluation.line(found)


@pytest.fixture(params=["cosine", "order"])
def searched(request):
    rng = np.random.default_rng(1)
    part = part_of(30)
    part.texts[7] = part.texts[3]  # the same words for another picture
    about = {"dim_image": 3, "dim": 8, "dim_word": 8, "encoder": "bow", "bidirectional": False}
    net = model.VSE({**about, "measure": request.param}, Vocabulary([f"w{i}" for i in range(30)], [1] * 30))
    net.initialize()
    images = np.abs(metrics.unit(rng.normal(size=(30, 8))))
    sentences = np.abs(metrics.unit(rng.normal(size=(150, 8))))
    sentences[7] = sentences[3]
    return gallery.Gallery(net, part, images, sentences)


def test_a_gallery_finds_the_best(searched):
    query = searched.net.encode_sentences(["w4 w9"])
    scores = searched.score(searched.images, query)[:, 0]
    assert [place for _, place in searched.pictures_for("w4 w9", 6)] == np.argsort(-scores, kind="stable")[:6].tolist()
    of_image = searched.score(searched.images[:1], searched.sentences)[0]
    found = searched.sentences_for(searched.images[0], 10)
    texts = [searched.split.texts[place] for _, place in found]
    assert len(set(texts)) == 10 and found[0][0] == pytest.approx(of_image.max())
    ordered = [searched.split.texts[i] for i in np.argsort(-of_image, kind="stable")]
    assert texts == list(dict.fromkeys(ordered))[:10]
    with pytest.raises(UserError, match="knows no word of 'zebra'"):
        searched.pictures_for("zebra", 3)


def test_rows_of_a_sheet_say_what_is_right(searched):
    row = searched.image_row(0, 150)
    right = [text for _, text, _ in row[1:] if text.startswith("✓")]
    assert right == ["✓ w0 x"]
    row = searched.text_row(3, 30)
    assert [cell[1].startswith("✓") for cell in row[1:]].count(True) == 1
