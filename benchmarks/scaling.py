#!/usr/bin/env python3
"""How training in several processes scales: measured from 1 to 4 on this machine, and a model of it for 8 to 256 GPUs.

    .venv/bin/python benchmarks/scaling.py --page docs/scaling.md

Every worker, at the same time as the others, takes training steps of embedding_learning's conv4 without a kvstore
(compute), sends gradients to the servers and receives their sum (communication, for several numbers of parameters),
and computes the retrieval metrics of as many embeddings (evaluation). The communication is fitted by least squares, and
the fit is extrapolated under the assumptions that the page states.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import turns

SIZES = (250_000, 1_000_000, 4_000_000)  # parameters
LAYOUTS = ((1, 1), (2, 1), (2, 2), (4, 1), (4, 2))  # workers, servers
GPUS = (8, 16, 32, 64, 128, 256)
PICTURES = 70  # of a step of conv4


@dataclasses.dataclass(frozen=True)
class Fit:
    """Seconds of a push and pull: ``start + parameters * (worker + server * workers / servers)``."""

    start: float
    worker: float
    server: float

    def seconds(self, parameters: float, workers: float, servers: float) -> float:
        return self.start + parameters * (self.worker + self.server * workers / servers)


def fit(points: Sequence[tuple[float, float, float, float]]) -> tuple[Fit, float]:
    """From (parameters, workers, servers, seconds): the fit, no part of it negative, and its mean relative error.

    Errors count relative to what was measured, so that small messages count as much as large ones.
    """
    import numpy as np
    from scipy.optimize import nnls

    parameters, workers, servers, seconds = np.array(points, float).T
    columns = np.stack([np.ones_like(parameters), parameters, parameters * workers / servers], axis=1)
    found = Fit(*nnls(columns / seconds[:, None], np.ones_like(seconds))[0].tolist())
    expected = np.array([found.seconds(*point[:3]) for point in points])
    return found, float(np.abs(expected / seconds - 1).mean())


def predict(found: Fit, args, gpus: int, servers: int) -> tuple[float, float]:
    """Seconds of communication of a step, and the share of a step that is compute where nothing overlaps.

    The network takes the place of loopback: a worker moves its 8 bytes a parameter through a link of its own, a server
    those of all workers, by its share of the parameters. Its sums cost what they cost here.
    """
    link = args.network * 1e9 / 8
    sent = args.parameters * 8
    moved = max(sent / link, sent * gpus / servers / link)
    seconds = found.start + moved + args.parameters * found.server * gpus / servers
    return seconds, args.step / (args.step + seconds)


def most_gpus(found: Fit, args, servers: int) -> float:
    """The GPUs at which communication takes as long as compute: where the kvstore's limit lies."""
    each = args.parameters / servers * (found.server + 8 / (args.network * 1e9 / 8))
    return max(args.step - found.start, 0) / each


def parse_args(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--page", type=pathlib.Path, metavar="FILE", help="Markdown to write, such as docs/scaling.md")
    p.add_argument("--parameters", type=float, default=25.6e6, help="of the network to predict for (ResNet-50)")
    p.add_argument("--step", type=float, default=0.25, help="seconds that a GPU computes a step of it, an assumption")
    p.add_argument("--network", type=float, default=25, help="Gbit/s of each machine, an assumption")
    p.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="parameters to measure communication of")
    p.add_argument("--embeddings", type=int, default=8000, help="to evaluate")
    p.add_argument("--repeats", type=int, default=5)
    p.add_argument("--worker", type=pathlib.Path, metavar="FOLDER", help=argparse.SUPPRESS)
    return p.parse_args(argv)


