"""Exported pictures and sentences are where the model has them."""

import json

import mxnet as mx
import numpy as np
import pytest

from common import backbones
from common.data import transforms
from common.files.errors import UserError
from common.files.paths import REPO
from common.text.vocabulary import Vocabulary
from examples.vse import export, model

SENTENCES = ["A dog runs.", "the red ball", "an unknownword of the dog", "ball", ""]


def saved(path, encoder="gru", bidirectional=False, measure="cosine", name="conv4", views=(), **more):
    mx.random.seed(1)
    backbone = backbones.create("conv4", size=32) if name else None
    metadata = {
        "dim": 6, "dim_word": 6 if encoder == "bow" else 5, "dim_image": backbone.width if backbone else 4,
        "encoder": encoder, "bidirectional": bidirectional, "measure": measure, "model": name, "image_size": 32,
        "photographs": False, "dataset": "emoji", "params": None, "views": list(views), **more,
    }  # fmt: skip
    vocabulary = Vocabulary(["a", "dog", "the", "ball", "red", "of"], [6, 5, 4, 3, 2, 1])
    net = model.VSE(metadata, vocabulary, backbone)
    net.initialize(mx.init.Normal(0.5))
    model.save(net, path)
    return model.load(path)


@pytest.mark.parametrize(("encoder", "bidirectional"), [
    ("gru", False), ("lstm", True), ("bow", False),
])  # fmt: skip
def test_pictures_and_sentences(encoder, bidirectional, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(REPO / "runtime"))
    from image_embeddings import Model

    views = [0.5] if encoder == "bow" else []
    net = saved(tmp_path / "model.params", encoder, bidirectional, views=views, use_abs=encoder == "lstm")
    export.main(export.parse_args(["--params", str(tmp_path / "model.params"), "--package", str(tmp_path / "m")]))
    found = Model(tmp_path / "m")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    shown = transforms.evaluation(32, 32, False, views)
    seen = (mx.nd.array(shown(one).reshape(-1, 32, 32, 3), dtype="uint8") for one in pictures)
    features = np.stack([net.backbone(one).asnumpy().mean(axis=0) for one in seen])
    np.testing.assert_allclose(found.embed(list(pictures)), net.encode_images(features), atol=1e-4)
    expected = net.encode_sentences(SENTENCES)
    for text, row in zip(SENTENCES[:-1], expected):
        np.testing.assert_allclose(found.words(text), row, atol=1e-5, err_msg=text)
    about = json.loads((tmp_path / "m" / "model.json").read_text())
    assert about["words"]["network"] == "words.onnx" and about["words"]["tokens"] == "words"


def test_sentences_of_several_lengths_at_once(tmp_path):
    import onnxruntime

    net = saved(tmp_path / "model.params", "gru", True)
    export.main(export.parse_args(["--params", str(tmp_path / "model.params"), "--package", str(tmp_path / "m")]))
    session = onnxruntime.InferenceSession(str(tmp_path / "m" / "words.onnx"))
    rows = [net.vocabulary.encode(net.tokenise(text)) for text in SENTENCES]
    words = np.full((max(map(len, rows)), len(rows)), 3, np.int64)  # what is after the end is not read
    for column, row in enumerate(rows):
        words[: len(row), column] = row
    lengths = np.array([len(row) for row in rows], np.int32)
    found = session.run(["embedding"], {"words": words, "lengths": lengths})[0]
    np.testing.assert_allclose(found, net.encode_sentences(SENTENCES), atol=1e-5)


def test_what_cannot_be_exported_is_told(tmp_path):
    saved(tmp_path / "features.params", name=None)
    saved(tmp_path / "order.params", measure="order")
    saved(tmp_path / "long.params", no_imgnorm=True)
    for name, says in (
        ("features", "takes features from files"), ("order", "compares by --measure order"),
        ("long", "is of --no-imgnorm: only models whose vectors have length one"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=says):
            export.main(export.parse_args([
                "--params", str(tmp_path / f"{name}.params"), "--package", str(tmp_path / "m"),
            ]))  # fmt: skip
    assert not (tmp_path / "m").exists()
