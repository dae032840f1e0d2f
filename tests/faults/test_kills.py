"""Each program is killed again and again, at random moments, and resumed: it must end as if nothing had happened."""

import random
import shutil

import pytest

from tests.faults.programs import COUNTS, KILLS, PROGRAMS, SIGNALS, differing, finish, kill_at_random

CHAIN = 4  # kills of one run, before it may go on to its end


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_killed_run_ends_in_the_same_bits(name, data, undisturbed, tmp_path, interruptible):
    program, whole, rng = PROGRAMS[name], undisturbed(name), random.Random(name)
    ways = [how for _ in range(-(-KILLS // len(SIGNALS))) for how in rng.sample(SIGNALS, len(SIGNALS))]
    ways, wrong = ways[: KILLS], []
    while ways:
        run, killed = tmp_path / "run", []
        run.mkdir()
        problem = ""
        while ways and len(killed) < CHAIN:
            came = kill_at_random(program, ways[0], data, run, whole, rng)
            if came == "ended":
                break
            killed.append(ways.pop(0).name)
            if came != "killed":
                problem = came
                break
        done = finish(program.resumed(data, run), data)
        if not problem and done.returncode:
            problem = done.stderr[-2000:]
        if not problem and (files := differing(run, whole.outcome)):
            problem = f"not the same bits: {files}"
        COUNTS.update((name, how, "other" if problem else "same") for how in killed)
        if problem:
            wrong.append(f"after {killed}: {problem}")
        shutil.rmtree(run)
    assert not wrong, "\n".join(wrong)
