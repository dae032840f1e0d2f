"""The page in headless Chromium: its own server, pictures under ``trial/``, and what a script posts at its end.

    python3 -m tests.runtime.web.browser MODEL PICTURES WORDS

takes the screenshots of runtime/web/docs: it asks for the first picture of a folder among all, and for the words.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]
WEB = REPO / "runtime" / "web"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 3600  # seconds, after which the browser is taken for stuck
PAGES = ("trial.html", "shot.html", "forms.html")
SCRIPTS = ("trial.mjs", "shot.mjs", "forms.mjs", "frame.mjs")
FRAMED = '<body style="margin:0"><iframe src="index.html" style="border:0;width:{}px;height:{}px"></iframe>'


def _module(name: str):
    spec = importlib.util.spec_from_file_location(name, WEB / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


serve = _module("serve")


class Trial(serve.Handler):
    """Beside the page: the scripts of this folder, and ``wait``, a picture that comes when ``done`` was posted."""

    pictures: Path
    listed: dict
    frame: str
    done: threading.Event
    told: dict
    asked: list

    def do_GET(self):
        name = self.path.lstrip("/")
        self.asked.append(name)
        if name == "wait":
            self.done.wait(PATIENCE)
            return self._answer(b"", "image/png")
        if name == "trial/list.json":
            return self._answer(json.dumps(self.listed).encode(), "application/json")
        if name in PAGES:
            script = f'<script type="module" src="{Path(name).stem}.mjs"></script><img src="wait" hidden>'
            return self._answer(f'<link rel="icon" href="data:,">{self.frame}{script}'.encode(), "text/html")
        return super().do_GET()

    def do_POST(self):
        self.told.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.done.set()
        self._answer(b"", "text/plain")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        # The frame around the page is ours; the page itself keeps its policy.
        serve.http.server.SimpleHTTPRequestHandler.end_headers(self) if kind == "text/html" and self.frame else (
            self.end_headers()
        )
        self.wfile.write(body)

    def translate_path(self, path: str) -> str:
        name = path.lstrip("/")
        if name in SCRIPTS:
            return str(Path(__file__).with_name(name))
        if name.startswith("trial/"):
            return str(self.pictures / name.removeprefix("trial/"))
        return super().translate_path(path)


def run(page: str, model: Path, pictures: Path, listed: dict, frame: str = "", flags: tuple = ()) -> tuple[dict, list]:
    """What `page` posts in Chromium, and every path that was asked of the server."""
    about = {"pictures": Path(pictures), "listed": listed, "frame": frame, "done": threading.Event(), "told": {},
             "asked": []}  # fmt: skip
    server = serve.server(Path(model).resolve(), 0, type("Handler", (Trial,), about))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as profile:
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", *flags]
        address = f"http://127.0.0.1:{server.server_port}/{page}"
        try:
            subprocess.run([*command, address], capture_output=True, timeout=PATIENCE, check=True)
        finally:
            about["done"].set()
            server.shutdown()
            server.server_close()
    return about["told"], about["asked"]


def main(model: str, pictures: str, words: str) -> None:
    names = sorted(path.name for path in Path(pictures).iterdir() if path.suffix in (".jpg", ".png"))
    listed = {"ask": names[0], "gallery": names, "words": words}
    for name, width, height in (("desktop", 1100, 1000), ("telephone", 390, 1900)):
        file = WEB / "docs" / f"{name}.png"
        flags = (f"--screenshot={file}", f"--window-size={max(width, 500)},{height}", "--hide-scrollbars")
        told, _ = run("shot.html", Path(model), Path(pictures), listed, FRAMED.format(width, height), flags)
        _cropped(file, width)
        print(f"{file}: {told}")


def _cropped(file: Path, width: int) -> None:
    """Headless Chromium has a smallest width, so that a telephone's is a frame in it."""
    from PIL import Image

    with Image.open(file) as shot:
        kept = shot.crop((0, 0, width, shot.height)).convert("RGB")
    kept.quantize(200).save(file, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
