#!/usr/bin/env python3
"""Zero-shot recognition by the protocol of Xian et al. (2019), on their files of features and attributes."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

FLAGS = {
    "data": [
        ("--features", cli.FILE, "res101.mat", "features and labels"),
        ("--splits", cli.FILE, "att_splits.mat", "attributes and splits"),
    ],
    "evaluation": [
        ("--baselines", cli.many(cli.choice("eszsl", "sje", "ale", "devise", metavar="NAME")),
         ["eszsl", "sje", "ale", "devise"], "what is fitted: %(choices)s"),
        ("--output", cli.Kind(metavar="FILE.json"), None, "also write the figures"),
        cli.seed("order of pictures, and those that the handicap is chosen by"),
    ],
}  # fmt: skip
SHOWN = ("zero_shot", "unseen", "seen", "harmonic",
         *(f"calibrated_{name}" for name in ("unseen", "seen", "harmonic")), "ausuc")  # fmt: skip


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from common.files.disk import write_json
    from common.show import tables
    from examples.visual_semantic import baselines, protocol

    data = protocol.load(args.features, args.splits)
    choose_by = f"{len(data.held)} of these" if data.held is not None else "a fifth of these, three times,"
    print(
        f"{len(data.train)} pictures of {data.seen} seen classes to train on, {choose_by} to choose by;"
        f" {len(data.test_seen)} of seen and {len(data.test_unseen)} of {len(data.words) - data.seen} unseen classes to"
        f" test with; {data.words.shape[1]} attributes"
    )
    rows = {baselines.TITLES[name]: protocol.evaluate(name, data, args.seed) for name in args.baselines}
    print(tables.table(rows, SHOWN))
    if args.output:
        write_json(pathlib.Path(args.output), rows)


if __name__ == "__main__":
    cli.launch(main, parse_args)
