"""Sides of a comparison that take turns, each in a process of its own, and what they measured as a row of a table."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence

LAYOUTS = ("contiguous_format", "channels_last")  # PyTorch's, of which the better counts
ENVIRONMENT = dict(os.environ)  # the user's own, for the others too: `common` says how the suite's threads wait
THREADS = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


@dataclasses.dataclass
class Row:
    """One kind of work, done by us and by others.

    `rounds` holds what each side reached in each round, in `unit`, of which more is better, or less. The target is to
    be `times` as fast as the best of the others, or to need `limit` at most.
    """

    name: str
    unit: str
    ours: str
    rounds: dict[str, list[float]]
    more: bool = True
    times: float | None = None
    limit: float | None = None
    note: str = ""

    def median(self, side: str) -> float:
        return statistics.median(self.rounds[side])

    @property
    def peer(self) -> str | None:
        """The best of the others; None where nothing was measured beside ours."""
        others = [side for side in self.rounds if side != self.ours]
        return max(others, key=lambda side: self.median(side) * (1 if self.more else -1), default=None)

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the best of the others ours is."""
        if self.peer is None:
            return None
        ratio = self.median(self.ours) / self.median(self.peer)
        return ratio if self.more else 1 / ratio

    @property
    def target(self) -> str:
        return f"{self.times:g}x" if self.times else f"{self.limit:g} {self.unit}" if self.limit else ""

    @property
    def met(self) -> bool | None:
        """None where there is no target, or nothing to compare with."""
        if self.limit:
            return self.median(self.ours) <= self.limit
        return None if self.times is None or self.ratio is None else self.ratio >= self.times

    def said(self, side: str) -> str:
        """A side's median, and its smallest and largest round."""
        values = self.rounds[side]
        spread = f" ({number(min(values))} to {number(max(values))})" if len(values) > 1 else ""
        return number(self.median(side)) + spread


def number(value: float) -> str:
    """Three digits, but whole numbers whole: ``0.0123``, ``12.3``, ``1,234``."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def add_arguments(parser: argparse.ArgumentParser, rounds: int) -> None:
    parser.add_argument("--rounds", type=int, default=rounds, help="processes of each side, run in turn")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write what was measured, for run.py")


def output(command: Sequence, threads: int = THREADS) -> str:
    """What a process prints; one that fails ends the benchmark, with the last line of its errors."""
    environment = {**ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        said = (done.stderr.strip() or f"status {done.returncode}").splitlines()[-1]
        sys.exit(f"error: {' '.join(pathlib.Path(part).name for part in command)}: {said}")
    return done.stdout


def run(command: Sequence, threads: int = THREADS):
    """What a process prints as its last line, read as JSON."""
    return json.loads(output(command, threads).splitlines()[-1])


def turns(
    sides: Iterable[Sequence], rounds: int, threads: int = THREADS, once: Iterable[Sequence] = ()
) -> dict[str, list]:
    """Run each command of `sides` in turn, `rounds` times, those of `once` in the first round alone.

    A command prints a JSON object of figures by name as its last line; returned are each name's, round after round.
    """
    found: dict[str, list] = {}
    for number in range(rounds):
        for command in [*sides, *(() if number else once)]:
            for name, value in run(command, threads).items():
                found.setdefault(name, []).append(value)
    return found


def rate(step: Callable[[], object], items: int, seconds: float, warm: int = 2) -> float:
    """Items a second of a `step` that ends when its work is done: the median over `seconds`, or three steps."""
    for _ in range(warm):
        step()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return items / statistics.median(times)


def report(rows: Sequence[Row], file: pathlib.Path | None = None, section: str = "") -> None:
    """Print `rows`, and write them to `file` for run.py, with a `section` of Markdown."""
    for row in rows:
        print(f"{row.name} ({row.unit})")
        for side in row.rounds:
            ratio = f", ours is {row.ratio:.2f} times as fast" if side == row.peer else ""
            print(f"  {side:<32}{row.said(side)}{ratio}")
        if row.note:
            print(f"  {row.note}")
    if file:
        from common.files.disk import write_json  # here: the peers' side of a benchmark imports this module too

        write_json(file, {"rows": [dataclasses.asdict(row) for row in rows], "section": section})


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def steps_a_second(step: Callable[[], object], wait: Callable[[], object], steps: int) -> float:
    """How fast training steps are: the fastest of three rounds of `steps`, after two steps to warm up.

    Parameters
    ----------
    step : callable
        Does a whole one, or has the engine do it.
    wait : callable
        Comes back when all that was asked of the engine is done.
    steps : int
        In a round.
    """
    for _ in range(2):
        step()
    wait()
    fastest = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(steps):
            step()
        wait()
        fastest = min(fastest, time.perf_counter() - began)
    return steps / fastest
