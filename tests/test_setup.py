"""What make setup installs, and what it refuses."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]


def pins(name):
    lines = (REPO / name).read_text().splitlines()
    return [line.split("#")[0].strip() for line in lines if line and not line.startswith("#")]


def test_every_requirement_is_pinned():
    assert all(re.match(r"[\w-]+==[\w.]+(; python_version < \"3\.1[01]\")?$", pin) for pin in pins("requirements.txt"))


def test_the_gpu_build_differs_in_mxnet_alone():
    cpu, gpu = pins("requirements.txt"), pins("requirements-gpu.txt")
    assert [pair for pair in zip(cpu, gpu) if pair[0] != pair[1]] == [("mxnet==1.9.1", "mxnet-cu112==1.9.1")]
    assert len(cpu) == len(gpu)


def test_the_notice_names_every_picture_and_model_that_is_shipped():
    notice = (REPO / "NOTICE").read_text()
    shipped = [path for kind in ("png", "gif", "jpg", "params") for path in (REPO / "examples").rglob(f"*.{kind}")]
    assert shipped
    for path in shipped:
        assert str(path.relative_to(REPO)) in notice, path
    assert "CC BY-SA 4.0" in notice[notice.index("emoji.params") :][:200]


def make(folder, *arguments):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path):
    if not shutil.which("make"):
        pytest.skip("no make")
    for name in ("Makefile", "requirements.txt", "requirements-gpu.txt"):
        shutil.copy(REPO / name, tmp_path)
    return tmp_path


def test_help_lists_the_targets(checkout):
    listed = make(checkout, "help").stdout
    assert re.findall(r"^([a-z]+) ", listed, re.MULTILINE) == ["help", "setup", "demo", "test", "lint", "clean"]


@pytest.mark.parametrize("python", ["", "no-such-python"])
def test_without_a_python_it_says_which(checkout, python):
    done = make(checkout, "setup", f"PYTHON={python}")
    assert done.returncode and done.stderr.startswith("error: ")
    assert "CPython 3.9, 3.10, 3.11 or 3.12 is needed" in done.stderr.splitlines()[0]


def test_what_is_installed_stays_until_the_requirements_change(checkout):
    (checkout / ".venv").mkdir()
    shutil.copy(checkout / "requirements.txt", checkout / ".venv" / "installed-requirements.txt")
    os.utime(checkout / "requirements.txt")  # touched, not changed
    assert make(checkout, "setup", "PYTHON=no-such-python").returncode == 0
    with open(checkout / "requirements.txt", "a") as file:
        file.write("another==1.0\n")
    os.utime(checkout / ".venv" / "installed-requirements.txt", (0, 0))
    assert make(checkout, "setup", "PYTHON=no-such-python").returncode
    assert make(checkout, "setup", "GPU=1", "PYTHON=no-such-python").returncode
