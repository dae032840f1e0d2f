"""A model that is right by construction: pictures of one colour each, words whose vectors are colours too."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = {
    "blue": (30, 60, 220), "green": (30, 180, 40), "red": (220, 30, 30), "yellow": (230, 220, 40),
    "deep+sky": (40, 190, 230), "orange": (240, 140, 30),
}  # fmt: skip
SEEN, UNSEEN = ["blue", "green", "red", "yellow"], ["deep+sky", "orange"]
OTHERS = {"deep": (20, 180, 200), "sky": (60, 200, 255), "purple": (140, 40, 170), "cherry": (210, 20, 50)}
SIDE = 64


@dataclasses.dataclass(frozen=True)
class Coloured:
    """What `coloured` gives: the folder of pictures ``CLASS/CLASS_10001.png``, the model, the file of 300-d words."""

    pictures: Path
    params: Path
    words: Path


@pytest.fixture(scope="session")
def coloured(tmp_path_factory) -> Coloured:
    """Pictures of colours, and a SqueezeNet with random convolutions whose dense layers were solved for them."""
    import mxnet as mx

    from common.text.vectors import WordVectors
    from examples.visual_semantic import model

    folder, rng = tmp_path_factory.mktemp("coloured"), np.random.default_rng(0)
    pictures, labels = [], []
    for label, (name, colour) in enumerate(COLOURS.items()):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(8):
            picture = (np.array(colour) + rng.normal(0, 12, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / "pictures" / name / f"{name}_{10001 + number}.png")
            pictures.append(picture)
            labels.append(label)
    file = write_words(folder / "colours.vec", rng)
    names = SEEN + UNSEEN
    vectors = WordVectors.read(file, names).matrix(names)
    mx.random.seed(0)
    net = model.create("squeezenet1.1", None, SEEN, UNSEEN, vectors, mx.cpu(), SIDE)
    net.backbone.body.initialize(mx.init.Xavier("gaussian", "in", 2), force_reinit=True)  # keeps the scale (He et al.)
    features = net.backbone(mx.nd.array(np.stack(pictures), dtype="uint8")).asnumpy()
    seen = np.array(labels) < len(SEEN)
    net.encoder.standardise(features)
    standard = net.encoder.head[0](mx.nd.array(features)).asnumpy()
    solve(net.encoder.head[-1], standard, net.words[labels])  # of all classes: what is tested is the search
    solve(net.classifier[-1], features[seen], 20 * np.eye(len(SEEN))[np.array(labels)[seen]])
    card = {"crop": SIDE, "resize": SIDE, "keep_aspect": False, "word_vectors": str(file), "words": {}, "stage": "1",
            "dataset": "folder", "figures": {}}  # fmt: skip
    model.save(net, folder / "model.params", **card)
    return Coloured(folder / "pictures", folder / "model.params", file)


def write_words(file: Path, rng) -> Path:
    """A fastText file of 300 numbers a word: the word's colour turned into 300 dimensions, and noise for 3,000 more."""
    turn = rng.normal(size=(3, 300))
    vectors = {n: (np.array(c) / 128 - 1) @ turn for n, c in {**COLOURS, **OTHERS}.items() if "+" not in n}
    vectors.update({f"noise{i}": rng.normal(size=300) for i in range(3000)})
    lines = [f"{name} {' '.join(f'{x:.4f}' for x in vector)}" for name, vector in vectors.items()]
    file.write_text("\n".join([f"{len(vectors)} 300", *lines]) + "\n")
    return file


def solve(dense, features: np.ndarray, targets: np.ndarray) -> None:
    """Give a dense layer the weights that come nearest to the targets."""
    import mxnet as mx

    biased = dense.bias is not None
    mean, middle = (features.mean(axis=0), targets.mean(axis=0)) if biased else (0, 0)
    rows = features - mean
    kernel = rows @ rows.T
    weights = rows.T @ np.linalg.solve(kernel + 1e-4 * np.trace(kernel) * np.eye(len(rows)), targets - middle)
    dense.weight.set_data(mx.nd.array(weights.T))
    if biased:
        dense.bias.set_data(mx.nd.array(middle - mean @ weights))


@pytest.fixture
def animals(tmp_path):
    """Pictures laid out as AwA2 is, of several sizes of class."""
    root, rng = tmp_path / "animals", np.random.default_rng(0)
    for name, count in {"antelope": 20, "polar+bear": 10, "ox": 4, "rat": 5}.items():
        (root / "JPEGImages" / name).mkdir(parents=True)
        for number in range(10001, 10001 + count):
            picture = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / "JPEGImages" / name / f"{name}_{number}.jpg")
    (root / "classes.txt").write_text("1\tantelope\n2\tpolar+bear\n3\tox\n4\trat\n")
    (root / "trainclasses.txt").write_text("antelope\npolar+bear\nox\n")
    (root / "testclasses.txt").write_text("rat\n")
    return root
