"""How well a classifier does on pictures it has not seen, and the pages that show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common.data import splits
from common.data.imageset import ImageSet
from common.files.disk import write_table
from common.metrics import confusion
from common.run import Run
from common.show import plots
from common.show import report as page
from examples.transfer import inputs
from examples.transfer.model import Classifier, standard

SHOWN = 1000  # points on a map
FEWEST = 4  # that make a map


def accuracy(classifier: Classifier, vectors: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of `vectors` (n, width) that get their class of `labels` (n,)."""
    return float((classifier.predict(vectors) == labels).mean())


def held_back(classifier: Classifier, vectors: np.ndarray, data) -> dict[str, float]:
    """Accuracy on the test pictures, on their groups and on validation pictures, where there are any.

    Parameters
    ----------
    classifier : examples.transfer.model.Classifier
    vectors : (n, width) float32
        Features of all pictures.
    data : examples.transfer.data.Data

    Returns
    -------
    dict of str to float
        ``accuracy``; ``coarse_accuracy``, for which a class of the right group is enough, where classes have groups;
        ``validation_accuracy``, and ``validation_coarse_accuracy`` with groups, where there are validation pictures.
    """
    found = _of(classifier, vectors, data, data.test)
    if len(data.validation):
        of_validation = _of(classifier, vectors, data, data.validation)
        found.update({f"validation_{name}": value for name, value in of_validation.items()})
    return found


def _of(classifier: Classifier, vectors, data, chosen) -> dict[str, float]:
    predicted, labels = classifier.predict(vectors[chosen]), data.labels[chosen]
    found = {"accuracy": float((predicted == labels).mean())}
    if data.superclasses:
        groups = np.array([data.superclasses[name] for name in data.class_names])
        found["coarse_accuracy"] = float((groups[predicted] == groups[labels]).mean())
    return found


def line(metrics: dict, when: str = "") -> str:
    """The figures of `held_back`, for the log; `when` says after what, with a blank before it."""
    told = {"coarse_accuracy": "of their groups", "validation_accuracy": "of validation pictures"}
    more = "".join(f", {what} {metrics[name]:.4f}" for name, what in told.items() if name in metrics)
    return f"accuracy on {metrics['test_pictures']} held-back pictures{when} {metrics['accuracy']:.4f}{more}"


def better(head: Classifier, refitted: Classifier, vectors, data, run: Run) -> tuple[Classifier, dict]:
    """Which of two classifiers of fine-tuned features names more of the validation pictures; the first, where equal.

    Parameters
    ----------
    head, refitted : examples.transfer.model.Classifier
        The layer that was trained with the network, and one that was fitted on its features afterwards.
    vectors : (n, width) float32
        Features of all pictures.
    data : examples.transfer.data.Data
    run : common.run.Run
        Is told.

    Returns
    -------
    Classifier
        Without validation pictures: `refitted`.
    dict
        What decided, for ``metrics.json``; empty without validation pictures.
    """
    if not len(data.validation):
        return refitted, {}
    held, labels = vectors[data.validation], data.labels[data.validation]
    own, other = (accuracy(classifier, held, labels) for classifier in (head, refitted))
    run.log(f"validation pictures: the network's own head {own:.4f}, {refitted.kind} on its features {other:.4f}")
    chosen = {"head_validation_accuracy": own, "refitted_validation_accuracy": other}
    if own >= other:
        return head, {**chosen, "classifier": "head"}
    return refitted, chosen


def out_of_sample(fit: Callable, vectors, data, run: Run) -> list[float]:
    """`cross_validate` on what is learned from; what each fold's classifier said of it goes to ``out_of_sample.csv``.

    The file has a row for each of these pictures, its number among the features, its path where there are pictures,
    its class, and each class's probability; svm knows none, and there is no file.

    Parameters
    ----------
    fit : callable (vectors, chosen) -> Classifier
    vectors : (n, width) float32
        Features of all pictures.
    data : examples.transfer.data.Data
    run : common.run.Run
    """
    args, train, classes = run.args, data.train, data.class_names.tolist()
    chances = np.zeros((len(data.labels), len(classes)))
    found = cross_validate(fit, vectors, data.labels, train, args.folds, args.seed, chances)
    if args.classifier != "svm":
        paths = inputs.from_dataset(data.image_set).names() if data.image_set else None
        path = [] if paths is None else ["path"]
        rows = ([i, *(paths[i] for _ in path), classes[data.labels[i]], *chances[i].tolist()] for i in train.tolist())
        write_table(run.folder / "out_of_sample.csv", ["row", *path, "label", *classes], rows)
    return found


