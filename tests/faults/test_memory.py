"""The memory of a training does not grow with its steps."""

import time
from pathlib import Path

import pytest

from tests.faults.programs import MANY, MEMORY, POLL, PROGRAMS, start

STEPS = 5000 if MANY else 500
WARM = 0.3  # of the rows: by then pools are filled
MOST = 4 << 10  # kB that may come after that


def resident(process):
    """Kilobytes of a process that are in memory; None when it has ended."""
    try:
        with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("VmRSS")), None)
    except OSError:
        return None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's memory")
@pytest.mark.parametrize("name", [name for name, program in PROGRAMS.items() if program.long])
def test_memory_is_flat(name, data, tmp_path):
    program, run, found = PROGRAMS[name], tmp_path / "run", []
    run.mkdir()
    process = start(program.lengthened(data, run, STEPS), data, tmp_path / "run.out")
    seen = 0
    while process.poll() is None:
        if program.reached(run) > seen:  # after each row of the metrics
            seen = program.reached(run)
            found.append(resident(process))
        time.sleep(POLL)
    assert process.returncode == 0, (tmp_path / "run.out").read_text()
    found = [kilobytes for kilobytes in found if kilobytes]
    assert len(found) > 5
    warm = found[int(WARM * len(found)) :]
    MEMORY[name] = STEPS, warm[0], warm[-1]
    assert warm[-1] - warm[0] < MOST, f"{name}: from {warm[0]} to {warm[-1]} kB"
