#!/usr/bin/env python3
"""Compare losses on features of a frozen network: the same batches, budget of tuning and seeds for each."""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli, resume
from examples.embedding_learning import objective, train

PROGRAM = "embedding_learning-compare"
SHOWN = ("recall@1", "map@r")
REFERENCE = "margin"  # what the others are compared with
LEVEL = 0.95
NETWORK = "--model", "--params", "--use-pretrained", "--embed-dim"
RATES = (1e-4, 1e-2), (1e-3, 1e-1)  # between which --lr, and --lr-classes or --lr-beta, are drawn


def names(text):
    """``"margin,softmax"`` -> ``["margin", "softmax"]``; ``"all"`` -> every loss."""
    found = list(objective.LOSSES) if text == "all" else text.split(",")
    wrong = [name for name in found if name not in objective.LOSSES]
    if wrong:
        raise argparse.ArgumentTypeError(f"{wrong[0]}: all, or some of {','.join(objective.LOSSES)}")
    return list(dict.fromkeys(found))


def seeds(text):
    found = cli.int_list(text)
    if len(set(found)) < 2:
        raise argparse.ArgumentTypeError(f"{text!r}: give two different seeds at least, such as 1,2,3")
    return list(dict.fromkeys(found))


def _row(section, flag, default):
    name, kind, _, text = next(row for row in train.FLAGS[section] if row[0] == flag)
    return name, kind, default, text


FLAGS = {
    "comparison": [
        ("--losses", cli.Kind(names, "LIST"), list(objective.LOSSES), "which; default is all"),
        ("--seeds", cli.Kind(seeds, "LIST"), [1, 2, 3, 4, 5], "of head and batches, one training of each loss a seed"),
        ("--trials", cli.whole(1, 1000), 6, "settings of the learning rates that each loss is tuned over"),
    ],
    "data": train.FLAGS["data"],
    "network": [row for row in train.FLAGS["network"] if row[0] in NETWORK],
    "training": [
        _row("loss", "--batch-size", None),
        _row("loss", "--batch-k", None),
        _row("optimisation", "--epochs", 5),
        _row("optimisation", "--epoch-batches", 60),
        _row("optimisation", "--steps", [3, 4]),
        _row("optimisation", "--factor", 0.5),
        _row("optimisation", "--wd", 1e-4),
    ],
    "run": [*cli.run(PROGRAM), cli.NO_PLOTS],
    "devices": [cli.ENGINE],
}  # fmt: skip


def parse_args(argv=None):
    return resume.parse_args(cli.parser(__doc__, FLAGS), argv, PROGRAM, free=lambda _: ("losses", "seeds"))


def main(args):
    import mxnet as mx

    from common import backbones
    from common.data.samplers import ClassBalanced
    from common.export import engine
    from common.files.disk import write_table
    from common.files.errors import UserError
    from common.run import Run
    from examples.embedding_learning import data, evaluation, inputs, model

    for flag, _, default, _ in (row for rows in train.FLAGS.values() for row in rows):
        name = max(flag.split(), key=len)[2:].replace("-", "_")
        setattr(args, name, getattr(args, name, default))  # what is not compared is as in train.py
    args.backbone_lr, args.head, ctx = 0.0, "margin", mx.cpu()

    # Data and network: the backbone is frozen, so that it reads every picture once.
    weights, parts = model.weights(args), data.load(args)
    if parts.validation is None:
        raise UserError("nothing is held out to tune on: give --validation-share, or data of more classes")
    size = args.image_size or backbones.input_size(args.model)
    net = model.create(args.model, args.embed_dim, weights, ctx, size)
    model.hold_back(net.backbone, weights, 0)
    args.engine = engine.choose(args, net.backbone, size, len(parts))
    run = Run.start(args, PROGRAM, data=parts.counts(), stages=[inputs.READING, "comparison"])
    run.rewind(0, 0)  # drops a line cut short
    data.log(run, parts, f"{args.model} ({net.backbone.source}) at {size} px")

    def sampler(seed):
        return ClassBalanced(parts.train.labels, args.batch_size, args.batch_k, args.epoch_batches, seed)

    read = inputs.Inputs(net, parts, sampler(0), args, size, ctx, mx.kv.create("local"), run.stage)
    run.stage("comparison")
    evaluator = evaluation.Evaluator(read, args.protocol)
    done = {(row["loss"], row["seed"], row["trial"]): row for row in run.history()}

    def once(loss, seed, trial, measure):
        """The row of a training, or of what is not trained; kept in the run, so that --resume goes on behind it."""
        key = loss, seed, trial
        if key not in done:
            done[key] = {"loss": loss, "seed": seed, "trial": trial, **measure()}
            run.metrics(**done[key])
            run.log(", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in done[key].items()
                              if k in (*SHOWN, evaluator.best, "loss", "seed", "trial", "lr")))  # fmt: skip
        return done[key]

    for name, row in baselines(evaluator, args, run, done).items():
        once(name, -1, -1, lambda row=row: row)
    for loss in args.losses:
        # Tuned by validation alone, with a seed of its own; then asked once a seed, by the best epoch of validation.
        def trained(seed, trial, ask, loss=loss):
            read.loader = read.loader.sampled(sampler(seed))
            return train_head(args, loss, rates(args)[trial], seed, net, read, evaluator, ask)

        scores = [once(loss, args.seed, t, lambda t=t: trained(args.seed, t, False)) for t in range(args.trials)]
        best = max(range(args.trials), key=lambda t: (scores[t][evaluator.best], -t))
        for seed in args.seeds:
            once(loss, seed, f"chosen {best}", lambda seed=seed, best=best: trained(seed, best, True))

    rows = list(done.values())
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_table(run.folder / "runs.csv", columns, ([row.get(name, "") for name in columns] for row in rows))
    report(run, rows, args)


