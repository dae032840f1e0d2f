"""Docstrings of `common` in numpydoc: what is public has one, and what takes two or more arguments names them all.

Held for the modules in `ROOMS`. Ruff's pydocstyle rules hold the form (sections, underlines, a full stop); these tests
hold what it does not know:

- every public module, class, function, method and property has a docstring, its own or that of the method which it
  overrides;
- a function or method with two or more arguments has a section Parameters that names each (`self` and `cls` do not
  count), and a class whose constructor has two or more names them in its own docstring; a data class may name its
  fields under Attributes instead;
- left alone: names with an underscore (and what lies within them), and methods that override one of a base class, such
  as `hybrid_forward`.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import re

import pytest

import common

ROOMS = ("backbones", "data", "export", "files", "metrics", "search", "show", "text", "train")
BESIDE = ("cli", "compat", "devices", "get_data", "handover", "launch", "resume", "run")
SECTION = re.compile(r"^(\w[\w ]*)\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", re.DOTALL | re.MULTILINE)


def modules():
    found = ["common", *(module.name for module in pkgutil.walk_packages(common.__path__, "common."))]
    held = (*ROOMS, *BESIDE)
    return [name for name in found if len(name.split(".")) > 1 and name.split(".")[1] in held]


def public(module):
    """The public classes, functions, methods and properties that `module` defines: (name, object, owner or None)."""
    for name, value in vars(module).items():
        value = inspect.unwrap(value) if callable(value) else value
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            yield name, value, None
            for part, method in vars(value).items():
                method = getattr(method, "__func__", method)
                if not part.startswith("_") and (inspect.isfunction(method) or isinstance(method, property)):
                    yield f"{name}.{part}", method, value
        elif inspect.isfunction(value):
            yield name, value, None


def overrides(method, owner):
    """Whether a base class of `owner` has a method of that name, which says what it is for."""
    return owner is not None and any(method.__name__ in vars(base) for base in owner.__mro__[1:])


def arguments(value, owner):
    """The names of the arguments that a docstring has to explain."""
    if isinstance(value, property) or overrides(value, owner):
        return []
    if inspect.isclass(value):
        if "__init__" not in vars(value) or issubclass(value, BaseException):
            return []
        value, owner = value.__init__, value
    code = value.__code__
    names = [p.name for p in inspect.signature(value).parameters.values()]
    return names[1:] if owner is not None and names[:1] in (["self"], ["cls"]) and code.co_argcount else names


def named(text, *sections):
    """The arguments that `sections` of a docstring explain: ``low, high : float`` are two."""
    found = dict(SECTION.findall(text))
    lines = [line for section in sections for line in found.get(section, "").splitlines()]
    heads = [line.split(" : ")[0] for line in lines if line and not line[0].isspace()]
    return {name.strip().lstrip("*") for head in heads for name in head.split(",")}


@pytest.mark.parametrize("name", modules())
def test_public_names_are_documented(name):
    module = importlib.import_module(name)
    missing = [] if module.__doc__ else [name]
    for part, value, owner in public(module):
        if not (inspect.getdoc(value) or overrides(value, owner)):
            missing.append(part)
    assert not missing


@pytest.mark.parametrize("name", modules())
def test_two_or_more_arguments_are_explained(name):
    wrong = {}
    for part, value, owner in public(importlib.import_module(name)):
        takes = arguments(value, owner)
        sections = ("Parameters", "Attributes") if dataclasses.is_dataclass(value) else ("Parameters",)
        lacking = set(takes) - named(inspect.getdoc(value) or "", *sections)
        if len(takes) > 1 and lacking:
            wrong[part] = sorted(lacking)
    assert not wrong


def test_the_rule_sees_what_is_missing():
    class Thing:
        """A thing.

        Parameters
        ----------
        width, height : int
            Pixels.
        *more : str
        """

        def __init__(self, width, height, *more):
            pass

        def grow(self, by, until):
            """Grow.

            Parameters
            ----------
            by : int
            """

    assert arguments(Thing, None) == ["width", "height", "more"]
    assert named(inspect.getdoc(Thing), "Parameters") == {"width", "height", "more"}
    assert arguments(Thing.grow, Thing) == ["by", "until"]
    assert named(inspect.getdoc(Thing.grow), "Parameters") == {"by"}
