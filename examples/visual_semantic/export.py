#!/usr/bin/env python3
"""Write a model of train.py for a telephone: ONNX in float32 and INT8, the word matrix beside it; check both."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from examples.visual_semantic.search import SHIPPED


def parse_args(argv=None):
    p = cli.parser(__doc__)
    p.add_argument("--params", default=SHIPPED, metavar="FILE", help="a model of train.py; default is the shipped one")
    p.add_argument("--output", metavar="DIR", help="where to write; default is mobile/ beside the model")
    p.add_argument(
        "--pictures", nargs="+", default=[], metavar="PATH",
        help="pictures like those it will see: INT8 reads its ranges from some of them, and both files are compared"
        " with the model on others; files, folders or .txt lists; without any only float32 is written",
    )  # fmt: skip
    p.add_argument("--check", type=cli.positive_int, default=1000, metavar="N", help="pictures to compare on, at most")
    p.add_argument(
        "--calibrate", type=cli.positive_int, default=512, metavar="N", help="pictures INT8 reads ranges from"
    )
    p.add_argument(
        "--on-error", default="stop", choices=cli.ON_ERROR, help="a picture that cannot be read: stop, or skip it"
    )
    p.add_argument("--num-workers", type=cli.whole(1, 256), default=2, metavar="N", help="threads that decode pictures")
    p.add_argument("--seed", type=cli.seed_number, default=123, metavar="N", help="which pictures are drawn")
    return p.parse_args(argv)


def main(args):
    from common.data import images

    # A wrong path is said before the model is read.
    paths = images.readable(images.find(args.pictures), args.on_error, args.num_workers) if args.pictures else []

    import numpy as np

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
    if not paths:
        print("no --pictures: INT8 is not written, and nothing was compared")
        return

    order = np.random.default_rng(args.seed).permutation(len(paths))
    some = min(args.calibrate, (len(paths) + 1) // 2)
    calibration, rest = order[:some], np.sort(order[some : some + args.check])
    transform = data.eval_transform(net.metadata["resize"], net.metadata["crop"], net.metadata["keep_aspect"])

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
