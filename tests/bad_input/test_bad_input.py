"""Every case of the table: status 2, one line that names file or flag, no traceback, nothing half written."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import warnings
from pathlib import Path

import pytest

import common  # noqa: F401  (first: MXNet needs the numpy alias it sets)
from common import cli
from tests.bad_input import cases, makers
from tests.bad_input.__main__ import DOCUMENT, document

CASES = cases.every()
RESULTS = {".params", ".npy", ".npz", ".csv", ".parquet", ".png", ".html", ".onnx", ".part", ".tmp"}


@pytest.fixture(scope="session")
def good(tmp_path_factory) -> Path:
    """Whole files; no case may change them."""
    folder = tmp_path_factory.mktemp("good")
    makers.good_files(folder)
    return folder


def run(program: str, argv: list[str]) -> None:
    """Run a program, or call a reader, as its command line would."""
    module, _, function = program.partition(":")
    module = importlib.import_module(module)
    if not function:
        cli.launch(module.main, lambda: module.parse_args(argv))
        return
    for name in function.split("."):
        module = getattr(module, name)
    cli.launch(lambda args: module(*args), lambda: argv)


def laid_out(case: cases.Case, folder: Path, good: Path) -> list[str]:
    """The case's folders and files; its arguments."""
    inside, out = folder / "in", folder / "out"
    inside.mkdir()
    out.mkdir()
    for entry in case.beside:
        source, _, target = entry.partition(" -> ")
        copy = shutil.copytree if (good / source).is_dir() else shutil.copyfile
        copy(good / source, inside / (target or source))
    if case.file:
        place = inside / case.file
        if place.is_file():
            place.unlink()
        makers.break_file(case.way, good / case.whole if case.whole else Path("none"), inside, case.file)
    return [
        text.replace("{in}", str(inside)).replace("{out}", str(out)).replace("{good}", str(good)) for text in case.argv
    ]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case.key for case in CASES])
def test_bad_input(case, good, tmp_path, monkeypatch, capfd):
    argv = laid_out(case, tmp_path, good)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [case.program, *argv])
    with pytest.raises(SystemExit) as end, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(case.program, argv)
    said = capfd.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert end.value.code == 2, said
    assert len(lines) == 1 and "Traceback" not in said and said.rstrip().splitlines()[-1] == lines[0], said
    assert case.says in lines[0]
    left = [str(file) for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert not [file for file in left if Path(file).suffix in RESULTS or "/." in file and not file.endswith(".lock")], (
        left
    )


@pytest.mark.parametrize(
    ("program", "argv"),
    [
        ("examples.embedding_learning.embed", "{good}/pictures/a/0.png --output {out}/x.npy"),
        (
            "examples.embedding_learning.embed",
            "{good}/pictures/a/0.png --output {out}/x.npy --params {good}/embedding.params",
        ),
        ("examples.transfer.predict", "{good}/pictures/a/0.png --params {good}/classifier.params"),
        ("examples.transfer.predict", "{good}/pictures/a/0.png --params {good}/classifier.npz"),
        ("examples.transfer.train", "--features {good}/x_data.npy --classifier knn --folds 2 --run-dir {out}/r"),
        ("examples.transfer.train", "--features {good}/x.csv --classifier knn --folds 2 --run-dir {out}/s"),
        (
            "examples.transfer.generate_embedding",
            "-csv {good}/list.csv -tm conv4 -weights {good}/conv4.params -dir {out}",
        ),
        (
            "examples.transfer.generate_embedding",
            "-data {good}/pixels.npy -labels {good}/labels.npy -he 8 -w 8 -tm conv4 -weights None -dir {out}",
        ),
        ("common.data.sets.table:load", "{good}/table.csv"),
        ("examples.vse.evaluate", "{good}/vse.params --data f8k --data-path {good}/f8k"),
        ("examples.vse.evaluate", "{good}/old_vse.params --data f8k --data-path {good}/f8k"),
        ("examples.im2vec.modelfile:load", "{good}/im2vec.params"),
        ("examples.im2vec.modelfile:load", "{good}/old_im2vec.params"),
        ("examples.visual_semantic.model:load", "{good}/words.params"),
        ("examples.visual_semantic.split_awa2", "--copy --data-path {good}/awa2 --output {out}/split"),
    ],
)
def test_whole_files_are_read(program, argv, good, tmp_path, monkeypatch):
    """So that the cases fail for what is broken in them, and not for the rest."""
    monkeypatch.chdir(tmp_path)
    argv = argv.replace("{good}", str(good)).replace("{out}", str(tmp_path)).split()
    monkeypatch.setattr(sys, "argv", [program, *argv])
    run(program, argv)


def test_the_table_is_large_and_names_no_case_twice():
    keys = [case.key for case in CASES]
    assert len(set(keys)) == len(keys) >= 300
    assert {case.program for case in CASES} >= set(cases.PROGRAMS)


def test_every_program_of_the_examples_is_in_the_table():
    programs = {
        f"examples.{file.parent.name}.{file.stem}"
        for file in (makers.REPO / "examples").glob("*/*.py")
        if "def parse_args(" in file.read_text(encoding="utf-8")
    }
    assert programs <= set(cases.PROGRAMS)


def test_the_document_is_current():
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "python3 -m tests.bad_input writes it anew"


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No case may look for weights elsewhere or leave a run in the working copy."""
    monkeypatch.setenv("EMBEDDING_DATA", os.environ.get("EMBEDDING_DATA") or str(makers.REPO / "data"))
