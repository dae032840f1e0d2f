"""Searching by words, by pictures, and on the page."""

import io
import shutil
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from common.export import engine
from common.files.errors import UserError
from examples.visual_semantic import search
from examples.visual_semantic.gallery import Searcher


def run(*flags):
    search.main(search.parse_args([str(flag) for flag in flags]))


@pytest.fixture(scope="module")
def searcher(coloured):
    found = Searcher(coloured.params, "exact")
    found.build(sorted(coloured.pictures.rglob("*.png")))
    return found


def folders(searcher, vectors, k=8):
    return [searcher.index.names[place].split("/")[-2] for _, place in searcher.pictures(vectors, k)[0]]


@pytest.mark.parametrize("text, expected", [
    ("red", "red"), ("Blue", "blue"),
    ("orange", "orange"), ("deep sky", "deep+sky"),  # never seen
    ("cherry", "red"),  # no class at all
    ("red yellow", "orange"), ("sky deep", "deep+sky"),  # words averaged
])  # fmt: skip
def test_pictures_for_words(searcher, text, expected):
    found = folders(searcher, searcher.of_text(text)[None])
    assert found.count(expected) >= 6 and found[0] == expected


def test_pictures_and_words_for_a_picture(searcher, coloured):
    for name in ("green", "orange"):
        vectors = searcher.of_pictures([coloured.pictures / name / f"{name}_10003.png"])
        assert folders(searcher, vectors) == [name] * 8
        assert searcher.classes(vectors, 2)[0][0][1] == name
    searcher.read_vocabulary(1000)
    purple = np.full((50, 80, 3), (140, 40, 170), np.uint8)
    words = searcher.any_words(searcher.of_pictures([purple]), 3)[0]
    assert all(word.isalpha() for _, word in words) and [s for s, _ in words] == sorted((s for s, _ in words))[::-1]


def test_the_other_engine_finds_the_same(coloured, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engine, "weights_dir", lambda: tmp_path)
    queries = sorted(coloured.pictures.rglob("*_10003.png"))
    found = Searcher(coloured.params, "exact")
    before = found.of_pictures(queries)
    found.choose(SimpleNamespace(engine="onnxruntime", gpus=[]), len(queries))
    np.testing.assert_allclose(found.of_pictures(queries), before, atol=1e-4)
    flags = ["--params", coloured.params, "--gallery", coloured.pictures, "--exact", "--image", queries[0], "-k", "3"]
    run(*flags, "--engine", "onnxruntime", "--index", tmp_path / "x.faiss")
    name = queries[0].parent.name
    assert all(f"/{name}/" in line for line in capsys.readouterr().out.splitlines()[-3:])
    assert len(list((tmp_path / "onnx").iterdir())) == 1


def test_words_in_memory_give_what_the_file_gives(searcher, coloured):
    before = {text: searcher.of_text(text) for text in ("cherry", "deep sky", "cherry purple", "red cherry")}
    searcher.keep_words()
    for text, vector in before.items():
        np.testing.assert_allclose(searcher.of_text(text), vector, atol=1e-6)
    with pytest.raises(UserError, match="'chery'.*did you mean cherry"):
        searcher.of_text("chery")


def test_the_graph_finds_what_comparing_with_all_finds(searcher, coloured):
    graph = Searcher(coloured.params)
    graph.build(sorted(coloured.pictures.rglob("*.png")), coloured.params.with_name("graph.faiss"))
    assert graph.index.kind == "hnsw" and searcher.index.kind == "exact"
    vectors = searcher.of_text("yellow")[None]
    np.testing.assert_allclose(
        [s for s, _ in graph.pictures(vectors, 8)[0]], [s for s, _ in searcher.pictures(vectors, 8)[0]], atol=1e-6
    )


