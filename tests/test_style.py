"""Tests see the code from outside: none reaches for a name of ours that begins with an underscore."""

import ast
from pathlib import Path

from common.files.paths import REPO

MXNETS = {"_children"}  # an attribute of Gluon's blocks, and a function of ours


def private(name):
    return name.startswith("_") and name.strip("_") and not name.startswith("__")


def defined(tree):
    """The names that a module makes: functions, classes, variables, and attributes of its own objects."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            yield node.attr


def reached(tree):
    """The names that a module asks others for: attributes, imports, and names as text, which `setattr` takes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.rpartition(".")[2]


def parsed(*folders):
    for folder in folders:
        for path in sorted((REPO / folder).rglob("*.py")):
            yield str(path.relative_to(REPO)), ast.parse(path.read_text(encoding="utf-8"))


def test_no_test_reaches_for_our_names_with_an_underscore():
    ours = {name for _, tree in parsed("common", "examples") for name in defined(tree) if private(name)} - MXNETS
    found = {
        (path, name)
        for path, tree in parsed("tests", "benchmarks")
        if Path(path).name != Path(__file__).name
        for name in set(reached(tree)) - set(defined(tree))  # a test may have such names of its own
        if name in ours
    }
    assert not found


def test_the_look_sees_what_a_test_may_ask_for():
    tree = ast.parse("from a import _b\na._c()\nsetattr(a, '_d', 1)\npatch('a.b._e')\ndef _own(): pass\n")
    assert {name for name in reached(tree) if private(name)} == {"_b", "_c", "_d", "_e"}
    assert set(defined(tree)) == {"_own"}
