"""The notebooks run as they stand, and say what is kept in them but for digits."""

import json
import re

import pytest

from common.files.paths import data_dir
from tests import notebooks


def said(outputs):
    """The words of a cell's outputs, and of what kinds they are."""
    text = "".join("".join(output.get("text", output.get("data", {}).get("text/plain", ""))) for output in outputs)
    return re.findall("[a-z]{3,}", text), [sorted(output.get("data", {})) for output in outputs]


@pytest.mark.slow
@pytest.mark.parametrize("file", notebooks.NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs_and_gives_what_is_kept_in_it(file):
    notebook = json.loads(file.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    if "emoji" in str(code) and not (data_dir("emoji") / "images").is_dir():
        pytest.skip("no emoji here: ./get_data.sh emoji")
    given = notebooks.run(notebook, file.parent)
    kinds = [(said(cell["outputs"])[1], said(now)[1]) for cell, now in zip(code, given)]
    assert all(kept == now for kept, now in kinds) and any(kept for kept, _ in kinds)
    words = {word for cell in code for word in said(cell["outputs"])[0]}
    assert words == {word for now in given for word in said(now)[0]}


def test_a_cell_prints_and_its_last_line_has_a_value(tmp_path):
    sources = ["a = 1\n", "print(a)\n", "a + 1"], ["b = a"]
    cells = [{"cell_type": "code", "source": source} for source in sources]
    first, second = notebooks.run({"cells": cells}, tmp_path)
    assert [output["output_type"] for output in first] == ["stream", "execute_result"]
    assert first[0]["text"] == ["1\n"] and first[1]["data"] == {"text/plain": ["2"]} and second == []