def test_the_commands(coloured, tmp_path, capsys):
    params = tmp_path / "model.params"
    shutil.copy(coloured.params, params)
    with pytest.raises(UserError, match="no gallery was indexed yet: give --gallery"):
        run("--params", params, "--text", "red")
    run("--params", params, "--image", coloured.pictures / "red" / "red_10001.png")  # words need no gallery
    assert "classes: red" in capsys.readouterr().out
    sheet = tmp_path / "found.png"
    query = coloured.pictures / "deep+sky" / "deep+sky_10002.png"
    run("--params", params, "--gallery", coloured.pictures, "--text", "orange", "cherry", "--image", query,
        "-k", 3, "--sheet", sheet, "--vocabulary", 50)  # fmt: skip
    out = capsys.readouterr().out
    assert "48 pictures indexed" in out and out.count("/orange/") == 3 and out.count("/deep+sky/deep+sky_1") >= 4
    assert "classes: deep sky" in out and "  words: " in out
    with Image.open(sheet) as drawn:
        assert drawn.height > 300
    run("--params", params, "--text", "orange", "-k", 3)  # from the index beside the model
    assert capsys.readouterr().out.count("/orange/") == 3
    whole = params.read_bytes()
    params.write_bytes(whole[:8] + b"\1" + whole[9:])  # in a number that MXNet reserves: other bytes, the same model
    with pytest.raises(UserError, match="made by another model .* than .*again by --gallery"):
        run("--params", params, "--text", "orange")


def test_a_gallery_with_a_damaged_picture(coloured, tmp_path, capsys):
    shutil.copytree(coloured.pictures / "red", tmp_path / "red")
    (tmp_path / "red" / "bad.png").write_bytes(b"no picture")
    place = ["--gallery", tmp_path / "red", "--index", tmp_path / "i.faiss"]
    flags = ["--params", coloured.params, *place, "--text", "red"]
    with pytest.raises(UserError, match="bad.png is not a picture"):
        run(*flags)
    run(*flags, "--on-error", "skip")
    said = capsys.readouterr()
    assert "8 pictures indexed" in said.out and "skipped: " in said.err and "bad.png" in said.err


@pytest.mark.slow
@pytest.mark.parametrize("flags, message", [
    ([], "say what to do"),
    (["--image", "none.png"], "none.png: no such picture"),
    (["--text", "red", "--params", "none.params"], "none.params: no model there"),
])  # fmt: skip
def test_wrong_use_is_one_line(flags, message):
    done = subprocess.run([sys.executable, search.__file__, *flags], capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


@pytest.fixture
def client(searcher):
    return searcher.app().test_client()


def test_the_page(client, coloured):
    start = client.get("/").text
    assert 'href="/?q=deep%20sky"' in start and "trained on 4 classes" in start
    page = client.get("/?q=orange&k=12").text
    assert page.count('alt="orange"') >= 8 and page.count("<figure>") == 12
    data = io.BytesIO((coloured.pictures / "blue" / "blue_10001.png").read_bytes())
    page = client.post("/", data={"picture": (data, "blue.png")}, content_type="multipart/form-data").text
    assert "<h2>Classes</h2>" in page and page.index(">blue<") < page.index(">red<")
    assert "did you mean orange" in client.get("/?q=orenge").text
    no_picture = client.post("/", data={"picture": (io.BytesIO(b"x"), "x.png")}, content_type="multipart/form-data")
    assert no_picture.status_code == 400 and "x.png is not a picture" in no_picture.text


def test_in_chromium(searcher, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, searcher.app(), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    shot = tmp_path / "page.png"
    subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--window-size=1000,900", f"--screenshot={shot}", f"http://127.0.0.1:{server.server_port}/?q=orange&k=12"],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    server.shutdown()
    thread.join(5)
    with Image.open(shot) as page:
        pixels = np.asarray(page.convert("RGB"), int)
    near = np.abs(pixels - (240, 140, 30)).max(axis=2) < 40  # the results: eight orange squares of some 150 pixels
    assert near.sum() > 8 * 100**2
