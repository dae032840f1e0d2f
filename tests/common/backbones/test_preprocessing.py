"""The preprocessing that belongs to parameters: as published, and in and out of JSON."""

import json

import numpy as np
import pytest

from common.backbones.preprocessing import CAFFE, IMAGENET, LITE, TF, Preprocessing

OWN = Preprocessing((1.0, 2.0, 3.0), (0.5, 0.25, 0.125), bgr=True, size=96)
CUBIC = Preprocessing((1.0, 2.0, 3.0), (0.5, 0.25, 0.125), interpolation="bicubic")


@pytest.mark.parametrize(("preprocessing", "published"), [
    (IMAGENET, lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),  # torchvision, Gluon
    (TF, lambda x: x / 127.5 - 1),  # keras.applications.imagenet_utils, mode "tf"
    (CAFFE, lambda x: x[..., ::-1] - [103.939, 116.779, 123.68]),  # the same, mode "caffe": blue first
    (LITE, lambda x: (x - 127) / 128),
])  # fmt: skip
def test_preprocessing_as_published(preprocessing, published):
    x = np.random.default_rng(0).uniform(0, 255, (5, 3))
    channels = x[..., ::-1] if preprocessing.bgr else x
    np.testing.assert_allclose((channels - preprocessing.mean) * preprocessing.scale, published(x), atol=1e-12)


@pytest.mark.parametrize("preprocessing", [IMAGENET, CAFFE, TF, LITE, OWN, CUBIC])
def test_in_and_out_of_json_every_bit_stays(preprocessing):
    text = json.dumps(preprocessing.to_dict())
    assert Preprocessing.from_dict(json.loads(text)) == preprocessing


@pytest.mark.parametrize("found", [
    {"mean": [1, 2, 3], "scale": [0.5, 0.25, 0.125], "bgr": True, "size": 96},  # im2vec, and beside .params
    {"model": "conv4", "dim": 8, "mean": [1, 2, 3], "scale": [0.5, 0.25, 0.125], "bgr": True, "size": 96},  # a card
    [[1, 2, 3], [0.5, 0.25, 0.125], True, 96],  # vse
])  # fmt: skip
def test_every_older_spelling_is_read(found):
    assert Preprocessing.from_dict(found) == OWN


def test_channel_order_and_size_may_be_missing():
    assert Preprocessing.from_dict({"mean": [1, 2, 3], "scale": [1, 1, 1]}) == Preprocessing((1, 2, 3), (1, 1, 1))


@pytest.mark.parametrize("bgr", [False, True])
def test_another_mean_and_deviation_are_of_red_green_and_blue(bgr):
    before, order = Preprocessing((1.0, 2.0, 3.0), (0.5, 0.25, 0.125), bgr, 96), -1 if bgr else 1
    assert before.replaced() == before
    assert before.replaced(mean=[7.0, 8.0, 9.0]) == Preprocessing((7.0, 8.0, 9.0)[::order], before.scale, bgr, 96)
    assert before.replaced(deviation=[2.0, 4.0, 8.0]).scale == (0.5, 0.25, 0.125)[::order]


@pytest.mark.parametrize("found", [
    {}, [], None, 7, "mean", {"mean": [1, 2, 3]}, [[1, 2, 3]],
    {"mean": [1, 2], "scale": [1, 1, 1]}, {"mean": "abc", "scale": [1, 1, 1]},
    {"mean": [1, 2, True], "scale": [1, 1, 1]}, {"mean": [1, 2, float("nan")], "scale": [1, 1, 1]},
    {"mean": [1, 2, 3], "scale": [1, 0, 1]}, {"mean": [1, 2, 3], "scale": [1, 1, 1], "bgr": 1},
    *({"mean": [1, 2, 3], "scale": [1, 1, 1], "interpolation": filter} for filter in ("area", "", None, 3, [])),
    *({"mean": [1, 2, 3], "scale": [1, 1, 1], "size": size} for size in (0, -1, 1.5, "224", 10_001, True)),
])  # fmt: skip
def test_what_cannot_be_is_said(found):
    with pytest.raises(ValueError, match="^its? "):
        Preprocessing.from_dict(found)
