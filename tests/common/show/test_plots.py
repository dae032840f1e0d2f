"""Every picture is written, whatever the names hold, and no glyph is missing."""

import warnings

import matplotlib
import numpy as np
import pytest
from PIL import Image
from scipy.cluster import hierarchy

from common.data.sets import ImageSet
from common.files import disk
from common.files.errors import UserError
from common.show import plots
from common.show.plots import sheets

NAMES = ["plain", "Ωμέγα é Ж", "emoji 😀 漢字", "$x_1$ and a name far too long to be written in full", "l"]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Glyph")  # of a character that the font lacks
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def image_set(rng):
    pictures = rng.integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    return ImageSet(images=pictures, labels=np.arange(30) % 5, class_names=NAMES)


def drawn(path):
    with Image.open(path) as picture:
        picture.load()
        return picture


def test_charts(tmp_path):
    rows = [{"epoch": e, "batch": 0, "loss": 1 / e, "recall@1": e / 9} for e in (1, 2, 3)]
    assert drawn(plots.curves(rows, tmp_path / "a" / "curves.png", ["loss", "recall@1", "none"])).width > 300
    drawn(plots.bars({"ours": {"recall@1": 0.5, "map@r": 0.2}, "raw": {"recall@1": 0.1}}, tmp_path / "bars.png", "b"))


def test_sheets(tmp_path, image_set, rng):
    captions = [NAMES[label] for label in image_set.labels]
    drawn(plots.contact_sheet(list(image_set.images), captions, tmp_path / "contact.png", "Contact"))
    drawn(plots.contact_sheet([image_set.images[0]], ["one"], tmp_path / "one.png"))
    drawn(plots.retrieval_sheet(rng.normal(size=(30, 4)), image_set, tmp_path / "retrieval.png", queries=3, k=4))
    drawn(plots.sheet([[(image_set.read(0), NAMES[2], plots.QUERY)] * 2], tmp_path / "sheet.png"))
    row = [(None, "words instead of a picture", None), (image_set.read(0), "two\nlines", plots.RIGHT)]
    drawn(plots.sheet([row, row], tmp_path / "words.png", "Words"))


def test_long_names_over_results_go_on_in_a_second_line(tmp_path, image_set, monkeypatch):
    monkeypatch.setattr(sheets, "write", lambda figure, _: figure)
    cell = (image_set.read(0), "Arla Ecological Medium Fat Milk, semi skimmed\n0.72", None)
    figure = plots.sheet([[(image_set.read(0), "query", plots.QUERY), cell]], tmp_path / "sheet.png")
    assert [axis.get_title() for axis in figure.axes] == ["query", "Arla Ecological\nMedium Fat…\n0.72"]
    figure.canvas.draw()
    boxes = [axis.title.get_window_extent() for axis in figure.axes]
    assert boxes[0].x1 < boxes[1].x0 and boxes[1].x1 < figure.bbox.x1


@pytest.mark.parametrize("classes", [2, 5, 60])
def test_confusion(tmp_path, rng, classes):
    counts = rng.integers(0, 9, (classes, classes))
    counts[0] = 0  # a class without pictures
    picture = drawn(plots.confusion(counts, [NAMES[i % 5] for i in range(classes)], tmp_path / "confusion.png"))
    assert picture.width > 400


@pytest.mark.slow
def test_maps(tmp_path, image_set, rng):
    vectors = rng.normal(size=(30, 6))
    drawn(plots.tsne(vectors, image_set, tmp_path / "tsne.png"))
    words = rng.normal(size=(5, 6))
    drawn(plots.pca(vectors, image_set.labels, NAMES, tmp_path / "pca.png", anchors=words))
    drawn(plots.pca(vectors, image_set.labels, NAMES, tmp_path / "pca.png"))


@pytest.mark.parametrize(("sizes", "most", "shown"), [
    ([200] * 10, 400, [40] * 10),  # big classes: equally many of each
    ([60] * 100, 400, [20] * 20),
    ([12] * 100, 400, [12] * 33),  # small ones: whole
    ([3, 500], 40, [3, 20]),
    ([5] * 3, 400, [5] * 3),
])  # fmt: skip
def test_the_map_shows_many_classes_evenly(sizes, most, shown):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    chosen = plots.sample_evenly(labels, most, seed=2)
    assert len(np.unique(chosen)) == len(chosen) <= most
    counts = np.bincount(labels[chosen])
    assert sorted(counts[counts > 0].tolist()) == sorted(shown)


@pytest.mark.slow
def test_too_few_pictures_have_no_map(tmp_path, image_set, rng):
    assert plots.tsne(rng.normal(size=(4, 3)), image_set.subset(range(4)), tmp_path / "tsne.png") is None
    assert plots.tsne(np.ones((30, 3)), image_set, tmp_path / "tsne.png") is None  # all on one point
    drawn(plots.tsne(rng.normal(size=(5, 3)), image_set.subset(range(5)), tmp_path / "tsne.png"))


