"""The pictures of a run: what `analyze.py` draws, stage by stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import mxnet as mx
import numpy as np

from common import metrics
from common.data import transforms
from common.data.sets import ImageSet
from common.files.errors import UserError
from common.show import plots
from examples.visual_semantic import data, heat, model
from examples.visual_semantic.gallery import plain

MOST = 60  # classes in a heat map: more cannot be read
FEW = 10  # held-back pictures of a class: with fewer, the PCA shows those it was trained on too


@dataclasses.dataclass
class View:
    """A run of train.py, its data, and where pictures go.

    Each method gives sections for `common.show.report.write`, none where its stage was not trained.
    """

    run: Path
    splits: data.Splits
    plots: Path
    context: mx.Context
    num_workers: int = 2
    seed: int = 123
    read_by: Callable | None = None  # (network, side, pictures) -> what reads it, `common.export.engine.reader`

    def classifier(self, heat_maps: int = 12, mistakes: int = 24) -> list[tuple]:
        """Stage 1: confusion of the held-back pictures, class-activation maps, worst mistakes."""
        net = self._model("stage1")
        if net is None:
            return []
        names, valid = [plain(name) for name in net.seen], self.splits.valid
        logits = self._read(net.classify, valid, net)
        probabilities = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        sections = [("Stage 1: confusion", self._confusion(valid.labels, probabilities, names, "confusion"))]
        chosen = np.random.default_rng(self.seed).permutation(len(valid))[:heat_maps]
        path = self.plots / "heat_maps.png"
        try:
            told = "Where the classifier sees the class it decides for; what speaks against it is dark."
            parts = [told, self._heat_maps(net, valid.subset(chosen), probabilities[chosen], names, path)]
        except UserError as error:
            parts = [str(error)]
        sections.append(("Stage 1: heat maps", parts))
        title = "Stage 1: worst mistakes"
        return sections + self._mistakes(title, valid, probabilities, names, "mistakes_stage1", mistakes)

    def words(self, mistakes: int = 24) -> list[tuple]:
        """Stage 2: cosine of each class's pictures to each word, confusion of unseen classes, worst mistakes."""
        net = self._model("stage2b") or self._model("stage2a")
        if net is None:
            return []
        names, known = [plain(name) for name in net.class_names], len(net.seen)
        held = ImageSet.concat([self.splits.valid, self.splits.test])
        vectors = self._read(net.embed, held, net)
        there = np.unique(held.labels)
        shown = np.concatenate([there[there >= known], there[there < known]])[:MOST]
        means = np.stack([vectors[held.labels == label].mean(axis=0) for label in shown])
        path = plots.cosines(
            metrics.unit(means) @ net.words[shown].T, [names[i] for i in shown], self.plots / "words.png",
            "Pictures of a class, and words", order_by=net.words[shown] @ net.words[shown].T,
            axes=("mean of the held-back pictures of", "word"),
        )  # fmt: skip
        told = "Cosine of the mean of each class's pictures to each word, in the order of the words' tree"
        told += "." if len(shown) == len(there) else f": {len(shown)} of {len(there)} classes, the unseen ones first."
        sections = [("Stage 2: pictures and words", [told, path])]
        for stem, part, columns in (
            ("unseen", self.splits.test, slice(known, None)),
            ("seen", self.splits.valid, slice(0, known)),
        ):
            if not len(part):
                continue
            rows = slice(len(held) - len(part), None) if stem == "unseen" else slice(0, len(part))
            scores, called = vectors[rows] @ net.words[columns].T, names[columns]
            alone = dataclasses.replace(part, labels=part.labels - columns.start, class_names=net.class_names[columns])
            title = f"Stage 2: {stem} classes among themselves"
            sections.append((title, self._confusion(alone.labels, scores, called, f"confusion_{stem}")))
            sections += self._mistakes(f"{title}, worst mistakes", alone, scores, called, f"mistakes_{stem}", mistakes)
        return sections

    def epochs(self, classes: Sequence[str] | None, default: Sequence[str]) -> list[tuple]:
        """Stage 2: the pictures of some classes and their words after each epoch, by PCA, and a film of them."""
        sections = []
        for stage in ("stage2a", "stage2b"):
            net = self._model(stage)
            checkpoints = sorted((self.run / stage / "checkpoints").glob("epoch-*-batch-000000"))
            if net is None or not checkpoints:
                continue
            chosen = choose(net.class_names, classes, default, len(net.seen))
            shown, what = self._of(chosen)
            labels = np.searchsorted(chosen, shown.labels)
            names, anchors = [plain(net.class_names[i]) for i in chosen], net.words[chosen]
            frames = list(self._frames(net, stage, checkpoints, shown))
            numbers = [int(path.name.split("-")[1]) for path in checkpoints]
            titles = [f"stage {stage[5:]}, epoch {number}" for number in numbers]
            last = None
            for number, frame, title in zip(numbers, frames, titles):
                last = self.plots / f"pca_{stage[5:]}_epoch{number:02d}.png"
                plots.pca(frame, labels, names, last, anchors, title)
            film = plots.pca_film(frames, labels, names, self.plots / f"pca_{stage[5:]}.gif", anchors, titles)
            told = f"{what}; triangles are the words. The film keeps to the plane of its last epoch."
            sections.append((f"Stage {stage[5:]} through its epochs", [told, film, last]))
        return sections

    def _frames(self, net, stage: str, checkpoints: list[Path], shown: ImageSet):
        """The embeddings of the pictures after each epoch: (n, dim)."""
        features = self._read(net.backbone, shown, net) if stage == "stage2a" else None  # the same in all epochs
        for folder in checkpoints:
            fill(net, folder / "net-0.params")
            if features is None:
                yield self._read(net.embed, shown, net, is_exported=False)  # another network for each epoch
            else:
                yield net.embed_features(mx.nd.array(features, ctx=self.context)).asnumpy()

    def _of(self, chosen: np.ndarray) -> tuple[ImageSet, str]:
        """The held-back pictures of the chosen classes; with few of them, those trained on too."""
        held = ImageSet.concat([self.splits.valid, self.splits.test])
        counts = np.bincount(held.labels, minlength=len(self.splits.class_names))[chosen]
        if counts.min() < FEW:
            held = ImageSet.concat([self.splits.train, self.splits.valid, self.splits.test])
        shown = held.subset(np.isin(held.labels, chosen))
        kind = "held-back pictures" if counts.min() >= FEW else "pictures, those trained on included"
        return shown, f"{len(shown)} {kind}"

    def _model(self, stage: str):
        path = self.run / stage / "model.params"
        if not path.is_file():
            return None
        net = model.load(path, self.context)
        self.splits = model.match_classes(net, self.splits, path, "has the data changed since?")
        return net

    def _read(self, forward, pictures: ImageSet, net, is_exported: bool = True) -> np.ndarray:
        transform = transforms.saved(net.metadata)
        forward, head = net.halves(forward, transform)
        if self.read_by and is_exported:
            forward = self.read_by(forward, transform.crop, len(pictures))
        return data.read(forward, pictures, transform, self.context, self.num_workers, head)

    def _confusion(self, labels, scores, names, stem: str) -> list:
        counts = metrics.confusion(labels, scores.argmax(axis=1), len(names))
        told = f"{np.trace(counts)} of {len(labels)} held-back pictures are right."
        if len(names) > MOST:
            counts, names = worst(counts, names)
            told += f" Shown are the {MOST} classes with the most mistakes; the others are one row and column."
        return [told, plots.confusion(counts, names, self.plots / f"{stem}.png")]

    def _mistakes(self, title, pictures: ImageSet, scores, names, stem: str, max_shown: int) -> list[tuple]:
        path = plots.mistakes(pictures, scores, names, self.plots / f"{stem}.png", max_shown)
        return [(title, [path])] if path else []

    def _heat_maps(self, net, chosen: ImageSet, probabilities: np.ndarray, names, path) -> Path:
        transform = transforms.saved(net.metadata).whole
        seen = np.stack([transform(chosen.read(i)) for i in range(len(chosen))])
        predictions = probabilities.argmax(axis=1)
        hot = heat.heat(heat.class_activation(net, seen, predictions, self.context))
        cells, captions = [], []
        for i, (picture, warm, label) in enumerate(zip(seen, hot, chosen.labels)):
            told = f"{names[predictions[i]]} {probabilities[i].max():.2f}"
            cells += [picture, plots.overlay(picture, warm)]
            captions += [names[label], told if label == predictions[i] else f"as {told}"]
        return plots.contact_sheet(cells, captions, path, "Pictures, and where their class is seen", columns=6)


