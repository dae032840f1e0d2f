"""A program started by any interpreter of the machine ends where the packages are, or says what makes them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.files.paths import REPO

PROGRAMS = sorted(
    str(path.relative_to(REPO))
    for path in (REPO / "examples").glob("*/*.py")
    if 'if __name__ == "__main__"' in path.read_text()
)
BARE = ["bare"]  # stands for an interpreter with nothing installed


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The sources alone, in a folder with a blank in its name."""
    folder = tmp_path_factory.mktemp("a clone") / "the suite"
    for name in ("common", "examples"):
        shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "pretrained", "docs"))
    shutil.copy(REPO / "get_data.sh", folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def bare(tmp_path_factory):
    """An interpreter with nothing installed."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    BARE[0] = str(folder / "bin" / "python")


@pytest.fixture
def with_environment(checkout):
    """The same with an environment, which is this interpreter with its packages."""
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nHANDED_OVER=1 exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    yield checkout
    shutil.rmtree(checkout / ".venv")


def run(command, cwd, **environment):
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": "", **environment},
    )  # fmt: skip


def test_there_are_programs():
    assert len(PROGRAMS) > 15


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_help_and_wrong_flags_need_no_package(checkout, program):
    done = run([*BARE, program, "--help"], checkout)
    assert done.returncode == 0 and done.stdout.startswith("usage: ") and not done.stderr
    done = run([*BARE, program, "--no-such-flag"], checkout)
    assert done.returncode == 2 and re.fullmatch(r"error: [^\n]+; see --help\n", done.stderr)


def test_a_module_needs_no_package_for_its_help(checkout):
    for module in ("common.get_data", "common.launch"):
        done = run([*BARE, "-m", module, "--help"], checkout)
        assert done.returncode == 0 and not done.stderr
    done = run(["./get_data.sh", "--list"], checkout, PATH=f"{fake_python(checkout)}:{os.environ['PATH']}")
    assert done.returncode == 0 and "cub200" in done.stdout and not done.stderr


def fake_python(folder) -> Path:
    """A folder whose `python3` has no packages."""
    python = folder / "bin" / "python3"
    python.parent.mkdir(exist_ok=True)
    python.write_text(f'#!/bin/sh\nexec "{BARE[0]}" "$@"\n')
    python.chmod(0o755)
    return python.parent


def test_without_an_environment_one_line_says_what_makes_it(checkout):
    done = run([*BARE, "examples/embedding_learning/train.py", "--gpus=0,1", "--use-pretrained"], checkout)
    assert (done.returncode, done.stderr) == (2, "error: no environment yet: make setup\n")


def test_a_half_made_environment_is_said_to_be_one(checkout, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
    try:
        done = run([*BARE, "examples/vse/train.py"], checkout)
    finally:
        shutil.rmtree(checkout / ".venv")
    assert (done.returncode, done.stderr) == (2, "error: the environment in .venv is not whole: make setup\n")


@pytest.mark.slow
def test_the_program_goes_on_where_the_packages_are(with_environment, tmp_path):
    done = run([*BARE, with_environment / "examples/vse/train.py", "--data-path", "no such folder"], tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ") and "no such folder" in done.stderr


@pytest.mark.slow
def test_status_flags_and_signals_pass_through(with_environment):
    code = "import os, sys, time; print(os.getpid(), sys.argv[1:], flush=True); time.sleep(60)"
    program = with_environment / "program.py"
    program.write_text(
        "from common import cli\n"
        "def main(args):\n"
        f"    {code}\n"
        "cli.launch(main, lambda: __import__('os').environ.get('HANDED_OVER'))\n"
    )
    with subprocess.Popen(
        [*BARE, "-X", "utf8", program, "--a b", "ü"], stdout=subprocess.PIPE, text=True, encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(with_environment)}, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == f"{process.pid} ['--a b', 'ü']\n"  # the same process
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read().startswith("stopped")


OLD = """
import sys
sys.version_info = (3, 8, 0, "final", 0)
sys.path.insert(0, {repo!r})
import common
"""


def test_an_old_interpreter_says_which_is_needed(checkout):
    done = run([*BARE, "-c", OLD.format(repo=str(checkout))], checkout)
    assert done.returncode == 2
    assert done.stderr == "error: no environment yet: make setup (CPython 3.10 or newer is needed, this is 3.8)\n"


def test_what_old_interpreters_read_is_written_for_them():
    import ast

    for file in ("common/__init__.py", "common/handover.py", *PROGRAMS):
        version = (3, 8) if file in PROGRAMS else (3, 6)
        ast.parse((REPO / file).read_text(encoding="utf-8"), feature_version=version)


@pytest.mark.slow
def test_ctrl_c_while_the_interpreter_ends_says_nothing():
    """Its exit handlers may take a while: MXNet waits there for all that it was asked."""
    code = (
        "import atexit, time; from common import cli;"
        "atexit.register(lambda: (print('ending', flush=True), time.sleep(60)));"
        "cli.launch(lambda _: None, lambda: None)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ending\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT and not process.stderr.read()


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6])
def test_ctrl_c_while_modules_are_imported_is_one_line(delay):
    """However early it comes: nothing, or one line."""
    main = "lambda _: (print(flush=True), __import__('mxnet'))"
    code = f"from common import cli; cli.launch({main}, lambda: None)"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        status, said = process.wait(60), process.stderr.read()
    # -2: after the last line of the program, when the interpreter itself was ending
    assert (status, said.count("\n")) in ((130, 1), (0, 0), (-signal.SIGINT, 0)), said


def test_a_reader_that_has_had_enough_ends_the_program_quietly():
    for command in ("./get_data.sh --list | head -n 1", "python examples/vse/train.py --help | head -n 1"):
        line = command.replace("python ", f"'{sys.executable}' ").replace("| head -n 1", "| (read line; sleep 0.5)")
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {line}"], cwd=REPO, capture_output=True, text=True
        )
        assert done.returncode in (0, 141) and not done.stderr


@pytest.mark.parametrize("name", ["LC_ALL", "PYTHONIOENCODING"])
def test_any_name_is_shown_on_any_terminal(name):
    value = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}[name]
    code = "from common import cli; cli.launch(lambda a: print('Größe 猫'), lambda: 0)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, env={**os.environ, "TERM": "dumb", name: value}
    )
    assert done.returncode == 0 and not done.stderr
    assert done.stdout in ("Größe 猫\n".encode(), rb"Gr\xf6\xdfe \u732b" + b"\n")


def test_a_missing_cuda_library_is_one_line(capsys):
    from common import cli

    def main(_):
        raise OSError("libcudart.so.11.0: cannot open shared object file: No such file or directory")

    with pytest.raises(SystemExit) as ended:
        cli.launch(main, lambda: None)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: MXNet does not start, libcudart.so.11.0 is not there: install the libraries of CUDA 11.2,"
        " or take the CPU build (make setup)\n"
    )
