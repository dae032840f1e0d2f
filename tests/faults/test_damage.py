"""Checkpoints that are not as they were written: the run goes on from the one before, to the same bits."""

import itertools
import shutil

import pytest

from tests.faults.programs import MANY, PROGRAMS, differing, finish, newest

TRAININGS = [name for name, program in PROGRAMS.items() if program.begun == "args.json"]


def largest(place):
    return max(place.iterdir(), key=lambda path: path.stat().st_size)


def cut(place):
    content = largest(place).read_bytes()
    largest(place).write_bytes(content[: len(content) // 2])


def flip(place):
    content = bytearray(largest(place).read_bytes())
    content[len(content) // 2] ^= 1
    largest(place).write_bytes(content)


DAMAGES = {
    "cut": cut,
    "one bit": flip,
    "manifest {}": lambda place: (place / "manifest.json").write_text("{}"),
    "best null": lambda place: (place / "best.json").write_text("null"),
    "best []": lambda place: (place / "best.json").write_text("[]"),
    "manifest null": lambda place: (place / "manifest.json").write_text("null"),
    "state gone": lambda place: (place / "state.json").unlink(),
    "empty": lambda place: [path.unlink() for path in place.iterdir()],
}
CASES = list(itertools.product(TRAININGS, DAMAGES) if MANY else zip(TRAININGS, DAMAGES))


def last_checkpoints(run):
    """The folder of checkpoints that a run wrote last: visual_semantic's of its last stage."""
    return max(run.rglob("checkpoints"), key=lambda path: (any(path.iterdir()), str(path)))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "damage"), CASES)
def test_the_run_goes_on_from_the_checkpoint_before(name, damage, data, undisturbed, tmp_path):
    program, whole = PROGRAMS[name], undisturbed(name)
    run = shutil.copytree(whole.folder, tmp_path / "run")
    place = newest(last_checkpoints(run))
    DAMAGES[damage](place)
    done = finish(program.resumed(data, run), data)
    assert done.returncode == 0, done.stderr
    assert f"checkpoint {place} is damaged" in done.stdout and "using the one before it" in done.stdout
    assert not differing(run, whole.outcome)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS if MANY else ["vse"])
def test_without_a_whole_checkpoint_the_run_begins_again(name, data, undisturbed, tmp_path):
    program, whole = PROGRAMS[name], undisturbed(name)
    run = shutil.copytree(whole.folder, tmp_path / "run")
    for place in last_checkpoints(run).iterdir():
        cut(place)
    done = finish(program.resumed(data, run), data)
    assert done.returncode == 0, done.stderr
    assert "from the start: no checkpoint yet" in done.stdout
    assert not differing(run, whole.outcome)
