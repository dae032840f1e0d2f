"""Fetching from a server that does everything wrong."""

import contextlib
import hashlib
import http.server
import os
import socket
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from common.files import fetch
from common.files.errors import UserError
from common.files.sources import Source
from tests.common.files.test_unpack import packed

CONTENT = bytes(range(256)) * 4000
SUM = hashlib.md5(CONTENT).hexdigest()
REPO = Path(__file__).resolve().parents[3]


class Server(http.server.ThreadingHTTPServer):
    """Answers by the path: /cut/N ends the first N answers early, /code/503/N fails N times, ..."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen = []

    def url(self, path):
        return f"http://127.0.0.1:{self.server_address[1]}/{path}/file.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        kind, *rest = self.path.strip("/").split("/")
        self.server.seen.append((self.path, self.headers.get("Range")))
        earlier = sum(path == self.path for path, _ in self.server.seen) - 1
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if kind == "code" and earlier < int(rest[1]):
            return self.send_error(int(rest[0]))
        body = CONTENT[:-1] + b"?" if kind == "wrong" else CONTENT
        if kind == "norange" or not start:
            start = 0
            self.send_response(200)
        else:
            self.send_response(206)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        stop = start + 300_000 if kind in ("cut", "norange") and earlier < int(rest[0]) else len(body)
        self.wfile.write(body[start:stop])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "FIRST_PAUSE", 0.01)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_cut_connection_goes_on_where_it_stopped(server, tmp_path):
    path = fetch.fetch(server.url("cut/2"), tmp_path / "file.bin", "md5", SUM)
    assert path.read_bytes() == CONTENT
    assert [r for _, r in server.seen] == [None, "bytes=300000-", "bytes=600000-"]
    assert os.listdir(tmp_path) == ["file.bin"]


def test_an_interrupted_call_is_resumed_by_the_next(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    fetch.fetch(server.url("good"), tmp_path / "file.bin", "md5", SUM)
    assert server.seen[0][1] == "bytes=1000-"


def test_a_server_that_ignores_ranges_starts_over(server, tmp_path):
    assert fetch.fetch(server.url("norange/2"), tmp_path / "file.bin", "md5", SUM).read_bytes() == CONTENT


def test_503_is_tried_again_and_404_is_not(server, tmp_path):
    assert fetch.fetch(server.url("code/503/3"), tmp_path / "a.bin", "md5", SUM).read_bytes() == CONTENT
    assert len(server.seen) == 4
    with pytest.raises(UserError, match=r"HTTP 404.*--mirror"):
        fetch.fetch(server.url("code/404/9"), tmp_path / "b.bin", "md5", SUM)
    assert len(server.seen) == 5
    assert sorted(os.listdir(tmp_path)) == ["a.bin"]


def test_a_wrong_byte_is_refused(server, tmp_path):
    with pytest.raises(UserError, match="md5 is not"):
        fetch.fetch(server.url("wrong"), tmp_path / "file.bin", "md5", SUM)
    assert os.listdir(tmp_path) == []


def test_the_mirror_comes_first_and_a_bad_one_is_passed_over(server, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "file.bin").write_bytes(CONTENT)
    fetch.fetch(server.url("code/404/9"), tmp_path / "file.bin", "md5", SUM, str(mirror))
    assert server.seen == []
    (mirror / "file.bin").write_bytes(b"something else")
    assert fetch.fetch(server.url("good"), tmp_path / "again.bin", "md5", SUM, str(mirror)).read_bytes() == CONTENT


def test_ensure_unpacks_once(server, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "file.bin", "w") as archive:
        archive.writestr("set/list.txt", "hello")
    content = (tmp_path / "file.bin").read_bytes()
    monkeypatch.setattr(sys.modules[__name__], "CONTENT", content)
    value = hashlib.sha256(content).hexdigest()[:10]  # the first digits are enough
    source = Source(((server.url("good"), "sha256", value),), "tiny", "", "", "set/list.txt")
    for _ in range(2):
        folder = fetch.ensure("tiny", source, tmp_path / "tiny")
        assert (folder / "set/list.txt").read_text() == "hello"
        assert os.listdir(folder) == ["set"]
    assert len(server.seen) == 1


def test_unreachable_address_is_one_line_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "RETRIES", 1)
    with pytest.raises(UserError, match=r"127.0.0.1:9/.*--mirror FOLDER_OR_URL") as error:
        fetch.fetch("http://127.0.0.1:9/x.zip", tmp_path / "x.zip", "", "", name="cub200")
    assert "\n" not in str(error.value)


def test_what_was_begun_of_another_file_is_fetched_anew(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"of another file")
    assert fetch.fetch(server.url("good"), tmp_path / "file.bin", "md5", SUM).read_bytes() == CONTENT
    assert [r for _, r in server.seen] == ["bytes=15-", None]


def test_a_name_that_cannot_be_resolved_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: pytest.fail("it waited"))
    with pytest.raises(UserError, match=r"no.such.host.invalid/x.zip.*--mirror"):
        fetch.fetch("http://no.such.host.invalid/x.zip", tmp_path / "x.zip", "", "")


def test_a_file_that_is_no_archive_stays_as_it_is(server, tmp_path):
    source = Source(((server.url("good"), "md5", SUM),), "weights", "", "", "file.bin", unpack=False)
    assert (fetch.ensure("tiny", source, tmp_path) / "file.bin").read_bytes() == CONTENT


def test_a_package_from_the_mirror_is_verified_and_no_manager_means_one_line(server, tmp_path):
    file = ("file.bin", "md5", SUM)
    (tmp_path / "out").mkdir()
    mirror = server.url("good").rsplit("/", 1)[0]
    made = fetch.fetch_package("tiny", "tiny==1", ["no-such-program"], file, tmp_path / "out", mirror)
    assert made.read_bytes() == CONTENT
    for bad in (None, server.url("wrong").rsplit("/", 1)[0], str(tmp_path / "nowhere")):
        made.unlink(missing_ok=True)
        with pytest.raises(UserError, match="cannot get tiny==1 .*there is no no-such-program here.*--mirror") as error:
            fetch.fetch_package("tiny", "tiny==1", ["no-such-program"], file, tmp_path / "out", bad)
        assert "\n" not in str(error.value)


class Answer:
    """A server's answer: its headers, and its body in the pieces in which it comes."""

    status = 200

    def __init__(self, pieces, **headers):
        self.pieces, self.headers = iter(pieces), {k.replace("_", "-"): v for k, v in headers.items()}

    def read1(self, size):
        return next(self.pieces, b"")

    read = None  # it would wait for a whole piece

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def answered(monkeypatch, answer, seconds=1.0):
    """Have `answer` come from any address, a piece every `seconds`, without waiting for it."""
    clock = iter(range(10**9))
    monkeypatch.setattr(fetch, "open_address", lambda request: answer())
    monkeypatch.setattr(fetch.time, "monotonic", lambda: next(clock) * seconds)
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)