@pytest.mark.parametrize("own", [True, False])
def test_the_nearest_are_of_the_gallery_and_never_the_query(tmp_path, image_set, rng, monkeypatch, own):
    rows = []
    monkeypatch.setattr(sheets, "sheet", lambda made, path, title: rows.extend(made) or path)
    asked, among = image_set.subset(range(3)), image_set.subset(range(3, 30))
    vectors = rng.normal(size=(30, 4))
    gallery = (None, None) if own else (among, vectors[3:])
    plots.retrieval_sheet(vectors[:3], asked, tmp_path / "r.png", gallery=gallery)
    assert sorted(len(row) - 1 for row in rows) == ([2] * 3 if own else [10] * 3)
    searched = asked if own else among
    for (query, _, _), *found in rows:
        assert not any(np.array_equal(picture, query) for picture, _, _ in found)
        assert all(any(np.array_equal(picture, other) for other in searched.images) for picture, _, _ in found)


def test_the_film_of_a_pca(tmp_path, image_set, rng):
    words = rng.normal(size=(5, 6))
    start, end = rng.normal(size=(30, 6)), words[image_set.labels] + 0.01 * rng.normal(size=(30, 6))
    frames = [start, (start + end) / 2, end]
    with Image.open(plots.pca_film(frames, image_set.labels, NAMES, tmp_path / "film.gif", words)) as film:
        assert film.n_frames == 3
        shown = []
        for number in range(3):
            film.seek(number)
            shown.append(np.asarray(film.convert("RGB"), int))
        assert film.info["duration"] > 900  # the last one stays
    assert shown[0].shape == shown[2].shape and np.abs(shown[0] - shown[2]).max() > 100


def test_principal_directions_are_those_of_the_covariance(rng):
    vectors = rng.normal(size=(50, 5)) * [1, 4, 1, 2, 1] + 7
    axes, shares = plots.principal(vectors)
    values, directions = np.linalg.eigh(np.cov(vectors.T))
    np.testing.assert_allclose(np.abs(axes.T @ directions[:, [-1, -2]]), np.eye(2), atol=1e-9)
    np.testing.assert_allclose(shares, values[[-1, -2]] / values.sum())


def test_equal_vectors_have_no_direction_that_explains_something(tmp_path):
    axes, shares = plots.principal(np.ones((6, 4)))
    assert shares.tolist() == [0, 0] and np.isfinite(axes).all()
    drawn(plots.pca(np.ones((6, 4)), np.arange(6) % 2, ["a", "b"], tmp_path / "pca.png"))


def test_cosines_and_their_tree(tmp_path, rng):
    groups = np.repeat(np.eye(2), 3, axis=0)[[0, 3, 1, 4, 2, 5]]  # two groups, mixed
    similar = np.clip(groups @ groups.T, -1, 1)
    order = hierarchy.leaves_list(plots.tree(similar))
    assert sorted(order[:3]) in ([0, 2, 4], [1, 3, 5])
    drawn(plots.dendrogram(similar, [NAMES[i % 5] for i in range(6)], tmp_path / "tree.png"))
    pictures_to_words = rng.uniform(-1, 1, (6, 6))
    names, axes = [NAMES[i % 5] for i in range(6)], ("pictures of", "word")
    drawn(plots.cosines(pictures_to_words, names, tmp_path / "words.png", order_by=similar, axes=axes))
    many = np.corrcoef(rng.normal(size=(40, 9)))
    drawn(plots.cosines(many, [f"class {i}" for i in range(40)], tmp_path / "many.png"))


def test_the_worst_mistakes_come_first(tmp_path, image_set, monkeypatch):
    scores = np.eye(5)[image_set.labels]  # all right
    assert plots.mistakes(image_set, scores, NAMES, tmp_path / "none.png") is None
    scores[7] = [0, 0, 1, 0.75, 0.5]  # of class 2: right
    scores[8] = [0.9, 0, 0, 0.5, 0]  # of class 3
    scores[9] = [0, 0.95, 0, 0, 0]  # of class 4: surer
    captions = []
    monkeypatch.setattr(sheets, "contact_sheet", lambda pictures, texts, path, title: captions.extend(texts) or path)
    plots.mistakes(image_set, scores, list("abcde"), tmp_path / "mistakes.png")
    assert captions == ["e\nas b\n0.95 ahead", "d\nas a\n0.40 ahead"]
    monkeypatch.undo()
    drawn(plots.mistakes(image_set, scores, NAMES, tmp_path / "mistakes.png"))


def test_heat_over_a_picture(rng):
    picture = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    heat = np.zeros((4, 6))
    heat[1, 4] = 1
    laid = plots.overlay(picture, heat).astype(int)
    assert laid.shape == picture.shape and laid.dtype == int
    red = laid[..., 0] - laid[..., 2]
    y, x = np.unravel_index(red.argmax(), red.shape)
    assert 8 <= y < 22 and 38 <= x < 52  # the hot cell's part of the picture
    assert np.array_equal(plots.overlay(picture, heat, opacity=0)[..., 0], picture.mean(axis=2).round())


