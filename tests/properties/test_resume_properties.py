"""Resume: a flag given again as the run has it agrees; any other value is refused, but where it may change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import cli, resume
from common.files.disk import write_json
from common.files.errors import UserError

VALUES = {
    "lr": st.sampled_from([0.1, 0.1000001]) | st.floats(1e-6, 1e6),
    "seed": st.integers(0, 2**31 - 1), "steps": st.lists(st.floats(-1e6, 1e6), max_size=3),
    "gpus": st.lists(st.integers(0, 9), max_size=3), "epochs": st.integers(1, 99), "num-workers": st.integers(0, 9),
    "dataset": st.sampled_from(["glyphs", "emoji"]), "model": st.text(min_size=1, max_size=5),
}  # fmt: skip
MAY_CHANGE = ("epochs", "num-workers")
FLAGS = {
    "data": cli.data("glyphs", ["glyphs", "emoji"]),
    "network": cli.network("conv4"),
    "optimisation": [
        ("--lr", cli.rate, 0.1, "learning rate"),
        ("--epochs", cli.positive_int, 20, "epochs"),
        ("--steps", cli.float_list, [12, 14], "where the rate changes"),
        ("--keep-all", cli.on_off, True, "keep every checkpoint"),
    ],
    "run": cli.run("toy"),
    "devices": cli.DEVICES,
}


def parser():
    return cli.parser("A program.", FLAGS)


def written(values: dict) -> list[str]:
    return [f"--{name}={','.join(map(str, v)) if isinstance(v, list) else v}" for name, v in values.items()]


@given(st.fixed_dictionaries({}, optional=VALUES), st.fixed_dictionaries({}, optional=VALUES), st.data())
def test_equal_flags_agree_and_others_are_refused(new_folder, begun, given_again, data):
    folder = new_folder()
    first = parser().parse_args(written(begun))
    write_json(folder / resume.ARGS, {"program": "toy", "args": vars(first)})
    for name in data.draw(st.lists(st.sampled_from(sorted(begun)), unique=True)) if begun else []:
        given_again = {**given_again, name: begun[name]}

    argv = ["--resume", f"--run-dir={folder}", *written(given_again)]
    was = {name: getattr(first, name.replace("-", "_")) for name in given_again}
    differ = [name for name, value in given_again.items() if value != was[name] and name not in MAY_CHANGE]
    if differ:
        with pytest.raises(UserError) as refused:
            resume.parse_args(parser(), argv, "toy")
        assert any(f"--{name}" in str(refused.value) for name in differ)
        return
    args = resume.parse_args(parser(), argv, "toy")
    for name, value in vars(first).items():
        flag = name.replace("_", "-")
        if name not in resume.OF_A_CALL:
            assert getattr(args, name) == given_again.get(flag, value)
