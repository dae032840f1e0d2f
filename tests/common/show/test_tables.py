"""Rows of metrics as text, as cells of a page and as keys of a file."""

from common.show import tables

ROWS = {"chance": {"accuracy": 0.25}, "before training": {"accuracy": 0.5, "rsum": 20.0, "note": "x"}}


def test_text_has_a_line_a_row_and_columns_in_line():
    assert tables.table(ROWS).splitlines() == [
        "                 accuracy    rsum  note",
        "chance              0.250       -     -",
        "before training     0.500  20.000     x",
    ]


def test_columns_are_chosen_and_those_no_row_has_are_left_out():
    assert tables.cells(ROWS, ["rsum", "nmi"], ".1f") == {"chance": {"rsum": ""}, "before training": {"rsum": "20.0"}}


def test_keys_begin_with_the_method_and_have_no_blanks():
    rows = {**ROWS, "trained": {"accuracy": 0.9}, "trained, five folds": {"rsum": 1.0}}
    assert tables.flat(rows) == {
        "accuracy": 0.9, "chance_accuracy": 0.25, "before_training_accuracy": 0.5, "before_training_rsum": 20.0,
        "before_training_note": "x", "trained_five_folds_rsum": 1.0,
    }  # fmt: skip
    assert next(iter(tables.flat(rows))) == "accuracy"
