"""How the classes relate, by a model's vectors: similarity, tree, maps, nearest classes and analogies on one page."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.files import finite
from common.files.disk import writing
from common.show import plots, report
from examples.im2vec import evaluation, pictures, stability, vectors

MANY = 100  # classes: with more, heat map and tree show groups, or the first classes


def draw(model, folder, run_dir=None, history=(), kind=None, analogies=(), k=5, log=print, command=None):
    """Write pictures, vectors and ``report.html`` of a model into `folder`.

    Parameters
    ----------
    model : examples.im2vec.modelfile.Model
    folder : path
    run_dir : path, optional
        A run whose ``vectors/epoch-*.npy`` make the film.
    history : sequence of dict
        Rows of ``metrics.jsonl``, for the curves.
    kind : {"class", "mean"}, optional
        Default is what is stable.
    analogies : sequence of str
    k : int
        Nearest classes of each.
    log : callable
    command : sequence of str, optional
        As `common.show.report.write` has it.
    """
    folder, names, metadata = Path(folder), model.metadata["classes"], model.metadata
    plots_dir = folder / "plots"
    with writing(folder, "give another --output"):
        plots_dir.mkdir(parents=True, exist_ok=True)
    agreement = metadata.get("stability")  # older model files do not tell
    kind = kind or stability.shown(agreement)
    called = stability.NAMES[kind]
    table = finite.check(model.vectors(kind), f"the {called}", finite.NO_FIGURE)
    sections = []
    if history:
        curves = plots.curves(history, plots_dir / "curves.png", ["loss", "accuracy"])
        sections.append(("Training", [held_back(history[-1], len(names)), curves]))
    sections += _maps(table, model, called, plots_dir, log)
    nearest = evaluation.nearest(evaluation.similarity(table), names, k)
    sums = {text: evaluation.analogy(text, table, names, k) for text in analogies}
    for text, answer in sums.items():
        log(f"{text} = {listed(answer)}")
    written, file = vectors.save(model, folder, k), vectors.FILES[kind][1]
    more = f"{len(names)} classes in all: {file}.csv has them." if len(names) > MANY else ""
    sections.append(
        ("Nearest classes", [{name: {"nearest (cosine)": listed(nearest[name])} for name in names[:MANY]}, more])
    )
    if sums:
        sections.append(("Analogies", [{text: {"nearest (cosine)": listed(answer)} for text, answer in sums.items()}]))
    frames = sorted((Path(run_dir) / "vectors").glob("epoch-*.npy")) if run_dir else []
    if len(frames) > 1:
        learned = [evaluation.directions(np.load(frame)) for frame in frames]
        film = pictures.film(learned, model.examples, names, plots_dir / "training.gif")
        sections.append(("Through training", ["The learned class vectors, a frame an epoch.", film]))
    left_out = ("classes", "counts", "groups", "stability")
    settings = {key: value for key, value in metadata.items() if key not in left_out}
    settings["vectors"] = ", ".join(path.name for path in written)
    title = f"im2vec: {len(names)} classes of {metadata['dataset']}"
    page = report.write(folder, title, sections, settings, command)
    log(f"pictures in {plots_dir}, report {page}")


def _maps(table: np.ndarray, model, called: str, folder: Path, log) -> list[tuple]:
    """The report's sections of pictures: similarity, tree, and both maps of the classes."""
    names, agreement = model.metadata["classes"], model.metadata.get("stability")
    shown, shown_names, what = outline(table, model.metadata)
    told = stability.sentence(agreement) + "." if agreement else ""
    similarity = plots.cosines(shown, shown_names, folder / "similarity.png")
    directions = evaluation.directions(table)
    axes, fractions = plots.principal(directions)
    varied = np.ptp(table, axis=0).any()
    title = f"PCA of {len(names)} {called}"
    title += f"; the two axes hold {fractions.sum():.0%} of the variance" if varied else ""
    coords = plots.unit_square(directions @ axes)
    return [
        ("Similarity", [f"Cosine of the {called}, their mean taken off: {what}. {told}", similarity]),
        ("Tree", [plots.dendrogram(shown, shown_names, folder / "dendrogram.png")]),
        ("Map by variance", [pictures.class_map(coords, model.examples, names, folder / "pca.png", title)]),
        ("Map by neighbourhood", [neighbourhood(table, model, called, folder / "tsne.png", log)]),
    ]


def neighbourhood(table: np.ndarray, model, called: str, path: Path, log) -> Path | str:
    """The map of the classes by t-SNE, or a line that says why there is none."""
    why = plots.unplaceable(table, pictures.FEWEST)
    if why:
        path.unlink(missing_ok=True)  # it would be of other vectors
        told = f"no map by t-SNE of the {called}: {why}"
        log(told)
        return told
    coords = plots.unit_square(plots.neighbour_map(evaluation.directions(table)))
    names, title = model.metadata["classes"], f"t-SNE of {len(table)} {called}"
    return pictures.class_map(coords, model.examples, names, path, title)


def outline(table: np.ndarray, metadata: dict) -> tuple[np.ndarray, list[str], str]:
    """What heat map and tree show: all classes, or with more than `MANY` the mean of each group, or the first ones.

    Returns
    -------
    similar : (n, n) array
    names : list of n str
    what : str
        In words.
    """
    names, groups = metadata["classes"], metadata["groups"]
    if len(names) <= MANY:
        return evaluation.similarity(table), names, f"all {len(names)} classes"
    if groups:
        means = evaluation.class_means(evaluation.directions(table), np.asarray(groups), len(metadata["group_names"]))
        return evaluation.similarity(means), metadata["group_names"], f"the means of {len(means)} groups of classes"
    return evaluation.similarity(table)[:MANY, :MANY], names[:MANY], f"the first {MANY} of {len(names)} classes"


def held_back(row: dict, classes: int) -> str:
    """What the last row of ``metrics.jsonl`` says about the held-back pictures, in words."""
    return (
        f"Held-back pictures after epoch {row['epoch']}: accuracy {row['accuracy']:.3f}, the right class among the"
        f" first five {row['accuracy@5']:.3f}; a guess is right in {1 / classes:.3f}."
    )


def listed(answer) -> str:
    """``[("cat", 0.71), ...]`` -> ``"cat 0.71, ..."``."""
    return ", ".join(f"{name} {cosine:.2f}" for name, cosine in answer)