def rates(args):
    """The settings every loss is tuned over: --lr, and --lr-classes or --lr-beta where the loss learns something.

    A Latin hypercube: of N settings each N-th part of a range, by its logarithm, has one, so that few cover it too.
    """
    import numpy as np
    from scipy.stats import qmc

    low, high = np.log10(np.array(RATES)).T
    drawn = qmc.LatinHypercube(2, rng=np.random.default_rng([args.seed, 7])).random(args.trials)
    return 10 ** qmc.scale(drawn, low, high)


def baselines(evaluator, args, run, done):
    """What needs no training, of the test pictures."""
    if any(seed == -1 for _, seed, _ in done):
        return {}
    from examples.embedding_learning.evaluation import TITLES

    rows = evaluator.baselines(True, args.embed_dim, run.log)
    return {TITLES.get(name, name): row for name, row in rows.items()}


def train_head(args, loss_name, pair, seed, net, read, evaluator, ask):
    """Train the dense layer; validation's metrics of its best epoch, and with `ask` the test's."""
    import mxnet as mx
    import numpy as np
    from mxnet import autograd

    from common import devices
    from common.train import optimizer, schedule
    from common.train.session import seed_everything

    ctx = mx.cpu()
    own = argparse.Namespace(**{**vars(args), "loss": loss_name, "lr": pair[0], "lr_classes": pair[1]})
    own.lr_beta = pair[1]
    seed_everything(seed, 0, 0, 0)  # once: a training that was interrupted is done again from its start
    net.dense.initialize(mx.init.Xavier(magnitude=2), ctx=ctx, force_reinit=True)
    loss, miner, _ = objective.create(own, {}, len(read.pictures["train"].class_names), ctx)
    objective.place_classes(own, loss, read, ctx)
    trainer = optimizer.trainer(objective.groups(own, net, loss))
    best, kept = {evaluator.best: -1.0}, None
    for epoch in range(args.epochs):
        trainer.optimizer.scale_rates(schedule.step_factor(epoch, args.steps, args.factor))
        for batch in read.loader.epoch(epoch):
            x, y = devices.put(batch.images, ctx), devices.put(batch.labels, ctx)
            with autograd.record():
                embeddings = read.embed(x)
                with autograd.pause():
                    pairs = miner(embeddings, y) if miner else None
                value = loss(embeddings, y, pairs)
            value.backward()
            trainer.step(len(batch.labels))
        values = [p.data().asnumpy() for p in (net.dense.weight, net.dense.bias)]
        if not all(np.isfinite(value).all() for value in values):
            break  # rates too high: what was good before counts
        found = {**evaluator.choose(), "best_epoch": epoch + 1}
        if found[evaluator.best] > best[evaluator.best]:
            best, kept = found, values
    learns = loss_name in objective.CLASS_LOSSES or loss_name == "margin"
    best = {"lr": float(pair[0]), "lr_learned": float(pair[1]) if learns else "", **best}
    if ask:
        for parameter, value in zip((net.dense.weight, net.dense.bias), kept):
            parameter.set_data(mx.nd.array(value))
        best.update(evaluator.test())
    return best