@pytest.mark.parametrize("write", [
    lambda path: plots.base.write(plots.base.plt.figure(), path),
    lambda path: plots.base.gif([np.zeros((8, 8, 3), np.uint8)] * 2, path),
])  # fmt: skip
def test_a_full_disk_leaves_the_picture_before(tmp_path, monkeypatch, write):
    path = tmp_path / "a.png"
    path.write_text("before")
    monkeypatch.setattr(disk.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="cannot write .*a.png: No space left on device"):
        write(path)
    assert path.read_text() == "before" and [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_characters_that_look_alike_are_told_apart():
    assert plots.told_apart(["l", "I", "x", "|", "lion", "\u0410", "A"]) == [
        "l U+006C", "I U+0049", "x", "|", "lion", "\u0410 U+0410", "A U+0041",
    ]  # fmt: skip
    assert plots.told_apart(["I", "lion", "\n", " "]) == ["I", "lion", "\n", " "]


def test_every_class_has_a_colour_of_its_own():
    for count in (1, 8, 9, 100, 1000):
        rgb = np.round([matplotlib.colors.to_rgb(colour) for colour in plots.colours(count)], 3)
        assert len(np.unique(rgb, axis=0)) == count
    assert plots.colours(8) == list(plots.CLASSES)


def test_labels_lie_on_nothing(rng):
    figure, axis = plots.base.plt.subplots(figsize=(8, 8))
    axis.set(xlim=(0, 1), ylim=(0, 1))
    coords = rng.uniform(0.3, 0.7, (60, 2))
    assert plots.label(axis, coords, [f"class {i}" for i in range(60)], avoid=np.array([[0.3, 0.3, 0.4, 0.4]])) == 60
    figure.canvas.draw()
    boxes = np.array([matplotlib.text.Text.get_window_extent(text).extents for text in axis.texts])  # without lines
    overlap = np.minimum(boxes[:, None, 2:], boxes[:, 2:]) - np.maximum(boxes[:, None, :2], boxes[:, :2])
    assert ((overlap > 0).all(axis=2) == np.eye(60, dtype=bool)).all()
    assert plots.label(axis, np.full((300, 2), 0.01), ["a long name of a class"] * 300) < 300  # no room: left out
    plots.base.plt.close(figure)


@pytest.mark.parametrize(
    ("count", "inches", "size", "shown"), [(20, 10, 9, 20), (100, 10, 5.76, 100), (300, 10, 5, 100)]
)
def test_names_at_an_axis_have_room(count, inches, size, shown):
    places, names, points = plots.fitting([str(i) for i in range(count)], inches, 9)
    assert len(places) == shown and names == [str(i) for i in places] and points == pytest.approx(size)
    assert 72 * inches / count * (places[1] - places[0]) >= 1.2 * points


def test_distances_in_a_plane_compare_in_every_direction(tmp_path, rng, monkeypatch):
    square = plots.unit_square(np.array([[0.0, 0], [4, 0], [4, 1]]))
    np.testing.assert_allclose(square, [[0, 0.375], [1, 0.375], [1, 0.625]])
    figures = []
    monkeypatch.setattr(plots.maps, "write", lambda figure, path: figures.append(figure) or path)
    words = rng.normal(size=(5, 6))
    plots.pca(rng.normal(size=(30, 6)) * [5, 1, 1, 1, 1, 1], np.arange(30) % 5, NAMES, tmp_path / "pca.png", words)
    assert figures[0].axes[0].get_legend().get_texts()[0].get_text() == "a class's word"
    figures[0].canvas.draw()
    origin, right, up = figures[0].axes[0].transData.transform([[0, 0], [0.1, 0], [0, 0.1]])
    assert (right - origin)[0] == pytest.approx((up - origin)[1])


def test_a_legend_names_few_classes_and_the_map_many(tmp_path, rng, monkeypatch):
    figures = []
    monkeypatch.setattr(plots.maps, "write", lambda figure, path: figures.append(figure) or path)
    for classes in (12, 60):
        labels, names = np.arange(240) % classes, [f"class {i}" for i in range(classes)]
        plots.pca(rng.normal(size=(240, 6)), labels, names, tmp_path / "pca.png")
    legend = figures[0].axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [f"class {i}" for i in range(12)]
    assert figures[1].axes[0].get_legend() is None and len(figures[1].axes[0].texts) == 60


def test_heat_map_and_tree_have_one_order_and_direction(tmp_path, rng, monkeypatch):
    figures, names = [], [f"class {i}" for i in range(9)]
    monkeypatch.setattr(plots.matrices, "write", lambda figure, path: figures.append(figure) or path)
    similar = np.corrcoef(rng.normal(size=(9, 20)))
    plots.cosines(similar, names, tmp_path / "heat.png")
    plots.dendrogram(similar, names, tmp_path / "tree.png")
    orders = []
    for figure in figures:
        axis = figure.axes[0]
        heights = axis.transData.transform([(0, place) for place in axis.get_yticks()])[:, 1]
        ticks = [tick.get_text() for tick in axis.get_yticklabels()]
        orders.append([ticks[i] for i in np.argsort(-heights)])
    assert orders[0] == orders[1] and sorted(orders[0]) == names
