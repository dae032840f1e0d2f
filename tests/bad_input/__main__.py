"""``.venv/bin/python -m tests.bad_input`` writes ``docs/robustness.md`` from the table."""

from __future__ import annotations

from tests.bad_input import cases, makers

DOCUMENT = makers.REPO / "docs" / "robustness.md"
HEAD = """\
# What comes out of bad input

Made from the table in `tests/bad_input/cases.py` by `.venv/bin/python -m tests.bad_input`;
`tests/bad_input/test_bad_input.py` runs every row. Whatever the input, the program ends with status 2 and exactly one
line `error: ...` on stderr, which names the file or the flag; there is no traceback, and nothing half written lies in
the output folder.

{count} cases: {flags} of flags alone, {files} of files and folders.
"""


def document() -> str:
    """The text of ``docs/robustness.md``."""
    table = cases.every()
    files = sum(bool(case.file) for case in table)
    parts = [HEAD.format(count=len(table), flags=len(table) - files, files=files)]
    for program in dict.fromkeys(case.program for case in table):
        mine = [case for case in table if case.program == program]
        flags = [case.title for case in mine if not case.file]
        parts.append(
            f"\n## {program} ({len(mine)})\n\n| input | what is wrong | the line names |\n| --- | --- | --- |\n"
        )
        if flags:
            parts.append(f"| flags | {'; '.join(map(_cell, flags))} | the flag |\n")
        for (file, says), titles in _by_file(mine).items():
            parts.append(f"| `{file}` | {'; '.join(map(_cell, titles))} | `{_cell(says)}` |\n")
    return "".join(parts)


def _by_file(mine) -> dict:
    """Titles of the cases that break one file, less the file's name."""
    found: dict = {}
    for case in mine:
        if case.file:
            found.setdefault((case.file, case.says), []).append(case.title.rpartition(f"{case.file}: ")[2])
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(document(), encoding="utf-8")
    print(DOCUMENT)
