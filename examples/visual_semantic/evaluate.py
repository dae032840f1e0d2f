#!/usr/bin/env python3
"""Recognise seen and unseen classes with a model of train.py, beside chance and the field's baselines."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from examples.visual_semantic.search import SHIPPED
from examples.visual_semantic.train import DATASETS, SPLIT

ENGINE = ("--engine", cli.ENGINES, None, "reads the network: %(choices)s; default is what its training read with")
BASELINES = cli.many(cli.choice("ridge", "eszsl", "sje", "ale", "devise", "conse", metavar="NAME"))
FLAGS = {
    "data": [
        ("--dataset", cli.choice(*DATASETS, metavar="NAME"), None, "data set; default is the model's own"),
        ("--data-path", cli.DIR, None, "folder of the data, for csv a table"),
        *cli.OWN,
        *SPLIT,
        cli.ON_ERROR,
        cli.NUM_WORKERS,
        cli.seed("as in training"),
    ],
    "evaluation": [
        cli.model_file(SHIPPED),
        ("--handicap", cli.any_float, 0.0, "off the model's cosines of seen classes: calibrated_harmonic"),
        ("--baselines", BASELINES, ["ridge", "conse"], "what to compare with: %(choices)s"),
        ("--no-baselines", cli.switch, False, "leave them out: they read all pictures"),
        ("--classifier", cli.FILE, None, "the model of stage 1, for ConSE; default is beside --params"),
        ("--output", cli.Kind(metavar="FILE.json"), None, "also write the figures"),
        cli.GPU,
        ENGINE,
    ],
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from common import devices, metrics
    from common.files.disk import write_json
    from examples.visual_semantic import data, evaluation, model

    context = devices.contexts(args.gpus)[0]
    net = model.load(args.params, context, of_pictures=False)
    args.dataset = args.dataset or net.metadata["dataset"]
    if args.dataset not in ("awa2", data.XIAN) and args.unseen is None:
        args.unseen = net.unseen  # which the seed, not the data, decided
    splits = data.load(args)
    if data.remark(args, splits):
        print(data.remark(args, splits))
    splits = model.match_classes(net, splits, args.params)
    read, seen = reader(net, args, context, splits), len(splits.seen)
    asked = evaluation.queries_and_gallery(splits)

    def word_metrics(vectors, handicap=args.handicap):
        return evaluation.word_metrics(
            vectors[0], splits.valid.labels, vectors[1], splits.test.labels, net.words, seen, handicap, asked
        )

    ours = [embed(read, net, args, split) for split in (splits.valid, splits.test)]
    rows = {"chance": evaluation.chance(seen, len(splits.unseen))}
    features, linear, logits = (None, {}, None) if args.no_baselines else compared(args, net, splits, context)
    if features is not None:
        rows["features"] = evaluation.picture_search(features, splits.test.labels)
    rows.update({name: word_metrics(*found) for name, found in linear.items()})
    if logits:
        mixed = [evaluation.conse(split, net.words[:seen]) for split in logits]
        rows["ConSE"] = word_metrics(mixed)
        rows["classifier"] = {"accuracy": metrics.accuracy_at_k(logits[0], splits.valid.labels, (1,))["accuracy"]}
    rows["trained"] = word_metrics(ours)
    if logits:
        rows["trained and ConSE"] = word_metrics([evaluation.together(*pair) for pair in zip(ours, mixed)])
    print(
        f"{len(splits.valid)} {'' if splits.is_tested else 'held-back '}pictures of {len(splits.seen)} seen classes,"
        f" {len(splits.test)} pictures of {len(splits.unseen)} unseen classes"
    )
    print(evaluation.table(rows))
    for name in ("seen", "unseen"):
        if f"precision@10_{name}" in rows["trained"]:
            print(f"precision@10 of {name} words among all pictures: {rows['trained'][f'precision@10_{name}']:.3f}")
    if args.output:
        write_json(pathlib.Path(args.output), rows)


def reader(net, args, context, splits):
    """Reads pictures in the sizes that belong to the model, and in its engine, or that of ``--engine``."""
    from common.data import transforms
    from common.export import engine
    from examples.visual_semantic import data

    sizes = transforms.saved(net.metadata)
    is_frozen, chosen = net.metadata.get("is_frozen", False), net.metadata.get("engine", "mxnet")
    if args.engine and not data.is_given(splits.train):
        pictures = sum(map(len, (splits.train, splits.valid, splits.test)))
        chosen = engine.choose(args, net.backbone, sizes.crop, pictures)
    read_by = engine.named("mxnet" if args.gpus else chosen)
    return data.Reader(net.backbone, sizes, context, args.num_workers, is_frozen, read_by)


def embed(read, net, args, split):
    """Where the network puts the pictures of a split, by `read`: a `data.Reader`."""
    if args.engine and read.engine and not read.is_frozen:
        forward, head = net.halves(net.embed, read.transform)
        return read.apply(read.engine(forward, read.transform.crop), split, head)
    return read.embed(net, split)


def compared(args, net, splits, context):
    """Features of unseen pictures; where the linear baselines put held-back and unseen ones; the classifier's logits.

    Beside the second are their handicaps, chosen on classes held back. The last are None without a stage 1, or without
    ConSE among ``--baselines``.
    """
    from examples.visual_semantic import baselines, evaluation, model, protocol

    words = net.words[: len(splits.seen)]  # the classifier's model may have them in another order
    stage1 = pathlib.Path(args.classifier or pathlib.Path(args.params).parent / "stage1" / "model.params")
    if args.classifier or (stage1.is_file() and not net.metadata.get("classifies", True)):
        net = model.load(stage1, context, of_pictures=False)
        model.match_classes(net, splits, stage1)
    features = reader(net, args, context, splits)
    train, valid, test = (features.features(split) for split in (splits.train, splits.valid, splits.test))
    given, draws, linear = (train.features, train.labels, words), evaluation.draws_of(splits, args.seed), {}
    for name in args.baselines:
        if name == "conse":
            continue
        if name == "ridge":
            found = evaluation.ridge(*given, draws)
            again = found.again
        else:
            found = baselines.fit(name, *given, args.seed, draws)
            again = baselines.refit(name, found.constants, args.seed)
        handicap = protocol.calibrate(again, *given, draws, args.seed) if draws else 0.0
        linear[baselines.TITLES.get(name, name)] = [found(split.features) for split in (valid, test)], handicap
    logits = None
    if "conse" in args.baselines and net.metadata.get("classifies", True):
        columns = [net.seen.index(name) for name in splits.seen]  # another --classifier may have its own order
        logits = [features.apply(net.classifier, split) for split in (valid, test)]
        logits = [part[:, columns] if len(part) else part for part in logits]
    return test.features, linear, logits


if __name__ == "__main__":
    cli.launch(main, parse_args)