def test_a_server_that_drips_is_given_up(tmp_path, monkeypatch):
    answered(monkeypatch, lambda: Answer([b"x"] * 100_000))
    with pytest.raises(UserError, match=r"only \d\d bytes came in 6\d seconds"):
        fetch.fetch("http://127.0.0.1/x.bin", tmp_path / "x.bin", "md5", SUM)


def test_an_answer_whose_head_drips_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "ANSWER", 0.5)
    monkeypatch.setattr(fetch, "RETRIES", 1)
    over = threading.Event()

    def drip(listening):
        with listening, listening.accept()[0] as connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not over.wait(0.05):
                connection.sendall(b"x")

    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=drip, args=(listening,), daemon=True)
    thread.start()
    try:
        with pytest.raises(UserError, match="no whole answer came in 0.5 seconds"):
            fetch.fetch(f"http://127.0.0.1:{listening.getsockname()[1]}/x.bin", tmp_path / "x.bin", "md5", SUM)
    finally:
        over.set()
        thread.join()


def test_one_file_has_an_overall_limit(tmp_path, monkeypatch):
    answered(monkeypatch, lambda: Answer([bytes(100_000)] * 5000), seconds=60)
    with pytest.raises(UserError, match="it takes longer than 86400 seconds"):
        fetch.fetch("http://127.0.0.1/x.bin", tmp_path / "x.bin", "md5", SUM)


@pytest.mark.parametrize(("length", "reason"), [
    ("-5", "gives '-5' as the file's length"), ("many", "gives 'many'"), ("", "gives ''"), ("1e9", "gives '1e9'"),
    ("9" * 40, "gives '999"), ("9" * 15, "has 999999999999999 bytes, and there is room for"),
])  # fmt: skip
def test_a_length_that_cannot_be_is_refused_at_once(tmp_path, monkeypatch, length, reason):
    asked = []
    answered(monkeypatch, lambda: asked.append(1) or Answer([CONTENT], Content_Length=length))
    with pytest.raises(UserError, match=reason):
        fetch.fetch("http://127.0.0.1/x.bin", tmp_path / "x.bin", "md5", SUM)
    assert len(asked) == 1 and os.listdir(tmp_path) == []


def test_an_answer_without_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_BYTES", 1 << 20)
    answered(monkeypatch, lambda: Answer([bytes(1 << 16)] * 1000), seconds=0)
    with pytest.raises(UserError, match="does not end after 1048576 bytes"):
        fetch.fetch("http://127.0.0.1/x.bin", tmp_path / "x.bin", "md5", SUM)
    assert os.listdir(tmp_path) == []


def test_an_answer_that_goes_on_elsewhere_is_refused(tmp_path, monkeypatch):
    answer = Answer([CONTENT], Content_Range="bytes 7-9/10")
    answer.status = 206
    answered(monkeypatch, lambda: answer)
    (tmp_path / "x.bin.part").write_bytes(b"begun")
    with pytest.raises(UserError, match="goes on at 'bytes 7-9/10' instead of byte 5"):
        fetch.fetch("http://127.0.0.1/x.bin", tmp_path / "x.bin", "md5", SUM)


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.tgz", "x.h5"])
def test_a_cut_reply_without_checksum_or_length_does_not_get_its_name(tmp_path, monkeypatch, name):
    whole = packed(name, tmp_path)
    (tmp_path / name).unlink()
    for content in (whole[: len(whole) // 2], whole[:-60], b""):
        answered(monkeypatch, lambda content=content: Answer([content]))
        with pytest.raises(UserError, match="it is (cut or damaged|empty)"):
            fetch.fetch(f"http://127.0.0.1/{name}", tmp_path / name, "", "")
        assert os.listdir(tmp_path) == []
    answered(monkeypatch, lambda: Answer([whole]))
    assert fetch.fetch(f"http://127.0.0.1/{name}", tmp_path / name, "", "").read_bytes() == whole
