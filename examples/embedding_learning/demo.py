#!/usr/bin/env python3
"""Three minutes on the embedded characters: train, compare with raw pixels, draw. Run by `make demo`.

The best epoch is chosen on validation characters, as `train.py` does by default; the test characters are asked once.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from examples.embedding_learning import train

FLAGS = "--dataset glyphs --model conv4 --lr 1e-3 --epochs 3 --steps 2 --epoch-batches 150 --log-interval 50"


def parse_args(argv=None):
    p = cli.parser(__doc__, {"run": [cli.run_dir("embedding_learning")]})
    args = p.parse_args(argv)
    return train.parse_args([*FLAGS.split(), *(["--run-dir", args.run_dir] if args.run_dir else [])])


def main(args):
    print(f"python3 examples/embedding_learning/train.py {FLAGS}", flush=True)
    train.main(args)


if __name__ == "__main__":
    cli.launch(main, parse_args)
