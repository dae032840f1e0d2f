#!/usr/bin/env python3
"""Generate and save image embeddings using pre-trained models."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from common.files.errors import UserError


def parse_args(argv=None):
    p = cli.parser(__doc__)
    add = p.add_argument
    add("-csv", "--csv_file", metavar="FILE", help="csv file of LABEL,PATH rows without a header")
    add("-data", "--npy_data", metavar="FILE",
        help="npy data file: a picture a row, height * width * channels values; or (n, height, width, 3)")  # fmt: skip
    add("-labels", "--npy_labels", metavar="FILE", help="npy label file of numbers or text, which belongs to -data")
    add("--stretch", action="store_true",
        help="stretch each picture of -data to a largest value of 255, as the document's script does")  # fmt: skip
    add("--folder", metavar="DIR", help="folder with a folder of pictures for each class, instead of -csv or -data")
    add("-dir", "--save_folder_path", default=".", metavar="DIR", help="folder to write to")
    add("-n", "--save_name", nargs="?", default="transferfeature", const="transferfeature", metavar="NAME",
        help="name of the new csv, parquet or npy file(s)")  # fmt: skip
    add("-tm", "--trained_model", default="VGG16", metavar="NAME",
        help="VGG16, VGG19, ResNet50, MobileNet, Xception, InceptionV3, InceptionResNetV2, or any name of"
        " common.backbones, such as squeezenet1.1 or efficientnet_lite0")  # fmt: skip
    formats = p.add_mutually_exclusive_group()
    formats.add_argument("-to-csv", "--save_csv", action="store_true",
                         help="save one csv file instead of two npy files (data and labels)")  # fmt: skip
    formats.add_argument("--parquet", action="store_true", help="save one Parquet file instead of two npy files")
    formats.add_argument("--orange", action="store_true",
                         help="save one csv file whose header tells Orange that Class is the target")  # fmt: skip
    add("--with-path", action="store_true",
        help="save each picture's path too: a column path, or NAME_paths.npy; Parquet always has it")  # fmt: skip
    add("-he", "--image_height", type=cli.width, default=90, metavar="PIXELS", help="height of -data's pictures")
    add("-w", "--image_width", type=cli.width, default=160, metavar="PIXELS", help="width of -data's pictures")
    add("-c", "--image_channels", type=cli.width, default=3, metavar="N", help="channels of -data's pictures")
    add("-weights", "--nn_weights", default="imagenet", metavar="WEIGHTS",
        help="imagenet, None (random weights) or a file: .params, .h5, .pth, .safetensors")  # fmt: skip
    add("-b", "--batch_size", type=cli.batch_size, default=1, metavar="N", help="pictures a forward pass takes")
    add("--interpolation", default="nearest", choices=("nearest", "bilinear", "bicubic"),
        help="how pictures are resized")  # fmt: skip
    add("--int8", action="store_true", help="run the network in 8 bits: several times as fast")
    add("--resume", action="store_true", help="continue a run that was killed; the same file comes out")
    add("--on-error", default="stop", choices=("stop", "skip"),
        help="skip: leave bad pictures out, list them in NAME_failed.csv")  # fmt: skip
    add("--no-clobber", action="store_true", help="refuse to replace files that exist")
    add("--num-workers", type=cli.whole(1, 256), default=2, metavar="N", help="threads that decode pictures ahead")
    add("--gpus", type=cli.int_list, default=[], metavar="LIST", help="GPU to use; empty means CPU")
    add("--seed", type=cli.seed_number, default=123, metavar="N", help="random seed of -weights None")
    args = p.parse_args(argv)
    if bool(args.npy_data) != bool(args.npy_labels):
        p.error("-data and -labels belong together: give both")
    if sum(map(bool, (args.csv_file, args.npy_data, args.folder))) != 1:
        p.error("give one of -csv FILE, -data FILE with -labels FILE, or --folder DIR")
    if args.stretch and not args.npy_data:
        p.error("--stretch is for -data: pictures in files are read as they are")
    if args.int8 and args.gpus:
        p.error("--int8 runs on the CPU: leave out --gpus")
    return args


def check_output(args, targets):
    """The folder can be written to, and `--no-clobber` is kept."""
    folder = pathlib.Path(args.save_folder_path)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"-dir {folder} is not a folder that can be written to: make it first, or give another")
    if not args.save_name or pathlib.Path(args.save_name).name != args.save_name:
        raise UserError(f"-n {args.save_name!r}: a plain name is needed; the folder goes to -dir")
    there = [str(path) for path in targets if path.exists()]
    if there and args.no_clobber:
        raise UserError(f"{', '.join(there)}: exists already, and --no-clobber keeps it; give another -n")


def settings_key(args, source, net) -> str:
    """Names all that decides the vectors, so that --resume never mixes two runs."""
    total = hashlib.sha256(source.key().encode())
    kept = ("batch_size", "interpolation", "int8", "nn_weights", "seed", "gpus")
    total.update(json.dumps([net.name_, {name: getattr(args, name) for name in kept}]).encode())
    for name, parameter in net._collect_params_with_prefix().items():
        total.update(name.encode() + parameter.data(parameter.list_ctx()[0]).asnumpy().tobytes())
    return total.hexdigest()


def main(args):
    format = "csv" if args.save_csv else "orange" if args.orange else "parquet" if args.parquet else "npy"
    from examples.transfer import inputs, networks, outputs

    check_output(args, outputs.paths(args.save_folder_path, args.save_name, format, args.with_path))
    networks.candidates(args.trained_model)
    if args.csv_file:
        source = inputs.from_csv(args.csv_file)
    elif args.folder:
        source = inputs.from_folder(args.folder)
    else:
        shape = (args.image_height, args.image_width, args.image_channels)
        source = inputs.from_npy(args.npy_data, args.npy_labels, *shape, args.stretch)
    failed = source.check()
    if failed and args.on_error == "stop":
        first = min(failed)
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise UserError(f"{source.rows[first]}: {failed[first]}{more}; --on-error skip leaves such rows out")

    from tqdm import tqdm

    from common import devices
    from common.backbones import features
    from common.backbones.quantize import CALIBRATION, quantize

    ctx = devices.contexts(args.gpus)[0]
    net = networks.create(args.trained_model, args.nn_weights, ctx, args.seed)
    size = net.input_size
    print(f"{net.name_}: {net.width} numbers a picture of {size} x {size}; weights: {net.source}", flush=True)
    key, width = settings_key(args, source, net), net.width
    if args.int8:
        net = quantize(net, inputs.spread(source, CALIBRATION, size, args.interpolation, failed))
    else:
        net.hybridize(static_alloc=True, static_shape=True)
    output = outputs.Output(args.save_folder_path, args.save_name, format, width, key, args.resume)
    if output.seen:
        print(f"continues after {output.seen} of {len(source)} pictures", flush=True)
    batches = inputs.batches(source, size, args.batch_size, args.interpolation, failed, output.seen, args.num_workers)
    with tqdm(total=len(source), initial=output.seen, unit=" pictures", disable=None) as bar:
        for vectors, batch in features.stream(batches, net, ctx):
            if batch.failed and args.on_error == "stop":
                output.save()
                first = min(batch.failed)
                raise UserError(f"{source.rows[first]}: {batch.failed[first]}; --on-error skip leaves such rows out")
            output.add(vectors, batch.failed)
            bar.update(len(vectors))
    skipped = len(output.failed)
    written = output.finish(source.labels, source.rows, source.names() if args.with_path or args.parquet else None)
    note = f"; {skipped} pictures left out, see {args.save_name}_failed.csv" if skipped else ""
    print(f"{len(source) - skipped} embeddings: {', '.join(map(str, written))}{note}")


if __name__ == "__main__":
    cli.launch(main, parse_args)
