"""Tables as any program writes them: other delimiters, orders of columns, quotes and signs come out as they went in."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from common.data.sets import table
from common.files.errors import UserError

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
LABELS = st.lists(CELL.filter(str.strip), min_size=2, max_size=6)
WAY = {
    "delimiter": st.sampled_from(",;\t"), "lineterminator": st.sampled_from(["\n", "\r\n"]),
    "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
}  # fmt: skip


@given(LABELS, st.permutations(["path", "label", "note"]), st.fixed_dictionaries(WAY), st.booleans(), st.data())
def test_any_text_comes_out_as_it_was_written(new_folder, labels, header, way, marked, data):
    folder = new_folder()
    notes = data.draw(st.lists(CELL, min_size=len(labels), max_size=len(labels)))
    encoding = "utf-8-sig" if marked else "utf-8"
    with open(folder / "t.csv", "w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, **way)
        writer.writerow(header)
        for i, (label, note) in enumerate(zip(labels, notes)):
            Image.new("RGB", (2, 2)).save(folder / f"{i}.png")
            cells = {"path": f"{i}.png", "label": label, "note": note}
            writer.writerow([cells[name] for name in header])
    wanted = [label.strip() for label in labels]
    if len(set(wanted)) < 2:
        with pytest.raises(UserError, match="lists pictures of 1 classes, two are needed"):
            table.load(folder / "t.csv", say=str)
        return
    found = table.load(folder / "t.csv", say=str).images
    assert [found.class_names[label] for label in found.labels] == wanted
    assert found.images == [folder / f"{i}.png" for i in range(len(labels))]


@given(st.binary(max_size=200))
def test_bytes_that_are_no_table_are_one_line(new_folder, content):
    file = new_folder() / "t.csv"
    for start in (b"", b"path,label,split,x1,y1,x2,y2,is_query,category\n"):
        file.write_bytes(start + content)
        with pytest.raises(UserError, match="t.csv") as found:  # there is no picture
            table.load(file, say=str)
        assert len(str(found.value).splitlines()) == 1
