"""A handful of pictures and sentences, in every layout: nothing but the place is given, and figures come out."""

import json
import re

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from common import backbones
from common.files.errors import UserError
from examples.vse import layouts, train

SHORT = ["--dim", "8", "--dim_word", "4", "--max_epochs", "2"]
PARTS = {"train": [0, 1, 2], "dev": [3], "test": [4]}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Five pictures with two sentences each, and parameters for a small backbone."""
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path / "data"))
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
    network = backbones.network("conv4")
    network.initialize(mx.init.Xavier())
    network(mx.nd.zeros((1, 3, 32, 32)))
    network.save_parameters(str(tmp_path / "conv4.params"))
    return tmp_path


def said(i):
    return f"a thing called {i}", f"this is number {i}"


def tokens(place):
    (place / "tokens.txt").write_text("".join(f"{i}.png#{k}\t{t}\n" for i in range(5) for k, t in enumerate(said(i))))
    for part, chosen in PARTS.items():
        (place / f"{part}Images.txt").write_text("\n".join(f"{i}.png" for i in chosen))
    return ["--captions", place / "tokens.txt", "--images", place / "pictures"]


def coco(place):
    content = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(5)],
        "annotations": [{"image_id": i, "caption": text} for i in range(5) for text in said(i)],
    }
    (place / "captions.json").write_text(json.dumps(content))
    return ["--captions", place / "captions.json", "--images", place / "pictures"]


def features(place):
    for part, chosen in PARTS.items():
        np.save(place / f"f8k_{part}_ims.npy", np.random.default_rng(0).normal(size=(len(chosen), 6)))
        (place / f"f8k_{part}_caps.txt").write_text("".join(f"{text}\n" for i in chosen for text in said(i)))
    return ["--data-path", place]


@pytest.mark.slow
@pytest.mark.parametrize("layout", [tokens, coco, features])
def test_a_few_pictures_are_enough(place, layout):
    flags = [*layout(place), *SHORT, "--run-dir", place / "run"]
    if layout is not features:
        flags += ["--model", "conv4", "--params", place / "conv4.params", "--image-size", "32"]
    train.main(train.parse_args([str(flag) for flag in flags]))
    figures = json.loads((place / "run" / "metrics.json").read_text())
    assert figures["rsum"] == 600  # one picture is found among one
    log = (place / "run" / "log.txt").read_text()
    assert "train: 3 pictures, 6 captions (2 a picture)" in log
    assert log.count("batches of 3 sentences, as many as there are for them (--batch_size 128)") == 1
    assert re.findall(r"\[\d/4\] (\w+)", log) == ["baselines", "training", "evaluation", "pictures"]
    assert (place / "run" / "report.html").is_file()


@pytest.mark.parametrize("count", [4, 9, 10, 2000])
def test_some_things_of_few_are_held_out(count):
    parts = layouts.split_classes({f"{i:04d}": [f"thing {i}"] for i in range(count)}, 1, words_seen=False)
    held = {4: 1, 9: 1, 10: 2, 2000: 200}[count]
    assert [len(parts[part]) for part in ("train", "dev", "test")] == [count - 2 * held, held, held]
    assert len({name for names in parts.values() for name in names}) == count


def test_three_are_too_few(place):
    with pytest.raises(UserError, match="3 things are too few to hold some out"):
        layouts.split_classes({name: [name] for name in "abc"}, 1, words_seen=False)
    (place / "c.json").write_text(json.dumps({
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(3)],
        "annotations": [{"image_id": i, "caption": "x"} for i in range(3)],
    }))  # fmt: skip
    with pytest.raises(UserError, match="c.json has 3 pictures, and 4 are needed"):
        layouts.load("f8k", captions=[place / "c.json"], images=place / "pictures")
