"""Pictures that transfer's programs learn from."""

import numpy as np
import pytest
from PIL import Image

from common.export import engine
from examples.transfer import data


@pytest.fixture(autouse=True)
def kept(tmp_path_factory, monkeypatch):
    """A folder of each test's own, where features are kept."""
    folder = tmp_path_factory.mktemp("kept")
    monkeypatch.setattr(data, "data_root", lambda: folder)
    monkeypatch.setattr(engine, "weights_dir", lambda: folder)
    return folder / "features"


def coloured_folder(root, shape):
    """Red, green and blue pictures of a shape (height, width), eight of each, with noise, in folders by colour."""
    rng = np.random.default_rng(0)
    for place, name in enumerate(("red", "green", "blue")):
        (root / name).mkdir(parents=True)
        for i in range(8):
            picture = rng.integers(0, 120, (*shape, 3))
            picture[..., place] += 100
            Image.fromarray(picture.astype(np.uint8)).save(root / name / f"{i}.png")
    return root
