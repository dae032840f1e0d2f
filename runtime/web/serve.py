#!/usr/bin/env python3
"""Serve this page and a model's folder on 127.0.0.1, by the standard library alone.

    python3 runtime/web/get_onnxruntime.py
    python3 runtime/web/serve.py FOLDER

FOLDER is what an `export.py --package FOLDER` wrote.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCAL_NAMES = {"127.0.0.1", "localhost"}
HEADERS = {
    # Nothing from elsewhere, nothing to elsewhere: what is chosen on the page cannot leave it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'unsafe-inline';"
    " connect-src 'self'; img-src 'self' blob: data:; worker-src 'self' blob:; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",  # both: onnxruntime may use several threads
    "Cross-Origin-Embedder-Policy": "require-corp",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class Handler(http.server.SimpleHTTPRequestHandler):
    """The files beside this one, and the model's under ``model/``."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript",
                      ".wasm": "application/wasm"}  # fmt: skip

    def __init__(self, *args, model: Path, **kwargs):
        self.model = model
        super().__init__(*args, directory=str(HERE), **kwargs)

    def send_head(self):
        # A page elsewhere may point its own name at 127.0.0.1 (DNS rebinding): answer to loopback's names alone.
        if self.headers.get("Host", "").rsplit(":", 1)[0] not in LOCAL_NAMES:
            self.send_error(403)
            return None
        return super().send_head()

    def list_directory(self, path):
        self.send_error(404)

    def translate_path(self, path: str) -> str:
        found = Path(super().translate_path(path))
        if found.parent == HERE / "model":
            return str(self.model / found.name)
        return str(found)

    def end_headers(self):
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *args):
        pass


def server(model: Path, port: int = 0, handler: type = Handler) -> http.server.ThreadingHTTPServer:
    """A server on 127.0.0.1, not started yet; port 0 takes any free one."""
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(handler, model=model))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, metavar="FOLDER", help="what an export.py --package FOLDER wrote")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0 takes any free one")
    args = parser.parse_args()
    if not (args.model / "model.json").is_file():
        sys.exit(fail(f"{args.model}: no exported model there (model.json): export.py --package FOLDER writes one"))
    if not (HERE / "ort" / "ort.wasm.min.mjs").is_file():
        sys.exit(fail(f"onnxruntime-web is not there: python3 {HERE / 'get_onnxruntime.py'} takes it from npm"))
    try:
        found = server(args.model.resolve(), args.port)
    except (OSError, OverflowError) as error:
        sys.exit(fail(f"--port {args.port} cannot be used ({error}): give another"))
    print(f"page: http://127.0.0.1:{found.server_port}/ (Ctrl-C ends it)", flush=True)
    try:
        found.serve_forever()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        found.server_close()


def fail(line: str) -> int:
    print(f"error: {line}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
