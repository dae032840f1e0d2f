"""What a run reports: figures, pictures, one page."""

from __future__ import annotations

import numpy as np

from common import metrics, plots, report
from common.datasets import ImageSet, glyphs
from common.run import Run

KS = (1, 2, 4, 8, 16)
SHOWN = ("recall@1", "recall@2", "recall@4", "recall@8", "map@r")


def figures(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """recall@1/2/4/8/16 of each picture among all others, MAP@R and R-precision."""
    return {**metrics.recall_at_k(embeddings, labels, KS), **metrics.map_at_r(embeddings, labels)}


def table(rows: dict[str, dict[str, float]]) -> str:
    """Methods and their figures as lines of text."""
    width = max(map(len, rows))
    head = " " * width + "".join(f"{name:>10}" for name in SHOWN)
    return "\n".join([head, *(f"{m:<{width}}" + "".join(f"{f[k]:>10.3f}" for k in SHOWN) for m, f in rows.items())])


def finish(
    run: Run, rows: dict[str, dict[str, float]], embeddings: np.ndarray, test_set: ImageSet, draw: bool, seed: int
) -> None:
    """Print the figures of each method (the last one is the trained embedding), write them, draw, and make the page."""
    ours = rows["trained"]
    final = {**ours, "nmi": metrics.nmi(embeddings, test_set.labels)}
    final.update({f"{name}_{key}": value for name, f in rows.items() if name != "trained" for key, value in f.items()})
    notes = []
    if test_set.domain_names == list(glyphs.FACES):
        final["ceiling_recall@1"] = glyphs.twin_ceiling(test_set.class_names)
        notes.append(
            "Some characters are drawn exactly alike (Latin, Greek and Cyrillic A): no method can pass"
            f" recall@1 {final['ceiling_recall@1']:.3f} here."
        )
    run.finish(final)
    run.log("\n" + table(rows))
    for note in notes:
        run.log(note)
    if not draw:
        return
    sections = [("Figures", [table_of(rows), *notes])]
    pictures = {
        "Training": plots.curves(run.history(), run.plots / "training.png", ["loss", "recall@1", "map@r"]),
        "t-SNE of the embeddings": plots.tsne(embeddings, test_set, run.plots / "tsne.png", seed=seed),
        "Retrieval": plots.retrieval_sheet(embeddings, test_set, run.plots / "retrieval.png", seed=seed),
    }
    sections += [(title, [path]) for title, path in pictures.items() if path]
    page = report.write(run.folder, f"Embedding learning on {run.args.dataset}", sections, vars(run.args))
    for path in [p for p in pictures.values() if p] + [page]:
        run.log(f"wrote {path}")


def table_of(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, str]]:
    """The same table for the page."""
    return {method: {name: f"{values[name]:.3f}" for name in SHOWN} for method, values in rows.items()}
