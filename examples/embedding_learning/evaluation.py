"""What a run reports: metrics, pictures, one page."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from common import metrics
from common.data.sets import ImageSet, glyphs
from common.run import Run
from common.show import plots, report, tables
from examples.embedding_learning.data import Searched

KS = (1, 2, 4, 8, 16)
SHOWN = ("recall@1", "recall@2", "recall@4", "recall@8", "map@r")


def retrieval(
    embeddings: np.ndarray,
    labels: np.ndarray,
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    own: np.ndarray | None = None,
) -> dict[str, float]:
    """recall@1/2/4/8/16, MAP@R and R-precision of each picture among all others, or among those of a gallery.

    `own` is each picture's index in the gallery, -1 where it is not there; it never finds itself.
    """
    searched = gallery, gallery_labels, own
    return {**metrics.recall_at_k(embeddings, labels, KS, *searched), **metrics.map_at_r(embeddings, labels, *searched)}


class Evaluator:
    """Retrieval of each picture of a split among all others, or with ``seen`` among the training pictures.

    Test pictures of unseen classes that have a gallery are looked for there. Where a split says which of its pictures
    are queries and which are its gallery, that decides.

    The best epoch is chosen on what was held out of training, or where nothing was on the test pictures.

    Parameters
    ----------
    inputs : examples.embedding_learning.inputs.Inputs
    protocol : {"unseen", "seen"}

    Attributes
    ----------
    best : str
        The metric that decides on the best epoch.
    """

    def __init__(self, inputs, protocol: str):
        self._inputs = inputs
        self._seen = protocol == "seen"
        self._searched = {
            name: searched
            for name, split in inputs.pictures.items()
            if name in ("validation", "test") and (searched := Searched.of(split, name))
        }
        self._asked, self._prefix = ("validation", "validation_") if "validation" in inputs.pictures else ("test", "")
        self.best = f"{self._prefix}recall@1"

    def _gallery_of(self, name: str) -> str | None:
        """The split that the pictures of split `name` are looked for in; None: each other."""
        if name in self._searched:
            return None
        if self._seen:
            return "train"
        return "gallery" if name == "test" and "gallery" in self._inputs.pictures else None

    def _metrics(self, name: str, embeddings) -> dict[str, float]:
        if name in self._searched:
            searched, rows, labels = self._searched[name], embeddings(name), self._inputs.pictures[name].labels
            (queries, own), gallery = (searched.queries, searched.own), searched.gallery
            return retrieval(rows[queries], labels[queries], rows[gallery], labels[gallery], own)
        gallery = self._gallery_of(name)
        searched = (embeddings(gallery), self._inputs.pictures[gallery].labels) if gallery else ()
        return retrieval(embeddings(name), self._inputs.pictures[name].labels, *searched)

    def baselines(self, pretrained: bool) -> dict[str, dict[str, float]]:
        """Of the test pictures: raw pixels, a pretrained backbone's features, the network before training."""
        inputs = self._inputs
        rows = {"raw pixels": self._metrics("test", lambda name: inputs.pixels(name, self._gallery_of("test")))}
        if pretrained:
            rows["backbone features"] = self._metrics("test", inputs.features)
        rows["before training"] = self._metrics("test", inputs.embeddings)
        return rows

    def choose(self) -> dict[str, float]:
        """The metrics by which an epoch is chosen."""
        chosen = self._metrics(self._asked, self._inputs.embeddings)
        return {self._prefix + name: value for name, value in chosen.items()}

    def finish(self, run: Run, rows: dict, best: dict[str, float], notes: list[str], draw: bool, seed: int) -> Tested:
        """Ask the test pictures, and report; see `finish`. `best` are the metrics of the chosen epoch."""
        inputs, gallery = self._inputs, self._gallery_of("test")
        ours = self._metrics("test", inputs.embeddings) if self._prefix else best
        rows = {**rows, "trained": {**ours, "epoch": best["epoch"]}}
        searched = (inputs.pictures[gallery], inputs.embeddings(gallery)) if gallery else (None, None)
        tested = Tested(
            inputs.pictures["test"], inputs.embeddings("test"), *searched, self._searched.get("test")
        )  # fmt: skip
        finish(run, rows, best if self._prefix else {}, tested, notes, draw, seed)
        return tested


@dataclasses.dataclass(frozen=True)
class Tested:
    """The test pictures and their embeddings, and those they are looked for among (None: each other).

    With `searched` some of them are looked for among some of them.
    """

    pictures: ImageSet
    embeddings: np.ndarray
    gallery: ImageSet | None = None
    gallery_embeddings: np.ndarray | None = None
    searched: Searched | None = None

    def asked(self) -> Asked:
        """The queries, and what each is looked for in."""
        if self.searched:
            queries, among = self.searched.queries, self.searched.gallery
            asked, gallery = (self.pictures.subset(rows) for rows in (queries, among))
            return Asked(asked, self.embeddings[queries], gallery, self.embeddings[among], self.searched.own)
        return Asked(self.pictures, self.embeddings, self.gallery, self.gallery_embeddings, None)


class Asked(NamedTuple):
    """Queries and a gallery, with the embeddings of each; with no gallery (None) queries are looked for in each other.

    `own` is each query's index in the gallery, -1 where it is not there; None: none is.
    """

    queries: ImageSet
    rows: np.ndarray
    gallery: ImageSet | None
    gallery_rows: np.ndarray | None
    own: np.ndarray | None


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
    queries, rows, *gallery, own = tested.asked()
    retrieval = run.plots / "retrieval.png"
    pictures = {
        "Training": plots.curves(run.history(), run.plots / "training.png", curves),
        "t-SNE of the embeddings": plots.tsne(tested.embeddings, tested.pictures, run.plots / "tsne.png", seed=seed),
        "Retrieval": plots.retrieval_sheet(rows, queries, retrieval, seed=seed, gallery=tuple(gallery), own=own),
    }
    sections += [(title, [path]) for title, path in pictures.items() if path]
    page = report.write(run.folder, f"Embedding learning on {run.args.dataset}", sections, vars(run.args))
    for path in [p for p in pictures.values() if p] + [page]:
        run.log(f"wrote {path}")
