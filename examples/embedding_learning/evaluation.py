"""What a run reports: metrics, pictures, one page."""

from __future__ import annotations

import dataclasses

import numpy as np

from common import metrics
from common.data.sets import ImageSet, glyphs
from common.run import Run
from common.show import plots, report, tables

KS = (1, 2, 4, 8, 16)
SHOWN = ("recall@1", "recall@2", "recall@4", "recall@8", "map@r")


def figures(
    embeddings: np.ndarray,
    labels: np.ndarray,
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
) -> dict[str, float]:
    """recall@1/2/4/8/16, MAP@R and R-precision of each picture among all others, or among those of a gallery."""
    searched = gallery, gallery_labels
    return {**metrics.recall_at_k(embeddings, labels, KS, *searched), **metrics.map_at_r(embeddings, labels, *searched)}


@dataclasses.dataclass(frozen=True)
class Tested:
    """The test pictures and their embeddings, and those they are looked for among (None: each other)."""

    pictures: ImageSet
    embeddings: np.ndarray
    gallery: ImageSet | None = None
    gallery_embeddings: np.ndarray | None = None


def finish(
    run: Run, rows: dict[str, dict[str, float]], validation: dict[str, float], tested: Tested, notes: list[str],
    draw: bool, seed: int,
) -> None:  # fmt: skip
    """Print the metrics of each method, write them, draw, and make the page.

    Parameters
    ----------
    rows : dict of method to metrics
        The last one, ``trained``, is ours.
    validation : dict
        Metrics of the same epoch on what was held out of training; may be empty.
    tested : Tested
    notes : list of str
        What was settled by the data; the page says it too.
    """
    test_set = tested.pictures
    final = {**tables.flat(rows), **validation}
    if len(test_set) > len(test_set.class_names):  # else each picture is a cluster of its own
        final["nmi"] = metrics.nmi(tested.embeddings, test_set.labels)
    twins = []
    if test_set.domain_names == list(glyphs.FACES):
        final["ceiling_recall@1"] = glyphs.twin_ceiling(test_set.class_names)
        twins.append(
            "Some characters are drawn exactly alike (Latin, Greek and Cyrillic A): no method can pass"
            f" recall@1 {final['ceiling_recall@1']:.3f} here."
        )
    run.finish(final)
    run.log("\n" + tables.table(rows, SHOWN))
    for note in twins:
        run.log(note)
    if draw:
        _draw(run, tested, [tables.cells(rows, SHOWN), *twins, *notes], "validation_" if validation else "", seed)


def _draw(run: Run, tested: Tested, parts: list, prefix: str, seed: int) -> None:
    sections = [("Figures", parts)]
    curves = ["loss", f"{prefix}recall@1", f"{prefix}map@r"]
    gallery = tested.gallery, tested.gallery_embeddings
    retrieval = run.plots / "retrieval.png"
    pictures = {
        "Training": plots.curves(run.history(), run.plots / "training.png", curves),
        "t-SNE of the embeddings": plots.tsne(tested.embeddings, tested.pictures, run.plots / "tsne.png", seed=seed),
        "Retrieval": plots.retrieval_sheet(tested.embeddings, tested.pictures, retrieval, seed=seed, gallery=gallery),
    }
    sections += [(title, [path]) for title, path in pictures.items() if path]
    page = report.write(run.folder, f"Embedding learning on {run.args.dataset}", sections, vars(run.args))
    for path in [p for p in pictures.values() if p] + [page]:
        run.log(f"wrote {path}")
