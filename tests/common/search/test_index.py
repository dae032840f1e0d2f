"""The index: equal to a sort, whole on disk or not at all, and no damaged file accepted."""

import hashlib
import json

import numpy as np
import pytest

from common.files import disk
from common.files.errors import UserError
from common.metrics import unit
from common.search.index import Index


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)


def test_exact_equals_a_sort(vectors):
    queries = vectors[:7] + 0.1
    scores, ids = Index.build(vectors).query(queries, 10)
    cosines = unit(queries) @ unit(vectors).T
    np.testing.assert_array_equal(ids, np.argsort(-cosines, axis=1)[:, :10])
    np.testing.assert_allclose(scores, -np.sort(-cosines, axis=1)[:, :10], atol=1e-6)


def test_l2_is_the_euclidean_distance(vectors):
    queries = vectors[:7] + 0.1
    distances = np.linalg.norm(queries[:, None] - vectors, axis=2)
    scores, ids = Index.build(vectors, metric="l2").query(queries, 10)
    np.testing.assert_array_equal(ids, np.argsort(distances, axis=1)[:, :10])
    np.testing.assert_allclose(scores, np.sort(distances, axis=1)[:, :10], rtol=1e-4)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_hnsw_finds_nearly_all_that_exact_finds(vectors, metric):
    found = Index.build(vectors, kind="hnsw", metric=metric).query(vectors, 10)[1]
    exact = Index.build(vectors, metric=metric).query(vectors, 10)[1]
    assert np.mean([len(set(a) & set(b)) for a, b in zip(found, exact)]) > 9.8


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_hnsw_keeps_as_many_candidates_as_the_vectors_need(metric, tmp_path):
    """Few for vectors in a line, more for scattered ones; twins are as good as each other; a saved index keeps it."""
    rng = np.random.default_rng(0)
    angles = np.linspace(0.1, 1.5, 3000)
    easy = Index.build(np.stack([np.cos(angles), np.sin(angles)], axis=1), kind="hnsw", metric=metric)
    scattered = rng.normal(size=(3000, 24))
    hard = Index.build(scattered, kind="hnsw", metric=metric)
    twins = Index.build(np.repeat(scattered[:600], 5, axis=0), kind="hnsw", metric=metric)
    counts = [index.index.hnsw.efSearch for index in (easy, hard, twins)]
    assert counts[0] < counts[1] < 512 and counts[2] < 512
    new = rng.normal(size=(200, 24))
    truth = Index.build(scattered, metric=metric).query(new, 10)[1]
    found = hard.query(new, 10)[1]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth)]) > 0.99
    hard.query(new, 400)
    hard.save(tmp_path / "x.faiss")
    np.testing.assert_array_equal(Index.load(tmp_path / "x.faiss").query(new, 10)[1], found)


def test_hnsw_answers_as_many_as_are_asked(vectors):
    scores, ids = Index.build(vectors, kind="hnsw").query(vectors[:2], 400)
    assert (ids >= 0).all() and ids.shape == scores.shape == (2, 400)


def test_binary_has_the_cosines_of_the_signs(vectors):
    wide = np.concatenate([vectors, vectors[:, ::-1] ** 3], axis=1)[:, :27]  # 27 bits are no whole number of bytes
    scores, ids = Index.build(wide, kind="binary").query(wide[:7] + 0.1, 10)
    cosines = np.sign(wide[:7] + 0.1) @ np.sign(wide).T / 27
    np.testing.assert_allclose(scores, -np.sort(-cosines, axis=1)[:, :10], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(cosines, ids, axis=1), scores, atol=1e-6)


def test_binary_keeps_a_bit_a_number(tmp_path, vectors):
    built = Index.build(vectors[:, :13], [f"{row}.png" for row in range(500)], "binary", metadata={"model": "conv4"})
    built.save(tmp_path / "gallery.index")
    loaded = Index.load(tmp_path / "gallery.index")
    assert (loaded.names, loaded.kind, loaded.metadata, loaded.width) == (built.names, "binary", {"model": "conv4"}, 13)
    for ours, theirs in zip(built.query(vectors[:5, :13], 4), loaded.query(vectors[:5, :13], 4)):
        np.testing.assert_array_equal(ours, theirs)
    assert (tmp_path / "gallery.index").stat().st_size < 500 * 2 + 200
    with pytest.raises(UserError, match="13 numbers, the query has 16"):
        loaded.query(vectors, 1)
    about = json.loads((tmp_path / "gallery.index.json").read_text())
    (tmp_path / "gallery.index.json").write_text(json.dumps({**about, "width": 17}))
    with pytest.raises(UserError, match="build it again"):
        Index.load(tmp_path / "gallery.index")


