"""Every picture is written, whatever the names hold, and no glyph is missing."""

import warnings

import numpy as np
import pytest
from PIL import Image

from common import plots
from common.datasets import ImageSet

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


@pytest.mark.parametrize("classes", [2, 5, 60])
def test_confusion(tmp_path, rng, classes):
    counts = rng.integers(0, 9, (classes, classes))
    counts[0] = 0  # a class without pictures
    picture = drawn(plots.confusion(counts, [NAMES[i % 5] for i in range(classes)], tmp_path / "confusion.png"))
    assert picture.width > 400


def test_maps(tmp_path, image_set, rng):
    vectors = rng.normal(size=(30, 6))
    drawn(plots.tsne(vectors, image_set, tmp_path / "tsne.png"))
    words = rng.normal(size=(5, 6))
    drawn(plots.pca(vectors, image_set.labels, NAMES, tmp_path / "pca.png", anchors=words))
    drawn(plots.pca(vectors, image_set.labels, NAMES, tmp_path / "pca.png"))
