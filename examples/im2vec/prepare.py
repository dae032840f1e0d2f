"""What a training starts from: the pictures, the model (new, or that of ``--input``) and the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common import cli
from common.data import sets, walk
from common.data.sets import Dataset
from common.export import engine
from common.files.errors import UserError
from common.run import Run
from examples.im2vec import data, modelfile

FIXED = (  # what a model file decides: flag, its key in the metadata, the flag's default
    ("model", "model", "resnet20"),
    ("objective", "objective", "negative"),
    ("negatives", "negatives", 10),
    ("embed_dim", "dim", None),
    ("image_size", "size", None),
    ("views", "views", []),
)


def dataset(args, say: Callable[[str], None]) -> Dataset:
    """The pictures of the classes that the flags name, or of those of the model in ``--input``.

    `say` is given a line on what a folder holds and what was left out of it.

    Raises
    ------
    UserError
        The data cannot be had, or the flags do not fit the model in ``--input``.
    """
    classes = args.classes
    if args.input:
        metadata = modelfile.describe(args.input)
        _check(metadata, args)
        classes = metadata["classes"]
    folder = {"cifar10": args.cifar10_dir, "cifar100": args.cifar100_dir}.get(args.dataset) or args.data_path
    return data.load(args.dataset, folder, classes, args.seed, say, **sets.own_flags(args))


def _check(metadata: dict, args) -> None:
    """End with one line where the flags ask for another model than that in ``--input``."""
    if metadata["dataset"] != args.dataset:
        known = metadata["dataset"]
        raise UserError(f"--input {args.input} was trained on {known}: add --dataset {known}")
    if args.classes and sorted(args.classes) != sorted(metadata["classes"]):
        raise UserError(f"--input {args.input} has other classes ({_some(metadata['classes'])}): leave out --classes")
    for flag, key, default in FIXED:
        wanted, known = getattr(args, flag), metadata.get(key, default)  # models of old have no views
        if wanted not in (default, known):
            name = f"--{flag.replace('_', '-')}"
            of = f"is of {name} {cli.shown(known)}" if known else f"was trained without {name}"
            raise UserError(f"--input {args.input} {of}: leave out {name} {cli.shown(wanted)}")


def _some(names: Sequence[str], count: int = 5) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


def model(args, dataset: Dataset, contexts) -> modelfile.Model:
    """f(x) and the class vectors on the devices `contexts`: those in ``--input``, or new ones."""
    if args.input:
        return modelfile.load(args.input, contexts)
    train, groups = dataset.train, data.groups(dataset)
    weights = args.params or ("imagenet" if args.use_pretrained else None)
    metadata = {
        "dataset": args.dataset,
        "classes": train.class_names,
        "counts": data.drawn(train.labels, len(train.class_names), args.balance),
        "groups": groups and groups[1],
        "group_names": groups and groups[0],
        "model": args.model,
        "pretrained": bool(weights),
        "size": args.image_size,
        "views": args.views,
        "preprocessing": None,
        "dim": args.embed_dim,
        "objective": args.objective,
        "negatives": args.negatives,
        "epochs": 0,
    }
    return modelfile.build(metadata, weights, contexts)


def run(
    args, dataset: Dataset, model: modelfile.Model, kvstore, batch_size: int, notes: Sequence[str], is_frozen: bool
) -> Run:
    """The run's folder: what it is trained on stands in its log, after the `notes` on how that was read."""
    train, test, classes = dataset.train, dataset.test, len(dataset.train.class_names)
    counts = {
        "training pictures": len(train), "classes": classes, "held-back pictures": len(test),
        "workers": kvstore.num_workers,
    }  # fmt: skip
    read = len(train) + len(test) if is_frozen else 0
    reading = ["reading features", *["choosing the weight decay"] * (kvstore.num_workers == 1)] if is_frozen else []
    stages = [*reading, "training", "vectors", *["pictures"] * (not args.no_plots)]
    args.engine = engine.choose(args, model.net.backbone, model.net.size, read)
    found = Run.start(args, "im2vec", kvstore.rank, counts, notes, stages)
    walk.write(train.skipped, found.folder / "skipped.txt")
    network = f"{model.metadata['model']} at {model.net.size} px, objective {model.metadata['objective']}"
    found.log(f"{args.dataset}: {len(train)} pictures of {classes} classes, {len(test)} held back; {network}")
    if batch_size != (args.batch_size or 64):
        found.log(f"batches of {batch_size} pictures, as many as there are for them (--batch-size)")
    return found
