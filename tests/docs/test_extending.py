"""`docs/extending.md` is followed to the letter in a copy of the repository: files, changes, examples, a training."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from common.files.paths import REPO

PAGE = REPO / "docs" / "extending.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of the page; `path` is the file that it makes or changes, if it does."""

    kind: str
    text: str
    path: str | None


def blocks(subject):
    """The blocks below the heading `subject`, in their order."""
    section = next(s for s in PAGE.read_text(encoding="utf-8").split("\n## ") if s.split("\n")[0] == subject)
    for kind, text in FENCE.findall(section):
        first = text.split("\n")[0]
        path = re.match(r"(?:# |--- )([\w/]+\.py)$", first)
        yield Block(kind, text[len(first) + 1 :] if path else text, path and path[1])


def change(path, hunk):
    """Make the change that a hunk without line numbers describes; what it changes is there once."""
    old = "".join(line[1:] for line in hunk.splitlines(keepends=True) if line[0] in " -")
    new = "".join(line[1:] for line in hunk.splitlines(keepends=True) if line[0] in " +")
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path} has not what the page changes:\n{old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(repository, *command):
    """What a command in the copy prints."""
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "UserWarning" not in done.stderr, done.stderr
    return done.stdout.splitlines()


def follow(repository, subject):
    """Do what the page says about a subject; its examples print what stands beside each ``print``."""
    for block in blocks(subject):
        if block.kind == "diff":
            change(repository / block.path, block.text)
        elif block.path:
            assert not (repository / block.path).exists()
            (repository / block.path).write_text(block.text, encoding="utf-8")
        elif block.kind == "python":
            assert run(repository, "-c", block.text) == re.findall(r"^print\(.*\)  # (.*)$", block.text, re.MULTILINE)


@pytest.fixture
def repository(tmp_path):
    """A copy of what the page touches."""
    ignored = shutil.ignore_patterns("__pycache__", "docs", "*.png")
    for folder in ("common", "examples/embedding_learning"):
        shutil.copytree(REPO / folder, tmp_path / folder, ignore=ignored)
    return tmp_path


@pytest.mark.parametrize("subject", ["A loss", "A network", "A data set"])
def test_each_alone(repository, subject):
    before = {path: path.read_bytes() for path in repository.rglob("*.py")}
    follow(repository, subject)
    new = [path for path in (repository / "common").rglob("*.py") if path not in before]
    changed = [path for path in (repository / "common").rglob("*.py") if before.get(path, b"") != path.read_bytes()]
    assert len(new) == 1 and len(changed) == 2  # a file, and another that names it
    room = {path.relative_to(repository).parts[1] for path in changed}
    assert len(room) == 1


@pytest.mark.slow
def test_all_three_train_together(repository):
    for subject in ("A loss", "A network", "A data set"):
        follow(repository, subject)
    (command,) = (block.text for block in blocks("All three") if block.kind == "sh")
    program, *flags = command.split()[1:]
    run(repository, program, *flags)
    metrics = json.loads((repository / "run" / "metrics.json").read_text())
    assert metrics["recall@1"] > 0.9
    for test in ("conftest.py", "common/train/test_losses.py"):
        shutil.copy(REPO / "tests" / test, repository)
    tried = run(repository, "-m", "pytest", "-v", "-p", "no:cacheprovider", "test_losses.py")
    assert any("[BinomialDevianceLoss] PASSED" in line for line in tried)
