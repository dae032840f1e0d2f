"""A run's folder: arguments, log, metrics, checkpoints, plots."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import plain, write_json, write_text
from common.paths import REPO


class Run:
    """The folder that one run writes and that ``--resume`` continues.

    Holds ``args.json``, ``log.txt``, ``metrics.jsonl`` (one JSON object a line), ``metrics.json`` (final figures),
    ``checkpoints/`` and ``plots/``.

    Parameters
    ----------
    folder : path
    args : argparse.Namespace
        Written to ``args.json`` with the versions and the thread count the results depend on.
    resume : bool
        Continue what the folder holds; otherwise the folder must hold no run yet.

    Raises
    ------
    UserError
        The folder holds a run and `resume` is not set, or holds none and it is.
    """

    def __init__(self, folder, args: argparse.Namespace, resume: bool = False):
        self.folder = Path(folder)
        self.args = args
        self.resumed = resume
        self.checkpoints = self.folder / "checkpoints"
        self.plots = self.folder / "plots"
        exists = (self.folder / "args.json").exists()
        if resume and not exists:
            raise UserError(f"{self.folder} holds no run to resume: leave out --resume, or give its --run-dir")
        if exists and not resume:
            raise UserError(f"{self.folder} holds a run already: --resume continues it, another --run-dir starts anew")
        try:
            self.plots.mkdir(parents=True, exist_ok=True)
            self.checkpoints.mkdir(exist_ok=True)
            if not resume:
                write_json(self.folder / "args.json", {"args": vars(args), "environment": environment()})
        except OSError as error:
            raise UserError(f"cannot write {self.folder}: {error.strerror}; give another --run-dir") from error

    @classmethod
    def start(cls, args: argparse.Namespace, example: str, rank: int = 0) -> Run:
        """The run that the flags ask for: ``--run-dir``, or a new number under ``runs/<example>/``.

        With ``--resume`` and no ``--run-dir`` it is the newest of the same data set. Workers other than the first
        of a multi-machine run write ``worker-<rank>/`` inside it.
        """
        resume = bool(getattr(args, "resume", False))
        folder = Path(args.run_dir) if args.run_dir else _numbered(REPO / "runs" / example, args.dataset, resume)
        return cls(folder / f"worker-{rank}" if rank else folder, args, resume)

    def log(self, message: str) -> None:
        """Write a line to the terminal and to ``log.txt``."""
        print(message, flush=True)
        with open(self.folder / "log.txt", "a", encoding="utf-8") as file:
            file.write(f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S} {message}\n")

    def metrics(self, **row: Any) -> None:
        """Append a row to ``metrics.jsonl``."""
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row, default=plain) + "\n")

    def history(self) -> list[dict]:
        """The rows of ``metrics.jsonl`` so far."""
        return read_history(self.folder)

    def rewind(self, epoch: int, batch: int) -> None:
        """Forget the metrics that lie after `batch` batches of `epoch`: a resumed run writes them again."""
        kept = [row for row in self.history() if (row.get("epoch", 0), row.get("batch", 0)) <= (epoch, batch)]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_text(self.folder / "metrics.jsonl", text)

    def finish(self, figures: dict) -> None:
        """Write the final figures to ``metrics.json``: flat keys such as ``recall@1``."""
        write_json(self.folder / "metrics.json", figures)


def read_history(folder) -> list[dict]:
    """The rows of ``metrics.jsonl`` in a run's folder; none if there is no such file."""
    path = Path(folder) / "metrics.jsonl"
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:  # a line cut short when the process was killed
            continue
    return rows


def _numbered(parent: Path, stem: str, resume: bool) -> Path:
    suffixes = (path.name[len(stem) + 1 :] for path in parent.glob(f"{stem}-*"))
    last = max((int(suffix) for suffix in suffixes if suffix.isdigit()), default=0)
    if resume and not last:
        raise UserError(f"no run of {stem} under {parent} to resume: give its --run-dir, or leave out --resume")
    return parent / f"{stem}-{last if resume else last + 1}"


def environment() -> dict:
    """Versions and settings that a run's figures depend on."""
    packages = ("mxnet", "mxnet-cu112", "gluoncv", "numpy", "faiss-cpu", "scikit-learn")
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "cores": os.cpu_count(),
        "packages": versions,
    }
