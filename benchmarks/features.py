#!/usr/bin/env python3
"""Pictures in files to SqueezeNet 1.1's features in a file: images a second and peak memory, beside PyTorch.

Runs examples/transfer/generate_embedding.py in float32 and in INT8 on the first pictures of a folder of class folders,
twice: the difference of both runs gives the images a second without the start, their peak memory whether it grows. With
--torch-python it runs PyTorch on the same files and weights: decoded by a DataLoader, channels last, by the fastest of
eager, frozen, optimize_for_inference and (where a compiler is there) torch.compile; its time leaves out
the search for it.
"""

from __future__ import annotations

import argparse
import csv
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

BATCH = 64


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("folder", nargs="?", type=pathlib.Path, help="folder of class folders of pictures")
    p.add_argument("--pictures", nargs=2, type=int, default=(1000, 3000), help="how many, of the two runs")
    p.add_argument("--types", nargs="+", default=("float32", "int8"), choices=("float32", "int8"))
    p.add_argument("--torch-python", help="the Python of benchmarks/requirements.txt; left out: PyTorch is not run")
    p.add_argument("--torch-side", nargs=3, metavar=("LIST", "WEIGHTS", "OUTPUT"), help=argparse.SUPPRESS)
    args = p.parse_args()
    if not (args.folder or args.torch_side):
        p.error("give a folder of class folders of pictures")
    return args


def torch_side(rows: str, weights: str, output: str) -> None:
    """Run by the other Python: features of the pictures in the CSV `rows`."""
    import numpy as np
    import torch
    from PIL import Image

    from benchmarks.torchvision_parity import torchvision_models

    saved = np.load(weights)
    net = torchvision_models().squeezenet1_1().eval()
    for i, (_, value) in enumerate((n, v) for n, v in net.state_dict().items() if n.startswith("features")):
        value.copy_(torch.from_numpy(saved[f"w{i}"]))
    net = torch.nn.Sequential(net.features, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    net = net.to(memory_format=torch.channels_last).eval()
    mean = torch.from_numpy(saved["mean"])[:, None, None]

    class Files(torch.utils.data.Dataset):
        with open(rows, newline="") as file:
            paths = [row[1] for row in csv.reader(file)]

        def __len__(self):
            return len(self.paths)

        def __getitem__(self, i):
            with Image.open(self.paths[i]) as picture:
                return np.array(picture.convert("RGB").resize((224, 224), Image.Resampling.NEAREST))

    def ready(batch):
        x = batch.permute(0, 3, 1, 2).float() - mean  # a permuted NHWC array is channels last already
        return x.contiguous(memory_format=torch.channels_last)

    with torch.no_grad():
        x = torch.zeros(BATCH, 3, 224, 224).contiguous(memory_format=torch.channels_last)
        name, best = fastest(net, x)
        start, before = time.perf_counter(), os.times()
        loader = torch.utils.data.DataLoader(Files(), BATCH, num_workers=torch.get_num_threads())
        found = np.concatenate([(best if len(b) == BATCH else net)(ready(b)).numpy() for b in loader])
        del loader  # its workers end, and their time is counted
    print(time.perf_counter() - start, sum(os.times()[:4]) - sum(before[:4]), name)
    np.save(output, found)


def fastest(net, x, compiled: bool = True):
    """The name of PyTorch's fastest way to run `net` on `x`, and that way; `compiled`: torch.compile may be it."""
    import torch

    traced = torch.jit.trace(net, x)
    ways = {
        "eager": net,
        "traced and frozen": torch.jit.freeze(traced),
        "traced, optimize_for_inference": torch.jit.optimize_for_inference(traced),
        **({"torch.compile": torch.compile(net)} if compiled else {}),
    }
    times = {}
    for name, way in ways.items():
        try:
            way(x), way(x)
        except Exception as error:  # no compiler
            print(f"{name}: {type(error).__name__}", file=sys.stderr)
            continue
        start = time.perf_counter()
        for _ in range(3):
            way(x)
        times[name] = time.perf_counter() - start
    best = min(times, key=times.get)
    return best, ways[best]


def measured(command) -> tuple[float, float, float, str]:
    """Seconds, seconds of processor time, peak memory in MB (of the largest process) and output of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text


def save_weights(path: pathlib.Path) -> None:
    """SqueezeNet 1.1's kernels, red first, and what it takes off each channel."""
    import numpy as np

    from common import backbones

    net = backbones.create("squeezenet1.1", "imagenet")
    arrays = {f"w{i}": p.data().asnumpy() for i, p in enumerate(net.body.collect_params().values())}
    np.savez(path, mean=np.array(net.preprocessing.mean, np.float32), **arrays)


def main():
    args = parse_args()
    if args.torch_side:
        torch_side(*args.torch_side)
        return
    import numpy as np

    found = sorted(path for path in args.folder.glob("*/*") if path.is_file())
    few, many = args.pictures
    if len(found) < many:
        sys.exit(f"error: {args.folder} holds {len(found)} pictures; {many} are asked for with --pictures")
    order = np.random.default_rng(0).permutation(len(found))[:many]
    kinds = [*args.types, *(["PyTorch"] if args.torch_python else [])]
    speeds = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        save_weights(folder / "weights.npz")
        print(f"{'':8s} {'pictures':>8s} {'seconds':>8s} {'of CPU':>8s} {'peak MB':>8s}")
        for kind in kinds:
            seconds, work, peaks = [], [], []
            for count in (few, many):
                rows = folder / f"{count}.csv"
                rows.write_text("".join(f"{found[i].parent.name},{found[i].resolve()}\n" for i in order[:count]))
                script = ROOT / "examples" / "transfer" / "generate_embedding.py"
                command = [sys.executable, script, "-csv", rows, "-tm", "squeezenet1.1", "-b", BATCH, "-dir", folder]
                command += ["-n", f"{kind}{count}", *(["--int8"] if kind == "int8" else [])]
                if kind == "PyTorch":
                    command = [args.torch_python, __file__, "--torch-side", rows, folder / "weights.npz"]
                    command.append(folder / f"{kind}{count}_data.npy")
                second, cpu, peak, text = measured(list(map(str, command)))
                if kind == "PyTorch":
                    second, cpu, way = text.strip().split(maxsplit=2)
                    second, cpu = float(second), float(cpu)
                print(f"{kind:8s} {count:8d} {second:8.1f} {cpu:8.1f} {peak:8.0f}", flush=True)
                seconds.append(second)
                work.append(cpu)
                peaks.append(peak)
            speeds[kind] = (many - few) / (seconds[1] - seconds[0])
            note = f" ({way})" if kind == "PyTorch" else f", memory {peaks[1] / peaks[0] - 1:+.1%}"
            alone = (many - few) / (work[1] - work[0])
            print(f"{kind}: {speeds[kind]:.1f} images a second, {alone:.1f} a second of CPU{note}", flush=True)
        vectors = {kind: np.load(folder / f"{kind}{many}_data.npy") for kind in kinds}
    for kind in kinds[1:]:
        a, b = vectors[kinds[0]], vectors[kind]
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        print(f"mean cosine of {kinds[0]} and {kind}: {cosine.mean():.6f}")
    if "PyTorch" in speeds:
        for kind in args.types:
            print(f"{kind} beside PyTorch: {speeds[kind] / speeds['PyTorch']:.2f} times")


if __name__ == "__main__":
    main()
