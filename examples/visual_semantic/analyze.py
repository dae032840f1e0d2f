#!/usr/bin/env python3
"""Show what a run of train.py learned: confusions, heat maps, words and pictures, PCA through training, mistakes."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

ANIMALS = ("elephant", "buffalo", "cow", "dolphin")  # the document's four


def parse_args(argv=None):
    p = cli.parser(__doc__)
    p.add_argument("--run-dir", required=True, metavar="DIR", help="the run folder of train.py")
    p.add_argument("--output", metavar="DIR", help="where to write; default is analysis/ in the run folder")
    p.add_argument(
        "--classes", nargs="+", metavar="CLASS",
        help=f"classes of the PCA; default is {', '.join(ANIMALS)}, or the first four unseen classes",
    )  # fmt: skip
    p.add_argument("--data-path", metavar="DIR", help="folder of the data, where it has moved since")
    p.add_argument("--heat-maps", type=cli.positive_int, default=12, metavar="N", help="pictures with heat maps")
    p.add_argument("--mistakes", type=cli.positive_int, default=24, metavar="N", help="worst mistakes to show")
    p.add_argument("--seed", type=cli.seed_number, default=123, metavar="N", help="which pictures are drawn")
    p.add_argument("--num-workers", type=cli.whole(1, 256), default=2, metavar="N", help="threads that decode pictures")
    p.add_argument("--gpus", type=cli.int_list, default=[], metavar="LIST", help="GPU to use; empty means CPU")
    return p.parse_args(argv)


def main(args):
    import argparse

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
    from common.show import report
    from examples.visual_semantic import data, pictures

    parts = data.load(argparse.Namespace(**trained))
    folder = pathlib.Path(args.output or run / "analysis")
    view = pictures.View(run, parts, folder / "plots", devices.contexts(args.gpus)[0], args.num_workers, args.seed)
    sections = [
        *view.classifier(args.heat_maps, args.mistakes),
        *view.words(args.mistakes),
        *view.epochs(args.classes, ANIMALS),
    ]
    if not sections:
        raise UserError(f"{run}: no stage is finished (stage1/model.params, ...): continue train.py with --resume")
    if (run / "metrics.json").is_file():
        figures = outside.read_json(run / "metrics.json", remedy)
        rows = {name: {"": f"{value:.3f}"} for name, value in figures.items() if isinstance(value, float)}
        sections.insert(0, ("Figures", [rows]))
    page = report.write(folder, f"Visual-semantic embedding of {trained['dataset']}", sections, trained)
    print(f"pictures in {folder / 'plots'}, report {page}")


if __name__ == "__main__":
    cli.launch(main, parse_args)