def worker(args) -> None:
    """One of several at the same time: measure, and write it to the folder."""
    import common  # noqa: F401  (first: MXNet needs the numpy alias it sets)

    import mxnet as mx  # isort: skip
    from benchmarks import embedding_training, recall

    store = mx.kv.create("dist_sync")
    found = {"compute": PICTURES / together(store, lambda: embedding_training.mxnet_speed("conv4", 3)["MXNet"])}
    for key, size in enumerate(args.sizes):
        gradient, total = mx.nd.ones((size,)), mx.nd.zeros((size,))
        store.init(key, total)

        def exchange(key=key, gradient=gradient, total=total):
            store.push(key, gradient)
            store.pull(key, total)
            mx.nd.waitall()

        exchange()
        times = [together(store, lambda: clocked(exchange)) for _ in range(args.repeats)]
        found[f"communication {size}"] = sorted(times)[len(times) // 2]
    vectors, labels = recall.draw(args.embeddings, 128)
    found["evaluation"] = together(store, lambda: clocked(lambda: recall.suite(vectors, labels)))
    (args.worker / f"{store.rank}.json").write_text(json.dumps(found))
    together(store, lambda: None)  # none ends before the others are done


def together(store, work):
    """What `work` gives, begun by all workers at the same time."""
    store._barrier()
    return work()


def clocked(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(args, workers: int, servers: int) -> dict[str, float]:
    """The slowest worker's seconds of each part."""
    with tempfile.TemporaryDirectory() as folder:
        own = ["--sizes", *args.sizes, "--embeddings", args.embeddings, "--repeats", args.repeats]
        command = [sys.executable, __file__, "--worker", folder, *own]
        launch = [sys.executable, "-m", "common.launch", "-n", workers, "-s", servers, "--", *command]
        turns.output(launch, threads=1)
        rows = [json.loads(file.read_text()) for file in sorted(pathlib.Path(folder).glob("*.json"))]
    return {name: max(row[name] for row in rows) for name in rows[0]}


def page(args, measured: dict[tuple[int, int], dict[str, float]]) -> str:
    """The whole of docs/scaling.md."""
    points = [(size, *layout, row[f"communication {size}"]) for layout, row in measured.items() for size in args.sizes]
    found, error = fit(points)
    sizes = [f"communication, {size / 1e6:g} M" for size in args.sizes]
    heads = ["workers", "servers", "compute", *sizes, "evaluation"]
    lines = [[*map(str, layout), *(f"{value:.3g}" for value in row.values())] for layout, row in measured.items()]
    text = PAGE.format(
        cores=os.cpu_count(), pictures=PICTURES, embeddings=f"{args.embeddings:,}", measured=turns.table(heads, lines),
        start=f"{found.start:.3g}", worker=f"{found.worker * 1e9:.3g}", server=f"{found.server * 1e9:.3g}",
        error=f"{error:.0%}", parameters=f"{args.parameters / 1e6:g}", step=f"{args.step:g}",
        network=f"{args.network:g}", predicted=predicted(found, args), limit=f"{most_gpus(found, args, 8):.0f}",
        more=f"{most_gpus(found, args, 1):.1f}",
    )  # fmt: skip
    return text


def predicted(found: Fit, args) -> str:
    """The table of what was not measured."""
    lines = []
    for gpus in GPUS:
        cells = [str(gpus)]
        for servers in (8, gpus):
            seconds, share = predict(found, args, gpus, servers)
            cells += [f"{seconds:.3g}", f"{share:.0%} to {min(1, args.step / seconds):.0%}"]
        lines.append(cells)
    heads = ("GPUs", "communication, 8 servers", "efficiency", "communication, as many servers", "efficiency")
    return turns.table(heads, lines)


PAGE = """\
# Many workers: measured, and what a model of it says

Written by `benchmarks/scaling.py --page docs/scaling.md`; [how training on many machines is started](cluster.md).

## Measured

Seconds, the slowest worker's, on one machine of {cores} cores, a thread a process, over loopback. Compute: a step
of conv4 ({pictures} pictures), without a kvstore. Communication: gradients of so many million parameters pushed
and their sum pulled (`dist_sync`). Evaluation: the retrieval metrics of {embeddings} embeddings, which every
worker computes for itself. With more processes than cores they wait for each other, so that compute and evaluation
grow too.

{measured}
## Model

Seconds of communication = start + parameters x (worker + server x workers / servers), fitted by least squares of
relative errors, no part negative: start {start} s, worker {worker} ns, server {server} ns a parameter; mean error
{error}.

`worker` is what a worker's own 8 bytes a parameter cost it, `server` what each worker adds to a server that holds
all parameters: it receives, adds and sends.

## Predicted

Nothing of this was measured. Assumptions, of which the first three are flags:

- {parameters} million parameters;
- {step} s of compute a step, of a fixed batch, on a GPU that is a worker of its own;
- {network} Gbit/s for each machine and way, which take the place of loopback;
- servers on machines of their own, which add as fast as here, traffic spread evenly over them and without
  congestion.

Efficiency is compute by step: from where nothing overlaps to where all communication runs behind the compute, as
MXNet's engine does it for layers whose gradients are there early.

{predicted}
## Where the kvstore's limit lies

A server's work grows with the workers, by its share of the parameters. Communication takes as long as compute at
{limit} GPUs with 8 servers, and at {more} more for each further one: servers have to grow with the workers. With
as many servers as workers the time stays as it is, but each worker then has a connection to every server, which
the model leaves out. Arrays of less than `MXNET_KVSTORE_BIGARRAY_BOUND` numbers (a million) lie on one server
whole, so that a network of few large arrays fills few servers. `--gradient-compression` makes what is sent 1/16 of
it, and leaves what comes back.

Every worker computes the metrics of all embeddings. Reading the pictures, which takes most of an evaluation, is shared
out ([many machines](cluster.md)) and not part of these seconds.

That sharing was launched with 2 workers and 1 server on a few dozen pictures, beside the same run in which each worker
read all: im2vec (30 held-back pictures in batches of 8) and visual_semantic's three stages (8 in batches of 3) gave the
same figures, to the last digit, in both workers, and im2vec the same parameters. transfer's fine-tuning ran to its end.
"""


def main():
    args = parse_args()
    if args.worker:
        worker(args)
        return
    measured = {}
    for layout in LAYOUTS:
        measured[layout] = measure(args, *layout)
        print(*layout, measured[layout], flush=True)
    text = page(args, measured)
    if args.page:
        from common.files.disk import write_text

        write_text(args.page, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
