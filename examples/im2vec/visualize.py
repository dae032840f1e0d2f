#!/usr/bin/env python3
"""Show how classes relate: similarity, tree, maps, nearest classes and analogies of a model that train.py wrote."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

KINDS = ("class", "mean")
MANY = 100  # classes: with more, heat map and tree show groups, or the first classes
MODEL = [
    ("--input", cli.FILE, None, "a model that train.py wrote"),
    ("--run-dir", cli.DIR, None, "a run folder: its model, and its vectors through training"),
]
SUMS = cli.Kind(metavar="SUM", action="append")
FLAGS = {
    "model": [
        cli.Alternatives(MODEL, required=True),
        ("--vectors", cli.choice(*KINDS, metavar="KIND"), None, "class: learned; mean: of f(x); default is the stable"),
    ],
    "pictures": [
        ("--output", cli.DIR, None, "where to write; default is --run-dir, or a folder called as --input"),
        ("--analogy", SUMS, [], "classes nearest to a sum such as 'lion - tiger + wolf'; may be given again"),
        ("--nearest", cli.whole(1, 10**9, "K"), 5, "nearest classes listed for each"),
    ],
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from common.run import read_history
    from examples.im2vec import modelfile

    file = pathlib.Path(args.run_dir) / "model.params" if args.run_dir else modelfile.params_path(args.input)
    folder = pathlib.Path(args.output or args.run_dir or file.with_suffix(""))
    model = modelfile.load(file)
    history = read_history(args.run_dir) if args.run_dir else []
    draw(model, folder, args.run_dir, history, args.vectors, args.analogy, args.nearest)


def draw(model, folder, run_dir=None, history=(), kind=None, analogies=(), k=5, log=print):
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
    """
    import numpy as np

    from common.files import finite
    from common.files.disk import writing
    from common.show import plots, report
    from examples.im2vec import evaluation, pictures, stability, vectors

    folder, names = pathlib.Path(folder), model.metadata["classes"]
    plots_dir = folder / "plots"
    with writing(folder, "give another --output"):
        plots_dir.mkdir(parents=True, exist_ok=True)
    found_stable = model.metadata.get("stability")  # older model files do not tell
    kind = kind or stability.shown(found_stable)
    called = stability.NAMES[kind]
    table = finite.check(model.vectors(kind), f"the {called}", finite.NO_FIGURE)
    directions = evaluation.directions(table)
    similar = evaluation.similarity(table)
    shown, shown_names, what = outline(table, model.metadata)

    varied = np.ptp(table, axis=0).any()
    axes, fractions = plots.principal(directions)
    coords = directions @ axes
    explained = f"; the two axes hold {fractions.sum():.0%} of the variance" if varied else ""
    drawn = {
        "similarity": plots.cosines(shown, shown_names, plots_dir / "similarity.png"),
        "tree": plots.dendrogram(shown, shown_names, plots_dir / "dendrogram.png"),
        "pca": pictures.class_map(
            plots.unit_square(coords), model.examples, names, plots_dir / "pca.png",
            f"PCA of {len(names)} {called}{explained}",
        ),
        "tsne": neighbourhood(table, model, called, plots_dir / "tsne.png", log),
    }  # fmt: skip
    found = evaluation.nearest(similar, names, k)
    sums = {text: evaluation.analogy(text, table, names, k) for text in analogies}
    for text, answer in sums.items():
        log(f"{text} = {listed(answer)}")
    written, nearest = vectors.save(model, folder, k), vectors.FILES[kind][1]
    told = stability.sentence(found_stable) + "." if found_stable else ""
    sections = [
        ("Similarity", [f"Cosine of the {called}, their mean taken off: {what}. {told}", drawn["similarity"]]),
        ("Tree", [drawn["tree"]]),
        ("Map by variance", [drawn["pca"]]),
        ("Map by neighbourhood", [drawn["tsne"]]),
        ("Nearest classes", [{name: {"nearest (cosine)": listed(found[name])} for name in names[:MANY]},
                             f"{len(names)} classes in all: {nearest}.csv has them." if len(names) > MANY else ""]),
    ]  # fmt: skip
    if sums:
        sections.append(("Analogies", [{text: {"nearest (cosine)": listed(answer)} for text, answer in sums.items()}]))
    if history:
        curves = plots.curves(history, plots_dir / "curves.png", ["loss", "accuracy"])
        sections.insert(0, ("Training", [held_back(history[-1], len(names)), curves]))
    frames = sorted((pathlib.Path(run_dir) / "vectors").glob("epoch-*.npy")) if run_dir else []
    if len(frames) > 1:
        learned = [evaluation.directions(np.load(frame)) for frame in frames]
        film = pictures.film(learned, model.examples, names, plots_dir / "training.gif")
        sections.append(("Through training", ["The learned class vectors, a frame an epoch.", film]))
    left_out = ("classes", "counts", "groups", "stability")
    metadata = {key: value for key, value in model.metadata.items() if key not in left_out}
    title = f"im2vec: {len(names)} classes of {model.metadata['dataset']}"
    page = report.write(folder, title, sections, {**metadata, "vectors": ", ".join(path.name for path in written)})
    log(f"pictures in {plots_dir}, report {page}")


def neighbourhood(table, model, called, path, log):
    """The map of the classes by t-SNE, or a line that says why there is none."""
    from common.show import plots
    from examples.im2vec import evaluation, pictures

    why = plots.unplaceable(table, pictures.FEWEST)
    if why:
        path.unlink(missing_ok=True)  # it would be of other vectors
        told = f"no map by t-SNE of the {called}: {why}"
        log(told)
        return told
    coords = plots.unit_square(plots.neighbour_map(evaluation.directions(table)))
    names, title = model.metadata["classes"], f"t-SNE of {len(table)} {called}"
    return pictures.class_map(coords, model.examples, names, path, title)


def outline(table, metadata):
    """What heat map and tree show: all classes, or with more than `MANY` the mean of each group, or the first ones.

    Returns
    -------
    similar : (n, n) array
    names : list of n str
    what : str
        In words.
    """
    import numpy as np

    from examples.im2vec import evaluation

    names, groups = metadata["classes"], metadata["groups"]
    if len(names) <= MANY:
        return evaluation.similarity(table), names, f"all {len(names)} classes"
    if groups:
        means = evaluation.class_means(evaluation.directions(table), np.asarray(groups), len(metadata["group_names"]))
        return evaluation.similarity(means), metadata["group_names"], f"the means of {len(means)} groups of classes"
    return evaluation.similarity(table)[:MANY, :MANY], names[:MANY], f"the first {MANY} of {len(names)} classes"


def held_back(row, classes):
    """What the last row of ``metrics.jsonl`` says about the held-back pictures, in words."""
    return (
        f"Held-back pictures after epoch {row['epoch']}: accuracy {row['accuracy']:.3f}, the right class among the"
        f" first five {row['accuracy@5']:.3f}; a guess is right in {1 / classes:.3f}."
    )


def listed(answer) -> str:
    """``[("cat", 0.71), ...]`` -> ``"cat 0.71, ..."``."""
    return ", ".join(f"{name} {cosine:.2f}" for name, cosine in answer)


if __name__ == "__main__":
    cli.launch(main, parse_args)
