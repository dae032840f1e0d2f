#!/usr/bin/env python3
"""Features of a pretrained network, the network alone: the suite's engine and its INT8, beside onnxruntime and PyTorch.

Batches of 8-bit pictures (16, 224, 224, 3) go in, features come out. All sides have the same weights, which is looked
at: the features in float32 have to agree. onnxruntime reads the file that PyTorch exports of its own network, and the
same quantised by its own quantize_static; PyTorch runs channels last, by the fastest of eager, traced and frozen, and
traced with optimize_for_inference.

    .venv/bin/python benchmarks/engines.py --peer PYTHON_WITH_TORCH
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import turns

BATCH, SIZE, CALIBRATION = 16, 224, 64
NETWORKS = {"efficientnet_lite0": "EfficientNet-Lite0", "squeezenet1.1": "SqueezeNet 1.1"}
ALIKE = 0.9999  # least mean cosine of the features of two float32 engines


def parse_args():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--peer", metavar="PYTHON", help="interpreter that has torch, timm and onnx; without, ours alone")
    p.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    p.add_argument("--seconds", type=float, default=3, help="that each figure of a round is measured")
    p.add_argument("--side", choices=["suite", "onnxruntime", "export", "torch"], help=argparse.SUPPRESS)
    p.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    turns.add_arguments(p, rounds=3)
    return p.parse_args()


def create(name: str):
    from common import backbones

    return backbones.create(name, "imagenet")


def write_inputs(name: str, folder: pathlib.Path) -> None:
    """The weights in the order of computation, the normalisation, and pictures to calibrate on; the first are read."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    net = create(name)
    rng, photographs = np.random.default_rng(0), load_sample_images().images
    corners = [(rng.integers(0, 427 - SIZE), rng.integers(0, 640 - SIZE)) for _ in range(CALIBRATION)]
    cuts = [photographs[i % 2][y : y + SIZE, x : x + SIZE] for i, (y, x) in enumerate(corners)]
    np.save(folder / "pictures.npy", np.stack([np.asarray(Image.fromarray(cut)) for cut in cuts]))
    values = [p.data().asnumpy() for p in net.body.collect_params().values()]
    if net.rotated:  # so are its kernels
        values = [value[:, :, ::-1, ::-1] if value.ndim == 4 else value for value in values]
    about = {name: np.float32(getattr(net.preprocessing, name)) for name in ("mean", "scale")}
    np.savez(folder / "weights.npz", **about, **{f"w{i}": value for i, value in enumerate(values)})


def suite(name: str, pictures, seconds: float) -> tuple[dict, dict]:
    """Speeds and features of the suite, by name."""
    import numpy as np

    from common import devices
    from common.backbones import features
    from common.data.sets import ImageSet
    from common.export import engine

    images = ImageSet(pictures, np.zeros(len(pictures), np.int64), ["any"])
    auto = argparse.Namespace(engine="auto", gpus=[])
    net = create(name)
    reader = engine.named(engine.choose(auto, net, SIZE, 10**6))
    nets = {
        "suite": features.prepare(net, images, SIZE, engine=reader),
        "suite, INT8": features.prepare(create(name), images, SIZE, int8=True),
    }
    forwards = {side: lambda x, net=net: net(devices.put(x)).asnumpy() for side, net in nets.items()}
    return measured(forwards, pictures[:BATCH], seconds)


def onnxruntime(folder: pathlib.Path, pictures, seconds: float) -> tuple[dict, dict]:
    """The same of the files that `export` and `quantise` wrote."""
    import onnxruntime as runtime

    forwards = {}
    for side, file in (("onnxruntime", "net.onnx"), ("onnxruntime, INT8", "int8.onnx")):
        options = runtime.SessionOptions()
        options.intra_op_num_threads = turns.THREADS
        session = runtime.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"])
        forwards[side] = lambda x, session=session: session.run(None, {"data": x})[0]
    return measured(forwards, pictures[:BATCH], seconds)


def torch_side(name: str, folder: pathlib.Path, pictures, seconds: float) -> tuple[dict, dict]:
    """The same of PyTorch."""
    import torch

    from benchmarks.features import fastest

    torch.set_num_threads(turns.THREADS)
    with torch.inference_mode():
        net = torch_network(name, folder).to(memory_format=torch.channels_last)
        _, best = fastest(net, torch.from_numpy(pictures[:BATCH]), compiled=False)
        return measured({"PyTorch": lambda x: best(torch.from_numpy(x)).numpy()}, pictures[:BATCH], seconds)


