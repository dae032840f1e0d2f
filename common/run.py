"""A run's folder: arguments, log, metrics, checkpoints, plots."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

import common
from common import resume as resuming
from common.files import events
from common.files.disk import plain, write_json, write_text, writing
from common.files.errors import UserError
from common.files.lock import only_writer

REMEDY = "free some space or give another --run-dir"


class Run:
    """The folder that one run writes and that ``--resume`` continues.

    Holds ``args.json``, ``log.txt``, ``metrics.jsonl`` (one JSON object a line), ``metrics.json`` (final metrics),
    ``checkpoints/`` and ``plots/``. One process writes it at a time: nothing in it is touched before its lock is taken.

    Parameters
    ----------
    folder : path
    args : argparse.Namespace
        Written to ``args.json`` with the versions and the thread count the results depend on.
    resume : bool
        Continue what the folder holds; otherwise the folder must hold no run yet.
    program : str
        Whose run it is: one of another program is not resumed.
    data : dict, optional
        What the data set is known by, such as ``{"training pictures": 390}``: a resumed run must find the same.
    within : Run, optional
        The run that this one is a stage of: it keeps the flags.
    stages : sequence of str
        What the run goes through, for `stage`; empty names are left out.

    Raises
    ------
    UserError
        The folder holds a run and `resume` is not set, or holds none and it is; it cannot be written, or another
        process writes it; it is another program's, or on other data; ``--tensorboard`` lacks its package.
    """

    def __init__(
        self,
        folder,
        args: argparse.Namespace,
        resume: bool = False,
        program: str = "",
        data: dict | None = None,
        within: Run | None = None,
        stages: Sequence[str] = (),
    ):
        self.folder = Path(folder)
        self._events = events.Events(self.folder) if getattr(args, "tensorboard", False) else None
        self._stages, self._began = [name for name in stages if name], {}
        self.args = args
        self.resumed = resume
        self.within = within
        self.checkpoints = self.folder / "checkpoints"
        self.plots = self.folder / "plots"
        exists = os.path.exists(self.folder / resuming.ARGS)  # False also where the name is too long
        if resume and not exists:
            raise UserError(f"{self.folder} holds no run to resume: leave out --resume, or give its --run-dir")
        if exists and not resume:
            raise UserError(f"{self.folder} holds a run already: --resume continues it, another --run-dir starts anew")
        with writing(self.folder, REMEDY):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = only_writer(self.folder, "another --run-dir")
        with writing(self.folder, REMEDY):
            self.plots.mkdir(exist_ok=True)
            self.checkpoints.mkdir(exist_ok=True)
        if resume:
            self._resume(program, data or {})
        else:
            self._write_args({"program": program, "where": os.getcwd(), "args": vars(args), "data": data or {},
                              "environment": environment()})  # fmt: skip

    def _resume(self, program: str, data: dict) -> None:
        kept = resuming.read(self.folder)
        resuming.check_program(kept, program, self.folder)
        resuming.check_data(kept, data, self.folder)
        changed = resuming.changes(kept, self.args)
        if not changed:
            return
        kept["args"].update({name: now for name, (_, now) in changed.items()})
        kept["changes"] = [*kept.get("changes", []), {"time": _now(), **changed}]
        kept.pop("free", None)
        self._write_args(kept)

    def _write_args(self, kept: dict) -> None:
        write_json(self.folder / resuming.ARGS, kept)

    def may_change(self, name: str) -> None:
        """Let the next ``--resume`` change the flag `name`, since its present value ended the run."""
        run = self.within or self
        kept = resuming.read(run.folder)
        kept["free"] = sorted({*kept.get("free", ()), name})
        run._write_args(kept)

    @classmethod
    def start(
        cls, args: argparse.Namespace, program: str, rank: int = 0, data: dict | None = None,
        notes: Sequence[str] = (), stages: Sequence[str] = (),
    ) -> Run:  # fmt: skip
        """The run that the flags ask for: ``--run-dir``, or a new number under ``runs/<program>/``.

        With ``--resume`` and no ``--run-dir`` it is the newest of the same data set. Workers other than the first
        of a multi-machine run write ``worker-<rank>/`` inside it.

        Parameters
        ----------
        args : argparse.Namespace
            With ``run_dir`` and, where the program has the flag, ``resume``.
        program : str
            Whose run it is.
        rank : int
            Of this worker.
        data : dict, optional
            As for the class.
        notes : sequence of str
            What was said of the data before, see `common.data.imageset.Notes`: ``log.txt`` has it too.
        stages : sequence of str
            As for the class.

        Raises
        ------
        UserError
            As the class.
        """
        folder = resuming.place(args, program)
        resume = bool(getattr(args, "resume", False))
        run = cls(folder / f"worker-{rank}" if rank else folder, args, resume, program, data, stages=stages)
        for note in notes:
            run._keep(note)
        return run

    @property
    def command(self) -> list[str]:
        """The program and the flags that the run was started with first, as ``sys.argv`` had them."""
        kept = resuming.read((self.within or self).folder)
        return kept.get("environment", {}).get("command", sys.argv)

    def log(self, message: str) -> None:
        """Write a line to the terminal, where it stands above a progress bar, and to ``log.txt``."""
        tqdm.write(message)
        sys.stdout.flush()
        self._keep(message)

    def stage(self, name: str) -> None:
        """Log that one of the run's stages begins, its number of how many, and how long the one before took."""
        before = "".join(f" ({last} took {duration(time.monotonic() - at)})" for last, at in self._began.items())
        self.log(f"[{self._stages.index(name) + 1}/{len(self._stages)}] {name}{before}")
        self._began = {name: time.monotonic()}

    def _keep(self, message: str) -> None:
        self._append("log.txt", f"{_now()} {message}\n")

    def metrics(self, **row: Any) -> None:
        """Append a row to ``metrics.jsonl``, and with ``--tensorboard`` to the events."""
        line = json.dumps(row, default=plain)
        self._append("metrics.jsonl", line + "\n")
        if self._events:
            with writing(self.folder, REMEDY):
                self._events.add(json.loads(line))

    def _append(self, name: str, text: str) -> None:
        path = self.folder / name
        with writing(path, REMEDY), open(path, "a", encoding="utf-8") as file:
            file.write(text)

    def history(self) -> list[dict]:
        """The rows of ``metrics.jsonl`` so far."""
        return read_history(self.folder)

    def rewind(self, epoch: int, batch: int) -> None:
        """Remove the rows of ``metrics.jsonl`` that were written after a checkpoint: a resumed run writes them again.

        Parameters
        ----------
        epoch, batch : int
            Of the checkpoint: rows up to and including these counters stay.
        """
        kept = [row for row in self.history() if (row.get("epoch", 0), row.get("batch", 0)) <= (epoch, batch)]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_text(self.folder / "metrics.jsonl", text)
        if self._events:
            with writing(self.folder, REMEDY):
                self._events.begin(kept)

    def finish(self, metrics: dict) -> None:
        """Write the final metrics to ``metrics.json``: flat keys such as ``recall@1``."""
        write_json(self.folder / "metrics.json", metrics)


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


def duration(seconds: float) -> str:
    """``"45 s"``, ``"3 min 20 s"``, ``"2 h 5 min"``: two units, of which the smaller is rounded."""
    seconds = round(seconds) if seconds >= 9.95 else round(seconds, 1)
    if seconds < 60:
        return f"{seconds:g} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{round(seconds / 60) // 60} h {round(seconds / 60) % 60} min"


def _now() -> str:
    return f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"


def environment() -> dict:
    """Versions and settings that a run's results depend on."""
    packages = ("mxnet", "mxnet-cu112", "gluoncv", "numpy", "faiss-cpu", "scikit-learn")
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "version": common.__version__,
        "command": sys.argv,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "cores": os.cpu_count(),
        "packages": versions,
    }
