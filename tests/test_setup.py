"""What make setup installs, and what it refuses."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from examples.embedding_learning import search, train

REPO = Path(__file__).resolve().parents[1]


def pins(name):
    lines = (REPO / name).read_text().splitlines()
    return [line.split("#")[0].strip() for line in lines if line and not line.startswith("#")]


def test_every_requirement_is_pinned():
    one = re.compile(r"[\w-]+==[\w.]+(; python_version (<|==|>=) \"3\.1[0-4]\")?$")
    assert not [pin for pin in pins("requirements.txt") if not one.match(pin)]


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_every_python_gets_one_version_of_each_package(version):
    chosen = [Requirement(pin) for pin in pins("requirements.txt")]
    names = [r.name for r in chosen if not r.marker or r.marker.evaluate({"python_version": version})]
    assert len(names) == len(set(names)) and {"mxnet", "numpy", "onnxruntime"} <= set(names)


def test_what_is_installed_is_what_is_pinned():
    """And each package finds what it asks for, but for two that ask for what the suite goes around."""
    here = [Requirement(pin) for pin in pins("requirements.txt")]
    here = {canonicalize_name(r.name): r for r in here if not r.marker or r.marker.evaluate()}
    assert not [str(r) for r in here.values() if not r.specifier.contains(metadata.version(r.name))]
    asked = [(name, Requirement(text)) for name in here for text in metadata.requires(name) or ()]
    asked = [(name, r) for name, r in asked if not r.marker or r.marker.evaluate({"extra": ""})]
    absent = {(name, r.name) for name, r in asked if canonicalize_name(r.name) not in here}
    other = {
        (name, r.name)
        for name, r in asked
        if canonicalize_name(r.name) in here and not r.specifier.contains(metadata.version(r.name), prereleases=True)
    }
    assert absent == {("gluoncv", "opencv-python")}  # the headless build stands for it
    assert other == {("mxnet", "numpy")}  # see common.compat


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
    targets = ["help", "setup", "demo", "page", "quick", "test", "faults", "bench", "peers", "docs", "lint", "clean"]
    assert re.findall(r"^([a-z]+) ", listed, re.MULTILINE) == targets


@pytest.mark.parametrize("python", ["", "no-such-python"])
def test_without_a_python_it_says_which(checkout, python):
    done = make(checkout, "setup", f"PYTHON={python}")
    assert done.returncode and done.stderr.startswith("error: ")
    assert "CPython 3.10 to 3.14 is needed" in done.stderr.splitlines()[0]


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["Darwin arm64", "Linux riscv64", "MINGW64_NT-10.0 x86_64"])
def test_a_platform_without_wheels_is_one_line(checkout, platform):
    done = make(checkout, "setup", f"PLATFORM={platform}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("error: MXNet 1.9.1 has wheels for Linux (x86-64, Arm) and macOS")


FAKE = """#!/bin/sh
[ "$2" = venv ] || exec {python} "$@"
mkdir -p .venv/bin
cp "$0" .venv/bin/python
printf '#!/bin/sh\n{pip}' > .venv/bin/python
"""


@pytest.mark.slow
@pytest.mark.parametrize(("pip", "signalled"), [("exit 1", False), ("touch began; sleep 60", True)])
def test_nothing_half_made_is_left(checkout, pip, signalled):
    """Installing fails, or is interrupted, by a stand-in for the interpreter whose pip does so."""
    python = checkout / "python"
    python.write_text(FAKE.format(python=sys.executable, pip=pip + "\\n"))
    python.chmod(0o755)
    with subprocess.Popen(
        ["make", "setup", f"PYTHON={python}"], cwd=checkout, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        text=True, start_new_session=True,
    ) as process:  # fmt: skip
        if signalled:
            while not (checkout / "began").exists():
                assert process.poll() is None
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        status, said = process.wait(30), process.stderr.read()
    assert status and "error: .venv was not finished and is removed: make setup begins anew" in said
    assert not (checkout / ".venv").exists()


def test_what_is_installed_stays_until_the_requirements_change(checkout):
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    shutil.copy(checkout / "requirements.txt", checkout / ".venv" / "installed-requirements.txt")
    os.utime(checkout / "requirements.txt")  # touched, not changed
    assert make(checkout, "setup", "PYTHON=no-such-python").returncode == 0
    with open(checkout / "requirements.txt", "a") as file:
        file.write("another==1.0\n")
    os.utime(checkout / ".venv" / "installed-requirements.txt", (0, 0))
    assert make(checkout, "setup", "PYTHON=no-such-python").returncode
    assert make(checkout, "setup", "GPU=1", "PYTHON=no-such-python").returncode
    shutil.copy(checkout / "requirements.txt", checkout / ".venv" / "installed-requirements.txt")
    assert make(checkout, "setup", "PYTHON=no-such-python").returncode == 0
    (checkout / ".venv" / "bin" / "python").unlink()  # as when the system's Python was removed
    assert make(checkout, "setup", "PYTHON=no-such-python").returncode


NOTED = """#!/bin/sh
echo "$(basename $0) $*" >> called
case "$0 $*" in
  *get_data.sh*) [ ! -f offline ] || { echo "error: ./get_data.sh grocery --mirror FOLDER_OR_URL" >&2; exit 2; };;
  *train.py*) mkdir -p runs/page; touch runs/page/args.json
    [ ! -f killed ] || exit 130
    touch runs/page/margin_loss_model.params;;
esac
"""


def test_make_page_fetches_trains_once_and_serves(checkout):
    """With stand-ins for the interpreter and the fetching: each notes how it was called."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(checkout / "requirements.txt", checkout / ".venv" / "installed-requirements.txt")
    for program in (checkout / ".venv" / "bin" / "python", checkout / "get_data.sh"):
        program.write_text(NOTED)
        program.chmod(0o755)

    def called(*marks):
        """What is called while the files `marks` are there."""
        for mark in marks:
            (checkout / mark).touch()
        (checkout / "called").unlink(missing_ok=True)
        done = make(checkout, "page", "PORT=8001")
        for mark in marks:
            (checkout / mark).unlink()
        lines = (checkout / "called").read_text().splitlines()
        return done, [line for line in lines if line != "python -c "]

    done, lines = called("offline")
    assert done.returncode and "./get_data.sh grocery --mirror" in done.stderr and lines == ["get_data.sh grocery"]
    done, (_, first) = called("killed")
    assert done.returncode and "--head lda" in first and "--resume" not in first
    done, (_, again, served) = called()
    assert done.returncode == 0 and again == f"{first} --resume"
    assert "search.py --dataset grocery --params runs/page/margin_loss_model.params" in served
    assert served.endswith("--serve --port 8001")
    assert called()[1] == ["get_data.sh grocery", served]
    assert train.parse_args(first.split()[2:]).with_catalogue and search.parse_args(served.split()[2:]).serve
