#!/usr/bin/env python3
"""Ask whether class vectors mean something: several runs against confusions, word vectors, groups and raw pixels."""

from __future__ import annotations

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

ROWS = ("class vectors", "means of f(x)", "means of features", "raw pixels")  # the third of a frozen backbone alone
FLAGS = {
    "comparison": [
        ("runs", cli.many(cli.Kind(metavar="RUN")), cli.REQUIRED, "runs of train.py that differ in their seed alone"),
        ("--words", cli.FILE, None, "word vectors (.vec, .txt, .bin) of class names; default is glove50 if there"),
        ("--groups", cli.many(cli.NAME), [], "purity of groups by the beginning of names, e.g. animal-mammal food-"),
        ("--output", cli.FILE, None, "write the figures as JSON too"),
    ],
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    import numpy as np

    from common.files.disk import write_json
    from common.files.errors import UserError
    from common.files.paths import data_dir
    from common.show import tables
    from examples.im2vec import evaluation

    runs = [read(folder) for folder in args.runs]
    metadata = runs[0]["metadata"]
    for run, folder in zip(runs, args.runs):
        if run["metadata"]["classes"] != metadata["classes"]:
            raise UserError(f"{folder} has other classes than {args.runs[0]}: compare runs that differ in their seed")
    words = args.words or (data_dir("glove50") if data_dir("glove50").exists() else None)
    of_words, known = evaluation.word_similarity(metadata["classes"], words) if words else (None, [])
    asked = members(metadata, args.groups)
    figures = {}
    for row in (row for row in ROWS if row in runs[0]):
        matrices = [run[row] for run in runs]
        measured = [
            agreement(matrix, run["confusion"], others(runs, i), of_words, known, metadata["groups"], asked)
            for i, (matrix, run) in enumerate(zip(matrices, runs))
        ]
        figures[row] = {name: [one[name] for one in measured] for name in measured[0]}
        if len(runs) > 1:
            figures[row]["stability"] = [evaluation.stability(matrices)]
    accuracy = [run["accuracy"] for run in runs]
    print(f"{len(runs)} runs, {len(metadata['classes'])} classes of {metadata['dataset']}, {metadata['model']},"
          f" objective {metadata['objective']}; accuracy {spread(accuracy)}")  # fmt: skip
    if metadata["groups"]:
        by_chance = (f"{name} {chance(metadata['groups'], kept):.3f}" for name, kept in asked.items())
        print("by chance " + ", ".join(by_chance))
    spreads = {row: {name: spread(values) for name, values in cells.items()} for row, cells in figures.items()}
    print(tables.table(spreads))
    together = np.mean([run["class vectors"] for run in runs], axis=0)
    for name, found in list(evaluation.nearest(together, metadata["classes"], 3).items())[:20]:
        print(f"{name}: {', '.join(f'{other} {cosine:.2f}' for other, cosine in found)}")
    if args.output:
        write_json(pathlib.Path(args.output), {"accuracy": accuracy, **figures})


def read(folder) -> dict:
    """What one run says: its figures, and the similarity of the classes by its vectors, its means and raw pixels."""

    from common.data import sets
    from common.export import engine
    from common.files import outside
    from common.files.errors import reading
    from examples.im2vec import data, evaluation, modelfile

    folder, remedy = pathlib.Path(folder), "it is not the folder of a finished run"
    with reading(folder, remedy):
        flags = outside.read_json(folder / "args.json", remedy)["args"]
        wanted = ("cifar10_dir", "cifar100_dir", "dataset", "data_path", "seed")
        outside.check_fields(flags, dict.fromkeys(wanted, object))
        accuracy = outside.read_json(folder / "metrics.json", remedy)["accuracy"]
        confusion = outside.load_npy(folder / "confusion.npy", mmap_mode=None)
    model = modelfile.load(folder / "model.params")
    path = {"cifar10": flags["cifar10_dir"], "cifar100": flags["cifar100_dir"]}.get(flags["dataset"])
    dataset = data.load(
        flags["dataset"], path or flags["data_path"], model.metadata["classes"], flags["seed"],
        **sets.own_flags(argparse.Namespace(**flags)),
    )
    pictures = dataset.train

    def means(rows):
        return evaluation.similarity(evaluation.class_means(rows, pictures.labels, len(pictures.class_names)))

    plain = {"raw pixels": means(pictures.array(evaluation.EXAMPLE_SIDE).reshape(len(pictures), -1))}
    if model.metadata["pretrained"] and flags.get("backbone_lr") == 0:
        read_by = engine.named(flags.get("engine", "mxnet"))
        rows = data.kept_features(model, pictures, dataset.test, flags.get("int8", False), read_by=read_by)
        plain["means of features"] = means(rows[0])
    return {
        "metadata": model.metadata,
        "accuracy": accuracy,
        "confusion": confusion / confusion.sum(axis=1, keepdims=True),
        "class vectors": evaluation.similarity(model.objective.class_vectors()),
        "means of f(x)": evaluation.similarity(model.means),
        **plain,
    }


def members(metadata, beginnings) -> dict:
    """The classes whose nearest is asked for, by the name of the figure: all, and those in groups called so."""
    import numpy as np

    from common.files.errors import UserError, near

    if not metadata["groups"]:
        if beginnings:
            raise UserError(f"--groups {beginnings[0]}: the classes of {metadata['dataset']} have no groups")
        return {}
    found = {"purity": np.arange(len(metadata["groups"]))}
    together = np.flatnonzero(np.bincount(metadata["groups"])[metadata["groups"]] > 1)
    if len(together) < len(found["purity"]):  # a class that is alone in its group has no neighbour to find there
        found[f"purity of the {len(together)} not alone"] = together
    for beginning in beginnings:
        groups = [i for i, name in enumerate(metadata["group_names"]) if name.startswith(beginning)]
        if not groups:
            raise UserError(f"--groups {beginning}: no group is called so{near(beginning, metadata['group_names'])}")
        found[f"purity {beginning}"] = np.flatnonzero(np.isin(metadata["groups"], groups))
    return found


def others(runs: list[dict], number: int):
    """The mean confusion of all runs but one; None where there is only one."""
    found = [run["confusion"] for i, run in enumerate(runs) if i != number]
    return sum(found) / len(found) if found else None


def agreement(similar, confusion, confusion_of_others, of_words, known, groups, asked) -> dict[str, float | None]:
    """Spearman's correlation of similarities with confusions and word vectors, and purity by groups.

    `of_words` are the similarities of the names of the classes `known`, `asked` comes from `members`.
    """
    import numpy as np

    from common.metrics import purity, spearman

    found = {"own confusions": spearman(similar, confusion)}
    if confusion_of_others is not None:
        found["others' confusions"] = spearman(similar, confusion_of_others)
    if len(known) > 2:
        found["word vectors"] = spearman(similar[np.ix_(known, known)], of_words)
    for name, kept in asked.items():
        found[name] = purity(similar, groups, kept)[0]
    return found


def chance(groups, kept) -> float:
    """The purity of random similarities, for the classes `kept`."""
    import numpy as np

    from common.metrics import purity

    return purity(np.eye(len(groups)), groups, kept)[1]


def spread(values) -> str:
    """``"0.71 +- 0.02"``: mean and standard deviation; where a run has no such figure there is none of all."""
    import numpy as np

    if None in values:
        return "not defined"
    return f"{np.mean(values):.3f}" + (f" +- {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    cli.launch(main, parse_args)
