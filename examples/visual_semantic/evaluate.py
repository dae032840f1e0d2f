#!/usr/bin/env python3
"""Recognise seen and unseen classes with a model of train.py, beside chance, ridge regression and ConSE."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from examples.visual_semantic.train import DATASETS, SHIPPED, SPLIT

FLAGS = {
    "data": [
        ("--dataset", cli.choice(*DATASETS, metavar="NAME"), None, "data set; default is the model's own"),
        ("--data-path", cli.DIR, None, "folder of the data"),
        *SPLIT,
        cli.ON_ERROR,
        cli.NUM_WORKERS,
        cli.seed("as in training"),
    ],
    "evaluation": [
        cli.model_file(SHIPPED),
        ("--handicap", cli.non_negative_float, 0.0, "taken off cosines of seen classes (calibrated stacking)"),
        ("--no-baselines", cli.switch, False, "leave out ridge regression and ConSE, which read all pictures"),
        ("--classifier", cli.FILE, None, "the model of stage 1, for ConSE; default is beside --params"),
        ("--output", cli.Kind(metavar="FILE.json"), None, "also write the figures"),
        cli.GPU,
    ],
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from common import devices, metrics
    from common.files.disk import write_json
    from examples.visual_semantic import data, evaluation, model

    context = devices.contexts(args.gpus)[0]
    net = model.load(args.params, context)
    args.dataset = args.dataset or net.metadata["dataset"]
    if args.dataset != "awa2" and args.unseen is None:
        args.unseen = net.unseen  # which the seed, not the data, decided
    parts = data.load(args)
    if data.remark(args, parts):
        print(data.remark(args, parts))
    model.check_classes(net, parts, args.params)
    read, seen = reader(net, args, context), len(parts.seen)

    def figures(vectors):
        return evaluation.recognition(
            vectors[0], parts.valid.labels, vectors[1], parts.test.labels, net.words, seen, args.handicap
        )

    ours = [read.apply(net.embed, part) for part in (parts.valid, parts.test)]
    rows = {"chance": evaluation.chance(seen, len(parts.unseen))}
    ridge, guesses = (None, None) if args.no_baselines else baselines(args, net, parts, context)
    if ridge:
        rows["ridge"] = figures(ridge)
    if guesses:
        mixed = [evaluation.conse(logits, net.words[:seen]) for logits in guesses]
        rows["ConSE"] = figures(mixed)
        rows["classifier"] = {"accuracy": metrics.accuracy_at_k(guesses[0], parts.valid.labels, (1,))["accuracy"]}
    rows["trained"] = figures(ours)
    if guesses:
        rows["trained and ConSE"] = figures([evaluation.together(*pair) for pair in zip(ours, mixed)])
    print(
        f"{len(parts.valid)} held-back pictures of {len(parts.seen)} seen classes,"
        f" {len(parts.test)} pictures of {len(parts.unseen)} unseen classes"
    )
    print(evaluation.table(rows))
    for name in ("seen", "unseen"):
        if f"precision@10_{name}" in rows["trained"]:
            print(f"precision@10 of {name} words among all pictures: {rows['trained'][f'precision@10_{name}']:.3f}")
    if args.output:
        write_json(pathlib.Path(args.output), rows)


def reader(net, args, context):
    """Reads pictures in the sizes that belong to the model."""
    from examples.visual_semantic import data

    sizes = data.eval_transform(net.metadata["resize"], net.metadata["crop"], net.metadata["keep_aspect"])
    return data.Reader(net.backbone, sizes, context, args.num_workers)


def baselines(args, net, parts, context):
    """Held-back and unseen pictures by ridge regression, and the classifier's logits, None without a stage 1."""
    from examples.visual_semantic import evaluation, model

    stage1 = pathlib.Path(args.classifier or pathlib.Path(args.params).parent / "stage1" / "model.params")
    if args.classifier or (stage1.is_file() and not net.metadata.get("classifies", True)):
        net = model.load(stage1, context)
        model.check_classes(net, parts, stage1)
    features = reader(net, args, context)
    train, valid, test = (features.features(part) for part in (parts.train, parts.valid, parts.test))
    ridge = evaluation.ridge(
        train.features, train.labels, valid.features, valid.labels, net.words, len(parts.seen)
    )  # fmt: skip
    logits = [features.apply(net.classifier, part) for part in (valid, test)]
    return [ridge(part.features) for part in (valid, test)], logits if net.metadata.get("classifies", True) else None


if __name__ == "__main__":
    cli.launch(main, parse_args)
