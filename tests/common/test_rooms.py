"""The rooms of `common`: imports go one way, each room says what lives in it, and tests lie as the code does."""

import ast
from pathlib import Path

import pytest

from common.files.paths import REPO

COMMON = REPO / "common"
LEVELS = (("files",), ("data", "text"), ("backbones",), ("train", "metrics", "export"), ("search", "show"))
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
BESIDE = {"cli", "compat", "devices", "handover", "launch", "resume", "run"}  # what a program is started with
PROGRAMS = {"get_data", "pack"}  # may import every room, and no room imports it
MODULES = sorted(path.relative_to(COMMON) for path in COMMON.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """What `path` imports of `common`, wherever in the file it does so: rooms, and modules beside them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("common.")}
        elif isinstance(node, ast.ImportFrom) and node.module == "common":
            found |= {f"common.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("common."):
            found.add(node.module)
    return {name.split(".")[1] for name in found}


def test_every_module_is_in_a_room_or_beside_them():
    assert {module.parts[0] for module in MODULES if len(module.parts) > 1} == set(LEVEL)
    beside = {module.stem for module in MODULES if len(module.parts) == 1}
    assert beside <= {"__init__", *BESIDE, *PROGRAMS}


@pytest.mark.parametrize("module", [str(m) for m in MODULES if m.stem not in PROGRAMS])
def test_imports_go_one_way(module):
    room = Path(module).parts[0] if "/" in module else ""
    here = LEVEL.get(room)
    for name in imported(COMMON / module):
        if here is None:
            assert name in BESIDE | {"files"}, f"{module}, beside the rooms, imports {name}"
        elif name in BESIDE:
            assert name == "compat" or here > 0, f"{module} imports {name}"
        else:
            assert name == room or LEVEL[name] < here, f"{module} imports {name}"


@pytest.mark.parametrize("room", LEVEL)
def test_each_room_says_what_lives_in_it_and_what_it_may_import(room):
    text = ast.get_docstring(ast.parse((COMMON / room / "__init__.py").read_text(encoding="utf-8")))
    assert text and "Imports" in text and len(text.splitlines()) <= 4


def test_common_never_imports_an_example_and_no_example_another():
    for path in COMMON.rglob("*.py"):
        assert "from examples" not in path.read_text(encoding="utf-8"), path
    for path in (REPO / "examples").rglob("*.py"):
        own = f"from examples.{path.relative_to(REPO / 'examples').parts[0]}"
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        assert all(line.startswith(own) for line in lines if line.startswith("from examples")), path


def test_the_tests_lie_as_the_code_does():
    tests = REPO / "tests" / "common"
    rooms = {path.relative_to(tests).parent for path in tests.rglob("test_*.py")}
    assert all((COMMON / room).is_dir() for room in rooms)
