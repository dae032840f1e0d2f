"""The flags of all programs: tables whose rows are a line each, shared where they mean the same, shown in READMEs."""

import importlib
import subprocess
import sys

import pytest

from common.files.paths import REPO
from tests.bad_input import cases
from tests.flags.__main__ import EXAMPLES, current, readme

METHOD = {
    "embedding_learning": ["loss", "optimisation"], "im2vec": ["vectors", "optimisation"],
    "transfer": ["classifier", "optimisation", "fine-tuning"], "visual_semantic": ["words", "loss", "optimisation"],
    "vse": ["loss", "optimisation"],
}  # fmt: skip
ONE_ROW = (  # written in common/cli.py alone
    "--gpus", "--num-cpus", "--kvstore", "--num-workers", "--on-error", "--seed", "--resize", "--keep-aspect",
    "--no-plots", "--use-pretrained", "--freeze-batch-norm", "--log-interval", "--save-interval",
    "--sheet", "--serve", "--port", "-k",
)  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_readme_has_the_current_table(example):
    assert readme(example).read_text(encoding="utf-8") == current(example), "python3 -m tests.flags writes it anew"


@pytest.mark.parametrize("example", EXAMPLES)
def test_headings_stand_in_one_order(example):
    flags = importlib.import_module(f"examples.{example}.train").FLAGS
    assert list(flags) == ["data", "network", *METHOD[example], "run", "devices"]


@pytest.mark.parametrize("flag", ONE_ROW)
def test_shared_flags_are_written_once(flag):
    sources = {path: path.read_text(encoding="utf-8") for path in (REPO / "examples").rglob("*.py")}
    assert not [str(path) for path, text in sources.items() if f'("{flag}"' in text]
    assert f'"{flag}", ' in (REPO / "common" / "cli.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_training_has_the_shared_flags(example):
    given = {
        "data_path": "x", "on_error": "skip", "num_workers": 0, "run_dir": "y", "resume": False, "seed": 7, "gpus": [],
        "num_cpus": 2, "kvstore": "local",
    }  # fmt: skip
    argv = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if name not in ("resume", "gpus")]
    parse_args = importlib.import_module(f"examples.{example}.train").parse_args
    args = parse_args([*argv, "--gpus=", "--model=vgg16", "--params=z"])
    assert {name: getattr(args, name) for name in given} == given
    assert (args.weights if example == "transfer" else args.params) == "z"


def test_no_program_imports_anything_slow_to_read_its_flags():
    slow = ("mxnet", "gluoncv", "cv2", "PIL", "faiss", "sklearn", "scipy", "matplotlib", "tqdm")
    code = f"import sys, {', '.join(cases.PROGRAMS)}; print([name for name in {slow} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True).stdout == "[]\n"
