"""The page's resize, in Node, gives the pictures that the suite's own gives, byte for byte."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from common.data import images, transforms

NODE = shutil.which("node")
PIL_MAJOR = int(PIL.__version__.split(".")[0])
pytestmark = pytest.mark.skipif(not NODE, reason="needs node")
SIZES = [  # old and new, (width, height)
    ((64, 64), (128, 128)), ((300, 200), (150, 100)), ((300, 201), (100, 67)), ((500, 333), (128, 128)),
    ((40, 300), (64, 64)), ((300, 40), (64, 64)), ((1, 1), (8, 8)), ((2, 3), (128, 96)), ((91, 77), (90, 76)),
    ((64, 64), (64, 64)), ((257, 129), (256, 128)), ((1000, 750), (224, 224)), ((3, 700), (3, 64)),
]  # fmt: skip


def asked(cases):
    """What the page makes of pictures: a list of arrays."""
    sent = [
        {**case, "data": base64.b64encode(picture.tobytes()).decode(), "width": picture.shape[1],
         "height": picture.shape[0]}
        for picture, case in cases
    ]  # fmt: skip
    script = Path(__file__).with_name("resize.mjs")
    done = subprocess.run([NODE, str(script)], input=json.dumps(sent), capture_output=True, text=True, check=True)
    return [np.frombuffer(base64.b64decode(a["data"]), np.uint8).reshape(a["shape"]) for a in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def pictures():
    """Noise, which is the worst case, and a smooth picture, of each size."""
    rng = np.random.default_rng(0)
    found = []
    for (width, height), new in SIZES:
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        y, x = np.mgrid[:height, :width] / max(width, height)
        smooth = np.stack([255 * x, 255 * y, 127 + 127 * np.sin(9 * x * y)], axis=-1).astype(np.uint8)
        found += [(noise, new), (smooth, new)]
    return found


def test_averages_over_areas_are_those_of_opencv(pictures):
    answers = asked([(picture, {"size": size, "interpolation": "area"}) for picture, size in pictures])
    for (picture, size), found in zip(pictures, answers):
        np.testing.assert_array_equal(found, images.resize(picture, size), f"{picture.shape} to {size}")


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_filters_are_those_of_pillow(pictures, interpolation):
    if PIL_MAJOR < 13:  # it resizes across first, always
        pictures = [(p, new) for p, new in pictures if p.shape[0] - new[1] <= max(0, 2 * (p.shape[1] - new[0]))]
    answers = asked([(picture, {"size": size, "interpolation": interpolation}) for picture, size in pictures])
    for (picture, size), found in zip(pictures, answers):
        expected = Image.fromarray(picture).resize(size, Image.Resampling[interpolation.upper()])
        np.testing.assert_array_equal(found, np.asarray(expected), f"{picture.shape} to {size}")


@pytest.mark.parametrize("keep_aspect", [True, False])
@pytest.mark.parametrize("views", [None, [0.75, 0.5]])
def test_what_the_network_sees_is_what_the_suite_shows_it(pictures, keep_aspect, views):
    whole = [picture for picture, _ in pictures if min(picture.shape[:2]) > 30]
    steps = {"size": 72, "keep_aspect": keep_aspect, "interpolation": "area"}
    about = {"resize": steps, "crop": [64, 64], "in_graph": False, "views": views}
    transform = transforms.evaluation(72, 64, keep_aspect, views or ())
    for picture, found in zip(whole, asked([(picture, {"input": about}) for picture in whole])):
        np.testing.assert_array_equal(found, transform(picture), f"{picture.shape}")


def test_a_network_that_resizes_itself_is_given_the_whole_picture(pictures):
    picture = pictures[2][0]
    (found,) = asked([(picture, {"input": {"in_graph": True}})])
    np.testing.assert_array_equal(found, picture)