def test_k_beyond_the_size_and_a_single_query(vectors):
    scores, ids = Index.build(vectors[:3]).query(vectors[1], 10)
    assert scores.shape == (1, 3) and ids[0, 0] == 1


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_save_and_load(tmp_path, vectors, kind, metric):
    names = [f"bild {i} é😀.png" for i in range(len(vectors))]
    built = Index.build(vectors, names, kind, metric, metadata={"model": "conv4"})
    built.save(tmp_path / "sub" / "gallery.index")
    loaded = Index.load(tmp_path / "sub" / "gallery.index")
    assert (loaded.names, loaded.kind, loaded.metric, loaded.metadata) == (names, kind, metric, {"model": "conv4"})
    for ours, theirs in zip(built.query(vectors[:5], 4), loaded.query(vectors[:5], 4)):
        np.testing.assert_array_equal(ours, theirs)
    assert sorted(path.name for path in (tmp_path / "sub").iterdir()) == ["gallery.index", "gallery.index.json"]


@pytest.mark.parametrize("key", ["params_sha256", "model"])  # the latter: visual_semantic's first indexes
def test_another_models_vectors_are_refused(tmp_path, vectors, key):
    one, other, file = (tmp_path / name for name in ("one.params", "other.params", "i.index"))
    one.write_bytes(b"one")
    other.write_bytes(b"other")
    built = Index.build(vectors, metadata={"kept": 1}, params=one)
    assert built.metadata == {"params_sha256": hashlib.sha256(b"one").hexdigest(), "kept": 1}
    Index(built.index, built.names, "exact", "cosine", {key: built.metadata["params_sha256"]}).save(file)
    assert len(Index.load(file, one)) == len(Index.load(file)) == 500
    with pytest.raises(UserError, match="i.index was made by another model .* than .*other.params: .* --gallery"):
        Index.load(file, other)
    Index.build(vectors).save(file)  # it does not say whose it is
    assert len(Index.load(file, other)) == 500


def _cut(index, names):
    index.write_bytes(index.read_bytes()[:-100])


def _swap_a_byte(index, names):
    data = bytearray(index.read_bytes())
    data[300] ^= 1
    index.write_bytes(bytes(data))


def _empty(index, names):
    index.write_bytes(b"")


def _other_names(index, names):
    about = json.loads(names.read_text())
    about["names"].pop()
    names.write_text(json.dumps(about))


def _no_json(index, names):
    names.write_text("{")


def _a_list(index, names):
    names.write_text("[]")


def _gone(index, names):
    index.unlink()


def _names_gone(index, names):
    names.unlink()


@pytest.mark.parametrize("damage", [_cut, _swap_a_byte, _empty, _other_names, _no_json, _a_list, _gone, _names_gone])
def test_damage_is_one_line(tmp_path, vectors, damage):
    path = tmp_path / "gallery.index"
    Index.build(vectors).save(path)
    damage(path, tmp_path / "gallery.index.json")
    with pytest.raises(UserError, match="gallery.index") as caught:
        Index.load(path)
    assert "\n" not in str(caught.value)


def test_wrong_input(tmp_path, vectors):
    with pytest.raises(UserError, match="16 numbers, the query has 8"):
        Index.build(vectors).query(vectors[:, :8], 1)
    with pytest.raises(ValueError, match="kind"):
        Index.build(vectors, kind="tree")
    with pytest.raises(ValueError, match="499 names"):
        Index.build(vectors, ["a"] * 499)
    with pytest.raises(UserError, match="0 neighbours are none"):
        Index.build(vectors).query(vectors[:2], 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        Index.build(vectors).save(tmp_path / "file" / "index")


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(vectors, kind, metric, bad):
    """A graph's search with such a query would never end."""
    broken = vectors[:9].copy()
    broken[3, 2] = broken[5, 0] = bad
    with pytest.raises(UserError, match=r"the vectors to index: 2 of 9 rows .* not finite \(row 4, 6\)"):
        Index.build(broken, kind=kind, metric=metric)
    index = Index.build(vectors, kind=kind, metric=metric)
    with pytest.raises(UserError, match=r"the query: 1 of 1 rows .* not finite"):
        index.query(broken[3], 5)


def test_zeros_have_no_cosine_but_a_distance(vectors):
    some = vectors[:9].copy()
    some[[2, 4]] = 0
    with pytest.raises(UserError, match=r"to index: 2 of 9 rows hold zeros alone \(the first is row 3\)"):
        Index.build(some)
    with pytest.raises(UserError, match="the query: 1 of 1 rows hold zeros alone"):
        Index.build(vectors).query(np.zeros(16), 3)
    assert Index.build(some, metric="l2").query(np.zeros(16), 2)[1].tolist() == [[2, 4]]


def test_a_full_disk_leaves_the_index_before(tmp_path, vectors, monkeypatch):
    Index.build(vectors[:5]).save(tmp_path / "a.index")
    with monkeypatch.context() as patch:
        patch.setattr(disk.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(UserError, match=r"cannot write .*a\.index\.json: No space left on device"):
            Index.build(vectors).save(tmp_path / "a.index")
    assert len(Index.load(tmp_path / "a.index")) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.index", "a.index.json"]
    (tmp_path / "b.index.json").mkdir()  # cannot be replaced: no index without its names
    with pytest.raises(UserError, match="cannot write .*b.index.json"):
        Index.build(vectors).save(tmp_path / "b.index")
    assert not (tmp_path / "b.index").exists()
