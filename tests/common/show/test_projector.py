"""The folder for TensorBoard's projector: the files' format, and what TensorBoard itself makes of it."""

import numpy as np
import pytest
from PIL import Image

from common.files.errors import UserError
from common.show import projector

VECTORS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
COLUMNS = {"path": [f"a\t{i}.png" for i in range(5)], "label": ["one", "two\nlines", "x", "x", "é"]}


def colour(index, side):
    return np.full((side, side, 3), 40 * (index % 6), np.uint8)


@pytest.fixture
def folder(tmp_path):
    return projector.write(tmp_path / "map", VECTORS, COLUMNS, colour, "birds")


def test_points_names_and_pictures(folder):
    np.testing.assert_allclose(np.loadtxt(folder / "tensors.tsv", delimiter="\t"), VECTORS, rtol=1e-6)
    lines = (folder / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert lines == ["path\tlabel", "a 0.png\tone", "a 1.png\ttwo lines", "a 2.png\tx", "a 3.png\tx", "a 4.png\té"]
    sprite = np.array(Image.open(folder / "sprite.png"))
    assert sprite.shape == (192, 192, 3)  # three by three pictures of 64 pixels, row by row
    shown = sprite[32::64, 32::64, 0].reshape(-1).tolist()
    assert shown == [0, 40, 80, 120, 160, 255, 255, 255, 255]


def test_tensorboard_reads_the_config(folder):
    plugin = pytest.importorskip("tensorboard.plugins.projector.projector_config_pb2", reason="no tensorboard here")
    from google.protobuf import text_format

    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), plugin.ProjectorConfig())
    (found,) = config.embeddings
    assert found.tensor_name == "birds" and list(found.sprite.single_image_dim) == [64, 64]
    for name in (found.tensor_path, found.metadata_path, found.sprite.image_path):
        assert (folder / name).is_file()


def test_a_sprite_of_many_pictures_stays_small_enough_for_a_browser(tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "SPRITE", 64)
    folder = projector.write(tmp_path, np.ones((50, 2)), {"a": range(50), "b": range(50)}, colour)
    assert Image.open(folder / "sprite.png").size == (64, 64)
    assert "single_image_dim: 8\n" in (folder / "projector_config.pbtxt").read_text()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file/map"):
        projector.write(tmp_path / "file" / "map", VECTORS, COLUMNS, colour)
