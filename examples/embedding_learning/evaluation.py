"""What a run reports: metrics, pictures, one page."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from common import metrics
from common.data.sets import ImageSet, glyphs
from common.files.disk import write_table
from common.files.errors import UserError
from common.run import Run
from common.show import plots, report, tables
from examples.embedding_learning import catalogue, linear
from examples.embedding_learning.data import Searched

SHOWN = ("recall@1", "recall@2", "recall@4", "recall@8", "class_recall@1", "map@r", "map")
TITLES = {  # of methods with a short key
    "pca": "backbone features, PCA whitened", "lda": "backbone features, LDA", "wccn": "backbone features, WCCN",
}  # fmt: skip
WORST = 20  # classes in the page's table, where there are more
NEAREST = 16  # of each test picture, for the sheet and --save-embeddings


class Evaluator:
    """Retrieval of each picture of a split among all others, or with ``seen`` among the training pictures.

    Test pictures of unseen classes that have a gallery are looked for there. Where a split says which of its pictures
    are queries and which are its gallery, that decides.

    The best epoch is chosen on what was held out of training, or where nothing was on the test pictures.

    Parameters
    ----------
    inputs : examples.embedding_learning.inputs.Inputs
    protocol : {"unseen", "seen"}
    signs : bool
        Report of the test pictures what the signs of their embeddings' numbers find too.
    widths : sequence of int
        And what so many of their first numbers find.

    Attributes
    ----------
    best : str
        The metric that decides on the best epoch.
    asked : {"validation", "test"}
        The split that it is of.
    """

    def __init__(self, inputs, protocol: str, signs: bool = False, widths: Sequence[int] = ()):
        self._inputs, self._signs, self._widths = inputs, signs, widths
        self._seen = protocol == "seen"
        self._searched = inputs.searched
        self.asked, self._prefix = ("validation", "validation_") if "validation" in inputs.pictures else ("test", "")
        self.best = f"{self._prefix}recall@1"

    def _gallery_of(self, name: str) -> str | None:
        """The split that the pictures of split `name` are looked for in; None: each other."""
        if name in self._searched:
            return None
        if self._seen:
            return "train"
        return "gallery" if name == "test" and "gallery" in self._inputs.pictures else None

    def tested(self, name: str, embeddings) -> Tested:
        """A split with its `embeddings`, callable (split) -> (n, d) array, and what it is looked for among."""
        gallery = self._gallery_of(name)
        among = (self._inputs.pictures[gallery], embeddings(gallery)) if gallery else (None, None)
        return Tested(self._inputs.pictures[name], embeddings(name), *among, self._searched.get(name))

    def _metrics(self, name: str, embeddings, depth: str = "all") -> dict[str, float]:
        return figures(self.tested(name, embeddings).search(depth))

    def reported(self, embeddings) -> dict[str, float]:
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
        rows = {"raw pixels": self.reported(lambda name: inputs.pixels(name, self._gallery_of("test")))}
        if pretrained:
            features, labels = functools.cache(inputs.features), inputs.pictures["train"].labels
            rows["backbone features"] = self.reported(features)
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
                    rows[name] = self.reported(lambda split, fitted=fitted: fitted(features(split)))
        rows["before training"] = self.reported(inputs.embeddings)
        return rows

    def choose(self) -> dict[str, float]:
        """The metrics by which an epoch is chosen: all but ``map``, which takes as long as all others."""
        chosen = self._metrics(self.asked, self._inputs.embeddings, "r")
        return {self._prefix + name: value for name, value in chosen.items()}

    def test(self) -> dict[str, float]:
        """The metrics of the test pictures, by the network as it now is."""
        return self._metrics("test", self._inputs.embeddings)

    def finish(self, run: Run, outputs, rows: dict, best: dict[str, float], notes: list[str]) -> Tested:
        """Ask the test pictures, and report; see `finish`. `best` are the metrics of the chosen epoch.

        `outputs`, callable (split) -> (n, d) array, are the trained network's, before unit length.
        """
        run.stage("evaluation")
        embeddings = at_unit_length(outputs)
        tested = self.tested("test", embeddings)
        ours = {**figures(tested.found), **catalogue.hits(self._inputs.pictures, embeddings)}
        if self._signs:
            rows = {**rows, "signs of trained": self._metrics("test", lambda split: signs(embeddings(split)))}
        for width in self._widths:
            of_width = self.reported(lambda split, width=width: metrics.unit(embeddings(split)[:, :width]))
            rows = {**rows, f"first {width} of trained": of_width}
        rows = {**rows, "trained": {**ours, "epoch": best["epoch"]}}
        finish(run, rows, best if self._prefix else {}, tested, notes)
        return tested


def at_unit_length(outputs: Callable) -> Callable:
    """The embeddings of a split, made once, from `outputs`, callable (split) -> (n, d) array."""
    return functools.cache(lambda split: metrics.unit(outputs(split)))


def signs(embeddings: np.ndarray) -> np.ndarray:
    """1 where a number is above 0, else -1: the bits of `common.search.index.Index` of kind ``binary``."""
    return np.where(embeddings > 0, np.float32(1), np.float32(-1))


def figures(found: metrics.Retrieval) -> dict[str, float]:
    """The means over the pictures, and over the classes as ``class_recall@1`` and so on."""
    return {**found.mean(), **found.class_mean()}


@dataclasses.dataclass(frozen=True)
class Tested:
    """Pictures of a split and their embeddings, and those they are looked for among (None: each other).

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

    def search(self, depth: str, keep: int = 0) -> metrics.Retrieval:
        """See `common.metrics.search`."""
        asked, rows, (among, gallery), own = self.split()
        labels = None if among is None else among.labels
        return metrics.search(rows, asked.labels, gallery, labels, own, depth=depth, keep=keep)

    @functools.cached_property
    def found(self) -> metrics.Retrieval:
        """All metrics of each query, and its nearest."""
        return self.search("all", NEAREST)

    def by_class(self) -> dict[str, dict[str, float]]:
        """Of each class its number of queries and all metrics, by name; the worst recall@1 first."""
        classes, counts, values = self.found.by_class()
        names = [self.pictures.class_names[label] for label in classes]
        rows = {
            name: {"pictures": int(count), **dict(zip(self.found.names, row))}
            for name, count, row in zip(names, counts, values.tolist())
        }
        return dict(sorted(rows.items(), key=lambda row: (row[1]["recall@1"], row[0])))


