"""The page holds everything and lets nothing through as markup."""

import base64
import re
import shutil
import subprocess

import numpy as np
import pytest
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
    assert text.count("<script") == 1 and "http" not in text
    assert text.count("<th>") == 3  # the corner, recall@1, map@r
    # A table wider than a telephone scrolls by itself, by keyboard too, and the page does not.
    assert text.count('<div class="wide" tabindex="0" role="region" aria-label="Figures &lt;1&gt;"><table>') == 1
    assert ".wide { overflow-x: auto; }" in text


def test_a_reader_finds_each_part_and_the_command_of_each_picture(tmp_path):
    picture = tmp_path / "dots.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(picture)
    sections = [("One", [{"raw": {"a": "1"}, "ours": {"a": "2"}}]), ("Two & three", [picture])]
    page = report.write(tmp_path, "Run", sections, {"lr": 1}, ["train.py", "--data-path", "my <own> pictures"])
    text = page.read_text(encoding="utf-8")
    contents = text[text.index("<nav") : text.index("</nav>")]
    linked = re.findall('href="#([^"]+)">([^<]+)<', contents)
    assert [name for _, name in linked] == ["One", "Two &amp; three", "Command", "Settings"]
    assert all(f'<h2 id="{part}">{name}</h2>' in text for part, name in linked)
    assert 'dots.png, made by <a href="#command">' in text
    assert "python3 train.py --data-path &#x27;my &lt;own&gt; pictures&#x27;" in text
    assert text.count("<tr class=main><td>ours</td>") == 1


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
@pytest.mark.slow
def test_headings_sort_a_table(tmp_path):
    rows = {"b": {"n": "1,200"}, "a": {"n": "30"}, "c": {"n": ""}, "d": {"n": "0.5 of 3"}}
    page = report.write(tmp_path, "Run", [("One", [rows])])
    trial = """<script>
const order = () => [...document.querySelectorAll('tbody tr')].map(row => row.cells[0].textContent).join('');
const [name, number] = document.querySelectorAll('th button'), seen = [order()];
for (const button of [number, number, name, name]) {
  button.click();
  seen.push(order() + ' ' + button.parentNode.getAttribute('aria-sort'));
}
document.title = seen.join(', ') + ' ' + document.querySelectorAll('[aria-sort]').length;
</script>"""
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", trial + "</body>"), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout
    title = re.search("<title>(.*)</title>", shown).group(1)
    assert title == "bacd, badc descending, dabc ascending, abcd ascending, dcba descending 1"
