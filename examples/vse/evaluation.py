"""How well a model ranks, and what a run reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common import metrics
from common.files.disk import write_array, write_table, writing
from common.run import Run
from common.show import plots, report, tables
from common.train.workers import SharedEvaluation
from examples.vse import pictures
from examples.vse.data import Split
from examples.vse.model import VSE

PICTURES = 64  # in a batch
FOLD = 1000  # pictures, of which COCO's 1k protocol takes five times as many
SHOWN = {"recall@1": "R@1", "recall@5": "R@5", "recall@10": "R@10", "median_rank": "median", "mean_rank": "mean"}
PRECISIONS = ("precision@5", "precision@10", "map@r", "r_precision", "map")
WAYS = {"i2t": "picture to sentence", "t2i": "sentence to picture"}


class EvaluationSet:
    """A split that a model is asked about.

    Parameters
    ----------
    split : Split
        Without features where the model has a backbone of its own, which then reads the pictures each time.
    num_workers : int
        Threads that decode these.
    ctx : mx.Context, optional
    """

    def __init__(self, split: Split, num_workers: int = 2, ctx=None):
        self.split, self.num_workers, self.ctx = split, num_workers, ctx

    def encode(self, net: VSE, shared: SharedEvaluation | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of the pictures and of the sentences; with `shared` each worker reads a part of the pictures."""
        features = self.split.features
        if features is None:  # the network that gives them is trained too
            read, images = pictures.Reader(net.metadata, net, self.num_workers, self.ctx), self.split.pictures
            features = read(images) if shared is None else shared.rows(
                lambda start, stop: read(images.subset(np.arange(start, stop))), len(images), PICTURES
            )  # fmt: skip
        return net.encode_images(features), net.encode_sentences(self.split.texts)

    def write(self, folder: Path, images: np.ndarray, sentences: np.ndarray) -> None:
        """Write embeddings, and what each of them is of.

        Parameters
        ----------
        folder : Path
            Takes ``images.npy`` (n, dim) and ``images.csv``, a row ``path,label`` for each (no path for a picture that
            is in no file, or is features only); ``sentences.npy`` and ``sentences.csv``, ``text,label``. A sentence
            belongs to the pictures of the same label.
        images, sentences : (n, dim) and (m, dim) float32
            What `encode` gives.
        """
        split = self.split
        files = split.pictures is not None and not split.pictures.in_memory
        paths = split.pictures.images if files else [""] * len(images)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_array(folder / "images.npy", images)
        write_table(folder / "images.csv", ["path", "label"], zip(paths, split.image_labels))
        write_array(folder / "sentences.npy", sentences)
        write_table(folder / "sentences.csv", ["text", "label"], zip(split.texts, split.sentence_labels))

    def metrics(self, net: VSE, shared: SharedEvaluation | None = None) -> dict[str, float]:
        """Recall@1, 5 and 10, median and mean rank both ways, and rsum, see `common.metrics.image_sentence`."""
        return self.judge(*self.encode(net, shared), net.metadata["measure"])

    def judge(
        self, images: np.ndarray, sentences: np.ndarray, measure: str, folds: bool = False, ties: str = "against"
    ) -> dict[str, float]:
        """The same of embeddings; `folds`: the mean over five folds of 1,000 pictures (COCO's 1k protocol)."""
        judge = metrics.five_folds if folds else metrics.image_sentence
        return judge(images, sentences, self.split.image_labels, self.split.sentence_labels, measure, ties=ties)

    def rows(self, name: str, images, sentences, about: dict, ties: str = "against") -> dict[str, dict[str, float]]:
        """All metrics of embeddings, by a title that begins with `name`: `ties` as published stand beside ours.

        The first has those of the whole ranking too, where the score is the cosine by `about`, a model's metadata.
        """
        measure = about["measure"]
        ways = {name: {}, f"{name}, five folds": {"folds": True}}
        if ties == "published":
            ways.update({f"{title}, ties as published": {**way, "ties": ties} for title, way in ways.items()})
        folds = has_folds(self.split)
        found = {
            title: self.judge(images, sentences, measure, **way)
            for title, way in ways.items()
            if folds or not way.get("folds")
        }
        if measure == "cosine" and not about.get("no_imgnorm"):
            found[name].update(self._precisions(images, sentences))
        return found

    def _precisions(self, images: np.ndarray, sentences: np.ndarray) -> dict[str, float]:
        """Of all right answers, not the first alone (Chun et al. 2022): `PRECISIONS` of `common.metrics.search`."""
        sides = (images, self.split.image_labels), (sentences, self.split.sentence_labels)
        ways = {"i2t": (*sides[0], *sides[1]), "t2i": (*sides[1], *sides[0])}
        found = {way: metrics.search(*asked, ks=metrics.ranking.KS).mean() for way, asked in ways.items()}
        return {f"{way}_{name}": values[name] for way, values in found.items() for name in PRECISIONS}


def has_folds(split: Split) -> bool:
    """Whether there are pictures for five folds."""
    return len(np.unique(split.image_labels)) >= 5 * FOLD


def chance(split: Split, seed: int = 0) -> dict[str, float]:
    """The metrics of random embeddings."""
    rng = np.random.default_rng(seed)
    counts = len(split.image_labels), len(split.texts)
    images, sentences = (metrics.unit(rng.standard_normal((count, 64))) for count in counts)
    return metrics.image_sentence(images, sentences, split.image_labels, split.sentence_labels)


def line(found: dict[str, float]) -> str:
    """Both directions in one line, recalls in percent."""
    text = []
    for way, name in WAYS.items():
        recalls = " ".join(f"{100 * found[f'{way}_recall@{k}']:.1f}" for k in metrics.ranking.KS)
        text.append(f"{name} R@1/5/10 {recalls} median {found[f'{way}_median_rank']:.0f}")
    return ", ".join(text) + f", rsum {found['rsum']:.1f}"


def table_of(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, str]]:
    """Methods and their metrics, recalls in percent; a row a method and direction."""
    cells = {}
    for method, found in rows.items():
        for way, name in WAYS.items():
            cells[f"{method}: {name}"] = {
                short: f"{100 * found[f'{way}_{key}']:.1f}" if "recall" in key else f"{found[f'{way}_{key}']:.0f}"
                for key, short in SHOWN.items()
            }
        cells[f"{method}: {name}"]["rsum"] = f"{found['rsum']:.1f}"
    return cells


def table(rows: dict[str, dict[str, float]]) -> str:
    """The same as lines of text."""
    return tables.table(table_of(rows), absent="")


def finish(run: Run, rows: dict[str, dict[str, float]], net: VSE, test: EvaluationSet, draw: bool) -> None:
    """Judge the best model on test, write its metrics beside the others' in `rows`, draw, and make the page."""
    from examples.vse.gallery import Gallery

    images, sentences = test.encode(net)
    rows.update(test.rows("trained", images, sentences, net.metadata, run.args.ties))
    run.finish(tables.flat(rows))
    run.log("\n" + table(rows))
    if not draw:
        return
    run.stage("pictures")
    sections = [("Test", [table_of(rows)])]
    curves = plots.curves(run.history(), run.plots / "training.png", ["loss", "rsum", "t2i_median_rank"], "round")
    sections.append(("Training", [curves]))
    gallery = Gallery(net, test.split, images, sentences)
    sections += gallery.sections(run.plots)
    title = f"Sentences and pictures: {run.args.dataset}"
    page = report.write(run.folder, title, sections, vars(run.args), run.command)
    run.log(f"wrote {page}")
