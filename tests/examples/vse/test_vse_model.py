"""The sentence branch against Gluon's recurrent operator and against loops in NumPy; saving and loading."""

import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from common import backbones
from common.backbones import modelfile
from common.files.errors import UserError
from common.text.vocabulary import Vocabulary
from common.train import optimizer
from examples.vse import model, recurrent
from examples.vse.losses import RankingLoss

WORDS = [f"w{i}" for i in range(8)]


def about(encoder="lstm", bidirectional=False, **more):
    sizes = {"dim_image": 5, "dim": 6, "dim_word": 6 if encoder == "bow" else 4, "measure": "cosine"}
    return {**sizes, "encoder": encoder, "bidirectional": bidirectional, "dataset": "f8k", "model": None, **more}


def network(encoder="lstm", bidirectional=False, **more):
    net = model.VSE(about(encoder, bidirectional, **more), Vocabulary(WORDS, [1] * len(WORDS)))
    net.initialize()
    mx.random.seed(0)
    for parameter in net.collect_params().values():
        parameter.set_data(mx.nd.random.normal(0, 0.5, parameter.shape))
    return net


@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("encoder", ["lstm", "gru"])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("threads", ["1", "2"])  # products of few rows are taken otherwise where cores share them
def test_shared_words_equal_gluons_operator(encoder, bidirectional, length, mixed, threads, monkeypatch):
    """Values, and gradients of every parameter and word vector, of sentences that share words, of several lengths."""
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    branch = network(encoder, bidirectional).sentences
    places = np.random.default_rng(1).integers(0, 3, (length, 5))
    if mixed:
        places[np.arange(length)[:, None] >= [length, 1, max(1, length - 2), length, max(1, length // 2)]] = -1
    vectors = mx.nd.random.normal(shape=(4, 4))
    upstream = mx.nd.random.normal(shape=(5, 6))
    vectors.attach_grad()
    parameters = list(branch.rnn.collect_params().values())
    found = []
    for read in (branch.shared, branch.fused):
        with autograd.record():
            state = read(vectors, places)
            loss = (state * upstream).sum()
        loss.backward()
        branch.backward()
        found.append([state, *(p.grad() for p in parameters), vectors.grad])
        found[-1] = [array.asnumpy() for array in found[-1]]
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("words", [
    [[1, 1, 1, 1], [2, 2, 3, 2], [4, 5, 4, 4]],  # the first and the last are the same sentence
    [[3, 1, 2], [1, 1, 1]],
    [[7], [7], [7]],
    [[1, 1, 2, 1, 1], [2, -1, 3, 2, 2], [4, -1, -1, 4, -1]],  # the second begins the first, the last as well
])  # fmt: skip
def test_a_tree_holds_each_beginning_once(words):
    words = np.array(words)
    sentences = [tuple(sentence[sentence >= 0]) for sentence in words.T]
    tree = recurrent.Tree(words).on(mx.cpu())
    before, ended = None, []
    for step in range(len(words)):
        beginnings = sorted({sentence[: step + 1] for sentence in sentences if len(sentence) > step})
        assert tree.words[tree.rows(step)].tolist() == [beginning[-1] for beginning in beginnings]
        if before:
            numbers = mx.nd.arange(len(before)).reshape((-1, 1))
            parents = [before.index(beginning[:-1]) for beginning in beginnings]
            assert tree.spread(step, numbers).asnumpy().ravel().tolist() == parents
            counts = tree.gather(step, mx.nd.ones((len(beginnings), 1))).asnumpy().ravel()
            assert counts.tolist() == np.bincount(parents, minlength=len(before)).tolist()
        before = beginnings
        if step in {len(sentence) - 1 for sentence in sentences}:
            assert tree.last[step] == slice(len(ended), len(ended) + len(beginnings))
            ended += beginnings
    assert [ended[leaf] for leaf in tree.leaves] == sentences


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("encoder", ["lstm", "gru", "bow"])
def test_sentences_equal_loops_in_numpy(encoder):
    net = network(encoder)
    words = np.array([[2, 3, 3], [4, 4, 0], [0, 0, -1]])
    table = net.sentences.words.weight.data().asnumpy()
    if encoder == "bow":
        expected = np.stack([table[sentence[sentence >= 0]].sum(axis=0) for sentence in words.T])
    else:
        w, u, b, c = (
            getattr(net.sentences.rnn, f"l0_{name}").data().asnumpy()
            for name in ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")
        )
        expected = []
        for sentence in words.T:
            h = cell = np.zeros(6)
            for word in sentence[sentence >= 0]:
                x, s = w @ table[word] + b, u @ h + c
                if encoder == "lstm":
                    i, f, g, o = np.split(x + s, 4)
                    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
                    h = sigmoid(o) * np.tanh(cell)
                else:
                    (r, z, n), (sr, sz, sn) = np.split(x, 3), np.split(s, 3)
                    z = sigmoid(z + sz)
                    h = (1 - z) * np.tanh(n + sigmoid(r + sr) * sn) + z * h
            expected.append(h)
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(net.sentences(words, mx.cpu()).asnumpy(), expected, rtol=1e-4, atol=1e-6)


def test_encoding_keeps_the_order_of_sentences_of_any_length():
    net = network()
    texts = ["w1 w2 w3", "w4", "unknown w5 w6", "", "W4!", "w1 w2 w3"]
    together = net.encode_sentences(texts, batch_size=2)
    for text, row in zip(texts, together):
        np.testing.assert_allclose(net.encode_sentences([text])[0], row, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(together[1], together[4])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)


def test_steps_without_waiting_follow_the_gradient():
    """The weights are updated while the gradient of the same step may not have been computed yet."""
    ends = []
    for wait in (False, True):
        net = network("gru")
        updater = optimizer.trainer([(net.collect_params(), "sgd", {"learning_rate": 0.5})])
        images, words = mx.nd.ones((3, 5)), np.array([[2, 3, 4], [5, 3, 2], [0, 0, 0]])
        for _ in range(20):
            with autograd.record():
                loss = RankingLoss(0.9)(*net(images, words))
            net.backward([loss], updater)
            if wait:
                mx.nd.waitall()
            updater.step(1)
        ends.append([p.data().asnumpy() for p in net.collect_params().values()])
    for free, waited in zip(*ends):
        np.testing.assert_array_equal(free, waited)


def test_order_measure_has_no_negative_numbers():
    net = network(measure="order")
    rows = [net.encode_sentences(["w1 w2"]), net.encode_images(np.random.default_rng(0).normal(size=(3, 5)))]
    assert all((row >= 0).all() for row in rows)


@pytest.mark.parametrize("encoder, bidirectional", [("lstm", True), ("gru", False), ("bow", False)])
def test_a_saved_model_encodes_alike(tmp_path, encoder, bidirectional):
    net = network(encoder, bidirectional)
    net.vocabulary.counts[2] = 17
    model.save(net, tmp_path / "m.params", metrics={"rsum": 1.5})
    again = model.load(tmp_path / "m.params")
    assert again.vocabulary.counts[2] == 17 and again.metadata["metrics"] == {"rsum": 1.5}
    np.testing.assert_array_equal(net.encode_sentences(["w1 w5"]), again.encode_sentences(["w1 w5"]))
    np.testing.assert_array_equal(net.encode_images(np.ones((2, 5))), again.encode_images(np.ones((2, 5))))
    with pytest.raises(UserError, match="takes 5 numbers an image, not 7"):
        again.encode_images(np.ones((2, 7)))


@pytest.mark.parametrize("backbone", [None, "conv4"])
def test_a_model_of_before_is_read(tmp_path, backbone):
    """Written as it was before model files: the network's names with a prefix, the metadata in an array."""
    net, of_pictures = network(), {}
    if backbone:
        cut = backbones.create(backbone, size=16)
        sizes = {"dim_image": cut.width, "model": backbone, "image_size": 16}
        net = model.VSE({**net.metadata, **sizes}, net.vocabulary, cut)
        net.initialize()
        one = cut.preprocessing
        of_pictures["preprocessing"] = [one.mean, one.scale, one.bgr, one.size]
    metadata = {"format": "vse 2", **net.metadata, "vocabulary": net.vocabulary.to_dict(), "figures": {"rsum": 1}}
    metadata.update(of_pictures)
    arrays = {f"net:{name}": value for name, value in modelfile.values(net).items()}
    arrays["about"] = mx.nd.array(np.frombuffer(json.dumps(metadata).encode(), np.uint8), dtype="uint8")
    mx.nd.save(str(tmp_path / "old.params"), arrays)
    read = model.load(tmp_path / "old.params")
    assert read.metadata["metrics"] == {"rsum": 1}
    model.save(read, tmp_path / "new.params")
    for one in (read, model.load(tmp_path / "new.params")):
        np.testing.assert_array_equal(one.encode_sentences(["w1 w5"]), net.encode_sentences(["w1 w5"]))
        if backbone:
            pictures = mx.nd.ones((2, 16, 16, 3))
            np.testing.assert_array_equal(one.backbone(pictures).asnumpy(), net.backbone(pictures).asnumpy())


def test_what_is_no_model_is_said(tmp_path):
    with pytest.raises(UserError, match="no model .*absent.params"):
        model.load(tmp_path / "absent.params")
    (tmp_path / "text.params").write_text("nothing")
    with pytest.raises(UserError, match="text.params.*no model of this example"):
        model.load(tmp_path / "text.params")
    mx.nd.save(str(tmp_path / "other.params"), {"weight": mx.nd.ones(3)})
    with pytest.raises(UserError, match="other.params.*no model of this example"):
        model.load(tmp_path / "other.params")


def test_bow_needs_one_size():
    with pytest.raises(UserError, match="--dim_word 4 must equal --dim 6"):
        model.SentenceBranch(5, 4, 6, "bow", False, use_abs=False)
