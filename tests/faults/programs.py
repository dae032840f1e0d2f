"""The programs that are disturbed, on data so small that one run takes seconds, and what a run is known by.

A program is a row of `PROGRAMS`: its command line, and where it can be seen how far a run has come. What is written is
compared whole: every file of a run but its log, its flags and its pictures, and ``metrics.jsonl`` without its times. Of
the checkpoints it is the newest: a kill after its renaming, before the pruning, leaves more of the older ones.

The environment variable FAULTS says how many kills each program gets; without it there are three, one by each signal.
With it every kind of damage is tried on every program too, and memory is watched for longer. ``make faults`` sets it.
Nothing is written beside pytest's own temporary folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from common.files.checksum import sha256
from common.files.paths import REPO
from common.run import read_history

NAMES = ("blue", "green", "orange", "purple", "red", "yellow")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MANY = "FAULTS" in os.environ
KILLS = int(os.environ.get("FAULTS", len(SIGNALS)))
COUNTS: Counter = Counter()  # (program, signal, "same" or "other") -> kills, for the summary
MEMORY: dict[str, tuple[int, int, int]] = {}  # program -> steps, kB when warm, kB at the end; for the summary
SAID = ("args.json", "log.txt", "report.html")  # what says when and how a run went, not what came out
POLL = 0.005  # seconds between looks at how far a run has come
PATIENCE = 300  # seconds that a run of seconds may take on a busy machine


def make_data(place: Path) -> Path:
    """Pictures of six classes, words for them, and features with five captions each."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        (place / "pictures" / name).mkdir(parents=True)
        colour = 40 * number, 255 - 40 * number, 97 * number % 256
        for i in range(8):
            picture = (np.array(colour) + rng.normal(0, 30, (16, 16, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(picture).save(place / "pictures" / name / f"{i}.png")
    rows = (f"{name} {' '.join(f'{x:.4f}' for x in rng.normal(size=8))}\n" for name in NAMES)
    (place / "words.vec").write_text(f"{len(NAMES)} 8\n" + "".join(rows))
    words = rng.normal(size=(20, 8))
    for part, count in (("train", 40), ("dev", 12), ("test", 12)):
        chosen = [rng.choice(20, 3, replace=False) for _ in range(count)]
        np.save(place / f"f8k_{part}_ims.npy", np.array([words[own].sum(0) for own in chosen], np.float32))
        said = (" ".join(f"w{word}" for word in rng.permutation(own)) for own in chosen for _ in range(5))
        (place / f"f8k_{part}_caps.txt").write_text("\n".join(said) + "\n")
    return place


@dataclasses.dataclass(frozen=True)
class Program:
    """One that can be stopped and continued.

    Attributes
    ----------
    script : str
        Under ``examples/``.
    flags : str
        ``{data}`` and ``{run}`` stand for the folder of `make_data` and the run's own.
    grows : str
        The files whose size together says how far a run has come.
    begun : str
        The file without which there is nothing to resume.
    long : str
        More flags, with which it takes many steps: ``{tenth}`` of them in each of ten epochs, or ``{epochs}`` epochs of
        `batches` each.
    batches : int
    """

    script: str
    flags: str
    grows: str = "**/metrics.jsonl"
    begun: str = "args.json"
    long: str = ""
    batches: int = 0

    def command(self, data: Path, run: Path, *more: str) -> list[str]:
        """What is run."""
        return [sys.executable, str(REPO / "examples" / self.script), *self._filled(data, run), *more]

    def lengthened(self, data: Path, run: Path, steps: int) -> list[str]:
        """What takes so many steps, or a few more."""
        numbers = {"tenth": -(-steps // 10), "epochs": -(-steps // (self.batches or steps))}
        return self.command(data, run, *self.long.format(**numbers).split())

    def resumed(self, data: Path, run: Path, bare: bool = False) -> list[str]:
        """What continues a run as far as there is one to continue; `bare`: without the flags that it has itself."""
        if not (run / self.begun).is_file():
            return self.command(data, run)
        if bare and self.begun == "args.json":
            return [sys.executable, str(REPO / "examples" / self.script), "--resume", "--run-dir", str(run)]
        return self.command(data, run, "--resume")

    def _filled(self, data: Path, run: Path) -> list[str]:
        return [part.format(data=data, run=run) for part in self.flags.split()]

    def reached(self, run: Path) -> int:
        """How far a run has come."""
        total = 0
        for name in glob.glob(self.grows, root_dir=run, recursive=True):  # unlike Path.glob, bears folders that go
            with contextlib.suppress(FileNotFoundError):  # put in its final place meanwhile
                total += (run / name).stat().st_size
        return total


PICTURES = "--dataset folder --data-path {data}/pictures --model conv4 --run-dir {run} --no-plots"
PROGRAMS = {
    "embedding_learning": Program(
        "embedding_learning/train.py",
        f"{PICTURES} --embed-dim 4 --batch-size 4 --batch-k 2 --epochs 3 --epoch-batches 8 --log-interval 2"
        " --save-interval 3 --lr 1e-2 --image-size 16",
        long="--epochs 10 --epoch-batches {tenth} --log-interval 1000 --save-interval 0 --lr 1e-4",
    ),
    "vse": Program(
        "vse/train.py",
        "--data-path {data} --run-dir {run} --no-plots --dim 8 --dim_word 6 --batch_size 8 --max_epochs 2"
        " --validFreq 5 --dispFreq 2",
        long="--max_epochs {epochs} --validFreq {tenth} --dispFreq 1000 --early_stop 0 --lrate 1e-4",
        batches=25,
    ),
    "im2vec": Program(
        "im2vec/train.py",
        f"{PICTURES} --embed-dim 4 --batch-size 8 --epochs 4 --log-interval 1 --image-size 16",
        long="--epochs {epochs} --log-interval 1000 --batch-size 1 --lr 1e-3",
        batches=36,
    ),
    "visual_semantic": Program(
        "visual_semantic/train.py",
        f"{PICTURES} --word-vectors {{data}}/words.vec --image-size 16 --batch-size 8 --epochs-1 2 --epochs-2a 2"
        " --epochs-2b 2 --log-interval 1 --save-interval 1 --no-keep-all",
        long="--stages 1 --epochs-1 {epochs} --log-interval 1000 --save-interval 0 --batch-size 1 --lr-1 1e-4",
        batches=28,
    ),
    "transfer": Program(
        "transfer/train.py",
        "--data-path {data}/pictures --model conv4 --weights None --run-dir {run} --folds 2 --test-share 0.25"
        " --batch-size 4 --fine-tune --epochs 3",
        long="--epochs {epochs} --batch-size 1 --lr 1e-5",
        batches=36,
    ),
    "generate_embedding": Program(
        "transfer/generate_embedding.py",
        "--folder {data}/pictures -tm conv4 -weights None -dir {run} -n features -b 1",
        grows="*.part/vectors",
        begun="features.part/state.json",
    ),
}


def environment(data: Path) -> dict[str, str]:
    """Nothing is read or kept beside `data`; one thread, since the machine may have few."""
    return {**os.environ, "EMBEDDING_DATA": str(data / "kept"), "OMP_NUM_THREADS": "1"}


def start(command: list[str], data: Path, output: Path) -> subprocess.Popen:
    """Start a program; what it says is added to the file `output`."""
    with open(output, "a", encoding="utf-8") as said:
        return subprocess.Popen(command, env=environment(data), stdout=said, stderr=subprocess.STDOUT)


def finish(command: list[str], data: Path) -> subprocess.CompletedProcess:
    """Run a program to its end."""
    return subprocess.run(command, env=environment(data), capture_output=True, text=True, timeout=PATIENCE)


def one_line(done: subprocess.CompletedProcess) -> str:
    """The one line of an error that the user can mend; the test fails if it ended in another way."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(errors) == 1 and "Traceback" not in done.stderr, (done.returncode, done.stderr)
    return errors[0]


def outcome(run: Path) -> dict[str, str]:
    """What is compared of a run: file to SHA-256, of ``metrics.jsonl`` to its rows without their times."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if not path.is_file() or path.name.startswith(".") or path.name in SAID or name.startswith("plots/"):
            continue
        if path.parent.parent.name == "checkpoints" and path.parent != newest(path.parent.parent):
            continue
        if path.name == "metrics.jsonl":
            rows = read_history(path.parent)
            found[name] = json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in rows])
        else:
            found[name] = sha256(path)
    return found


def newest(checkpoints: Path) -> Path:
    """The newest checkpoint in a folder of them."""
    return max(checkpoints.glob("epoch-*"))


def differing(run: Path, expected: dict[str, str]) -> list[str]:
    """The files that are not as in the undisturbed run."""
    found = outcome(run)
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


@dataclasses.dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbed: its folder and outcome, how far it came, and the seconds before, between, after."""

    folder: Path
    outcome: dict[str, str]
    total: int
    begin: float
    rows: float
    end: float

    @classmethod
    def run(cls, program: Program, data: Path, folder: Path) -> Undisturbed:
        """Run it, and look how it comes along."""
        folder.mkdir()
        began, seen = time.monotonic(), [(0.0, 0)]
        output = folder.with_suffix(".out")
        process = start(program.command(data, folder), data, output)
        while process.poll() is None:
            reached = program.reached(folder)
            if reached > seen[-1][1]:
                seen.append((time.monotonic() - began, reached))
            time.sleep(POLL)
        ended = time.monotonic() - began
        assert process.returncode == 0 and len(seen) > 1, output.read_text()
        first, last = seen[1][0], seen[-1][0]
        return cls(folder, outcome(folder), seen[-1][1], first, (last - first) / (len(seen) - 1), ended - last)


def kill_at_random(
    program: Program, how: signal.Signals, data: Path, run: Path, undisturbed: Undisturbed, rng: random.Random
) -> str:
    """Start or continue a run and send it a signal at a random moment.

    The moment: when the run has come a random way, which may be no way at all or all of it, and then after a random
    part of what the undisturbed run took before, between or after its rows.

    Returns
    -------
    str
        "killed", "ended" if it had ended by itself before, or what it should not have said.
    """
    had = program.reached(run)
    target = rng.randint(had, undisturbed.total) if had < undisturbed.total else had
    if rng.random() < 0.2:
        target = had
    whole = undisturbed
    within = whole.begin if target == had else whole.end if target == whole.total else whole.rows
    output = run.with_suffix(".out")
    output.unlink(missing_ok=True)
    process = start(program.resumed(data, run, bare=rng.random() < 0.5), data, output)
    while process.poll() is None and program.reached(run) < target:
        time.sleep(POLL)
    time.sleep(rng.uniform(0, within))
    speaks = output.stat().st_size > 0  # before, the interpreter may be starting, which says much about a Ctrl-C
    process.send_signal(how)  # nothing happens if it has ended
    status = process.wait(PATIENCE)
    said = output.read_text()
    if status == 0:
        return "ended"
    # -2: the program had done all, and the interpreter was ending
    stopped = status in (130, -signal.SIGINT) and "Traceback" not in said
    if how == signal.SIGINT and speaks and not stopped or how != signal.SIGINT and status != -how:
        return f"{how.name} ended it with status {status}: {said[-2000:]}"
    return "killed"