def torch_network(name: str, folder: pathlib.Path):
    """The network in PyTorch, from 8-bit pictures to features."""
    import numpy as np
    import torch

    from benchmarks.torchvision_parity import torchvision_models

    models, saved = torchvision_models(), np.load(folder / "weights.npz")
    if name == "squeezenet1.1":
        net = models.squeezenet1_1()
        net = torch.nn.Sequential(net.features, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    else:
        import timm

        net = timm.create_model(f"tf_{name}", num_classes=0)
    state = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    kept = [saved[f"w{i}"] for i in range(len(state))]
    for value, array in zip(state.values(), kept):
        value.copy_(torch.from_numpy(array))

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net
            self.register_buffer("mean", torch.from_numpy(saved["mean"])[:, None, None])
            self.register_buffer("scale", torch.from_numpy(saved["scale"])[:, None, None])

        def forward(self, x):
            x = x.permute(0, 3, 1, 2).float()  # a permuted NHWC array is channels last already
            return self.net((x - self.mean) * self.scale)

    return Whole().eval()


def export(name: str, folder: pathlib.Path) -> None:
    """In PyTorch's environment: its network as net.onnx."""
    import torch

    with torch.no_grad():
        example = torch.zeros(BATCH, SIZE, SIZE, 3, dtype=torch.uint8)
        file = str(folder / "net.onnx")
        torch.onnx.export(torch_network(name, folder), (example,), file, dynamo=False, input_names=["data"])


def quantise(folder: pathlib.Path, pictures) -> None:
    """net.onnx by onnxruntime's own quantiser as int8.onnx."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        batches = iter([{"data": pictures[i : i + BATCH]} for i in range(0, len(pictures), BATCH)])

        def get_next(self):
            return next(self.batches, None)

    simple = folder / "simple.onnx"
    quantization.quant_pre_process(str(folder / "net.onnx"), str(simple), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(simple), str(folder / "int8.onnx"), Reader(), per_channel=True,
        activation_type=quantization.QuantType.QUInt8,  # several times as fast as its default on x86
    )  # fmt: skip


def measured(forwards: dict, x, seconds: float) -> tuple[dict, dict]:
    return (
        {side: turns.rate(lambda forward=forward: forward(x), len(x), seconds) for side, forward in forwards.items()},
        {side: forward(x) for side, forward in forwards.items()},
    )


def one_side(args) -> dict[str, float]:
    """What a process measures; its features go to a file."""
    import numpy as np

    (name,), folder = args.networks, args.folder
    if args.side == "export":
        export(name, folder)
        return {}
    pictures = np.load(folder / "pictures.npy")
    if args.side == "suite":
        speeds, found = suite(name, pictures, args.seconds)
    elif args.side == "onnxruntime":
        speeds, found = onnxruntime(folder, pictures, args.seconds)
    else:
        speeds, found = torch_side(name, folder, pictures, args.seconds)
    for side, features in found.items():
        np.save(folder / f"{side}.npy", features)
    return speeds


def compare(args, name: str, folder: pathlib.Path) -> list[turns.Row]:
    """The rows of one network."""
    import numpy as np

    def side(which, python=sys.executable):
        own = ["--side", which, "--networks", name, "--folder", folder, "--seconds", args.seconds]
        return [python, __file__, *own]

    write_inputs(name, folder)
    sides = [side("suite")]
    if args.peer:
        turns.run(side("export", args.peer))
        quantise(folder, np.load(folder / "pictures.npy"))
        sides += [side("onnxruntime"), side("torch", args.peer)]
    rounds = turns.turns(sides, args.rounds)
    features = {file.stem: np.load(file) for file in folder.glob("*.npy") if file.stem in rounds}
    cosines = {one: cosine(features["suite"], found) for one, found in features.items()}
    strange = [one for one, value in cosines.items() if "INT8" not in one and value < ALIKE]
    if strange:
        sys.exit(f"error: {name}: the features of {', '.join(strange)} are others: {cosines}")
    others = {one: values for one, values in rounds.items() if not one.startswith("suite")}
    plain = {one: values for one, values in others.items() if "INT8" not in one}
    note = ", ".join(f"{one} {value:.3f}" for one, value in cosines.items() if "INT8" in one)
    work = f"features, {NETWORKS[name]}, {SIZE} px, batch {BATCH}"
    return [
        turns.Row(f"{work}, float32", "pictures a second", "suite", {"suite": rounds["suite"], **plain}, times=1),
        turns.Row(f"{work}, INT8", "pictures a second", "suite, INT8",
                  {"suite, INT8": rounds["suite, INT8"], **others}, times=2,
                  note=f"mean cosine to float32, less its mean: {note}"),
    ]  # fmt: skip


def cosine(a, b) -> float:
    """The mean cosine of two sets of features, less the mean of the first, without which all look alike."""
    from benchmarks.int8_quality import cosines

    centre = a.mean(axis=0)
    return float(cosines(a - centre, b - centre).mean())


def main():
    args = parse_args()
    if args.side:
        print(json.dumps(one_side(args)))
        return
    rows = []
    for name in args.networks:
        with tempfile.TemporaryDirectory() as folder:
            rows += compare(args, name, pathlib.Path(folder))
    turns.report(rows, args.json)


if __name__ == "__main__":
    main()
