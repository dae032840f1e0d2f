"""The run folder of a training in stages: where each stage starts from, what it leaves, and which model is the last."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from mxnet import gluon

from common.data import walk
from common.export import engine
from common.files.disk import write_json, write_table
from common.files.errors import UserError
from common.run import Run, read_history
from common.show import plots, report, tables
from common.train import range_test, workers
from common.train.session import Session
from examples.visual_semantic import data, evaluation, model, words
from examples.visual_semantic.stage import Stage, is_frozen

STAGES = ("1", "2a", "2b")
TRAINING = "training stage {}"


class TrainingRun:
    """A run of train.py, which has a folder for each stage inside its own.

    Parameters
    ----------
    args : argparse.Namespace
        Of train.py.
    net : model.VisualSemanticNet
    splits : data.Splits
    reader : data.Reader
    contexts : list of mx.Context
    kvstore : mx.kv.KVStore

    Raises
    ------
    UserError
        The folder cannot be written, or holds another run.
    """

    def __init__(self, args, net: model.VisualSemanticNet, splits: data.Splits, reader: data.Reader, contexts, kvstore):
        self.args, self.net, self.splits, self.reader = args, net, splits, reader
        self.contexts, self.kvstore = contexts, kvstore
        self._workers = kvstore if "_sync" in kvstore.type and kvstore.num_workers > 1 else None
        self._data = {
            "training pictures": len(splits.train), "held-back pictures": len(splits.valid),
            "unseen pictures": len(splits.test), "seen classes": len(splits.seen),
            "unseen classes": len(splits.unseen), "workers": kvstore.num_workers, "classes": splits.class_names,
        }  # fmt: skip
        pictures = sum(map(len, (splits.train, splits.valid, splits.test)))
        self._given = given = data.is_given(splits.train)
        args.engine = "mxnet" if given else engine.choose(args, net.backbone, reader.transform.crop, pictures)
        reader.engine = engine.named(args.engine)
        judged = ["evaluation"] * (args.stages[-1] != "1")
        stages = [*map(TRAINING.format, args.stages), *judged, *["pictures"] * (not args.no_plots)]
        self.run = Run.start(args, "visual_semantic", kvstore.rank, self._data, splits.notes, stages)
        walk.write(splits.train.skipped, self.run.folder / "skipped.txt")
        self.run.log(
            f"{args.dataset}: {len(splits.train)} pictures of {len(splits.seen)} seen classes to train on,"
            f" {len(splits.valid)} {'of these to test with' if splits.is_tested else 'held back'},"
            f" {len(splits.test)} of {len(splits.unseen)} unseen; {args.model}"
            f" ({net.backbone.source}){'' if given else f' at {reader.transform.crop} px'}; words:"
            f" {args.word_vectors}, {net.dim} numbers, {args.word_space}"
        )
        if args.batch_size != 64:
            self.run.log(f"batches of {args.batch_size} pictures (--batch-size)")
        if data.remark(args, splits):
            self.run.log(data.remark(args, splits))
        queries, gallery = evaluation.queries_and_gallery(splits)
        if not (queries.all() and gallery.all()):
            self.run.log(
                f"of {len(queries)} pictures held back or unseen, {queries.sum()} are named, and words are searched for"
                f" among {gallery.sum()} (is_query, is_gallery)"
            )

    def start_stage(self, name: str) -> Stage:
        """A stage of training, which starts from the best epoch of the stage before where that was run.

        Raises
        ------
        UserError
            It was not, the backbone is frozen, and nothing else brings trained parameters.
        """
        self.run.stage(TRAINING.format(name))
        before = [self._model_file(stage) for stage in STAGES if stage < name and self._model_file(stage).is_file()]
        if before:
            self._restore(before[-1])
        elif not self.args.use_pretrained and not self.args.params and is_frozen(self.args, name) and not self._given:
            raise UserError(f"stage {name} needs a trained backbone: stage 1 first, --use-pretrained or --params")
        return Stage(
            name, self.args, self.net, self.splits, self.reader, self.contexts, self.kvstore, self.open_session,
            save=lambda metrics: self._save(self._model_file(name), name, metrics),
        )  # fmt: skip

    def open_session(self, stage: Stage, trainer: gluon.Trainer) -> Session:
        """The session of a stage, in its own folder.

        Parameters
        ----------
        stage : Stage
        trainer : gluon.Trainer
        """
        args, folder = self.args, self._folder(stage.name)
        resumed = (folder / "args.json").exists()
        self._stage_run = Run(folder, args, resumed, "visual_semantic", self._data, within=self.run)
        lr, epochs = getattr(args, f"lr_{stage.name}"), getattr(args, f"epochs_{stage.name}")
        self._stage_run.log(f"stage {stage.name}: {epochs} epochs of {len(stage.loader)} batches, learning rate {lr:g}")
        return Session(
            self._stage_run, blocks={"net": self.net}, trainers={"trainer": trainer},
            best="score" if stage.evaluates else None, log_interval=args.log_interval,
            checkpoint_batches=args.save_interval, keep_all=args.keep_all, seed=args.seed, rank=self.kvstore.rank,
            rate=f"lr_{stage.name}",
        )  # fmt: skip

    def end_stage(self, stage: Stage, metrics: dict) -> None:
        """Write the metrics of the stage's best epoch, and go back to its parameters."""
        self._stage_run.finish(metrics)
        self._restore(self._model_file(stage.name))

    def suggest_lr(self, stage: Stage, train: Callable) -> None:
        """Print and draw which learning rate a range test suggests for a stage.

        Parameters
        ----------
        stage : Stage
        train : callable (args, net, stage, schedule)
            The stage's training.

        Raises
        ------
        UserError
            The loss falls at no rate.
        """
        name = stage.name
        test = range_test.RangeTest(getattr(self.args, f"lr_{name}"))
        stage.open_session, stage.evaluates = lambda *_: test, False
        train(self.args, self.net, stage, test.schedule)
        suggestion = range_test.suggest(test.rates, test.losses)
        path = self.run.plots / f"lr_{name}.png"
        plots.range_test(test.rates, test.losses, suggestion, path, f"Stage {name}")
        found = {"suggestion": suggestion, "rates": test.rates, "losses": test.losses}
        write_json(self.run.folder / f"lr_{name}.json", found)
        self.run.log(f"stage {name}: the loss falls fastest at --lr-{name} {suggestion:.2g}; wrote {path}")

    def finish(self, name: str) -> None:
        """Evaluate and write the final model, which is that of `name`, the last stage, or of 2a if 2b was worse."""
        if name == "2b" and self.args.final == "best" and self._is_worse():
            name = "2a"
            self._restore(self._model_file(name))
        found = stage_metrics(self.run.folder)
        metrics = {f"stage{stage}_accuracy": of["accuracy"] for stage, of in found.items() if "accuracy" in of}
        rows = {"trained": metrics}
        if name != "1":
            self.run.stage("evaluation")
            found, classes = evaluation.evaluate(self.net, self.splits, self.reader)
            metrics.update(found)
            self._write_classes(classes)
            rows = {"chance": evaluation.chance(len(self.splits.seen), len(self.splits.unseen)), **rows}
            self.run.log("\n" + evaluation.table(rows))
        self._save(self.run.folder / "model.params", name, metrics)
        self.run.finish(metrics)
        if not self.args.no_plots:
            self._draw(rows)
        programs = "evaluate.py takes" if self._given else "evaluate.py, search.py, analyze.py and export.py take"
        self.run.log(f"wrote {self.run.folder / 'model.params'}: {programs} it")

    def _write_classes(self, classes: dict[str, dict]) -> None:
        columns = list(dict.fromkeys(name for row in classes.values() for name in row))
        rows = ([name, *(row.get(column, "") for column in columns)] for name, row in classes.items())
        write_table(self.run.folder / "classes.csv", ["class", *columns], rows)

    def _folder(self, name: str) -> Path:
        return self.run.folder / f"stage{name}"

    def _model_file(self, name: str) -> Path:
        return self._folder(name) / "model.params"

    def _restore(self, path: Path) -> None:
        model.restore(self.net, path)
        workers.follow_first(self._workers, self.net)  # each worker's batch norms counted its own batches
        self.reader.forget()

    def _save(self, path: Path, name: str, metrics: dict) -> None:
        args, transform = self.args, self.reader.transform
        knows_classifier = name == "1" or (name == "2a" and self.net.metadata.get("classifies", False))
        model.save(
            self.net, path, stage=name, crop=transform.crop, resize=transform.resize,
            keep_aspect=transform.keep_aspect, views=args.views, engine=args.engine, dataset=args.dataset,
            word_vectors=str(args.word_vectors), words=data.word_of(args, self.splits), word_space=args.word_space,
            prompts=self._prompts(), loss=args.loss, classifies=knows_classifier, is_frozen=args.backbone_lr == 0,
            metrics=metrics,
        )  # fmt: skip

    def _prompts(self) -> list[str]:
        """What a query is put into, as the classes' names were; nothing where sentences stand for them."""
        names = self.args.word_vectors == words.ENCODER and not data.described(self.args, self.splits)
        return list(self.args.prompts or words.PROMPTS) if names else []

    def _is_worse(self) -> bool:
        """Whether fine-tuning in stage 2b made the model worse on held-back pictures; says so."""
        of = stage_metrics(self.run.folder)
        if "2a" not in of or "score" not in of["2b"] or of["2b"]["score"] >= of["2a"]["score"]:
            return False
        before, after = ({"accuracy": of[k]["accuracy"], "loss": of[k]["valid_loss"]} for k in ("2a", "2b"))
        what = "accuracy" if before["accuracy"] > after["accuracy"] else "loss"
        self.run.log(
            f"stage 2b worsened the {what} on held-back pictures, {before[what]:.4f} to {after[what]:.4f}: model.params"
            " is the model of stage 2a (--final last takes that of 2b)"
        )
        return True

    def _draw(self, rows: dict) -> None:
        """Curves of every stage, and a page."""
        self.run.stage("pictures")
        sections = [("Figures", [tables.cells(rows)])]
        for folder in sorted(self.run.folder.glob("stage*")):
            names = ["loss", "valid_loss", "accuracy", "cosine"]
            path = plots.curves(read_history(folder), self.run.plots / f"{folder.name}.png", names)
            sections.append((f"Stage {folder.name[len('stage') :]}", [path]))
        title = f"Pictures and words of {self.args.dataset}"
        report.write(self.run.folder, title, sections, vars(self.args), self.run.command)


def stage_metrics(folder: Path) -> dict[str, dict]:
    """The metrics of each finished stage's best epoch, on held-back pictures of seen classes, by the stage's name."""
    files = sorted(folder.glob("stage*/metrics.json"))
    return {file.parent.name[len("stage") :]: json.loads(file.read_text(encoding="utf-8")) for file in files}
