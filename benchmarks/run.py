#!/usr/bin/env python3
"""Every comparison with other tools, one after the other, as one table: what `make bench` calls.

    .venv/bin/python benchmarks/run.py [--rows features fine_tuning] [--quick]

Each row is a benchmark of this folder, run in a process of its own. What it measured is kept, so that an interrupted
bench goes on; rows that are named are measured again. A row that fails is said in the table, with its reason, and the
others are measured all the same. With --quick everything is tiny, and no record.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import shlex
import signal
import subprocess
import sys
import time
from importlib import metadata

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import turns
from benchmarks.turns import Row
from common.files.disk import write_json, write_text
from common.files.paths import REPO

HERE = pathlib.Path(__file__).resolve().parent
OURS = ("mxnet", "numpy", "onnxruntime", "faiss-cpu", "scikit-learn")
PEERS = ("torch", "torchvision", "timm", "pytorch-metric-learning", "keras", "hnswlib")
PEER = REPO / ".peers" / "bin" / "python"
SLOW = 10  # times as long as expected: then something is wrong


@dataclasses.dataclass(frozen=True)
class Bench:
    """A benchmark, and about how many seconds it takes on two idle cores.

    `flags` are those of a whole bench; `quick` is put behind them for a tiny one. ``PEER`` is the peers' Python,
    ``PLOT`` a picture beside the results.
    """

    script: str
    flags: str
    quick: str
    seconds: int


ROWS = {
    "features": Bench("engines.py", "--peer PEER --rounds 2 --seconds 2",
                      "--rounds 1 --seconds 0.1 --networks efficientnet_lite0", 180),
    "fine_tuning": Bench("fine_tuning.py", "--peer PEER --rounds 3", "--rounds 1 --steps 1 --size 64", 90),
    "training": Bench("embedding_training.py", "--peer PEER --rounds 3", "--rounds 1 --steps 1 --models conv4", 170),
    "resnet20": Bench("im2vec_training.py", "--peer PEER --rounds 3", "--rounds 1 --batch-size 8", 75),
    "metrics": Bench("recall.py", "--peer PEER --rounds 2 --depths r k", "--rounds 1 --size 2400", 160),
    "vse_lstm": Bench("vse_training.py", "--peer PEER --rounds 2 --updates 20", "--rounds 1 --updates 10 --dim 64", 60),
    "vse_gru": Bench(
        "vse_training.py", "--encoder gru --peer PEER --rounds 2 --updates 20", "--rounds 1 --updates 10 --dim 64", 50
    ),
    "search": Bench("search.py", "--peer PEER --rounds 3 --size 100000 --dim 300 --queries 5000",
                    "--rounds 1 --size 2000 --queries 200", 160),
    "transfer": Bench("transfer_script.py", "--peer PEER --rounds 1", "--rounds 1 --pictures 8 --batches 4", 150),
    "roofline": Bench("roofline.py", "--torch-python PEER", "--steps 'resnet20 32 px' 'vse gru'", 130),
    "growth": Bench("growth.py", "--plot PLOT/growth.png", "--scale 0.05", 130),
}  # fmt: skip


def parse_args(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rows", nargs="+", choices=list(ROWS), metavar="NAME", help=f"measure these: {', '.join(ROWS)}")
    p.add_argument("--quick", action="store_true", help="everything tiny, to see whether it runs")
    p.add_argument("--fresh", action="store_true", help="measure again what is kept")
    p.add_argument("--peer", metavar="PYTHON", default=str(PEER), help="the peers' Python (default: of `make peers`)")
    p.add_argument("--keep", type=pathlib.Path, metavar="DIR", help="where rows are kept (default runs/bench)")
    p.add_argument("--results", type=pathlib.Path, metavar="DIR", help="where RESULTS.md goes (default benchmarks)")
    args = p.parse_args(argv)
    args.keep = args.keep or REPO / "runs" / ("bench-quick" if args.quick else "bench")
    args.results = args.results or (args.keep if args.quick else HERE)
    return args


def flags(bench: Bench, quick: bool) -> str:
    return f"{bench.flags} {bench.quick}" if quick else bench.flags


def machine(peer: str) -> dict:
    """What the figures depend on, but for the code."""
    names = json.dumps(PEERS)
    ask = f"import json, importlib.metadata as m; print(json.dumps({{n: m.version(n) for n in {names}}}))"
    try:
        theirs = turns.run([peer, "-c", ask])
    except (OSError, SystemExit) as error:
        sys.exit(f"error: {peer}: no Python that has {', '.join(PEERS)}: `make peers` makes one ({error})")
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": processor or platform.processor(),
        "cores": os.cpu_count(),
        "threads": turns.THREADS,
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}, Python {platform.python_version()}",
        "ours": {name: metadata.version(name) for name in OURS},
        "peers": theirs,
    }


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPO, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def measure(name: str, args, about: dict) -> dict:
    """Run a row; what it gave, or why it failed."""
    bench, log, handed = ROWS[name], args.keep / f"{name}.log", args.keep / f"{name}.handed"
    own = shlex.split(flags(bench, args.quick))
    own = [part.replace("PEER", args.peer).replace("PLOT", str(args.results)) for part in own]
    command = [sys.executable, str(HERE / bench.script), *own, "--json", str(handed)]
    handed.unlink(missing_ok=True)
    begun = {
        "flags": flags(bench, args.quick), "machine": about, "commit": commit(),
        "date": time.strftime("%Y-%m-%d %H:%M"), "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    start = time.perf_counter()
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=turns.ENVIRONMENT, start_new_session=True)
        try:
            status = process.wait(timeout=SLOW * bench.seconds)
        except subprocess.TimeoutExpired:
            status = f"stopped after {SLOW * bench.seconds} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    begun["seconds"] = round(time.perf_counter() - start)
    if status == 0 and handed.is_file():
        found = {**begun, **json.loads(handed.read_text())}
        handed.unlink()
        return found
    said = log.read_text().strip().splitlines()
    reason = status if isinstance(status, str) else said[-1] if status == 1 and said else f"status {status}"
    return {**begun, "failed": reason.replace(f"{REPO}/", "")[:300], "rows": [], "section": ""}


def kept(name: str, args, about: dict) -> dict | None:
    """What was measured before by the same command on the same machine; None where it was not, or failed."""
    file = args.keep / f"{name}.json"
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    same = found["flags"] == flags(ROWS[name], args.quick) and found["machine"] == about
    return found if same and "failed" not in found else None


def main(argv=None) -> int:
    args = parse_args(argv)
    about = machine(args.peer)
    args.keep.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict] = {}
    for name in ROWS:
        again = args.fresh if not args.rows else name in args.rows
        before = None if again else kept(name, args, about)
        if before:
            found[name] = before
            print(f"{name}: kept, of {before['date']} at {before['commit']}; ROWS={name} measures it again", flush=True)
        elif not args.rows or name in args.rows:
            print(f"{name}: some {ROWS[name].seconds} s" if not args.quick else f"{name}:", end=" ", flush=True)
            found[name] = measure(name, args, about)
            write_json(args.keep / f"{name}.json", found[name])
            print(f"{found[name].get('failed', 'done')} ({found[name]['seconds']} s)", flush=True)
    write(found, about, args)
    return 1 if any("failed" in one for one in found.values()) else 0


def write(found: dict[str, dict], about: dict, args) -> None:
    """RESULTS.md, and its picture."""
    rows = [Row(**row) for one in found.values() for row in one["rows"]]
    picture = draw([row for row in rows if row.ratio], args.results / "results.png")
    write_text(args.results / "RESULTS.md", page(found, about, args.quick, picture))
    print(f"{args.results / 'RESULTS.md'}")


def page(found: dict[str, dict], about: dict, quick: bool, picture: bool = True) -> str:
    """RESULTS.md."""
    lines, sides = [], []
    for name, one in found.items():
        if "failed" in one:
            lines.append([name, "failed: " + one["failed"].replace("|", "\\|"), "", "", "", ""])
        for row in (Row(**row) for row in one["rows"]):
            peer = f"{row.peer} {row.said(row.peer)}" if row.peer else ""
            met = {True: "yes", False: "**no**", None: ""}[row.met]
            ratio = f"{row.ratio:.2f}" if row.ratio else ""
            lines.append([f"{row.name}, {row.unit}", row.said(row.ours), peer, ratio, row.target, met])
            sides += [[row.name, side, row.said(side), str(len(row.rounds[side])), row.note * (side == row.ours)]
                      for side in row.rounds]  # fmt: skip
    missing = [[name, "not measured", "", "", "", ""] for name in ROWS if name not in found]
    heads = ("work", "ours", "best of the others", "times as fast", "target", "met")
    versions = "; ".join(", ".join(map(" ".join, about[which].items())) for which in ("ours", "peers"))
    text = "# What `make bench` measured\n\n"
    if quick:
        text += "A smoke test, everything tiny: these figures say nothing.\n\n"
    text += (
        f"{about['processor']}, {about['cores']} cores, {about['threads']} threads, {about['memory']};"
        f" {about['system']}; {versions}.\n\nSides take turns, each in a process of its own; a figure is the median of"
        " its rounds (smallest to largest).\n\n"
    )
    text += turns.table(heads, [*lines, *missing])
    if picture:
        text += "\n![How many times as fast as the best of the others](results.png)\n"
    for one in found.values():
        text += f"\n{one['section'].strip()}\n" if one["section"] else ""
    text += "\n## All sides\n\n" + turns.table(("work", "side", "median", "rounds", ""), sides)
    text += "\n## How it was measured\n\n"
    how = [[f"`{ROWS[name].script} {one['flags']}`", str(one["seconds"]), str(one["load"]), one["date"], one["commit"]]
           for name, one in found.items()]  # fmt: skip
    return text + turns.table(("command", "seconds", "load of the machine before", "date", "commit"), how)


def draw(rows: list[Row], path: pathlib.Path) -> bool:
    """Ratios as bars, the targets as marks; False where there is none."""
    if not rows:
        return False
    from common.show.plots import CLASSES, write

    import matplotlib.pyplot as plt  # isort: skip
    from matplotlib import ticker  # isort: skip

    figure, axis = plt.subplots(figsize=(8, 0.8 + 0.34 * len(rows)))
    places = range(len(rows))[::-1]
    colours = [CLASSES[5 if row.met is False else 0] for row in rows]
    axis.barh(places, [row.ratio - 1 for row in rows], left=1, color=colours)  # from as fast as the others
    targets = [(row.times, place) for row, place in zip(rows, places) if row.times]
    if targets:
        axis.plot(*zip(*targets), "k|", markersize=14, markeredgewidth=2, label="target")
        axis.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    for row, place in zip(rows, places):
        end = max(row.ratio, row.times or 1, 1)
        axis.annotate(f"{row.ratio:.2f}", (end, place), (6, 0), textcoords="offset points", va="center", size=8)
    axis.axvline(1, color="#404040", linewidth=0.8)
    axis.set_yticks(list(places), [row.name for row in rows], size=8)
    axis.set(xlabel="times as fast as the best of the others", xscale="log")
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.spines[["top", "right"]].set_visible(False)
    write(figure, path)
    return True


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ninterrupted; what is done is kept: make bench goes on")
        sys.exit(130)
