"""What a comparison found, as text, as files for other tools, and as one page."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from common.files.disk import atomic, write_json, writing
from common.show import plots, report
from examples.im2vec import analogies, pictures
from examples.im2vec.comparison import Figures, Intervals, Neighbour
from examples.im2vec.spaces import LEARNED, Examined

MOST = 100  # classes in the page's tables; the files have all
WORDLESS = r"\W+"


def spread(values: Sequence[float | None]) -> str:
    """``"0.71 +- 0.02"``: mean and standard deviation; where a run has no such figure there is none of all."""
    if None in values:
        return "not defined"
    return f"{np.mean(values):.3f}" + (f" +- {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def spreads(figures: Figures) -> dict[str, dict[str, str]]:
    """A table of `spread`."""
    return {row: {name: spread(values) for name, values in cells.items()} for row, cells in figures.items()}


def sure(intervals: Intervals) -> dict[str, dict[str, str]]:
    """A table of ``"0.57 (0.46 to 0.68)"``; empty where there are no such figures."""

    def cell(mean, low, high):
        return f"{mean:.3f}" + (f" ({low:.3f} to {high:.3f})" if high > low else "")

    return {row: {name: cell(*values) for name, values in cells.items()} for row, cells in intervals.items() if cells}


def listed(found: Iterable[Neighbour]) -> dict[str, str]:
    """Of each class its nearest, with the cosine and the share: ``"cat 0.58 (100 %), ..."``."""
    texts: dict[str, list[str]] = {}
    for one in found:
        share = "" if one.share is None else f" ({one.share:.0%})"
        texts.setdefault(one.name, []).append(f"{one.nearest} {one.cosine:.2f}{share}")
    return {name: ", ".join(parts) for name, parts in texts.items()}


def write(
    folder, told: str, figures: Figures, intervals: Intervals, neighbours: Mapping[str, list[Neighbour]],
    runs: Sequence[Examined], questions: analogies.Questions | None,
) -> Path:  # fmt: skip
    """Write ``comparison.json``, ``figures.csv``, ``nearest.csv``, ``analogies.csv``, pictures and ``report.html``.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    UserError
        They cannot be written.
    """
    folder = Path(folder)
    with writing(folder, "give another --report"):
        (folder / "plots").mkdir(parents=True, exist_ok=True)
    write_json(folder / "comparison.json", {"figures": figures, "intervals": intervals})
    rows = [[row, name, run, value] for row, cells in figures.items() for name, values in cells.items()
            for run, value in enumerate(values, 1)]  # fmt: skip
    _csv(folder / "figures.csv", ["vectors", "figure", "run", "value"], rows)
    fields = [field.name for field in dataclasses.fields(Neighbour)]
    every = [dataclasses.astuple(one) for found in neighbours.values() for one in found]
    _csv(folder / "nearest.csv", ["class" if name == "name" else name for name in fields], every)
    sections = [("Agreement", [told + ".", spreads(figures)])]
    if any(intervals.values()):
        drawn = _drawn(intervals, folder / "plots")
        sections.append(("How sure", ["95 % intervals, of classes or questions drawn again.", sure(intervals), *drawn]))
    for row, found in neighbours.items():
        chart = folder / "plots" / f"nearest-{re.sub(WORDLESS, '-', row).strip('-')}.png"
        samples = f"In brackets: in how many of {found[0].samples} samples it is among the nearest."
        samples = samples if found[0].samples > 1 else "Of one run: how sure they are is not known, see --refits."
        table = {name: {"nearest": text} for name, text in list(listed(found).items())[:MOST]}
        pictured = pictures.nearest_chart(found, chart, f"Nearest by {row}")
        sections.append((f"Nearest by {row}", [samples, pictured, table]))
    if questions:
        sections.append(("Analogies", _analogies(runs, questions, folder)))
    return report.write(folder, f"im2vec: {told.partition(';')[0]}", sections)


def _csv(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    with atomic(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows)


def _drawn(intervals: Intervals, folder: Path) -> list[Path]:
    """A chart of each figure that all rows have."""
    found = []
    for number, name in enumerate(intervals[LEARNED]):
        rows = {row: (cells[name][0], (cells[name][2] - cells[name][1]) / 2) for row, cells in intervals.items()}
        found.append(plots.intervals(rows, folder / f"intervals-{number}.png", unit=name))
    return found


def _analogies(runs: Sequence[Examined], questions: analogies.Questions, folder: Path) -> list:
    """The page's tables of analogies, a row a relation; ``analogies.csv`` has every question."""
    names, items, lines = runs[0].metadata["classes"], [], []
    for row in runs[0].vectors:
        right = {method: [] for method in analogies.METHODS}
        for number, run in enumerate(runs, 1):
            for method in analogies.METHODS:
                answered = analogies.answers(run.vectors[row], questions, method)
                right[method].append(answered == questions.terms[:, 3])
                for relation, terms, answer in zip(questions.relation, questions.terms, answered):
                    asked = [names[term] for term in terms]
                    lines.append([row, number, questions.relations[relation], *asked, method, names[answer]])
        table = {}
        for number, relation in enumerate(questions.relations):
            kept = questions.relation == number
            if kept.any():
                shares = {method: f"{np.mean([r[kept] for r in rows]):.3f}" for method, rows in right.items()}
                table[relation] = {"questions": str(kept.sum()), **shares}
        items += [f"By {row}:", table]
    _csv(folder / "analogies.csv", ["vectors", "run", "relation", "a", "b", "c", "d", "method", "answer"], lines)
    return items
