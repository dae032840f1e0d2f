"""A search page on loopback: words or a picture in, a grid of results out. It answers this machine alone."""

from __future__ import annotations

import base64
import io
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from common.data import images
from common.files.errors import UserError

HOST = "127.0.0.1"
LOCAL_NAMES = {"127.0.0.1", "localhost"}
THUMBNAIL = 256  # pixels, the longer side of a picture on the page
MAX_PIXELS = 50_000_000  # of an upload: a small file can unpack to a huge picture
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # of an upload: no other of PIL's decoders sees it
HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")  # brands of ISO/IEC 23008-12, of a file's start
LONG = 160  # characters of a description, of which a longer one is folded
MAX_TEXT = 300  # characters of a text: a search's time grows with them
COUNTS = (12, 24, 48, 96)
TIMEOUT = 20  # seconds that a client may be silent in the middle of a request
MAX_CLIENTS = 32  # answered at once; others wait their turn


@dataclass(frozen=True)
class Hit:
    """One result of a search.

    Attributes
    ----------
    score : float
        How well it fits.
    caption : str
        What is written under it.
    picture : int or None
        Index of its picture in the gallery; None: a text.
    description : str
        What there is to say of it beside its caption, which is then a name.
    """

    score: float
    caption: str = ""
    picture: int | None = None
    description: str = ""


Hits = Sequence[Hit]
Answer = "Hits | Mapping[str, Hits]"


def create_app(
    title: str,
    gallery: Sequence,
    search_text: Callable[[str, int], Answer] | None = None,
    search_image: Callable[[np.ndarray, int], Answer] | None = None,
    hint: str = "",
    examples: Sequence[str] = (),
    max_bytes: int = 20 << 20,
):
    """The Flask application of a search page.

    Parameters
    ----------
    title : str
        Heading of the page.
    gallery : sequence of path or (H, W, 3) uint8 array
        The only pictures that are served, by their index in it.
    search_text : callable (text, k) -> list of `Hit`, or dict of heading to list of `Hit`
        A `UserError` it raises is shown on the page (an unknown word, with near ones).
    search_image : callable (picture, k) -> the same
        The picture is (H, W, 3) uint8 RGB. With it, results can themselves be searched from.
    hint : str
        A line under the heading: what is searched.
    examples : sequence of str
        Texts to try, offered as links while nothing was searched.
    max_bytes : int
        Largest upload.

    Returns
    -------
    flask.Flask
    """
    from flask import Flask, Response, abort, render_template, request

    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = max_bytes
    # Networks are not made to be run from two threads at once, and MXNet keeps 5 MB for each thread that ever ran one.
    one_thread = ThreadPoolExecutor(1)
    _guard(app)

    def page(status: int = 200, **values):
        shown = {"title": title, "hint": hint, "examples": examples, "count": _count(request.args), "counts": COUNTS}
        shown.update(by_text=bool(search_text), by_image=bool(search_image), size=len(gallery))
        shown.update(limit=f"{max_bytes / (1 << 20):.3g} MB", longest=MAX_TEXT, long=LONG)
        shown.update(accepted=",".join(f"image/{kind.lower()}" for kind in FORMATS))
        shown.update(groups=None, text="", seed=None, asked="", error="")
        return render_template("search.html", **{**shown, **values}), status

    def results(search, query, asked: str, like: int | None = None, **values):
        try:
            answer = one_thread.submit(search, query, values.get("count") or _count(request.args)).result()
        except UserError as error:
            return page(400, error=str(error), **values)
        groups = answer if isinstance(answer, Mapping) else {"": answer}
        if like is not None:  # it mostly finds itself, and then its name is known
            hits = (hit for found in groups.values() for hit in found if hit.picture == like and hit.caption)
            asked = next((hit.caption for hit in hits), asked)
        return page(groups=groups, asked=asked, **values)

    @app.get("/")
    def home():
        text = request.args.get("q", "").strip()
        like = request.args.get("like", type=int)
        if search_image and like is not None:
            if not 0 <= like < len(gallery):
                return page(404, error=f"The gallery has no picture {like}: it has {len(gallery)}.")
            picture = _picture(gallery[like])
            if picture is None:
                return page(404, error=f"Picture {like} of the gallery cannot be read any more.")
            return results(search_image, picture, f"picture {like} of the gallery", like, seed=_inline(picture))
        if len(text) > MAX_TEXT:
            return page(400, error=f"That text has {len(text):,} characters: the limit is {MAX_TEXT}.")
        if search_text and text:
            return results(search_text, text, f"“{text}”", text=text)
        if "q" in request.args:
            return page(400, error="Type one or more words to search for.")
        return page()

    @app.post("/")
    def upload():
        if not search_image:
            abort(405)
        file = request.files.get("picture")
        if file is None or not file.filename:
            return page(400, error="Choose a picture to search with.")
        try:
            # In that thread too: a large picture takes its room once.
            picture = one_thread.submit(lambda: uploaded(file.read(), file.filename)).result()
        except UserError as error:
            return page(400, error=str(error))
        return results(search_image, picture, file.filename, seed=_inline(picture), count=_count(request.form))

    @app.get("/picture/<int:index>")
    def picture(index: int):
        found = _picture(gallery[index]) if index < len(gallery) else None
        if found is None:
            abort(404)
        return Response(_jpeg(found), mimetype="image/jpeg", headers={"Cache-Control": "max-age=600"})

    @app.errorhandler(413)
    def too_large(_):
        return page(413, error=f"That file is too large: the limit is {max_bytes / (1 << 20):.3g} MB.")

    return app


