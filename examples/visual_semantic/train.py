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


STAGES = cli.Kind(stage_list, "LIST")
LOSSES = ("cosine", "hinge", "softmax", "symmetric")
WORD_SPACE = cli.choice("raw", "centred", "whitened")
SPLIT = [  # which classes are seen: of evaluate.py too
    ("--split", cli.choice("standard", "proposed"), "standard", "unseen classes of awa2"),
    ("--unseen", cli.many(cli.CLASS, "*"), None, "unseen classes, or none; default by data set: see the README"),
    ("--valid-share", cli.unit_float, 0.1, "of seen pictures, held back"),
]
FLAGS = {
    "data": [
        *cli.data("awa2", DATASETS),
        *SPLIT,
        cli.IMAGE_SIZE,
        cli.RESIZE,
        cli.KEEP_ASPECT,
        ("--no-mirror", cli.switch, False, "never mirror in training"),
        ("--rotation", cli.degrees, 10.0, "turn by up to so many degrees in training"),
        ("--zoom", cli.non_negative_float, 0.1, "enlarge by up to this share"),
        ("--lighting", cli.non_negative_float, 0.2, "change brightness and contrast by up to this share"),
    ],
    "network": [
        *cli.network("squeezenet1.1"),
        cli.USE_PRETRAINED,
        ("--backbone-lr", cli.non_negative_float, 0.1, "factor of the rates of a pretrained backbone; 0 freezes it"),
        cli.FREEZE_BATCH_NORM,
        ("--hidden", cli.whole(0, 65_536), 0, "hidden units of the head"),
        ("--dropout", cli.unit_float, 0.0, "of the features"),
    ],
    "words": [
        ("--word-vectors", cli.FILE, "glove50", "fastText .vec, GloVe .txt, word2vec .bin; glove50 comes through pip"),
        ("--words", cli.many(cli.Kind(metavar="CLASS=WORD")), [], "another word for a class"),
        ("--word-space", WORD_SPACE, "raw", "vectors as they are, less the mean of frequent words, or also whitened"),
    ],
    "loss": [
        ("--loss", cli.choice(*LOSSES), "cosine", "of the stages 2a and 2b"),
        ("--margin", cli.positive_float, 0.1, "of --loss hinge, a cosine"),
        ("--temperature", cli.positive_float, 0.1, "of --loss softmax and symmetric"),
    ],
    "optimisation": [
        ("--stages", STAGES, ["1", "2a", "2b"], "of 1 (backbone and classifier), 2a (head onto words), 2b (both)"),
        ("--epochs-1", cli.positive_int, 5, "epochs of stage 1"),
        ("--epochs-2a", cli.positive_int, 5, "epochs of stage 2a"),
        ("--epochs-2b", cli.positive_int, 3, "epochs of stage 2b"),
        ("--lr-1", cli.rate, 1e-3, "highest learning rate of stage 1, by Adam, in one cycle"),
        ("--lr-2a", cli.rate, 1e-3, "highest learning rate of stage 2a"),
        ("--lr-2b", cli.rate, 3e-4, "highest learning rate of stage 2b"),
        ("--find-lr", cli.switch, False, "range test for the first of --stages: plot, suggestion"),
        ("--batch-size", cli.batch_size, 64, "pictures in a batch"),
        ("--wd", cli.non_negative_float, 1e-4, "weight decay"),
    ],
    "run": [
        *cli.run("visual_semantic"),
        ("--final", cli.choice("best", "last"), "best", "model.params is 2a's where 2b worsened it, or the last's"),
        cli.log_interval(20),
        cli.SAVE_INTERVAL,
        ("--keep-all", cli.on_off, True, "keep every epoch's checkpoint, for pictures over epochs (default: on)"),
        cli.NO_PLOTS,
    ],
    "devices": cli.DEVICES,
}


def parse_args(argv=None):
    return resume.parse_args(cli.parser(__doc__, FLAGS), argv, "visual_semantic", not_begun)


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
    from common.show import plots, report, tables

    sections = [("Figures", [tables.cells(rows)])]
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
