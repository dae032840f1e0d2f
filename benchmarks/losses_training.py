#!/usr/bin/env python3
"""What four losses learn, and in how many CPU seconds, beside PyTorch with pytorch-metric-learning.

Data that is unseen in training, as embedding_learning splits it. Of emoji and grocery both sides train a dense layer
on EfficientNet-Lite0's features, of glyphs the network conv4 from random values on. Ours draws initial values, class
vectors and batches, and writes them down; both sides begin with them and take the same batches with the same optimizers
and rates, none of which was chosen by a result. What both then give for the test pictures is scored by our metrics.
Each side runs in a process of its own, on one thread, seed by seed in turn, so that the ratio of their CPU seconds
holds on a busy machine too.

    .venv/bin/python benchmarks/losses_training.py --peer PYTHON_WITH_TORCH --data emoji

`--record FILE.npz` keeps what the peer learns in a few steps, which tests/benchmarks/test_losses_training.py compares
with.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import turns

FEATURES = "--model efficientnet_lite0 --use-pretrained --backbone-lr 0"
DATA = {
    "emoji": f"--dataset emoji {FEATURES} --image-size 128 --resize 128",
    "grocery": f"--dataset grocery {FEATURES} --resize 224",
    "glyphs": "--dataset glyphs --model conv4 --image-size 16",
}
RATES = "--lr 1e-3 --validation-share 0 --epoch-batches 60 --epochs 4 --steps 3"
# Ours: flags of train.py. The peer's: loss and miner, and their parameters where the defaults are others.
LOSSES = {
    "margin": ("--loss margin", ("MarginLoss", {"beta": 1.2, "learn_beta": True}), ("DistanceWeightedMiner", {})),
    "triplet": (
        "--loss triplet --miner batch-hard", ("TripletMarginLoss", {"margin": 0.2, "power": 2}), ("BatchHardMiner", {}),
    ),
    "multi-similarity": (
        "--loss multi-similarity", ("MultiSimilarityLoss", {}), ("MultiSimilarityMiner", {"epsilon": 0.1}),
    ),
    "proxy-anchor": ("--loss proxy-anchor", ("ProxyAnchorLoss", {}), None),
}  # fmt: skip
EPSILON = 1e-7  # of Adam, as train.py has it
BY_CHANCE = ("margin",)  # whose negatives each side draws by generators of its own
SCORES = ("recall@1", "map@r")


def parse_args(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--peer", default=sys.executable, metavar="PYTHON", help="interpreter that has torch")
    p.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    p.add_argument("--losses", nargs="+", choices=list(LOSSES), default=list(LOSSES))
    p.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    p.add_argument("--flags", default="", help="of train.py, behind those of each data set")
    p.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write what was measured, for run.py")
    p.add_argument("--record", type=pathlib.Path, metavar="FILE", help="keep what the peer learns, for the tests")
    p.add_argument("--side", choices=["mxnet", "torch"], help=argparse.SUPPRESS)
    p.add_argument("--case", type=pathlib.Path, help=argparse.SUPPRESS)
    return p.parse_args(argv)


def flags(data: str, loss: str, seed: int, more: str = "") -> argparse.Namespace:
    """The arguments of train.py."""
    from examples.embedding_learning import train

    return train.parse_args(f"{DATA[data]} {RATES} {LOSSES[loss][0]} --seed {seed} {more}".split())


def prepare(data: str, losses: list[str], seed: int, more: str, path: pathlib.Path) -> None:
    """Write what both sides begin with: rows to learn from and to test, batches, initial values, settings."""
    from common import backbones
    from common.export import engine
    from common.train.session import seed_everything
    from examples.embedding_learning import data as pictures
    from examples.embedding_learning import inputs, model, objective

    import mxnet as mx  # isort: skip

    args, ctx = flags(data, losses[0], seed, more), mx.cpu()
    parts, weights = pictures.load(args), model.weights(args)
    size = args.image_size or backbones.input_size(args.model)
    seed_everything(seed, 0, 0, 0)
    net = model.create(args.model, args.embed_dim, weights, ctx, size)
    args.engine = engine.choose(args, net.backbone, size, len(parts) if weights else 0)
    kvstore = mx.kv.create("local")
    sampler = pictures.sampler(args, parts, weights, 1, kvstore)
    read = inputs.Inputs(net, parts, sampler, args, size, ctx, kvstore, lambda _: None)
    found = {}
    for name, split in parts.by_name().items():
        found[f"{name} rows"] = read.features(name) if model.is_frozen(args) else split.array(size)
        found[f"{name} labels"] = split.labels
    found["batches"] = np.array([np.stack(sampler.epoch(epoch)) for epoch in range(args.epochs)])
    learned = net.dense if model.is_frozen(args) else net
    for name, parameter in learned._collect_params_with_prefix().items():
        if ".normalize." not in name:
            found[f"network {name}"] = parameter.data().asnumpy()
    read.loader = _rows(found, "train", sampler)
    for name in losses:
        own = flags(data, name, seed, more)
        own.batch_size, own.batch_k = args.batch_size, args.batch_k
        loss, _, _ = objective.create(own, {}, len(parts.train.class_names), ctx)
        objective.place_classes(own, loss, read, ctx)
        if name in objective.CLASS_LOSSES:
            found[f"class vectors {name}"] = loss.weight.data().asnumpy()
    names = ("batch_size", "batch_k", "embed_dim", "lr", "wd", "lr_beta", "lr_classes", "steps", "factor")
    settings = {
        "data": data, "seed": seed, "flags": more, "classes": len(parts.train.class_names), "size": size,
        "preprocessing": net.backbone.preprocessing.to_dict(), **{name: getattr(args, name) for name in names},
    }  # fmt: skip
    np.savez(path, settings=json.dumps(settings), **found)


def _rows(case, name: str, sampler=None):
    from common.data.features import FeatureSet

    return FeatureSet(case[f"{name} rows"], case[f"{name} labels"], None, sampler)


class _Batches:
    """A sampler that gives batches that were written down."""

    def __init__(self, batches):
        self.epoch = lambda epoch: list(batches[epoch])


def mxnet_side(case, loss_name: str) -> tuple[dict[str, np.ndarray], float]:
    """Embeddings of the test pictures and of those they are looked for among, and CPU seconds of training."""
    import common  # noqa: F401  (first: MXNet needs the numpy alias it sets)

    import mxnet as mx  # isort: skip
    from mxnet import autograd

    from common import backbones, devices
    from common.backbones.features import encode
    from common.data.samplers import Sequential
    from common.train import optimizer, schedule
    from common.train.session import seed_everything
    from examples.embedding_learning import model, objective

    settings, ctx = json.loads(str(case["settings"])), mx.cpu()
    args = flags(settings["data"], loss_name, settings["seed"], settings["flags"])
    args.batch_size, args.batch_k = settings["batch_size"], settings["batch_k"]
    net = model.EmbeddingNet(backbones.create(args.model, size=settings["size"]), args.embed_dim)
    learned = net.dense if model.is_frozen(args) else net
    learned.initialize(ctx=ctx)
    for name, parameter in learned._collect_params_with_prefix().items():
        if ".normalize." not in name:
            parameter.set_data(mx.nd.array(case[f"network {name}"]))
    net.hybridize(static_alloc=True, static_shape=True)
    loss, miner, _ = objective.create(args, {}, settings["classes"], ctx)
    if loss_name in objective.CLASS_LOSSES:
        loss.weight.set_data(mx.nd.array(case[f"class vectors {loss_name}"]))
    embed = net.embed if model.is_frozen(args) else net
    (group, *rest) = objective.groups(args, net, loss)
    trainer = optimizer.trainer([(learned.collect_params(), *group[1:]), *rest])
    loader = _rows(case, "train", _Batches(case["batches"]))

    seed_everything(args.seed, 0, 0, 0)
    mx.nd.waitall()
    began = time.process_time()
    for epoch in range(len(case["batches"])):
        trainer.optimizer.scale_rates(schedule.step_factor(epoch, args.steps, args.factor))
        for batch in loader.epoch(epoch):
            x, y = devices.put(batch.images, ctx), devices.put(batch.labels, ctx)
            with autograd.record():
                embeddings = embed(x)
                with autograd.pause():
                    pairs = miner(embeddings, y) if miner else None
                value = loss(embeddings, y, pairs)
            value.backward()
            trainer.step(len(batch.labels))
            value.wait_to_read()
    mx.nd.waitall()
    seconds = time.process_time() - began
    names = [name for name in ("test", "gallery") if f"{name} rows" in case]
    in_order = {name: _rows(case, name, Sequential(len(case[f"{name} labels"]), 100)).epoch() for name in names}
    return {name: encode(embed, batches, ctx) for name, batches in in_order.items()}, seconds


def torch_side(case, loss_name: str) -> tuple[dict[str, np.ndarray], float]:
    """The same by PyTorch."""
    import torch
    from pytorch_metric_learning import distances, losses, miners

    torch.set_num_threads(1)
    settings = json.loads(str(case["settings"]))
    torch.manual_seed(settings["seed"])
    values = {name: torch.from_numpy(case[name]) for name in case.files if name.startswith("network")}
    net = torch_network(settings, values)
    _, (kind, options), mined = LOSSES[loss_name]
    options = dict(options)
    if "power" in options:
        options = {"margin": options["margin"], "distance": distances.LpDistance(power=options["power"])}
    if loss_name in ("margin", "proxy-anchor"):
        options["num_classes"] = settings["classes"]
    if loss_name == "proxy-anchor":
        options["embedding_size"] = settings["embed_dim"]
    loss = getattr(losses, kind)(**options)
    miner = getattr(miners, mined[0])(**mined[1]) if mined else None
    if loss_name == "proxy-anchor":
        loss.proxies.data = torch.from_numpy(case["class vectors proxy-anchor"])
    optimizers = [torch.optim.Adam(net.parameters(), settings["lr"], weight_decay=settings["wd"], fused=True)]
    if loss_name == "margin":
        optimizers.append(torch.optim.SGD(loss.parameters(), settings["lr_beta"], momentum=0.9))
    elif loss_name == "proxy-anchor":
        optimizers.append(torch.optim.Adam(loss.parameters(), settings["lr_classes"], fused=True))
    schedules = [torch.optim.lr_scheduler.MultiStepLR(one, settings["steps"], settings["factor"]) for one in optimizers]
    rows, labels = torch.from_numpy(case["train rows"]), torch.from_numpy(case["train labels"])
    adams, step = [one for one in optimizers if isinstance(one, torch.optim.Adam)], 0

    began = time.process_time()
    for batches in torch.from_numpy(case["batches"]):
        for batch in batches:
            x, y = rows[batch], labels[batch]
            for one in optimizers:
                one.zero_grad()
            embeddings = net(x)
            value = loss(embeddings, y, miner(embeddings, y)) if miner else loss(embeddings, y)
            (value / len(batch)).backward()  # as Gluon's Trainer.step(batch size) does: weight decay weighs by it
            step += 1
            for one in adams:  # Gluon's epsilon stands before the second moment's correction, PyTorch's behind it
                one.param_groups[0]["eps"] = EPSILON / (1 - 0.999**step) ** 0.5
            for one in optimizers:
                one.step()
        for one in schedules:
            one.step()
    seconds = time.process_time() - began
    net.eval()
    found = {}
    with torch.no_grad():
        for name in ("test", "gallery"):
            if f"{name} rows" in case:
                parts = torch.from_numpy(case[f"{name} rows"]).split(100)
                found[name] = torch.nn.functional.normalize(torch.cat([net(part) for part in parts])).numpy()
    return found, seconds


def torch_network(settings: dict, values: dict):
    """The dense layer, or conv4 with its normalisation and dense layer, with the values that ours began with."""
    import torch
    from torch import nn

    if settings["data"] != "glyphs":
        net = nn.Linear(*values["network weight"].shape[::-1])
        net.weight.data, net.bias.data = values["network weight"], values["network bias"]
        return net

    class Normalise(nn.Module):
        def __init__(self, mean, scale):
            super().__init__()
            self.mean, self.scale = (torch.tensor(x).view(3, 1, 1) for x in (mean, scale))

        def forward(self, x):
            return x.permute(0, 3, 1, 2).float().sub(self.mean).mul(self.scale).contiguous()

    layers = [Normalise(settings["preprocessing"]["mean"], settings["preprocessing"]["scale"])]
    body = [name for name in values if ".body." in name]
    place = {number: i for i, number in enumerate(sorted({int(name.split(".")[-2]) for name in body}))}
    at = {(place[int(name.split(".")[-2])], name.split(".")[-1]): values[name] for name in body}
    for number in range(0, len(place), 2):
        weight = at[number, "weight"]
        convolution, norm = nn.Conv2d(*weight.shape[1::-1], 3, padding=1), nn.BatchNorm2d(len(weight))
        convolution.weight.data, convolution.bias.data = weight, at[number, "bias"]
        norm.weight.data, norm.bias.data = at[number + 1, "gamma"], at[number + 1, "beta"]
        layers += [convolution, norm, nn.ReLU(True), nn.MaxPool2d(2)]
    dense = nn.Linear(*values["network dense.weight"].shape[::-1])
    dense.weight.data, dense.bias.data = values["network dense.weight"], values["network dense.bias"]
    return nn.Sequential(*layers, nn.Flatten(), dense)


def tiny(data: str) -> dict:
    """A case of a few steps on numbers that need no generator: the same on every machine."""

    def wave(*shape):
        return np.cos(np.arange(np.prod(shape)) ** 1.5).reshape(shape).astype(np.float32)

    classes, dim, labels = 6, 8, np.repeat(np.arange(6), 4)
    order = np.argsort(np.cos(np.arange(4 * classes)).reshape(4, classes))[:, :3]
    case = {
        "batches": (4 * order[:, :, None] + np.arange(4)).reshape(2, 2, 12),
        "train labels": labels,
        "test labels": labels,
        "class vectors proxy-anchor": wave(classes, dim),
    }
    if data == "glyphs":
        case["train rows"] = case["test rows"] = (127 * (1 + wave(len(labels), 16, 16, 3))).astype(np.uint8)
        for number, (channels, before) in enumerate(((32, 3), (64, 32), (128, 64), (128, 128))):
            name, norm = (f"network backbone.body.{4 * number + i}" for i in (0, 1))
            case[f"{name}.weight"] = wave(channels, before, 3, 3) / np.sqrt(4.5 * before)
            case[f"{name}.bias"] = wave(channels)
            case |= {f"{norm}.gamma": 1 + wave(channels) / 2, f"{norm}.beta": wave(channels) / 2}
            case |= {f"{norm}.running_mean": np.zeros(channels), f"{norm}.running_var": np.ones(channels)}
    else:
        case["train rows"] = case["test rows"] = 1 + wave(len(labels), 1280)
    dense = "network dense." if data == "glyphs" else "network "
    case |= {f"{dense}weight": wave(dim, 128 if data == "glyphs" else 1280) / 16, f"{dense}bias": wave(dim) / 16}
    case = {name: x.astype(np.float32) if x.dtype.kind == "f" else x for name, x in case.items()}
    return case | {"settings": json.dumps({
        "data": data, "seed": 1, "flags": f"--embed-dim {dim} --epochs 2 --steps 1", "classes": classes, "size": 16,
        "preprocessing": {"mean": [123.675, 116.28, 103.53], "scale": [1 / 58.395, 1 / 57.12, 1 / 57.375]},
        "batch_size": 12, "batch_k": 4, "embed_dim": dim, "lr": 1e-3, "wd": 1e-4, "lr_beta": 0.1, "lr_classes": 1e-2,
        "steps": [1], "factor": 0.5,
    })}  # fmt: skip


def record(args) -> None:
    """Write the peer's embeddings of the tiny cases' test rows."""
    found, losses = {}, [name for name in LOSSES if name not in BY_CHANCE]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "case.npz"
        for data in ("emoji", "glyphs"):
            np.savez(path, **tiny(data))
            turns.run([args.peer, __file__, "--side", "torch", "--case", path, "--losses", *losses], threads=1)
            found |= {f"{data} {name}": np.load(path.with_name(f"torch {name}.npz"))["test"] for name in losses}
    np.savez_compressed(args.record, **found)


def run_side(args) -> None:
    """Train by each loss, write the embeddings beside the case, print CPU seconds."""
    case, seconds = np.load(args.case), {}
    for name in args.losses:
        found, seconds[name] = {"mxnet": mxnet_side, "torch": torch_side}[args.side](case, name)
        np.savez(args.case.with_name(f"{args.side} {name}.npz"), **found)
    print(json.dumps(seconds))


def score(case, embeddings) -> dict[str, float]:
    """Of the test pictures, among each other or in their gallery."""
    from common import metrics

    gallery = (embeddings["gallery"], case["gallery labels"]) if "gallery" in embeddings else ()
    means = metrics.search(embeddings["test"], case["test labels"], *gallery, depth="r").mean()
    return {name: means[name] for name in SCORES}


def measure(data: str, args) -> list[turns.Row]:
    """All losses and seeds on a data set."""
    sides, rows = {"mxnet": sys.executable, "torch": args.peer}, []
    seconds = {name: {side: [] for side in sides} for name in args.losses}
    scores = {name: {side: [] for side in sides} for name in args.losses}
    apart = {name: [] for name in args.losses}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "case.npz"
        for number, seed in enumerate(args.seeds):
            prepare(data, args.losses, seed, args.flags, path)
            case = np.load(path)
            for side, python in list(sides.items())[:: 1 if number % 2 == 0 else -1]:
                command = [python, __file__, "--side", side, "--case", path, "--losses", *args.losses]
                for name, value in turns.run(command, threads=1).items():
                    seconds[name][side].append(value)
            for name in args.losses:
                both = {side: np.load(path.with_name(f"{side} {name}.npz")) for side in sides}
                for side, found in both.items():
                    scores[name][side].append(score(case, found))
                apart[name].append(np.sum(both["mxnet"]["test"] * both["torch"]["test"], axis=1).min())
                for side in sides:
                    last = scores[name][side][-1]["recall@1"], seconds[name][side][-1]
                    print(f"{data}, seed {seed}, {name}, {side}: recall@1 {last[0]:.4f} in {last[1]:.2f} s", flush=True)
    for name in args.losses:
        said = "; ".join(f"{metric} {compared(scores[name], metric)}" for metric in SCORES)
        same = f"; cosine of both embeddings of a picture {min(apart[name]):.6f} or more" * (name not in BY_CHANCE)
        titles = {"mxnet": "MXNet", "torch": "PyTorch"}
        rounds = {titles[side]: values for side, values in seconds[name].items()}
        rows.append(turns.Row(f"{name}, {data}", "CPU seconds", "MXNet", rounds, more=False, times=1, note=said + same))
    return rows


def compared(scores: dict[str, list[dict]], metric: str) -> str:
    """Both sides' mean and standard deviation over the seeds, and the difference seed by seed."""
    ours, theirs = (np.array([one[metric] for one in scores[side]]) for side in ("mxnet", "torch"))
    texts = [f"{x.mean():.4f} \u00b1 {x.std(ddof=min(1, len(x) - 1)):.4f}" for x in (ours, theirs, ours - theirs)]
    return f"ours {texts[0]}, theirs {texts[1]}, apart {texts[2]}"


def main(argv=None):
    args = parse_args(argv)
    if args.side:
        run_side(args)
        return
    if args.record:
        record(args)
        return
    rows = [row for data in args.data for row in measure(data, args)]
    turns.report(rows, args.json)


if __name__ == "__main__":
    main()
