"""The undisturbed runs, and the summary of all kills."""

from __future__ import annotations

import signal

import pytest

from tests.faults import programs


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The pictures, words and features of all programs."""
    return programs.make_data(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="session")
def undisturbed(data, tmp_path_factory):
    """Gives the undisturbed run of a program, made when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("undisturbed"), {}

    def give(name):
        if name not in made:
            made[name] = programs.Undisturbed.run(programs.PROGRAMS[name], data, folder / name)
        return made[name]

    return give


@pytest.fixture
def interruptible():
    """What is started in the background of a shell ignores Ctrl-C, and so does what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_terminal_summary(terminalreporter):
    line, counts = terminalreporter.write_line, programs.COUNTS
    if counts:
        terminalreporter.section("kills")
        line(f"{'program':20}{'signal':10}{'kills':>7}{'same bits':>11}{'other':>7}")
        pairs = dict.fromkeys((program, name) for program, name, _ in counts)
        rows = [(*pair, counts[(*pair, "same")], counts[(*pair, "other")]) for pair in pairs]
        for program, name, same, other in [*rows, ("all", "", sum(r[2] for r in rows), sum(r[3] for r in rows))]:
            line(f"{program:20}{name:10}{same + other:7}{same:11}{other:7}")
    if programs.MEMORY:
        terminalreporter.section("memory")
        line(f"{'program':20}{'steps':>7}{'kB, warm':>11}{'kB, end':>11}")
        for program, (steps, warm, end) in programs.MEMORY.items():
            line(f"{program:20}{steps:7}{warm:11}{end:11}")
