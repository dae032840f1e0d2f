"""Programs on a disk that is full, or read-only: one line, and afterwards the run goes on to the same bits."""

import os
import random
import shutil

import pytest

from tests.conftest import fill, remount, small_disk
from tests.faults.programs import MANY, PROGRAMS, differing, finish, one_line

FULL, READ_ONLY = ("vse", "generate_embedding"), ("im2vec", "transfer")  # each time; all of them where there are many


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS if MANY else FULL)
def test_a_full_disk_is_one_line_and_the_run_goes_on_where_there_is_room(name, data, undisturbed, tmp_path):
    program, whole = PROGRAMS[name], undisturbed(name)
    needed = size(whole.folder)
    with small_disk(tmp_path / "disk", 4 * needed + (1 << 20)) as disk:
        run = disk / "run"
        run.mkdir()
        fill(disk, int(random.Random(name).uniform(0.1, 0.9) * needed))
        line = one_line(finish(program.resumed(data, run), data))
        assert "cannot write" in line and str(run) in line
        assert {path.name for path in run.rglob(".*")} <= {".lock"}, "something half written is left"
        os.unlink(disk / "filler")
        done = finish(program.resumed(data, run), data)
        assert done.returncode == 0, done.stderr
        assert not differing(run, whole.outcome)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS if MANY else READ_ONLY)
def test_a_read_only_disk_is_one_line_and_nothing_changes(name, data, undisturbed, tmp_path):
    program, whole = PROGRAMS[name], undisturbed(name)
    with small_disk(tmp_path / "disk", 4 * size(whole.folder) + (1 << 20)) as disk:
        run = shutil.copytree(whole.folder, disk / "run")
        remount(disk, "ro")
        line = one_line(finish(program.resumed(data, run), data))
        assert "Read-only file system" in line or "can be written to" in line
        remount(disk, "rw")
        assert not differing(run, whole.outcome)
