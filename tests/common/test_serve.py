"""The search page through Flask's test client."""

import io
import threading
import urllib.request

import numpy as np
import pytest
from PIL import Image

from common import serve
from common.errors import UserError
from common.serve import Hit, create_app


def png(picture: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def gallery(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)
    path = tmp_path / "on disk.png"
    path.write_bytes(png(pictures[5]))
    (tmp_path / "private.png").write_bytes(png(pictures[4]))
    return [*pictures[:5], path]


@pytest.fixture
def asked():
    return []


@pytest.fixture
def client(gallery, asked):
    def by_text(text, k):
        asked.append((text, k))
        if text == "elefant":
            raise UserError("no vector for 'elefant' (did you mean elephant?)")
        return [Hit(0.5 - i / 10, f"<b>{text}</b> {i}", i) for i in range(len(gallery))]

    def by_image(picture, k):
        asked.append((picture.shape, k))
        return {"Pictures": [Hit(0.9, "a dog", 2)], "Words": [Hit(0.8, "dog")], "None": []}

    return create_app("Fake search", gallery, by_text, by_image, most_bytes=100_000, examples=["a & b"]).test_client()


def send(client, data: bytes, name="query.png", **fields):
    return client.post("/", data={"picture": (io.BytesIO(data), name), **fields}, content_type="multipart/form-data")


def test_the_empty_page(client):
    page = client.get("/")
    assert page.status_code == 200
    for part in ('<label for="q"', '<label for="picture"', "autofocus", "6 pictures", "/?q=a%20%26%20b"):
        assert part in page.text
    assert "http://" not in page.text and "https://" not in page.text  # nothing is fetched from elsewhere


def test_words(client, asked):
    page = client.get("/", query_string={"q": " sea  shore ", "k": 48})
    assert page.status_code == 200 and asked == [("sea  shore", 48)]
    assert page.text.count("<figure>") == 6 and "0.500" in page.text and '/picture/5"' in page.text
    assert "&lt;b&gt;sea" in page.text and "<b>" not in page.text


def test_an_unknown_word_is_named(client):
    page = client.get("/?q=elefant")
    assert page.status_code == 400
    assert 'role="alert"' in page.text and "did you mean elephant?" in page.text
    assert 'value="elefant"' in page.text  # to be mended, not typed again


@pytest.mark.parametrize("k, expected", [("12", 12), ("7", 24), ("x", 24), ("1000000", 24), ("-1", 24)])
def test_only_offered_counts(client, asked, k, expected):
    client.get("/", query_string={"q": "dog", "k": k})
    assert asked[-1][1] == expected


def test_an_empty_text(client):
    assert "Type one or more words" in client.get("/?q=+").text


def test_an_upload(client, asked):
    page = send(client, png(np.zeros((30, 20, 3), np.uint8)), k="12")
    assert page.status_code == 200 and asked == [((30, 20, 3), 12)]
    assert "data:image/jpeg;base64," in page.text and "<h2>Words</h2>" in page.text and "Nothing found." in page.text


@pytest.mark.parametrize("data, status, message", [
    (b"not a picture", 400, "is not a picture that can be read"),
    (b"", 400, "is not a picture that can be read"),
    (b"\xff\xd8\xff\xe0 cut short", 400, "is not a picture that can be read"),
    (b"x" * 100_001, 413, "too large: the limit is 0.0954 MB"),
])  # fmt: skip
def test_a_bad_upload_is_said(client, asked, data, status, message):
    page = send(client, data, name='<i>"x".png')
    assert page.status_code == status and message in page.text and not asked
    assert "<i>" not in page.text and "BytesIO" not in page.text


def test_a_small_file_of_a_huge_picture(monkeypatch):
    monkeypatch.setattr(serve, "MOST_PIXELS", 100)
    with pytest.raises(UserError, match="11 x 10 pixels: the limit"):
        serve.uploaded(png(np.zeros((10, 11, 3), np.uint8)), "big.png")


def test_no_file_chosen(client):
    assert "Choose a picture" in client.post("/", data={}).text


def test_search_from_a_result(client, asked):
    assert client.get("/?like=5").status_code == 200 and asked == [((8, 10, 3), 24)]
    assert client.get("/?like=6").status_code == 404
    assert client.get("/?like=-1").status_code == 404


def test_only_pictures_of_the_gallery(client):
    for place in (0, 5):
        answer = client.get(f"/picture/{place}")
        assert answer.mimetype == "image/jpeg"
        assert Image.open(io.BytesIO(answer.data)).size == (250, 200)
    for path in ("6", "-1", "private.png", "../private.png", "..%2fprivate.png", "%2e%2e/private.png", "/etc/passwd"):
        assert client.get(f"/picture/{path}").status_code == 404


def test_other_host_names_are_refused(client):
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/", headers={"Host": "localhost:8000"}).status_code == 200


def test_only_words_or_only_pictures(gallery):
    words = create_app("Words", gallery, search_text=lambda text, k: []).test_client()
    assert 'type="file"' not in words.get("/").text
    assert words.post("/").status_code == 405
    pictures = create_app("Pictures", gallery, search_image=lambda picture, k: []).test_client()
    assert 'name="q"' not in pictures.get("/").text


def test_serve_answers_on_loopback_alone(gallery, capsys, monkeypatch):
    from werkzeug import serving

    servers = []
    make = serving.make_server
    monkeypatch.setattr(serving, "make_server", lambda *a, **k: servers.append(make(*a, **k)) or servers[-1])
    app = create_app("Loopback", gallery, search_text=lambda text, k: [])
    thread = threading.Thread(target=serve.serve, args=(app, 0), daemon=True)
    thread.start()
    while not servers:
        thread.join(0.01)
    host, port = servers[0].server_address
    assert host == "127.0.0.1"
    assert b"Loopback" in urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
    with pytest.raises(UserError, match="give another --port"):
        serve.serve(app, port)
    servers[0].shutdown()
    thread.join(5)
    assert f"http://127.0.0.1:{port}/" in capsys.readouterr().out