def cross_validate(
    fit: Callable, vectors, labels, chosen, folds: int, seed: int, chances: np.ndarray | None = None
) -> list[float]:
    """Accuracy on each fold of the pictures `chosen`, with classes in equal shares, after a fit on the other folds.

    Parameters
    ----------
    fit : callable (vectors, chosen) -> Classifier
    vectors, labels : (n, width) and (n,) arrays
    chosen : (m,) array of int
    chances : (n, classes) array, optional
        Its rows `chosen` are filled with each class's probability, by the classifier that has not seen the picture.
    """
    found = []
    for learned, left in splits.folds(labels[chosen], folds, seed):
        classifier, left = fit(vectors, chosen[learned]), chosen[left]
        found.append(accuracy(classifier, vectors[left], labels[left]))
        if chances is not None:
            chances[left] = classifier.probabilities(vectors[left])
    return found


def report(run: Run, classifier: Classifier, vectors, labels, image_set: ImageSet | None, metrics: dict) -> Path:
    """Write confusions, a map of the features, the worst mistakes, and ``report.html`` with all of them.

    Parameters
    ----------
    vectors, labels : (n, width) and (n,) arrays
        Of the pictures held back.
    image_set : ImageSet or None
        These pictures, where they are there to be shown.
    metrics : dict
        As in ``metrics.json``.
    """
    run.stage("pictures")
    classes, scores = classifier.classes.tolist(), classifier.scores(vectors)
    counts = confusion(labels, scores.argmax(axis=1), len(classes))
    drawn = scatter(vectors, labels, classes, run.plots / "features.png", run.args.seed)
    shown = [
        ("Confusions", plots.confusion(counts, classes, run.plots / "confusion.png")),
        ("Features of held-back pictures", drawn or "These features are too few or too much alike for a map."),
    ]
    if image_set:
        shown.append(("Mistakes", plots.mistakes(image_set, scores, classes, run.plots / "mistakes.png")))
    rows = {"held-back pictures": {"accuracy": f"{metrics['accuracy']:.4f}"}}
    if "before_fine_tuning_accuracy" in metrics:
        rows = {"before fine-tuning": {"accuracy": f"{metrics['before_fine_tuning_accuracy']:.4f}"}, **rows}
    if "fold_accuracy" in metrics:
        rows = {"mean of the folds": {"accuracy": f"{np.mean(metrics['fold_accuracy']):.4f}"}, **rows}
    sections = [("Accuracy", [rows]), *((heading, [path]) for heading, path in shown if path)]
    title = f"{classifier.kind} on features of {run.args.model or run.args.features}"
    return page.write(run.folder, title, sections, vars(run.args), run.command)


def scatter(vectors: np.ndarray, labels: np.ndarray, classes: Sequence[str], path, seed: int = 0) -> Path | None:
    """Features (n, width) in the plane by t-SNE, on standardised values, each class with its colour and name.

    None where there is nothing to lay out: up to three pictures, or features that are all the same, of which
    scikit-learn's t-SNE ends the process.
    """
    chosen = np.random.default_rng(seed).permutation(len(vectors))[:SHOWN]
    mean, scale = standard(vectors)
    x = ((vectors[chosen] - mean) / scale).astype(np.float32)
    if plots.unplaceable(x, FEWEST):
        return None
    coords = plots.neighbour_map(x, seed, max_perplexity=30.0)
    figure, axis = plots.base.plt.subplots(figsize=(8, 6), layout="constrained")
    axis.set(xticks=[], yticks=[], title=f"t-SNE of the features of {len(x)} held-back pictures")
    axis.set_aspect("equal", adjustable="datalim")
    plots.scatter(axis, coords, labels[chosen], classes)
    return plots.write(figure, path)
