#!/usr/bin/env python3
"""Show what a run of train.py learned: confusions, heat maps, words and pictures, PCA through training, mistakes."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

ANIMALS = ("elephant", "buffalo", "cow", "dolphin")  # the document's four
FLAGS = {
    "data": [
        ("--run-dir", cli.DIR, cli.REQUIRED, "the run folder of train.py"),
        ("--data-path", cli.DIR, None, "folder of the data, where it has moved since"),
        cli.NUM_WORKERS,
    ],
    "pictures": [
        ("--output", cli.DIR, None, "where to write; default is analysis/ in the run folder"),
        ("--classes", cli.many(cli.CLASS), None, f"of the PCA; default is {', '.join(ANIMALS)}, or 4 unseen classes"),
        ("--heat-maps", cli.positive_int, 12, "pictures with heat maps"),
        ("--mistakes", cli.positive_int, 24, "worst mistakes to show"),
        cli.seed("which pictures are drawn"),
    ],
    "devices": [cli.GPU, cli.ENGINE],
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    import argparse
    import functools

    from common.files import outside
    from common.files.errors import UserError, reading

    run = pathlib.Path(args.run_dir)
    if not (run / "args.json").is_file():
        raise UserError(f"--run-dir {run}: no run of train.py there (args.json)")
    remedy = "a run folder of train.py is wanted"
    with reading(run / "args.json", remedy):
        trained = outside.read_json(run / "args.json", remedy)["args"]
        outside.check_fields(trained, {"data_path": object, "dataset": str})
    trained["data_path"] = args.data_path or trained["data_path"]

    from common import devices
    from common.export import engine
    from common.show import report
    from examples.visual_semantic import data, pictures

    splits = data.load(argparse.Namespace(**trained))
    folder = pathlib.Path(args.output or run / "analysis")
    context, read_by = devices.contexts(args.gpus)[0], functools.partial(engine.reader, args)
    view = pictures.View(run, splits, folder / "plots", context, args.num_workers, args.seed, read_by)
    sections = [
        *view.classifier(args.heat_maps, args.mistakes),
        *view.words(args.mistakes),
        *view.epochs(args.classes, ANIMALS),
    ]
    if not sections:
        raise UserError(f"{run}: no stage is finished (stage1/model.params, ...): continue train.py with --resume")
    if (run / "metrics.json").is_file():
        metrics = outside.read_json(run / "metrics.json", remedy)
        rows = {name: {"": f"{value:.3f}"} for name, value in metrics.items() if isinstance(value, float)}
        sections.insert(0, ("Figures", [rows]))
    page = report.write(folder, f"Visual-semantic embedding of {trained['dataset']}", sections, trained)
    print(f"pictures in {folder / 'plots'}, report {page}")


if __name__ == "__main__":
    cli.launch(main, parse_args)
