"""`docs/architecture.md` is current: its rooms, what they import, its drawing, and the files it names."""

import ast
import re

from common.files.paths import REPO

PAGE = (REPO / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOMS = sorted(path.parent.name for path in (REPO / "common").glob("*/__init__.py"))


def imports():
    """Room -> the rooms that its ``__init__`` says it imports."""
    found = {}
    for room in ROOMS:
        text = ast.get_docstring(ast.parse((REPO / "common" / room / "__init__.py").read_text(encoding="utf-8")))
        named = re.findall(r"`common\.(\w+)`", text[text.index("Imports") :])
        found[room] = {name for name in named if name in ROOMS}
    return found


def test_the_table_has_the_rooms_and_what_they_import():
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", PAGE, re.MULTILINE)
    assert {room: set(re.findall(r"`(\w+)`", cell)) for room, cell in rows} == imports()


def test_the_drawing_has_the_same_arrows():
    arrows = re.findall(r"^    (\w+) --> (\w+)$", PAGE, re.MULTILINE)
    assert sorted(arrows) == sorted((used, user) for user, uses in imports().items() for used in uses)


def test_the_modules_it_names_exist():
    named = re.findall(r"`([\w/]+\.py|\w+/)`", PAGE)
    folders = (REPO / "common", REPO / "common" / "data", REPO / "common" / "backbones", REPO)
    programs = {"train.py", "search.py"}  # of the examples
    of_a_run = {"plots/"}
    missing = [name for name in named if not any((folder / name).exists() for folder in folders)]
    assert set(missing) <= programs | of_a_run and len(named) > 20
