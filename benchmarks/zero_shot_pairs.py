#!/usr/bin/env python3
"""Zero-shot recognition for every pair of unseen classes: visual_semantic beside the field's linear ways and ConSE.

"both" is the mean of the trained head's unit vector and ConSE's.

    .venv/bin/python benchmarks/zero_shot_pairs.py --data-path ROOT --model efficientnet_lite0 --image-size 128

ROOT holds a folder of pictures for each class, such as CIFAR-10's. Features are read once; for each pair of classes the
others train a classifier (stage 1, backbone frozen) and a head onto word vectors (stage 2a). Flags are train.py's.
"""

from __future__ import annotations

import itertools
import pathlib
import sys
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the repository: runs without an install

from common import cli
from examples.visual_semantic import train

SHOWN = ("zero_shot", "accuracy", "seen", "unseen", "harmonic", "ausuc", "precision@10_seen", "precision@10_unseen")


def parse_args(argv=None):
    p = cli.parser(__doc__, train.FLAGS)
    p.add_argument("--pairs", type=cli.positive_int, metavar="N", help="the first N, in rounds with each class once")
    p.add_argument("--output", metavar="FILE.json", help="also write all figures of all pairs")
    p.set_defaults(dataset="folder", batch_size=256, backbone_lr=0.0, use_pretrained=True)
    args = p.parse_args(argv)
    if not args.data_path:
        p.error("--data-path ROOT, a folder with a folder of pictures for each class, is needed")
    return args


def main(args):
    import mxnet as mx
    import numpy as np

    from common import backbones
    from common.backbones import features
    from common.data.features import FeatureSet
    from common.data.sets import folder
    from common.data.splits import held_back
    from common.export import engine
    from common.files.disk import write_json
    from common.files.paths import data_root
    from examples.visual_semantic import data, words

    whole = folder.load(args.data_path).images
    size = args.image_size or backbones.input_size(args.model)
    backbone = backbones.create(args.model, "imagenet", size=size)
    reads = engine.named(engine.choose(args, backbone, size, len(whole)))
    rows = features.cached(data_root() / "features", backbone, whole, size, num_workers=args.num_workers, engine=reads)
    vectors = words.vectors(
        whole.class_names, args.word_vectors, words.pairs(args.words), prompts=args.prompts
    )  # fmt: skip
    space = words.space(args.word_space, args.word_vectors)
    held, kvstore, results = held_back(whole.labels, args.valid_share, args.seed), mx.kv.create("local"), {}
    for pair in itertools.islice(rounds(len(whole.class_names)), args.pairs):
        order = np.array([i for i in range(len(whole.class_names)) if i not in pair] + list(pair))
        labels, new = np.argsort(order)[whole.labels], np.isin(whole.labels, pair)
        masks = (~new & ~held, ~new & held, new)
        names = [whole.class_names[i] for i in order]
        splits = data.Splits(*(FeatureSet(rows[mask], labels[mask]) for mask in masks), names[:-2], names[-2:])
        name = "+".join(splits.unseen)
        results[name] = compare(args, backbone, splits, vectors[order], space, kvstore)
        print(f"{name:<22}" + "".join(f"{m} {f['zero_shot']:.3f}  " for m, f in results[name].items()), flush=True)
        if args.output:  # after each pair: what is stopped half-way has told something
            write_json(pathlib.Path(args.output), results)
    print(summary(results))


def rounds(count: int) -> Iterator[tuple[int, int]]:
    """All pairs of so many classes, in rounds in which none comes twice: any first of them are a fair share."""
    ring = list(range(1, count + count % 2))  # the circle method; of an odd count one class sits out
    half = len(ring) // 2
    for _ in range(len(ring)):
        pairs = zip([0, *ring[1 : half + 1]], [ring[0], *ring[:half:-1]])
        yield from (tuple(sorted(pair)) for pair in pairs if max(pair) < count)
        ring = ring[1:] + ring[:1]


def compare(args, backbone, splits, vectors, space, kvstore):
    """Figures of every method for one pair."""
    import mxnet as mx

    from common import metrics
    from examples.visual_semantic import baselines, data, evaluation, model
    from examples.visual_semantic.stage import Stage

    seen, fit, valid, test = len(splits.seen), splits.train, splits.valid, splits.test

    def word_metrics(of_valid, of_test, words):
        return evaluation.word_metrics(of_valid, valid.labels, of_test, test.labels, words, seen)

    plain = metrics.unit(vectors)
    ridge = evaluation.ridge(fit.features, fit.labels, plain[:seen], baselines.held_back(seen, args.seed))
    rows = {"ridge": word_metrics(ridge(valid.features), ridge(test.features), plain)}
    for kind, title in baselines.TITLES.items():
        found = baselines.fit(kind, fit.features, fit.labels, plain[:seen], args.seed)
        rows[title] = word_metrics(found(valid.features), found(test.features), plain)
    mx.random.seed(args.seed)
    net = model.attach(backbone, splits.seen, splits.unseen, vectors, mx.cpu(), args.hidden, args.dropout, space)
    net.hybridize(static_alloc=True, static_shape=True)
    reader = data.Reader(backbone, None)
    for name in ("1", "2a"):
        stage = Stage(name, args, net, splits, reader, [mx.cpu()], kvstore, evaluates=False)
        train.TRAIN[name](args, net, stage)
    logits = [reader.apply(net.classifier, split) for split in (valid, test)]
    rows["ConSE"] = word_metrics(*(evaluation.conse(split, plain[:seen]) for split in logits), plain)
    ours = [reader.apply(net.embed_features, split) for split in (valid, test)]
    rows["trained"] = word_metrics(*ours, net.words)
    mixed = [evaluation.conse(split, net.words[:seen]) for split in logits]
    rows["both"] = word_metrics(*(evaluation.together(*pair) for pair in zip(ours, mixed)), net.words)
    return rows


def summary(results) -> str:
    """Means over the pairs, and the worst and the best pair, of each method."""
    import numpy as np

    lines = ["", f"{len(results)} pairs" + "".join(f"{name:>21}" for name in SHOWN) + "   worst and best pair"]
    for method in next(iter(results.values())):
        of_pairs = {pair: row[method] for pair, row in results.items()}
        means = (np.mean([row[name] for row in of_pairs.values()]) for name in SHOWN)
        worst, best = (pick(of_pairs, key=lambda pair: of_pairs[pair]["zero_shot"]) for pick in (min, max))
        ends = ", ".join(f"{pair} {of_pairs[pair]['zero_shot']:.3f}" for pair in (worst, best))
        lines.append(f"{method:<{len(lines[1].split('  ')[0])}}" + "".join(f"{m:21.3f}" for m in means) + f"   {ends}")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.launch(main, parse_args)
