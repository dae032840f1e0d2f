"""What a training starts from: the pictures, the model (new, or that of ``--input``) and the run's folder."""

from __future__ import annotations

import numpy as np

from common.data import walk
from common.data.sets import Dataset
from common.run import Run
from examples.im2vec import data, evaluation, modelfile


def dataset(args) -> Dataset:
    """The pictures of the classes that the flags name, or of those of the model in ``--input``.

    Raises
    ------
    UserError
        The data cannot be had, or the flags do not fit the model in ``--input``.
    """
    classes = evaluation.fitting(modelfile.describe(args.input), args)["classes"] if args.input else args.classes
    folder = {"cifar10": args.cifar10_dir, "cifar100": args.cifar100_dir}.get(args.dataset) or args.data_path
    return data.load(args.dataset, folder, classes, args.seed, args.on_error)


def model(args, dataset: Dataset, contexts) -> modelfile.Model:
    """f(x) and the class vectors on the devices `contexts`: those in ``--input``, or new ones."""
    if args.input:
        return modelfile.load(args.input, contexts)
    train, groups = dataset.train, data.groups(dataset)
    weights = args.params or ("imagenet" if args.use_pretrained else None)
    metadata = {
        "dataset": args.dataset,
        "classes": train.class_names,
        "counts": np.bincount(train.labels, minlength=len(train.class_names)).tolist(),
        "groups": groups and groups[1],
        "group_names": groups and groups[0],
        "model": args.model,
        "pretrained": bool(weights),
        "size": args.image_size,
        "preprocessing": None,
        "dim": args.embed_dim,
        "objective": args.objective,
        "negatives": args.negatives,
        "epochs": 0,
    }
    return modelfile.build(metadata, weights, contexts)


def run(args, dataset: Dataset, model: modelfile.Model, kvstore) -> Run:
    """The run's folder: what it is trained on stands in its log, with the pictures that were left out."""
    train, test, classes = dataset.train, dataset.test, len(dataset.train.class_names)
    counts = {
        "training pictures": len(train), "classes": classes, "held-back pictures": len(test),
        "workers": kvstore.num_workers,
    }  # fmt: skip
    found = Run.start(args, "im2vec", kvstore.rank, counts)
    walk.write(train.skipped, found.folder / "skipped.txt")
    network = f"{model.metadata['model']} at {model.net.size} px, objective {model.metadata['objective']}"
    found.log(f"{args.dataset}: {len(train)} pictures of {classes} classes, {len(test)} held back; {network}")
    return found
