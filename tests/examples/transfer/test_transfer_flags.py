"""What flags of the programs do, given on a command line."""

import numpy as np
import pytest
from PIL import Image

from examples.transfer import generate_embedding, model, train

SIDE = 32  # of what conv4 sees
FILTERS = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic")}


@pytest.fixture
def pictures(tmp_path):
    """Two classes of five noisy pictures, each larger than what the network sees."""
    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(5):
            picture = rng.integers(0, 128, (50, 70, 3)) + 100 * (label == "b")
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "pictures" / label / f"{number}.png")
    return tmp_path / "pictures"


def resized(pictures, folder, name):
    """The same pictures at the network's size, by Pillow's filter."""
    for file in pictures.glob("*/*.png"):
        place = folder / file.parent.name / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).resize((SIDE, SIDE), FILTERS[name]).save(place)
    return folder


@pytest.mark.parametrize("name", FILTERS)
def test_interpolation_of_generate_embedding(pictures, tmp_path, name):
    def vectors(folder, interpolation):
        flags = ["--folder", folder, "-tm", "conv4", "-weights", "None", "-dir", tmp_path, "-b", "5"]
        flags += ["--interpolation", interpolation]
        generate_embedding.main(generate_embedding.parse_args([str(flag) for flag in flags]))
        return np.load(tmp_path / "transferfeature_data.npy")

    found, same = vectors(pictures, name), vectors(resized(pictures, tmp_path / "resized", name), "nearest")
    np.testing.assert_array_equal(found, same)
    other = vectors(pictures, "bicubic" if name == "nearest" else "nearest")
    assert np.abs(found - other).max() > 1e-3


def test_interpolation_of_train(pictures, tmp_path):
    def vectors(folder, interpolation, run):
        flags = ["--data-path", folder, "--model", "conv4", "--weights", "None", "--folds", "1", "--run-dir", run]
        flags += ["--interpolation", interpolation, "--test-share", "0.4"]
        train.main(train.parse_args([str(flag) for flag in flags]))
        classifier = model.load(run / "model.params")
        assert classifier.backbone["interpolation"] == interpolation
        return classifier.mean

    small = resized(pictures, tmp_path / "resized", "bilinear")
    found = vectors(pictures, "bilinear", tmp_path / "1")
    np.testing.assert_array_equal(found, vectors(small, "nearest", tmp_path / "2"))
    assert np.abs(found - vectors(pictures, "nearest", tmp_path / "3")).max() > 1e-3
