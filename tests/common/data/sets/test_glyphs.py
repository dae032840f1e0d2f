"""Characters in twelve faces: how many, how split, which look alike."""

import unicodedata

import numpy as np
import pytest

from common.data import sets
from common.data.sets import glyphs
from common.files.errors import UserError


@pytest.mark.slow
def test_glyphs_are_2051_characters_in_twelve_faces(glyph_folder):
    whole = glyphs.load(glyph_folder)
    assert whole.images.shape == (2051 * 12, 32, 32, 3)
    assert len(whole.class_names) == 2051 and len(whole.domain_names) == 12
    assert {unicodedata.category(c)[0] for c in whole.class_names} == {"L", "N", "S"}
    ink = (255 - whole.images[..., 0].astype(int)).reshape(2051, -1).sum(axis=1)
    assert [whole.class_names[i] for i in np.flatnonzero(ink == 0)] == ["\ufffc"]  # object replacement character


def test_glyphs_split_by_class_is_seeded_and_disjoint(glyph_folder):
    first, again, other = (sets.load("glyphs", glyph_folder, seed=s) for s in (1, 1, 2))
    assert first.train.class_names == again.train.class_names != other.train.class_names
    assert not set(first.train.class_names) & set(first.test.class_names)
    assert len(first.train.class_names) + len(first.test.class_names) == 2051
    assert first.captions["ê"] == ["latin small letter e with circumflex"]


@pytest.mark.slow
def test_glyphs_twins_share_outlines():
    groups = glyphs.twins()
    assert ["A", "Α", "А"] in groups or ["A", "Α"] in groups
    assert all(len(group) > 1 for group in groups)
    assert glyphs.twin_ceiling(["A", "Α"]) == pytest.approx(11 / 23)
    assert glyphs.twin_ceiling(["A", "Q"]) == 1


def test_drawings_are_kept_and_drawn_anew_when_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(glyphs, "characters", lambda: list("Az8"))
    first = glyphs.load(tmp_path)
    (file,) = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(glyphs, "draw", lambda *args: pytest.fail("it was drawn again"))
        np.testing.assert_array_equal(glyphs.load(tmp_path).images, first.images)
    whole = file.read_bytes()
    middle = len(whole) // 2
    for damage in (b"", whole[:100], whole[:middle] + bytes(200) + whole[middle + 200 :]):
        file.write_bytes(damage)
        np.testing.assert_array_equal(glyphs.load(tmp_path).images, first.images)
    for other in (np.zeros((36, 16, 16), np.uint8), np.zeros((36, 32, 32))):
        np.savez(file, pictures=other)
        np.testing.assert_array_equal(glyphs.load(tmp_path).images, first.images)
    monkeypatch.setattr(glyphs, "characters", lambda: list("Az"))  # another list of characters
    assert len(glyphs.load(tmp_path)) == 24


def test_a_place_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(glyphs, "characters", lambda: ["A"])
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot write .*file"):
        glyphs.load(tmp_path / "file")


def test_faces_differ_and_are_turned(tmp_path, monkeypatch):
    monkeypatch.setattr(glyphs, "characters", lambda: ["A"])
    images = glyphs.load(tmp_path).images
    assert len(np.unique(images.reshape(12, -1), axis=0)) == 12
    assert images.min() < 60 and np.all(images[:, 0, 0] > 200)  # dark on white
    assert glyphs.load(tmp_path, image_size=16).images.shape == (12, 16, 16, 3)