def finish(
    run: Run, rows: dict[str, dict[str, float]], validation: dict[str, float], tested: Tested, notes: list[str],
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
    columns = list(next(iter(classes.values())))
    write_table(
        run.folder / "classes.csv", ["class", *columns], ([name, *row.values()] for name, row in classes.items())
    )
    run.finish(final)
    rows = {TITLES.get(name, name): values for name, values in rows.items()}
    shown = [SHOWN, *(catalogue.SHOWN if catalogue.SHOWN[0][0] in rows["trained"] else [])]
    for columns in shown:
        run.log("\n" + tables.table(rows, columns))
    for note in twins:
        run.log(note)
    if not run.args.no_plots:
        tabled = [tables.cells(rows, columns) for columns in shown]
        sections = [("Figures", [*tabled, *twins, *notes]), ("Classes", _worst(classes))]
        _draw(run, tested, sections, "validation_" if validation else "")


def _worst(classes: dict[str, dict[str, float]]) -> list:
    """The page's table of classes, and where the rest of them are."""
    shown = dict(list(classes.items())[:WORST])
    rows = {name: {"recall@1": f"{row['recall@1']:.3f} of {row['pictures']}"} for name, row in shown.items()}
    more = len(classes) - WORST
    return [rows, *([f"{more} more classes, found better, are in classes.csv."] if more > 0 else [])]


def _draw(run: Run, tested: Tested, sections: list, prefix: str) -> None:
    run.stage("pictures")
    seed = run.args.seed
    curves, history = ["loss", f"{prefix}recall@1", f"{prefix}map@r"], run.history()
    asked, rows, gallery, _ = tested.split()
    retrieval, nearest = run.plots / "retrieval.png", tested.found.indices
    pictures = {
        "Training": plots.curves(history, run.plots / "training.png", curves) if history else None,
        "t-SNE of the embeddings": plots.tsne(tested.embeddings, tested.pictures, run.plots / "tsne.png", seed=seed),
        "Retrieval": plots.retrieval_sheet(rows, asked, retrieval, seed=seed, gallery=gallery, nearest=nearest),
    }
    sections += [(title, [path]) for title, path in pictures.items() if path]
    page = report.write(run.folder, f"Embedding learning on {run.args.dataset}", sections, vars(run.args), run.command)
    for path in [p for p in pictures.values() if p] + [page]:
        run.log(f"wrote {path}")
