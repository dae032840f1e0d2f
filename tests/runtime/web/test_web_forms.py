"""The page's forms, filled in by headless Chromium: a model that puts a picture at its mean colour."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from common.files.checksum import sha256
from common.files.disk import write_json
from tests.runtime.web import browser

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "yellow": (210, 210, 10)}
SIDE, COUNT = 8, 5


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Knows the classes red and green, and the words for them and for blue."""
    folder = tmp_path_factory.mktemp("forms") / "model"
    folder.mkdir()
    nodes = [
        helper.make_node("Cast", ["data"], ["real"], to=1),
        helper.make_node("ReduceMean", ["real"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Sub", ["mean", "grey"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("data", onnx.TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("embedding", 1, ["n", 3])],
        [numpy_helper.from_array(np.full(3, 127, np.float32), "grey")],
    )  # fmt: skip
    made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    onnx.save(made, folder / "model.onnx")
    vectors = np.array([COLOURS[name] for name in ("red", "green", "blue")], np.float32) - 127
    np.save(folder / "classes.npy", vectors[:2])
    np.save(folder / "words.npy", vectors)
    (folder / "words.txt").write_text("red\ngreen\nblue\n")
    files = {name: sha256(folder / name) for name in ("classes.npy", "words.npy", "words.txt")}
    write_json(folder / "model.json", {
        "format": "image-embeddings model", "version": 1, "title": "Colours", "about": "", "network": "mean",
        "files": {"float32": {"file": "model.onnx", "bytes": 1, "sha256": sha256(folder / "model.onnx")}},
        "input": {"name": "data", "layout": "NHWC", "mean": None, "in_graph": False, "views": None,
                  "resize": {"size": SIDE, "keep_aspect": False, "interpolation": "area"}, "crop": [SIDE, SIDE]},
        "output": {"name": "embedding", "kind": "embedding"}, "embedding": None, "distance": "cosine",
        "classes": {"names": ["red", "green"], "titles": None, "file": "classes.npy"},
        "words": {"list": "words.txt", "vectors": "words.npy", "centre": None, "matrix": None, "network": None},
        "sha256": files, "figures": {}, "licences": {},
    })  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Five noisy pictures of each colour."""
    folder, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for number in range(COUNT):
            pixels = (np.array(colour) + rng.integers(-15, 16, (20, 30, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}-{number}.png")
    return folder


@pytest.mark.slow
def test_a_class_is_added_by_its_word_and_by_five_pictures_and_searched_by_words(model, pictures):
    if not browser.CHROMIUM or not (browser.WEB / "ort" / "ort.wasm.min.mjs").is_file():
        pytest.skip("needs chromium and runtime/web/get_onnxruntime.py")
    steps = [
        ("gallery", [f"{name}-0.png" for name in COLOURS], "4 pictures read"),
        ("words", "blue", "was looked up"),
        ("picture", "blue-1.png", "read in"),
        ("add", {"name": "blue"}, "was added"),
        ("picture", "blue-1.png", "read in"),
        ("add", {"name": "lemon"}, "no word vector"),
        ("add", {"name": "lemon", "pictures": [f"yellow-{number}.png" for number in range(COUNT)]}, "was added"),
        ("picture", "yellow-0.png", "read in"),
        ("words", "lemon", "was looked up"),
        ("add", {"name": "Blue"}, "already"),
    ]
    listed = {"steps": [{"does": what, "with": value, "until": text} for what, value, text in steps]}
    frame = browser.FRAMED.format(900, 900)
    told, _ = browser.run("forms.html", model, pictures, listed, frame, flags=("--dump-dom",))
    found = told["told"]
    assert [seen["wrong"] for seen in found] == [text in ("no word vector", "already") for _, _, text in steps], found
    assert found[1]["gallery"][0] == "blue-0.png" and set(found[1]["near"]) == {"red", "green"}
    assert set(found[2]["names"]) == {"red", "green"}
    assert found[3]["learned"] == '"blue" was learned from its word; 3 classes now.'
    assert found[4]["names"][0] == "blue"
    assert found[6]["learned"] == '"lemon" was learned from 5 pictures; 4 classes now.'
    assert found[7]["names"][0] == "lemon" and found[8]["near"][0] == "lemon"
    assert found[8]["gallery"][0] == "yellow-0.png"
