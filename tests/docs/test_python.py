"""What the README and the how-to pages show of Python runs as it stands, and prints what they say it prints."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.files.paths import REPO
from tests.conftest import require_weights

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PRINTED = re.compile(r"^ *print\(.*\)  # ([(\w].*)$", re.MULTILINE)
NAMES = "README.md", "docs/python.md", "docs/telephone.md"
PAGES = {name: BLOCK.findall((REPO / name).read_text(encoding="utf-8")) for name in NAMES}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with what the pages name: pictures in ``ROOT``, a model of train.py, the examples."""
    rng = np.random.default_rng(0)
    for label in range(3):
        (tmp_path / "ROOT" / f"class {label}").mkdir(parents=True)
        for number in range(6):
            pixels = np.clip(80 * label + rng.normal(0, 20, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "ROOT" / f"class {label}" / f"{number}.png")
    (tmp_path / "examples").symlink_to(REPO / "examples")
    (tmp_path / "runs" / "photos").mkdir(parents=True)
    for file in (REPO / "examples" / "embedding_learning" / "pretrained").iterdir():
        shutil.copy(file, tmp_path / "runs" / "photos" / f"margin_loss_model{file.suffix}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_has_ten_lines():
    (block,) = PAGES["README.md"]
    assert len([line for line in block.splitlines() if line]) == 10


@pytest.mark.parametrize(("page", "number"), [(page, i) for page, blocks in PAGES.items() for i in range(len(blocks))])
def test_it_runs_and_prints_what_it_says(page, number, folder, capsys):
    block = PAGES[page][number]
    if "squeezenet1.1" in block:
        require_weights("squeezenet1.1")
    names = {}
    exec(compile(block, f"{page} block {number + 1}", "exec"), names)
    said = capsys.readouterr().out
    promised = [text for text in PRINTED.findall(block) if re.match(r"\(\d|no_such|squeezenet", text)]
    assert [text for text in promised if text not in said.splitlines()] == []
    for file in re.findall(r'"([\w.]+\.(?:png|npy|faiss))"', block):
        assert (Path(folder) / file).stat().st_size > 100
    if "features" in names:
        assert names["features"].shape == (18, 512) and np.isfinite(names["features"]).all()
