#!/usr/bin/env python3
"""Look at a site that was built: every link leads to a file and a place in it, and nothing is loaded from elsewhere."""

import html.parser
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(html.parser.HTMLParser):
    """The places on a page, and what it links to and loads."""

    def __init__(self, file: Path):
        super().__init__()
        self.places, self.links, self.loaded = {""}, [], []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.places |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        elif found.get(LOADED.get(tag)):
            self.loaded.append(found[LOADED[tag]])


def check(site: Path) -> list[str]:
    """What is wrong, a line each."""
    pages, wrong = {file.resolve(): Page(file) for file in sorted(site.rglob("*.html"))}, []
    for file, page in pages.items():
        name = file.relative_to(site.resolve())
        wrong += [f"{name} loads {url}" for url in page.loaded if urlsplit(url).netloc]
        for url in [*page.links, *page.loaded]:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            path = unquote(parts.path)
            base = site.resolve() if path.startswith("/") else file.parent
            target = (base / path.lstrip("/")).resolve() if path else file
            if not target.is_file():
                wrong.append(f"{name}: {url}: no such file")
            elif target in pages and unquote(parts.fragment) not in pages[target].places:
                wrong.append(f"{name}: {url}: no such place")
    return wrong


if __name__ == "__main__":
    found = check(Path(sys.argv[1]))
    print(*found, sep="\n")
    sys.exit(f"{len(found)} wrong links" if found else 0)
