#!/usr/bin/env python3
"""Ask whether class vectors mean something: several runs against confusions, words, groups and closed forms."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

SHOWN = 20  # classes whose nearest are printed
FLAGS = {
    "comparison": [
        ("runs", cli.many(cli.Kind(metavar="RUN")), cli.REQUIRED, "runs of train.py that differ in their seed alone"),
        ("--words", cli.FILE, None, "word vectors (.vec, .txt, .bin) of class names; default is glove50 if there"),
        ("--groups", cli.many(cli.NAME), [], "purity of groups by the beginning of names, e.g. animal-mammal food-"),
        ("--rank", cli.positive_int, None, "of the factorised confusions; default holds 0.9 of the squared values"),
        ("--analogies", cli.FILE, None, "pairs to ask analogies of; default is what the class names tell"),
    ],
    "confidence": [
        ("--nearest", cli.whole(1, 10**9, "K"), 5, "nearest classes listed for each, and compared between runs"),
        ("--resamples", cli.whole(0, 100_000), 100, "times the pictures of each run are drawn again; 0: not"),
        ("--refits", cli.whole(0, 100_000), 0, "trainings on pictures drawn again, of each run on a frozen network"),
    ],
    "files": [
        ("--output", cli.FILE, None, "write the figures as JSON too"),
        ("--report", cli.DIR, None, "write a page, pictures, and the figures, nearest and analogies as CSV"),
    ],
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from common.files.disk import write_json
    from common.files.errors import UserError
    from common.files.paths import data_dir
    from common.show import tables
    from examples.im2vec import analogies, comparison, evaluation, findings, spaces

    runs = []
    for folder in args.runs:
        runs.append(spaces.read(folder, args.refits, args.rank))
        if runs[-1].metadata["classes"] != runs[0].metadata["classes"]:
            raise UserError(f"{folder} has other classes than {args.runs[0]}: compare runs that differ in their seed")
    metadata = runs[0].metadata
    words = args.words or (data_dir("glove50") if data_dir("glove50").exists() else None)
    of_words = evaluation.word_similarity(metadata["classes"], words) if words else (None, [])
    asked = comparison.members(metadata, args.groups)
    pairs = analogies.read(args.analogies, metadata["classes"]) if args.analogies else analogies.known(metadata)
    questions = analogies.questions(pairs) if pairs else None

    figures = comparison.figures(runs, of_words, asked)
    intervals = comparison.intervals(runs, asked, questions, args.nearest)
    neighbours = comparison.neighbours(runs, args.nearest, args.resamples, args.refits)
    accuracy = [run.accuracy for run in runs]
    told = (
        f"{len(runs)} runs, {len(metadata['classes'])} classes of {metadata['dataset']}, {metadata['model']},"
        f" objective {metadata['objective']}; accuracy {findings.spread(accuracy)}"
    )
    print(told)
    spreads = findings.spreads(figures)
    print(tables.table(spreads))
    sure = findings.sure(intervals)
    if sure:
        print(f"95 % intervals, of {'classes and questions' if questions else 'classes'} drawn again:")
        print(tables.table(sure))
    for name, text in list(findings.listed(neighbours[spaces.LEARNED]).items())[:SHOWN]:
        print(f"{name}: {text}")
    found = {"accuracy": accuracy, **figures, "intervals": intervals}
    if args.output:
        write_json(pathlib.Path(args.output), found)
    if args.report:
        page = findings.write(args.report, told, figures, intervals, neighbours, runs, questions)
        print(f"report in {page}")


if __name__ == "__main__":
    cli.launch(main, parse_args)