def report(run, rows, args):
    """The table: means over the seeds with their intervals, and the difference to the reference on the same seeds."""
    from common.files.disk import write_json
    from common.show import plots, tables
    from common.show import report as page

    runs = {name: [r for r in rows if r["loss"] == name and r["seed"] in args.seeds and isinstance(r["trial"], str)]
            for name in args.losses}  # fmt: skip
    found = {name: summary(of, runs.get(REFERENCE)) for name, of in runs.items()}
    adjust(found)
    ordered = dict(sorted(found.items(), key=lambda row: row[1]["recall@1"]))
    shown = {row["loss"]: {name: f"{row[name]:.3f}" for name in SHOWN} for row in rows if row["seed"] == -1}
    shown |= {name: cells(row) for name, row in ordered.items()}  # the page stresses the last row: the best loss
    run.finish({f"{name}_{key}": value for name, row in ordered.items() for key, value in row.items()})
    write_json(run.folder / "runs.json", rows)
    run.log("\n" + tables.table(shown))
    notes = [
        f"Means over {len(args.seeds)} seeds of head and batches on one split, with Student's {LEVEL:.0%} interval of"
        " the mean: what another draw of classes would change is not in it.",
        f"Each loss was tuned by {args.trials} draws of its learning rates on validation classes, where the epoch was"
        f" chosen too. The difference is that to {REFERENCE}, seed by seed, with its interval; p is of a t test on it,"
        " for all losses together by Holm's method.",
    ]
    for note in notes:
        run.log(note)
    if not args.no_plots:
        dots = {name: (row["recall@1"], row["recall@1_half"]) for name, row in ordered.items()}
        dots |= {row["loss"]: (row["recall@1"], 0.0) for row in rows if row["seed"] == -1}
        picture = plots.intervals(dots, run.plots / "losses.png", f"{args.dataset}, test classes", "recall@1")
        sections = [("Losses", [shown, *notes]), ("Recall@1", [picture])]
        run.log(f"wrote {page.write(run.folder, f'Losses on {args.dataset}', sections, vars(run.args))}")


def summary(runs, reference):
    """Means and half widths over the seeds of a loss, and its difference to the reference's runs."""
    import numpy as np
    from scipy import stats

    def half(values):
        return stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))

    found = {"lr": runs[0]["lr"], "lr_learned": runs[0]["lr_learned"]}
    for metric in SHOWN:
        values = [row[metric] for row in runs]
        found |= {metric: float(np.mean(values)), f"{metric}_half": float(half(values))}
    if reference and runs is not reference:
        others = {row["seed"]: row["recall@1"] for row in reference}
        apart = np.array([row["recall@1"] - others[row["seed"]] for row in runs])
        p = stats.ttest_1samp(apart, 0).pvalue if np.ptp(apart) > 0 else float(not apart.any())
        found |= {"difference": float(apart.mean()), "difference_half": float(half(apart)), "p": float(p)}
    return found


def adjust(found):
    """Holm's method: p values of several tests, so that all of them together err as rarely as one."""
    tested = sorted((row for row in found.values() if "p" in row), key=lambda row: row["p"])
    least = 0.0
    for number, row in enumerate(tested):
        least = row["p"] = max(least, min(1.0, row["p"] * (len(tested) - number)))


def cells(row):
    """A row of the table as text."""
    shown = {name: f"{row[name]:.3f} \u00b1 {row[f'{name}_half']:.3f}" for name in SHOWN}
    if "p" in row:
        shown["difference"] = f"{row['difference']:+.3f} \u00b1 {row['difference_half']:.3f}"
        shown["p"] = f"{row['p']:.3f}" if row["p"] >= 0.0005 else "<0.001"
    shown["lr"] = f"{row['lr']:.1e}" + (f", {row['lr_learned']:.1e}" if row["lr_learned"] != "" else "")
    return shown


if __name__ == "__main__":
    cli.launch(main, parse_args)
