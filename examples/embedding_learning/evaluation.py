"""What a run reports: metrics, pictures, one page."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from common import metrics
from common.data.sets import ImageSet, glyphs
from common.files.errors import UserError
from common.run import Run
from common.show import plots, report, tables
from examples.embedding_learning import catalogue, linear
from examples.embedding_learning.data import Searched
from examples.embedding_learning.gallery import write_table

KS = (1, 2, 4, 8, 16)
SHOWN = ("recall@1", "recall@2", "recall@4", "recall@8", "class_recall@1", "map@r")
TITLES = {  # of methods with a short key
    "pca": "backbone features, PCA whitened", "lda": "backbone features, LDA", "wccn": "backbone features, WCCN",
}  # fmt: skip
WORST = 20  # classes in the page's table, where there are more


def retrieval(
    embeddings: np.ndarray,
    labels: np.ndarray,
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    own: np.ndarray | None = None,
) -> dict[str, float]:
    """recall@1/2/4/8/16, MAP@R and R-precision of each picture among all others, or among those of a gallery.

    `own` is each picture's index in the gallery, -1 where it is not there; it never finds itself. ``class_recall@1`` is
    the mean over the classes, the others are means over the pictures.
    """
    searched = gallery, gallery_labels, own
    ranks = metrics.first_right(embeddings, labels, max(KS), *searched)
    _, _, of_class = metrics.by_class(labels, ranks == 1)
    return {
        **metrics.recall(ranks, KS),
        "class_recall@1": float(np.mean(of_class)),
        **metrics.map_at_r(embeddings, labels, *searched),
    }


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
        self._searched = inputs.searched
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
            queries, gallery = searched.queries, searched.gallery
            return retrieval(rows[queries], labels[queries], rows[gallery], labels[gallery], searched.own)
        gallery = self._gallery_of(name)
        searched = (embeddings(gallery), self._inputs.pictures[gallery].labels) if gallery else ()
        return retrieval(embeddings(name), self._inputs.pictures[name].labels, *searched)

    def _reported(self, embeddings) -> dict[str, float]:
        """Of the test pictures: retrieval, and hits in the catalogue where there is one."""
        embeddings = functools.cache(embeddings)
        return {**self._metrics("test", embeddings), **catalogue.hits(self._inputs.pictures, embeddings)}

    def baselines(self, pretrained: bool, dims: int, say) -> dict[str, dict[str, float]]:
        """Of the test pictures: raw pixels, a pretrained backbone's features, the network before training.

        Parameters
        ----------
        pretrained : bool
            Features whitened by PCA, and LDA and WCCN learned on those of the training pictures, are baselines too.
        dims : int
            The most numbers that these have.
        say : callable (str)
            Is given a line where there is no figure for one of them.
        """
        inputs = self._inputs
        rows = {"raw pixels": self._reported(lambda name: inputs.pixels(name, self._gallery_of("test")))}
        if pretrained:
            features, labels = functools.cache(inputs.features), inputs.pictures["train"].labels
            rows["backbone features"] = self._reported(features)
            fits = {
                "pca": lambda: linear.pca_whitening(features("train"), dims),
                "lda": lambda: linear.lda(features("train"), labels, dims),
                "wccn": lambda: linear.wccn(features("train"), labels, dims),
            }
            for name, fit in fits.items():
                try:
                    fitted = fit()
                except UserError as error:
                    say(f"{TITLES[name]}: no figure. {error}")
                else:
                    rows[name] = self._reported(lambda split, fitted=fitted: fitted(features(split)))
        rows["before training"] = self._reported(inputs.embeddings)
        return rows

    def choose(self) -> dict[str, float]:
        """The metrics by which an epoch is chosen."""
        chosen = self._metrics(self._asked, self._inputs.embeddings)
        return {self._prefix + name: value for name, value in chosen.items()}

    def finish(self, run: Run, rows: dict, best: dict[str, float], notes: list[str], draw: bool, seed: int) -> Tested:
        """Ask the test pictures, and report; see `finish`. `best` are the metrics of the chosen epoch."""
        inputs, gallery = self._inputs, self._gallery_of("test")
        embeddings = functools.cache(inputs.embeddings)  # of the network as it now stays
        ours = self._metrics("test", embeddings) if self._prefix else best
        ours = {**ours, **catalogue.hits(inputs.pictures, embeddings)}
        rows = {**rows, "trained": {**ours, "epoch": best["epoch"]}}
        searched = (inputs.pictures[gallery], embeddings(gallery)) if gallery else (None, None)
        tested = Tested(inputs.pictures["test"], embeddings("test"), *searched, self._searched.get("test"))
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

    def split(self) -> tuple[ImageSet, np.ndarray, tuple, np.ndarray | None]:
        """Queries and their embeddings, pictures and embeddings of the gallery, each query's index in it."""
        if not self.searched:
            return self.pictures, self.embeddings, (self.gallery, self.gallery_embeddings), None
        queries, among = self.searched.queries, self.searched.gallery
        gallery = self.pictures.subset(among), self.embeddings[among]
        return self.pictures.subset(queries), self.embeddings[queries], gallery, self.searched.own

    def by_class(self) -> list[tuple[str, int, float]]:
        """Name, queries and recall@1 of each class, the worst first."""
        asked, rows, (among, gallery), own = self.split()
        ranks = metrics.first_right(rows, asked.labels, 1, gallery, None if among is None else among.labels, own)
        found = metrics.by_class(asked.labels, ranks == 1)
        classes = [(asked.class_names[label], int(count), float(value)) for label, count, value in zip(*found)]
        return sorted(classes, key=lambda row: (row[2], row[0]))


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
    classes = tested.by_class()
    write_table(run.folder / "classes.csv", ["class", "pictures", "recall@1"], classes)
    run.finish(final)
    rows = {TITLES.get(name, name): values for name, values in rows.items()}
    shown = [SHOWN, *(catalogue.SHOWN if catalogue.SHOWN[0][0] in rows["trained"] else [])]
    for columns in shown:
        run.log("\n" + tables.table(rows, columns))
    for note in twins:
        run.log(note)
    if draw:
        figures = [*(tables.cells(rows, columns) for columns in shown), *twins, *notes]
        sections = [("Figures", figures), ("Classes", _worst(classes))]
        _draw(run, tested, sections, "validation_" if validation else "", seed)


def _worst(classes: list[tuple[str, int, float]]) -> list:
    """The page's table of classes, and where the rest of them are."""
    rows = {name: {"recall@1": f"{value:.3f} of {count}"} for name, count, value in classes[:WORST]}
    more = len(classes) - WORST
    return [rows, *([f"{more} more classes, found better, are in classes.csv."] if more > 0 else [])]


def _draw(run: Run, tested: Tested, sections: list, prefix: str, seed: int) -> None:
    curves, history = ["loss", f"{prefix}recall@1", f"{prefix}map@r"], run.history()
    asked, rows, gallery, own = tested.split()
    retrieval = run.plots / "retrieval.png"
    pictures = {
        "Training": plots.curves(history, run.plots / "training.png", curves) if history else None,
        "t-SNE of the embeddings": plots.tsne(tested.embeddings, tested.pictures, run.plots / "tsne.png", seed=seed),
        "Retrieval": plots.retrieval_sheet(rows, asked, retrieval, seed=seed, gallery=gallery, own=own),
    }
    sections += [(title, [path]) for title, path in pictures.items() if path]
    page = report.write(run.folder, f"Embedding learning on {run.args.dataset}", sections, vars(run.args))
    for path in [p for p in pictures.values() if p] + [page]:
        run.log(f"wrote {path}")