def _guard(app) -> None:
    """Answer only to what comes from this machine's own pages, and let pages load nothing from elsewhere."""
    from flask import abort, request

    @app.before_request
    def only_from_here():
        # A page elsewhere may point its own name at 127.0.0.1 (DNS rebinding): answer to loopback's names alone.
        if request.host.rsplit(":", 1)[0] not in LOCAL_NAMES:
            abort(403)
        # It may also send its visitors' browsers here with a form: browsers say where a form is from.
        if request.method == "POST" and request.headers.get("Origin", request.host_url[:-1]) != request.host_url[:-1]:
            abort(403)

    @app.after_request
    def nothing_from_elsewhere(response):
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none';"
            " frame-ancestors 'none'"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def serve(app, port: int = 8000) -> None:
    """Answer on 127.0.0.1 until Ctrl-C.

    Parameters
    ----------
    app : flask.Flask
    port : int
        0 takes any free one.

    Raises
    ------
    UserError
        The port is taken.
    """
    server = listen(app, port)
    print(f"search page: http://{HOST}:{server.server_port}/ (Ctrl-C ends it)", flush=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()


def listen(app, port: int):
    """A server on 127.0.0.1, with a thread for each of `MAX_CLIENTS` clients, that is not started yet.

    Parameters
    ----------
    app : flask.Flask
    port : int
        0 takes any free one.

    Returns
    -------
    werkzeug.serving.ThreadedWSGIServer

    Raises
    ------
    UserError
        The port is taken.
    """
    from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

    class Handler(WSGIRequestHandler):
        timeout = TIMEOUT

    class Server(ThreadedWSGIServer):
        room = threading.BoundedSemaphore(MAX_CLIENTS)

        def process_request(self, request, client_address):
            self.room.acquire()
            super().process_request(request, client_address)

        def process_request_thread(self, request, client_address):
            try:
                super().process_request_thread(request, client_address)
            finally:
                self.room.release()

    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise UserError(f"cannot listen on {HOST}:{port} ({error.strerror}): give another --port") from error
    return Server(HOST, port, app, Handler)


def uploaded(data: bytes, name: str) -> np.ndarray:
    """The picture in an upload.

    Parameters
    ----------
    data : bytes
    name : str
        What the error calls it.

    Returns
    -------
    (H, W, 3) uint8 RGB

    Raises
    ------
    UserError
        It is no picture, or too large a one.
    """
    limit = f"{MAX_PIXELS / 1e6:.0f} million"
    try:
        with images.opened(io.BytesIO(data), FORMATS) as picture:
            width, height = picture.size
        large = width * height > MAX_PIXELS
        found = None if large else images.decode(data, name, formats=FORMATS)
    except (*images.BROKEN, UserError) as error:
        if data[4:8] == b"ftyp" and data[8:12] in HEIC:
            raise UserError(
                f"{name} is a HEIC picture, which is not read here: send it as a JPEG file (an iPhone takes those with"
                " Settings, Camera, Formats, Most Compatible)"
            ) from error
        if isinstance(error, Image.DecompressionBombError):  # Pillow's own limit, above this one
            raise UserError(f"{name} has too many pixels: the limit is {limit}") from error
        raise UserError(
            f"{name} is not a picture that can be read: it is damaged, or no JPEG, PNG, WebP, GIF, BMP or TIFF file"
        ) from error
    if large:
        raise UserError(f"{name} has {width} x {height} pixels: the limit is {limit}")
    return found


def _count(values) -> int:
    count = values.get("k", type=int)
    return count if count in COUNTS else COUNTS[1]


def _picture(entry) -> np.ndarray | None:
    """A picture of the gallery; None if its file is gone or damaged since."""
    if isinstance(entry, np.ndarray):
        return entry
    try:
        return images.read(entry)
    except UserError:
        return None


def _jpeg(picture: np.ndarray) -> bytes:
    thumbnail = Image.fromarray(picture)
    thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
    if max(thumbnail.size) < THUMBNAIL // 2:  # tiny pictures: larger, their pixels kept
        factor = THUMBNAIL // max(thumbnail.size)
        thumbnail = thumbnail.resize((thumbnail.width * factor, thumbnail.height * factor), Image.NEAREST)
    data = io.BytesIO()
    thumbnail.save(data, "JPEG", quality=90)
    return data.getvalue()


def _inline(picture: np.ndarray) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(_jpeg(picture)).decode()
