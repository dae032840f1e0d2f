"""Number types of flags: whatever text is given, a value in range comes out, or one line and status 2."""

from __future__ import annotations

import contextlib
import io
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common import cli

WHOLE = {
    "positive_int": (1, 10**9), "non_negative_int": (0, 10**9), "batch_size": (1, 100_000), "width": (1, 65_536),
    "pixels": (8, 4096), "threads": (0, 256), "port": (0, 65_535), "seed_number": (0, 2**31 - 1),
}  # fmt: skip
REAL = {"positive_float": (5e-324, 1e6), "non_negative_float": (0, 1e6), "unit_float": (0, 1), "bounded": (-1e6, 1e6)}
LISTS = {"int_list": (0, 10**9), "float_list": (-1e6, 1e6)}
texts = (
    st.text(max_size=12)
    | st.text("0123456789+-.eE_, naif", max_size=12)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.lists(st.floats().map(str) | st.integers(-9, 99).map(str), max_size=4).map(",".join)
    | st.text(st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), min_size=1, max_size=3)  # bytes of no UTF-8
)


def parsed(kind, text):
    """The value, or None where the parser refuses it as it should."""
    p = cli.parser("A program.")
    p.add_argument("--flag", type=kind)
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    try:
        with contextlib.redirect_stderr(said):
            return p.parse_args([f"--flag={text}"]).flag
    except SystemExit as end:
        said.seek(0)
        line = said.read()
        assert end.code == 2 and line.startswith("error: argument --flag: ") and len(line.splitlines()) == 1
        return None


@pytest.mark.parametrize("name", [*WHOLE, *REAL])
@given(texts)
@example("nan")
@example("1" * 5000)
@example("1e309")
def test_a_number_is_in_range_or_refused(name, text):
    least, most = {**WHOLE, **REAL}[name]
    value = parsed(getattr(cli, name), text)
    if value is not None:
        assert isinstance(value, int if name in WHOLE else float) and math.isfinite(value) and least <= value <= most


@pytest.mark.parametrize("name", LISTS)
@given(texts)
@example("1,nan")
def test_a_list_is_of_numbers_in_range_or_refused(name, text):
    least, most = LISTS[name]
    values = parsed(getattr(cli, name), text)
    assert values is None or all(math.isfinite(value) and least <= value <= most for value in values)


@pytest.mark.parametrize("name", [*WHOLE, *REAL])
@given(st.data())
def test_every_number_in_range_is_taken(name, data):
    value = data.draw(st.integers(*WHOLE[name]) if name in WHOLE else st.floats(*REAL[name]))
    assert parsed(getattr(cli, name), str(value)) == value


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-60, 60))
def test_whole_takes_both_its_ends(least, most, value):
    assert parsed(cli.whole(least, most), str(value)) == (value if least <= value <= most else None)


@given(texts)
@example("../x")
@example(".")
def test_a_stem_stays_in_its_folder(text):
    found = parsed(cli.stem, text)
    assert found is None or (found == text and not set(found) & set("/\\\0\n") and found.strip(". "))


@given(texts | st.sampled_from(["ADAM", "Sgd", "adem"]))
def test_a_name_is_one_of_the_names_or_refused(text):
    found = parsed(cli.one_of(cli.OPTIMIZERS), text)
    assert found is None and text.lower() not in cli.OPTIMIZERS or found == text.lower() in cli.OPTIMIZERS