def choose(names: Sequence[str], wanted: Sequence[str] | None, default: Sequence[str], known: int) -> np.ndarray:
    """Indices of classes in `names`: the wanted ones; else those of the default that are there; else up to four.

    A default ``buffalo`` is also found as ``water+buffalo``. The four are the first unseen ones, then the first seen.

    Raises
    ------
    UserError
        A wanted class is not there.
    """
    if wanted:
        empty = ImageSet(np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, np.int64), list(names))
        spelled = [next((name for name in names if plain(name) == plain(asked)), asked) for asked in wanted]
        empty.select(spelled)  # says which is not there, and the near names
        return np.sort([list(names).index(name) for name in spelled])
    found = {i for i, name in enumerate(names) for animal in default if animal in plain(name).split()[-1:]}
    if len(found) < 2:
        found = [*range(known, len(names)), *range(known)][:4]
    return np.sort(list(found))


def worst(counts: np.ndarray, names: Sequence[str], max_shown: int = MOST) -> tuple[np.ndarray, list[str]]:
    """The classes with the most mistakes, as given and as taken for, and all others as one."""
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    kept = np.sort(np.argsort(-wrong, kind="stable")[:max_shown])
    position = np.full(len(names), len(kept))
    position[kept] = np.arange(len(kept))
    joined = np.zeros((len(kept) + 1, len(kept) + 1), counts.dtype)
    np.add.at(joined, (position[:, None], position[None, :]), counts)
    return joined, [*(names[i] for i in kept), "all others"]


def fill(block, file) -> None:
    """Give `block` the values that a checkpoint's file has for it."""
    saved = mx.nd.load(str(file))
    for name, parameter in block._collect_params_with_prefix().items():
        parameter.set_data(saved[name])
