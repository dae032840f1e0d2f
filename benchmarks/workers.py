#!/usr/bin/env python3
"""Whether several workers end with the parameters of one: transfer's dense layer, whose batches they share out.

    .venv/bin/python benchmarks/workers.py

1, 2 and 4 workers with 1 and 2 parameter servers, all on this machine. Prints for each the largest difference to the
weights of one process without a kvstore between machines, beside the largest weight, and the largest between workers.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the repository: runs without an install

from common import cli
from common.files.paths import REPO

FLAGS = {
    "processes": [("--workers", cli.int_list, [1, 2, 4], "workers"), ("--servers", cli.int_list, [1, 2], "servers")]
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    import numpy as np

    from examples.transfer import model

    program = [sys.executable, str(REPO / "examples" / "transfer" / "train.py")]
    with tempfile.TemporaryDirectory() as name:
        folder, rng = pathlib.Path(name), np.random.default_rng(0)
        labels = np.arange(400) % 5
        rows = np.eye(5, 40)[labels] + rng.normal(size=(400, 40))
        np.save(folder / "f_data.npy", rows.astype(np.float32))
        np.save(folder / "f_labels.npy", labels)
        program += ["--features", str(folder / "f_data.npy"), "--classifier", "gluon", "--folds", "1", "--run-dir"]

        def weights(run, before=(), after=()):
            command = [*before, *program, str(folder / run), *after]
            done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            files = [folder / run / "model.params", *sorted((folder / run).glob("worker-*/model.params"))]
            return np.stack([model.load(file).weight for file in files])

        (alone,) = weights("alone")
        print(f"one process: largest weight {np.abs(alone).max():.3f}")
        for workers in args.workers:
            for servers in args.servers:
                launch = [sys.executable, "-m", "common.launch", "-n", str(workers), "-s", str(servers), "--"]
                found = weights(f"{workers}-{servers}", launch, ["--kvstore", "dist_sync"])
                apart = np.abs(found - found[0]).max()
                print(
                    f"{workers} workers, {servers} servers: {np.abs(found[0] - alone).max():.1e} from one process,"
                    f" {apart:.1e} between {len(found)} workers",
                    flush=True,
                )


if __name__ == "__main__":
    cli.launch(main, parse_args)
