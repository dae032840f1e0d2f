#!/usr/bin/env python3
"""Write a model of train.py for a telephone: ONNX in float32 and INT8, the word matrix beside it; check both."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from examples.visual_semantic.search import SHIPPED

FLAGS = {
    "export": [
        cli.model_file(SHIPPED),
        ("--output", cli.DIR, None, "where to write; default is mobile/ beside the model"),
        ("--pictures", cli.many(cli.PATH), [], "files, folders, .txt lists: INT8's ranges, to compare; none: float32"),
        ("--check", cli.positive_int, 1000, "pictures to compare on, at most"),
        ("--calibrate", cli.positive_int, 512, "pictures INT8 reads ranges from"),
        cli.ON_ERROR,
        cli.NUM_WORKERS,
        cli.seed("which pictures are drawn"),
    ],
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from common.data import images

    # A wrong path is said before the model is read.
    paths = images.readable(images.find(args.pictures), args.on_error, args.num_workers) if args.pictures else []

    import numpy as np

    from common.data import transforms
    from common.data.loader import Loader
    from common.data.samplers import Sequential
    from common.data.sets import ImageSet
    from common.export import onnx
    from common.files.disk import write_json
    from examples.visual_semantic import data, mobile, model

    file = pathlib.Path(args.params)
    net = model.load(file)
    folder = pathlib.Path(args.output or file.parent / "mobile")
    path = mobile.write(net, folder, file.stem)
    print(f"{path}: {size(path)}; {len(net.class_names)} words of {net.dim} numbers in {file.stem}-words.npy")
    if net.metadata.get("views"):
        shares = ", ".join(f"{share:g}" for share in net.metadata["views"])
        print(f"it takes a picture alone; the figures of train.py are of the mean with its middles ({shares}; --views)")
    if not paths:
        print("no --pictures: INT8 is not written, and nothing was compared")
        return

    order = np.random.default_rng(args.seed).permutation(len(paths))
    some = min(args.calibrate, (len(paths) + 1) // 2)
    calibration, rest = order[:some], np.sort(order[some : some + args.check])
    transform = transforms.saved(net.metadata).whole

    def loader(chosen):
        chosen = ImageSet([paths[i] for i in chosen], np.zeros(len(chosen), np.int64), [""])
        return Loader(chosen, transform, Sequential(len(chosen), data.READ_BATCH), args.num_workers)

    ranges = np.concatenate([batch.images for batch in loader(calibration).epoch()])
    small = onnx.write_int8(path, folder / f"{file.stem}-int8.onnx", ranges)
    checked = loader(rest)
    reference = data.read(net.embed, checked.image_set, transform, None, args.num_workers)
    taken_for = (reference @ net.words.T).argmax(axis=1)
    figures = {}
    for kind, written in (("float32", path), ("int8", small)):
        session = mobile.Session(written)
        vectors = session.embed(checked.epoch())
        same = int(((vectors @ net.words.T).argmax(axis=1) == taken_for).sum())
        cosine, took = float((vectors * reference).sum(axis=1).mean()), session.milliseconds(ranges[0])
        print(
            f"{kind}: {size(written)}, {took:.1f} ms a picture of {net.metadata['crop']} px on one core, the model's"
            f" top-1 on {same} of {len(rest)} pictures, cosine to its vectors {cosine:.4f}"
        )
        figures[kind] = {"bytes": written.stat().st_size, "milliseconds": round(took, 2), "same_top1": same,
                         "pictures": len(rest), "cosine": round(cosine, 5)}  # fmt: skip
    write_json(folder / f"{file.stem}-check.json", figures)


def size(path) -> str:
    """``"2.96 MB"``, in millions of bytes."""
    return f"{path.stat().st_size / 1e6:.2f} MB"


if __name__ == "__main__":
    cli.launch(main, parse_args)
