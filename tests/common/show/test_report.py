"""The page holds everything and lets nothing through as markup."""

import base64

import numpy as np
from PIL import Image

from common.show import report


def test_a_page(tmp_path):
    picture = tmp_path / "dots.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(picture)
    sections = [
        ("Figures <1>", [{"ours & theirs": {"recall@1": "0.5"}, "raw": {"map@r": "0.1"}}, "a <b>note</b>"]),
        ("A picture", [picture]),
    ]
    page = report.write(tmp_path, "Run <script>", sections, {"--lr": "<1e-4>"})
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "report.html"
    assert base64.b64encode(picture.read_bytes()).decode() in text and 'alt="A picture"' in text
    for escaped in ("Run &lt;script&gt;", "ours &amp; theirs", "a &lt;b&gt;note", "Figures &lt;1&gt;", "&lt;1e-4&gt;"):
        assert escaped in text
    assert "<script" not in text and "http" not in text
    assert text.count("<th>") == 3  # the corner, recall@1, map@r
    # A table wider than a telephone scrolls by itself, by keyboard too, and the page does not.
    assert text.count('<div class="wide" tabindex="0" role="region" aria-label="Figures &lt;1&gt;"><table>') == 1
    assert ".wide { overflow-x: auto; }" in text
