"""Near names for what was mistyped."""

import pytest

from common.files.errors import UserError, near, reading


@pytest.mark.parametrize(("word", "expected"), [
    ("resnet51_v2", " (did you mean resnet50_v2?)"),
    ("RESNET50_V2", " (did you mean resnet50_v2?)"),
    ("Squeezenet1.2", " (did you mean SqueezeNet1.1?)"),  # as it is written among the choices
    ("something else", ""),
    ("", ""),
])  # fmt: skip
def test_near(word, expected):
    assert near(word, ["resnet50_v2", "SqueezeNet1.1", "vgg16"]) == expected


def test_near_names_the_closest_first_and_no_more_than_asked():
    choices = [f"label{i}" for i in range(9)]
    assert near("label7", choices, n=1) == " (did you mean label7?)"
    found = near("label", choices)
    assert found.startswith(" (did you mean label") and found.count("label") == 3
    assert near("anything", []) == ""


def test_a_users_error_says_what_it_was_given():
    assert str(UserError("row 3: no class")) == "row 3: no class" and issubclass(UserError, Exception)


@pytest.mark.parametrize(("error", "reason"), [
    (ValueError("not a number\nand more"), "not a number"), (EOFError(), "EOFError"), (KeyError("code"), "'code'"),
])  # fmt: skip
def test_whatever_a_reader_raises_names_the_file(error, reason):
    with pytest.raises(UserError) as shown, reading("set/list.txt", "get it again"):
        raise error
    assert str(shown.value) == f"set/list.txt is not as it should be ({reason}): get it again"
    assert shown.value.__cause__ is error


def test_a_users_error_passes_a_reader_unchanged():
    with pytest.raises(UserError, match="^row 3: no class$"), reading("list.txt", "get it again"):
        raise UserError("row 3: no class")
    with reading("list.txt", "get it again"):
        pass
