"""`benchmarks/run.py` on stand-ins for benchmarks: rows become a table, failures are said, what is there is kept."""

import argparse
import ast
import json
import pathlib
import re
import sys

import pytest

from benchmarks import run, turns

GIVES = """
import json, pathlib, sys
asked = pathlib.Path(__file__).with_name("asked")
asked.write_text(asked.read_text() + "x" if asked.exists() else "x")
flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
row = {"name": "a step", "unit": "pictures a second", "ours": "suite", "times": 1.1,
       "rounds": {"suite": [float(flags["--speed"]), 100, 130], "A": [50, 60, 70], "B": [80, 100, 90]}}
more = {"name": "a search", "unit": "seconds", "ours": "suite", "more": False, "limit": 10,
        "rounds": {"suite": [11.0, 12.0, 13.0], "A": [24.0]}}
pathlib.Path(flags["--json"]).write_text(json.dumps({"rows": [row, more], "section": "## A section"}))
"""
FAILS = "import sys\nsys.exit('error: no such thing | at all')\n"


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Runs the driver on stand-ins: (status, lines of the table by their first cell)."""
    (tmp_path / "gives.py").write_text(GIVES)
    (tmp_path / "fails.py").write_text(FAILS)
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(run, "ROWS", {
        "good": run.Bench(str(tmp_path / "gives.py"), "--speed 120", "--speed 1", 60),
        "bad": run.Bench(str(tmp_path / "fails.py"), "", "", 60),
    })  # fmt: skip
    monkeypatch.setattr(run, "machine", lambda peer: {
        "processor": "P", "cores": 2, "threads": 2, "memory": "8 GB", "system": "S", "ours": {}, "peers": {},
    })  # fmt: skip

    def bench(*flags):
        status = run.main([*flags, "--keep", str(tmp_path / "keep"), "--results", str(tmp_path)])
        text = (tmp_path / "RESULTS.md").read_text()
        lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines()]
        return status, {line[0]: line[1:] for line in lines[::-1] if line}  # the first of a name

    bench.asked = lambda: (tmp_path / "asked").read_text()
    bench.folder = tmp_path
    return bench


def test_the_table_tells_medians_the_best_of_the_others_and_what_is_met(bench):
    status, lines = bench()
    assert status == 1  # a row failed
    step = ["120 (100 to 130)", "B 90.0 (80.0 to 100)", "1.33", "1.1x", "yes"]
    assert lines["a step, pictures a second"] == step
    assert lines["a search, seconds"] == ["12.0 (11.0 to 13.0)", "A 24.0", "2.00", "10 seconds", "**no**"]
    assert lines["bad"][0] == r"failed: error: no such thing \| at all"
    text = (bench.folder / "RESULTS.md").read_text()
    assert "## A section" in text and (bench.folder / "results.png").stat().st_size > 1000
    assert str(bench.folder) not in text.partition("## How it was measured")[0]


def test_a_bench_goes_on_and_fails_again_where_it_failed(bench):
    bench()
    (bench.folder / "fails.py").write_text(GIVES.replace('float(flags["--speed"])', "1"))
    status, lines = bench()
    assert status == 0 and "bad" not in lines
    assert bench.asked() == "xx"  # once by each: what was kept is not measured again
    bench("--rows", "good")
    assert bench.asked() == "xxx"
    bench("--fresh")
    assert bench.asked() == "xxxxx"


def test_rows_that_are_named_are_measured_alone_beside_what_is_kept(bench):
    status, lines = bench("--rows", "good")
    assert status == 0 and lines["bad"][0] == "not measured"
    status, lines = bench("--rows", "bad")
    assert status == 1 and lines["bad"][0].startswith("failed") and "a step, pictures a second" in lines
    assert bench.asked() == "x"


def test_what_was_measured_by_other_flags_is_not_kept(bench):
    bench("--rows", "good")
    status, lines = bench("--quick")
    assert bench.asked() == "xx" and lines["a step, pictures a second"][0] == "100 (1.00 to 130)"


def test_a_row_that_hangs_is_stopped(bench, monkeypatch):
    monkeypatch.setattr(run, "SLOW", 0.01)
    monkeypatch.setitem(run.ROWS, "bad", run.Bench(str(bench.folder / "hangs.py"), "", "", 60))
    assert bench("--rows", "bad")[1]["bad"][0] == "failed: stopped after 0.6 s"


def test_sides_take_turns_and_the_last_line_counts(tmp_path):
    script = tmp_path / "side.py"
    script.write_text(
        "import json, os, pathlib, sys\nfile = pathlib.Path(sys.argv[2])\n"
        "file.write_text((file.read_text() if file.exists() else '') + sys.argv[1])\n"
        "print('chatter')\n"
        "print(json.dumps({sys.argv[1]: len(file.read_text()), 'threads': os.environ['OMP_NUM_THREADS']}))"
    )
    sides = [[sys.executable, script, name, tmp_path / "order"] for name in "abc"]
    assert turns.turns(sides[:2], 2, threads=3, once=sides[2:]) == {
        "a": [1, 4], "b": [2, 5], "c": [3], "threads": ["3"] * 5,
    }  # fmt: skip
    assert (tmp_path / "order").read_text() == "abcab"
    (tmp_path / "fails.py").write_text("raise SystemExit('no such thing')")
    with pytest.raises(SystemExit, match="error: python.* fails.py: no such thing"):
        turns.run([sys.executable, tmp_path / "fails.py"])


def test_a_row_needs_a_peer_for_a_ratio():
    alone = turns.Row("a", "seconds", "suite", {"suite": [3.0]}, more=False, times=2)
    assert (alone.peer, alone.ratio, alone.met, alone.target) == (None, None, None, "2x")
    row = turns.Row("a", "seconds", "suite", {"suite": [3.0], "A": [9.0, 5.0, 6.0], "B": [7.0]}, more=False, times=2)
    assert (row.peer, row.ratio, row.met) == ("A", 2.0, True)
    assert json.loads(json.dumps(turns.dataclasses.asdict(row))) == turns.dataclasses.asdict(row)


def test_help_can_be_shown():
    """argparse formats it by %, so that a share needs two of them."""
    shown = 0
    for file in pathlib.Path(run.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "help" and isinstance(node.value, ast.Constant):
                parser = argparse.ArgumentParser()
                parser.add_argument("--flag", help=node.value.value)
                shown += len(parser.format_help())
    assert shown
