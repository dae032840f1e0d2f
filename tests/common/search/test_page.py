"""The search page through Flask's test client."""

import http.client
import io
import logging
import os
import socket
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from common.files.errors import UserError
from common.search import page as serve
from common.search.page import Hit, create_app


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

    return create_app("Fake search", gallery, by_text, by_image, max_bytes=100_000, examples=["a & b"]).test_client()


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


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"msf1"])
def test_a_heic_picture_is_called_that(client, asked, brand):
    page = send(client, b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + b"x" * 50, name="IMG_1.HEIC")
    assert page.status_code == 400 and not asked
    assert "IMG_1.HEIC is a HEIC picture, which is not read here: send it as a JPEG file" in page.text


def test_the_form_says_what_it_takes_and_what_was_wrong(client):
    form = client.get("/").text
    assert 'accept="image/jpeg,image/png,image/webp,image/gif,image/bmp,image/tiff"' in form  # iOS then sends JPEG
    assert form.count(" required") == 2 and "aria-describedby" not in form
    wrong = client.get("/?q=elefant").text
    assert 'aria-describedby="error"' in wrong and 'id="error">no vector' in wrong


def test_a_small_file_of_a_huge_picture(monkeypatch):
    monkeypatch.setattr(serve, "MAX_PIXELS", 100)
    with pytest.raises(UserError, match="11 x 10 pixels: the limit"):
        serve.uploaded(png(np.zeros((10, 11, 3), np.uint8)), "big.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # Pillow's own, which it refuses twice of
    with pytest.raises(UserError, match="big.png has too many pixels: the limit is 0 million"):
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


@pytest.mark.parametrize(("origin", "status"), [
    (None, 200), ("http://localhost", 200), ("http://localhost:8000", 403), ("https://localhost", 403),
    ("http://evil.example", 403), ("null", 403),
])  # fmt: skip
def test_a_form_of_another_page_is_refused(client, asked, origin, status):
    form = {"picture": (io.BytesIO(png(np.zeros((3, 2, 3), np.uint8))), "q.png")}
    headers = {} if origin is None else {"Origin": origin}
    answer = client.post("/", data=form, content_type="multipart/form-data", headers=headers)
    assert answer.status_code == status and len(asked) == (status == 200)


def test_no_page_may_frame_it(client):
    assert "frame-ancestors 'none'" in client.get("/").headers["Content-Security-Policy"]


def test_a_long_text_is_refused_by_the_server_too(client, asked):
    assert 'maxlength="300"' in client.get("/").text
    assert client.get("/", query_string={"q": "ab " * 100}).status_code == 200  # 299 without the last blank
    page = client.get("/", query_string={"q": "word " * 61})
    assert page.status_code == 400 and "304 characters: the limit is 300" in page.text and len(asked) == 1


def test_a_picture_gone_from_disk_is_not_found(client, gallery, asked):
    gallery[5].unlink()
    page = client.get("/?like=5")
    assert page.status_code == 404 and "Picture 5 of the gallery cannot be read any more." in page.text
    assert client.get("/picture/5").status_code == 404 and not asked
    gallery[5].write_bytes(b"damaged")
    assert client.get("/picture/5").status_code == 404


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_formats_that_are_named_can_be_sent(client, kind):
    data = io.BytesIO()
    Image.fromarray(np.zeros((9, 7, 3), np.uint8)).save(data, kind)
    assert send(client, data.getvalue()).status_code == 200


@pytest.mark.parametrize("kind", ["PPM", "PCX", "ICO", "TGA", "SGI", "JPEG2000", "EPS", "PDF"])
def test_no_other_decoder_sees_an_upload(client, asked, kind, monkeypatch):
    data = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(data, kind)

    def never(*_):
        raise AssertionError("a decoder that is not named was run")

    Image.init()
    for name, (_, accept) in list(Image.OPEN.items()):
        if name not in serve.FORMATS:
            monkeypatch.setitem(Image.OPEN, name, (never, accept))
    assert send(client, data.getvalue()).status_code == 400 and not asked


@pytest.fixture
def server(gallery, monkeypatch):
    """A real one on loopback, with a cheap search."""
    monkeypatch.setattr(serve, "TIMEOUT", 0.5)
    monkeypatch.setattr(logging.getLogger("werkzeug"), "disabled", True)

    def by_text(text, k):
        if text == "elefant":
            raise UserError("no vector for 'elefant'")
        return [Hit(0.5, text, i) for i in range(len(gallery))]

    app = create_app("Many", gallery, by_text, lambda picture, k: [Hit(0.5, "x", 1)] * 3, max_bytes=100_000)
    made = serve.listen(app, 0)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join(5)


def multipart(data: bytes) -> tuple[bytes, dict]:
    head = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="q.png"\r\n\r\n'
    return head + data + b"\r\n--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}


def ask(server, method, path, body=None, headers=None) -> tuple[int, int]:
    """Status and length of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, len(answer.read())
    finally:
        connection.close()


def test_a_thousand_requests_by_eight_clients(server, gallery):
    good, form = multipart(png(np.zeros((30, 20, 3), np.uint8)))
    bad, _ = multipart(b"no picture")
    kinds = [
        (("GET", "/"), 200), (("GET", "/?q=sea+shore&k=48"), 200), (("GET", "/?like=2"), 200),
        (("GET", "/picture/1"), 200), (("GET", "/picture/5"), 200), (("POST", "/", good, form), 200),
        (("POST", "/", bad, form), 400), (("GET", "/?q=elefant"), 400), (("GET", "/?q=" + "x" * 500), 400),
        (("GET", "/picture/6"), 404), (("GET", "/?like=99"), 404), (("GET", "/nowhere"), 404),
        (("POST", "/", good, {**form, "Origin": "http://evil.example"}), 403), (("PUT", "/"), 405),
        (("GET", "/", None, {"Host": "evil.example"}), 403), (("POST", "/", b"x" * 100_001, form), 413),
    ]  # fmt: skip
    order = np.random.default_rng(0).integers(0, len(kinds), 1000)

    def status(kind):
        try:
            return ask(server, *kinds[kind][0])[0]
        except ConnectionError:  # a server may hang up on a body that is too large before all of it came
            assert kinds[kind][1] == 413
            return 413

    with ThreadPoolExecutor(8) as clients:
        assert list(clients.map(status, order[:200])) == [kinds[kind][1] for kind in order[:200]]
        before = resident()
        assert list(clients.map(status, order[200:])) == [kinds[kind][1] for kind in order[200:]]
        assert resident() - before < 40 << 20
    assert threading.active_count() < 20


def resident() -> int:
    """Bytes of memory that this process holds."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("sent", [
    b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: 90\r\n\r\n--b",
])  # fmt: skip
def test_a_client_that_stalls_is_let_go(server, sent):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
        client.sendall(sent)
        while client.recv(65536):  # ends when the server closes; a server that waits on lets this time out
            pass
    assert ask(server, "GET", "/")[0] == 200


