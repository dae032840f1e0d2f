"""What ``--whiten``, ``--signs`` and ``--rerank`` report, beside the same from what the run keeps."""

import json

import mxnet as mx
import numpy as np
import pytest

from common import metrics
from common.backbones import features
from common.metrics import rerank
from common.train import workers
from examples.embedding_learning import linear, model, train


def figures(queries, labels, gallery, gallery_labels):
    return metrics.search(queries, labels, gallery, gallery_labels, depth="r").mean()


@pytest.fixture
def read_at_the_end(monkeypatch):
    """A list of how many pictures the network reads at a time once it stays as it is."""
    counts, ended = [], []
    stream, end = features.stream, workers.SharedEvaluation.end

    def counted(batches, *args, **kwargs):
        def watched():
            for batch in batches:
                counts.extend([len(batch.images)] * len(ended))
                yield batch

        return stream(watched(), *args, **kwargs)

    monkeypatch.setattr(features, "stream", counted)
    monkeypatch.setattr(workers.SharedEvaluation, "end", lambda shared: ended.append(end(shared)))
    return counts


@pytest.mark.slow
def test_whitened_bits_and_rankings_are_those_of_the_kept_embeddings(groceries, tmp_path, read_at_the_end):
    run = tmp_path / "run"
    argv = ["--dataset", "grocery", "--data-path", groceries, "--protocol", "seen", "--model", "conv4"]
    argv += ["--image-size", 16, "--resize", 16, "--embed-dim", 6, "--epochs", 1, "--epoch-batches", 1]
    argv += ["--batch-size", 4, "--batch-k", 2, "--no-plots", "--run-dir", run, "--save-embeddings"]
    argv += ["--whiten", "2,5", "--signs", "--rerank"]
    train.main(train.parse_args([str(word) for word in argv]))
    found = json.loads((run / "metrics.json").read_text())
    assert sum(read_at_the_end) == 30 + 7 + 20 + 10  # to learn from, to validate, to test, the catalogue: each once
    queries, gallery = (np.load(run / "embeddings" / f"{side}.npy") for side in ("queries", "gallery"))
    labels, among = (
        np.loadtxt(run / "embeddings" / f"{side}.csv", str, delimiter=",", skiprows=1, usecols=1).astype(int)
        for side in ("queries", "gallery")
    )
    for kind, dims in (("whitened", 5), ("bits", 5)):
        net, metadata = model.load(run / f"margin_loss_model_{kind}.params")
        assert metadata["embed_dim"] == net.embed_dim == dims
    plain, _ = model.load(run / "margin_loss_model.params")
    np.testing.assert_allclose(found["recall@1"], figures(queries, labels, gallery, among)["recall@1"])

    # The head of the file is that of the whole sets before unit length, fitted on the training pictures alone.
    whitened, _ = model.load(run / "margin_loss_model_whitened.params")
    rng = np.random.default_rng(0)
    features = mx.nd.array(rng.normal(size=(40, plain.backbone.width)))
    outputs, turned = plain.dense(features).asnumpy(), whitened.dense(features).asnumpy()
    design = np.hstack([outputs, np.ones((40, 1))])
    fitted = design @ np.linalg.lstsq(design, turned, rcond=None)[0]
    np.testing.assert_allclose(turned, fitted, atol=1e-3 * np.abs(turned).max())  # linear in what was there

    log = (run / "log.txt").read_text()
    for method in ("k-reciprocal", "query expansion", "augmented database"):
        assert f"{method}: " in log and "validation_map@r" in log
    chosen = next(line for line in log.splitlines() if "k-reciprocal: " in line)
    k1, k2, weight = (float(part.split()[-1]) for part in chosen.split("(")[0].split(","))
    order = rerank.KReciprocal(gallery, int(k1), int(k2), weight)
    again = metrics.search(queries, labels, gallery, among, depth="r", order=order).mean()
    for name in ("recall@1", "recall@4", "map@r", "r_precision"):
        assert found[f"k_reciprocal_of_trained_{name}"] == pytest.approx(again[name])
    for key in ("whitened_2", "whitened_5", "signs_of_whitened_5", "2_bits_by_itq", "5_bits_by_itq"):
        assert 0 <= found[f"{key}_recall@1"] <= 1


def test_figures_of_a_ranking_are_counted_in_its_lists():
    rng = np.random.default_rng(0)
    gallery, among = rng.normal(size=(30, 4)), rng.integers(0, 4, 30)
    queries, labels = rng.normal(size=(7, 4)), rng.integers(0, 4, 7)
    order = rerank.KReciprocal(gallery, 5, 3, 0.3)
    found = metrics.search(queries, labels, gallery, among, ks=(1, 3), depth="r", order=order, keep=2)
    _, indices = order.search(queries, 30)
    assert np.array_equal(found.indices, indices[:, :2])
    for row, label, values in zip(indices, labels, found.values):
        right = among[row] == label
        r = right.sum()
        precision = np.cumsum(right) / np.arange(1, 31)
        expected = [right[0], right[:3].any(), right[0], right[:3].mean(), (precision * right)[:r].sum() / r]
        np.testing.assert_allclose(values[:5], expected, atol=1e-6)


def test_itq_turns_the_principal_components_alone():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 8)) * np.arange(8, 0, -1)
    fitted = linear.itq(rows, 4)
    np.testing.assert_allclose(fitted.matrix.T @ fitted.matrix, np.eye(4), atol=1e-4)  # a rotation of orthonormal ones
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    np.testing.assert_allclose(fitted.matrix @ fitted.matrix.T, vectors[:, 4:] @ vectors[:, 4:].T, atol=1e-4)

    def lost(codes):  # by signs, with the best scale left out as in the paper
        return np.square(np.sign(codes) - codes).sum()

    assert lost(fitted(rows)) < lost((rows - rows.mean(axis=0)) @ vectors[:, 4:])
