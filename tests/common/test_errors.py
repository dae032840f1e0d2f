"""Near names for what was mistyped."""

import pytest

from common.errors import UserError, near


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