def test_no_more_clients_at_once_than_there_is_room(server, monkeypatch):
    stalled = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(serve.MAX_CLIENTS + 8)]
    assert ask(server, "GET", "/")[0] == 200  # after its turn came
    assert threading.active_count() < serve.MAX_CLIENTS + 20
    for client in stalled:
        client.close()


def test_only_words_or_only_pictures(gallery):
    words = create_app("Words", gallery, search_text=lambda text, k: []).test_client()
    assert 'type="file"' not in words.get("/").text
    assert words.post("/").status_code == 405
    pictures = create_app("Pictures", gallery, search_image=lambda picture, k: []).test_client()
    assert 'name="q"' not in pictures.get("/").text


def test_a_description_stands_under_the_name(gallery):
    hits = [Hit(0.9, "Lemon & <i>", 1, "Sour & <b>"), Hit(0.8, "Lime", 2)]
    client = create_app("Products", gallery, search_image=lambda picture, k: hits).test_client()
    page = send(client, png(np.zeros((3, 2, 3), np.uint8))).text
    assert "<strong>Lemon &amp; &lt;i&gt;</strong><p>Sour &amp; &lt;b&gt;</p>" in page and 'class="told"' in page
    assert "<figcaption>Lime<div" in page and page.count("<figure>") == 2


def test_a_long_description_is_folded(gallery):
    hits = [Hit(0.9, "short", 1, "a" * serve.LONG), Hit(0.8, "long", 2, "b" * (serve.LONG + 1))]
    client = create_app("Products", gallery, search_image=lambda picture, k: hits).test_client()
    page = client.get("/?like=0").text
    assert f"<p>{'a' * serve.LONG}</p>" in page
    assert f"<details><summary><span>{'b' * (serve.LONG + 1)}</span></summary></details>" in page


def test_a_result_that_is_searched_from_is_called_by_its_name(gallery):
    hits = [Hit(0.9, "Lime", 2), Hit(0.8, "Lemon", 1)]
    client = create_app("Products", gallery, search_image=lambda picture, k: hits).test_client()
    assert "Results for Lemon</h2>" in client.get("/?like=1").text
    assert "Results for picture 0 of the gallery</h2>" in client.get("/?like=0").text  # not among its own results


def test_how_many_are_found_can_be_chosen_whatever_is_asked(gallery):
    asked = []
    pictures = create_app("P", gallery, search_image=lambda picture, k: asked.append(k) or []).test_client()
    both = create_app("B", gallery, lambda text, k: [], lambda picture, k: []).test_client()
    for client in (pictures, both):
        assert client.get("/").text.count("<select") == 1 and client.get("/").text.startswith("<!doctype html>")
    page = send(pictures, png(np.zeros((3, 2, 3), np.uint8)), k="48").text
    assert asked == [48] and '<option value="48" selected>48 results</option>' in page


def test_serve_answers_on_loopback_alone(gallery, capsys, monkeypatch):
    servers = []
    listen = serve.listen
    monkeypatch.setattr(serve, "listen", lambda *a: servers.append(listen(*a)) or servers[-1])
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


def test_all_searches_run_in_one_thread(gallery):
    """MXNet keeps memory for each thread that ran a network, and the server has a new one for each client."""
    seen = []

    def by_image(picture, k):
        seen.append(threading.get_ident())
        if len(seen) == 3:
            raise UserError("the third")
        return [Hit(0.5, "one", 0)]

    app = create_app("Fake search", gallery, lambda text, k: by_image(None, k), by_image)
    picture = png(np.zeros((4, 4, 3), np.uint8))
    asks = [lambda: app.test_client().get("/?q=a"), lambda: app.test_client().get("/?like=1")]
    asks += 3 * [lambda: send(app.test_client(), picture)]
    statuses = []
    for ask in asks:
        client = threading.Thread(target=lambda ask=ask: statuses.append(ask().status_code))
        client.start()
        client.join()
    assert statuses == [200, 200, 400, 200, 200] and len(seen) == 5 and len(set(seen)) == 1
