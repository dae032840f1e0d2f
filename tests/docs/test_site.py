"""The site: what its check finds, and that its navigation holds. `make docs` builds it in its own environment."""

import re

import pytest
import yaml

from common.files.paths import REPO
from docs import check


def site(folder, **pages):
    """A built site of these pages."""
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(f"<html><body>{body}</body></html>")
    return folder


def test_links_that_lead_somewhere_are_no_fault(tmp_path):
    (tmp_path / "a b.png").write_bytes(b"")
    one = '<h2 id="in">x</h2><a href="two.html#out">x</a><a href="#in">x</a><a href="https://example.org">x</a>'
    two = '<a name="out" href="/one.html#in">x</a><img src="a%20b.png"><img src="data:image/png;base64,AA">'
    assert check.check(site(tmp_path, one=one, two=two)) == []


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ('<a href="three.html">', "one.html: three.html: no such file"),
        ('<a href="#no">', "one.html: #no: no such place"),
        ('<a href="one.html#no">', "one.html: one.html#no: no such place"),
        ('<img src="no.png">', "one.html: no.png: no such file"),
        ('<script src="https://cdn.example/x.js">', "one.html loads https://cdn.example/x.js"),
        ('<link href="//fonts.example/x.css">', "one.html loads //fonts.example/x.css"),
    ],
)
def test_others_are(tmp_path, body, wrong):
    assert check.check(site(tmp_path, one=body)) == [wrong]


def test_the_navigation_names_pages_that_there_are():
    text = (REPO / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"[\w/.-]+\.md", str(yaml.safe_load(text)["nav"]))
    assert [name for name in named if not (REPO / name).is_file()] == [] and len(named) == len(set(named)) > 15
