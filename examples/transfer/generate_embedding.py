#!/usr/bin/env python3
"""Generate and save image embeddings using pre-trained models."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli
from common.files.errors import UserError
from examples.transfer import flags

NETWORKS = (
    "VGG16, VGG19, ResNet50, MobileNet, Xception, InceptionV3, InceptionResNetV2, or any name of common.backbones, such"
    " as squeezenet1.1 or efficientnet_lite0"
)
PIXELS = cli.whole(1, 65_536, "PIXELS")
SAVE_NAME = cli.Kind(metavar="NAME", nargs="?", const="transferfeature")
FORMATS = [
    ("-to-csv --save_csv", cli.switch, False, "save one csv file instead of two npy files (data and labels)"),
    ("--parquet", cli.switch, False, "save one Parquet file instead of two npy files"),
    ("--orange", cli.switch, False, "save one csv file whose header tells Orange that Class is the target"),
]
FLAGS = {
    "data": [
        ("-csv --csv_file", cli.FILE, None, "csv file of LABEL,PATH rows without a header"),
        ("-data --npy_data", cli.FILE, None, "npy file: rows of height * width * 3 values, or (n, height, width, 3)"),
        ("-labels --npy_labels", cli.FILE, None, "npy label file of numbers or text, which belongs to -data"),
        ("--folder", cli.DIR, None, "folder of pictures, of each class or not, instead of -csv or -data"),
        cli.CLASS_DEPTH,
        ("--stretch", cli.switch, False, "stretch each picture of -data to a largest value of 255, as documented"),
        ("-he --image_height", PIXELS, 90, "height of -data's pictures"),
        ("-w --image_width", PIXELS, 160, "width of -data's pictures"),
        ("-c --image_channels", cli.width, 3, "channels of -data's pictures"),
        *flags.SEEN_AS,
        cli.on_error("skip it, listed in NAME_failed.csv"),
        cli.NUM_WORKERS,
    ],
    "network": [
        ("-tm --trained_model", cli.NAME, "VGG16", NETWORKS),
        ("-weights --nn_weights", cli.WEIGHTS, "imagenet", "imagenet, None or a file: .params, .h5, .pth, ..."),
        *flags.TAKEN_FROM,
        ("-b --batch_size", cli.batch_size, 1, "pictures a forward pass takes"),
        ("--int8", cli.switch, False, "run the network in 8 bits: several times as fast"),
        cli.ENGINE,
        cli.seed("random seed of -weights None"),
        cli.GPU,
    ],
    "output": [
        ("-dir --save_folder_path", cli.DIR, ".", "folder to write to"),
        ("-n --save_name", SAVE_NAME, "transferfeature", "name of the new csv, parquet or npy file(s)"),
        cli.Alternatives(FORMATS),
        ("--with-path", cli.switch, False, "-to-csv: paths in a column path, instead of in NAME_paths.csv"),
        ("--projector", cli.switch, False, "write the folder NAME_projector too, for TensorBoard's projector"),
        ("--resume", cli.switch, False, "continue a run that was killed; the same file comes out"),
        ("--no-clobber", cli.switch, False, "refuse to replace files that exist"),
    ],
}


def parse_args(argv=None):
    p = cli.parser(__doc__, FLAGS)
    args = p.parse_args(argv)
    if bool(args.npy_data) != bool(args.npy_labels):
        p.error("-data and -labels belong together: give both")
    if sum(map(bool, (args.csv_file, args.npy_data, args.folder))) != 1:
        p.error("give one of -csv FILE, -data FILE with -labels FILE, or --folder DIR")
    if args.class_depth and not args.folder:
        p.error("--class-depth is for --folder: leave it out")
    if args.stretch and not args.npy_data:
        p.error("--stretch is for -data: pictures in files are read as they are")
    if args.int8 and args.gpus:
        p.error("--int8 runs on the CPU: leave out --gpus")
    return args


def check_output(args, targets):
    """The folder can be written to, what is read is not replaced, and `--no-clobber` is kept."""
    folder = pathlib.Path(args.save_folder_path)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"-dir {folder} is not a folder that can be written to: make it first, or give another")
    if not args.save_name or pathlib.Path(args.save_name).name != args.save_name:
        raise UserError(f"-n {args.save_name!r}: a plain name is needed; the folder goes to -dir")
    there = [str(path) for path in targets if path.exists()]
    for given in filter(None, (args.csv_file, args.npy_data, args.npy_labels)):
        if any(os.path.exists(given) and os.path.samefile(given, path) for path in there):
            raise UserError(f"{given} is read, and would be replaced by the features: give another -n")
    if there and args.no_clobber:
        raise UserError(f"{', '.join(there)}: exists already, and --no-clobber keeps it; give another -n")


def open_source(args):
    """The pictures and labels that the flags name."""
    from examples.transfer import inputs

    if args.csv_file:
        return inputs.from_csv(args.csv_file)
    if args.folder:
        return inputs.from_folder(args.folder, args.class_depth)
    shape = (args.image_height, args.image_width, args.image_channels)
    return inputs.from_npy(args.npy_data, args.npy_labels, *shape, args.stretch)


def stop_at(source, failed: dict[int, str], more: str = ""):
    """Raise why the first of the rows that failed cannot be read."""
    first = min(failed)
    raise UserError(f"{source.rows[first]}: {failed[first]}{more}; --on-error skip leaves such rows out")


def settings_key(args, source, net, engine: str) -> str:
    """Names all that decides the vectors, so that --resume never mixes two runs."""
    from common.backbones import modelfile, quantize

    kept = ("batch_size", "interpolation", "int8", "nn_weights", "seed", "gpus")
    other = [engine] if engine != "mxnet" else []  # the only one once
    other += [quantize.FORM] if args.int8 else []
    if args.resize or args.keep_aspect:
        other.append([args.resize, args.keep_aspect])
    if args.crop_share:
        other.append(args.crop_share)
    if args.image_size:
        other.append(f"{args.image_size} pixels")
    if args.views:
        other.append({"views": args.views})
    settings = json.dumps([net.name_, {name: getattr(args, name) for name in kept}, *other])
    return modelfile.digest(net, source.key() + settings)


def choose_engine(args, source, net) -> str:
    """The engine, which for a run that is continued is the one that it was begun with."""
    from common.export import engine
    from examples.transfer import outputs

    begun = outputs.begun(args.save_folder_path, args.save_name) if args.resume and args.engine == "auto" else None
    for name in ("mxnet", "onnxruntime"):
        if begun == settings_key(args, source, net, name):
            return name
    return engine.choose(argparse.Namespace(**{**vars(args), "resume": False}), net, net.input_size, len(source))


def main(args):
    format = "csv" if args.save_csv else "orange" if args.orange else "parquet" if args.parquet else "npy"
    from examples.transfer import inputs, networks, outputs

    map_folder = pathlib.Path(args.save_folder_path) / f"{args.save_name}_projector"
    targets = outputs.paths(args.save_folder_path, args.save_name, format, True, args.with_path)
    check_output(args, [*targets, map_folder] if args.projector else targets)
    networks.candidates(args.trained_model)
    source = open_source(args)
    failed = source.check()
    if failed and args.on_error == "stop":
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        stop_at(source, failed, more)

    from tqdm import tqdm

    from common import devices
    from common.backbones import features
    from common.export import engine
    from examples.transfer import reading

    ctx = devices.contexts(args.gpus)[0]
    net = networks.create(args.trained_model, args.nn_weights, ctx, args.seed, **networks.taken(args))
    networks.settle(args, net)
    size = net.input_size
    pictures = inputs.middle(source, size, args.resize, args.keep_aspect, args.views, args.crop_share)
    print(f"{net.name_}: {net.width} numbers a picture of {size} x {size}; weights: {net.source}", flush=True)
    chosen = choose_engine(args, source, net)
    key, width, read_by = settings_key(args, source, net, chosen), net.width, engine.named(chosen)
    net = reading.ready(net, pictures, args.interpolation, args.int8, read_by, failed)
    output = outputs.Output(args.save_folder_path, args.save_name, format, width, key, args.resume)
    if output.seen:
        print(f"continues after {output.seen} of {len(source)} pictures", flush=True)
    batches = inputs.batches(pictures, size, args.batch_size, args.interpolation, failed, output.seen, args.num_workers)
    filled = min(args.batch_size, len(source))  # also where a resumed run has fewer to read: its bits are the same
    with tqdm(total=len(source), initial=output.seen, unit=" pictures", disable=None) as bar:
        for vectors, batch in features.stream(batches, net, ctx, filled):
            if batch.failed and args.on_error == "stop":
                output.save()
                stop_at(source, batch.failed)
            output.add(vectors, batch.failed)
            bar.update(len(vectors))
    skipped = len(output.failed)
    written = output.finish(source.labels, source.rows, source.names(), args.with_path)
    if args.projector:
        outputs.write_projector(map_folder, written[0], source, output.failed)
    note = f"; {skipped} pictures left out, see {args.save_name}_failed.csv" if skipped else ""
    print(f"{len(source) - skipped} embeddings: {', '.join(map(str, written))}{note}")


if __name__ == "__main__":
    cli.launch(main, parse_args)
