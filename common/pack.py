"""Pack the pictures of a data set into MXNet's RecordIO: a few large files, with pictures resized once."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from common import cli
from common.files.errors import UserError

PER_SHARD = 10_000  # pictures, where --shards does not say it
NAMES = (  # as `common.data.sets.NAMES`, and awa2, which visual_semantic alone reads
    "cub200", "cars196", "sop", "cifar10", "cifar100", "grocery", "omniglot", "emoji", "glyphs", "awa2", "folder",
    "csv",
)  # fmt: skip
RECORDS = cli.Kind(metavar="FILE.rec")
FLAGS = {
    "data": [
        ("--dataset", cli.choice(*NAMES, metavar="NAME"), "folder", "data set: %(choices)s"),
        *cli.PICTURES,
        ("--keep-whole", cli.switch, False, "cub200: do not cut pictures to the bird's bounding box"),
        cli.on_error("leave it out (all are read before)"),
        cli.NUM_WORKERS,
    ],
    "records": [
        ("--output", RECORDS, cli.REQUIRED, "file to write; of several shards FILE-00000.rec and so on"),
        ("--resize", cli.pixels, None, "side that a longer shorter side becomes; default leaves pictures as they are"),
        ("--quality", cli.whole(0, 100), 95, "of JPEG, for pictures that are resized or cut; 0: PNG, without loss"),
        ("--shards", cli.whole(1, 99_999), None, "files to write; default is one for every 10,000 pictures"),
        cli.seed("draws the order of the pictures, which are mixed over all files"),
    ],
}  # fmt: skip


def parse_args(argv=None) -> argparse.Namespace:
    """The flags of ``python3 -m common.pack``."""
    p = cli.parser(__doc__, FLAGS)
    p.prog = "python3 -m common.pack"
    args = p.parse_args(argv)
    if Path(args.output).suffix != ".rec":
        p.error(f"--output {args.output}: the file's name ends in .rec")
    return args


def whole(args: argparse.Namespace):
    """The data set that the flags name, as `common.data.imageset.Whole`: what splits it has stand in its images.

    Raises
    ------
    UserError
        It is not there or not as it should be.
    """
    import numpy as np

    from common.data import records, sets
    from common.data.sets import awa2
    from common.files.paths import data_dir

    name, own = args.dataset, sets.own_flags(args)
    on_error = own.pop("on_error")
    sets.check_own(name, **own)
    if args.keep_whole and name != "cub200":
        raise UserError(f"--keep-whole has no effect on --dataset {name}: leave it out")
    if name == "awa2":
        found, seen, unseen = awa2.load_split(args.data_path or data_dir(name), on_error=on_error)
        found = found.select(seen + unseen)
        return sets.Whole(dataclasses.replace(found, splits=np.where(found.labels < len(seen), "train", "test")))
    root = sets.find(name, args.data_path, "--dataset names another set")
    if records.shards(root):
        raise UserError(f"{root} is packed already: --data-path takes the pictures' folder or table")
    if name in sets.OWN:
        return sets.whole(name, root, on_error, print, **own)
    if name in sets.LOADERS:
        return sets.LOADERS[name](root, on_error, print)
    return sets.together(name, root, args.keep_whole, on_error, print)


def content(images, index: int, resize: int | None, quality: int) -> bytes:
    """What is packed of a picture: the bytes of its file, if it is neither resized nor cut; pixels in memory as PNG.

    Parameters
    ----------
    images : common.data.imageset.ImageSet
    index : int
    resize : int or None
        Largest shorter side, in pixels.
    quality : int
        Of JPEG; 0 is PNG.

    Raises
    ------
    UserError
        The picture cannot be read.
    """
    import cv2

    from common.data import images as pictures

    picture = images.read(index)
    as_it_is = not resize or min(picture.shape[:2]) <= resize
    if as_it_is and not images.in_memory and images.boxes is None:
        return pictures.content(images.images[index])
    if not as_it_is:
        picture = pictures.resize(picture, pictures.short_size(picture, resize))
    is_png = not quality or (as_it_is and images.in_memory)
    options = [] if is_png else [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".png" if is_png else ".jpg", picture[:, :, ::-1], options)[1].tobytes()


def main(args: argparse.Namespace) -> None:
    """Write the records.

    Raises
    ------
    UserError
        The pictures cannot be read, or the files not be written.
    """
    import glob
    import os
    import sys

    import numpy as np
    from tqdm import tqdm

    from common.data import records
    from common.data.loader import ahead
    from common.files.disk import place

    output = place(args.output, "--output")
    found = whole(args)
    images, count = found.images, len(found.images)
    shards = args.shards or -(-count // PER_SHARD)
    if shards > count:
        raise UserError(f"--shards {shards}: there are {count} pictures")
    files = [output.with_name(f"{output.stem}-{number:05}.rec") for number in range(shards)] if shards > 1 else [output]
    others = output.parent.glob(f"{glob.escape(output.stem)}-*.rec")
    there = next((file for file in (output, *others) if file.exists()), None)
    if there:
        raise UserError(f"{there} is there already, and nothing is overwritten: give another --output")
    about = {name: getattr(found, name) for name in ("superclasses", "captions", "held")}
    about.update(dataset=args.dataset, shards=shards, class_names=images.class_names, domain_names=images.domain_names)
    order = np.random.default_rng(args.seed).permutation(count)
    bar = tqdm(total=count, desc="packing", unit="pictures", leave=False, delay=2, disable=not sys.stderr.isatty())
    total = 0
    for file, chosen in zip(files, np.array_split(order, shards)):
        own = images.subset(chosen)
        each = {name: getattr(own, name) for name in records.PER_PICTURE if getattr(own, name, None) is not None}
        if not own.in_memory:
            root = args.data_path if args.data_path and Path(args.data_path).is_dir() else "."
            each["names"] = [os.path.relpath(path, root) for path in own.images]

        def packed(index, own=own):
            return content(own, index, args.resize, args.quality)

        contents = ahead(packed, range(len(own)), args.num_workers, 4 * args.num_workers)
        total += records.write(file, _counted(contents, bar), {**about, **each, "order": chosen})
    bar.close()
    given = output if shards == 1 else f"'{output.with_name(output.stem)}-*.rec'"
    print(f"{count:,} pictures of {len(images.class_names):,} classes, {total / 1e6:,.1f} MB: --data-path {given}")


def _counted(contents, bar):
    for one in contents:
        yield one
        bar.update()


if __name__ == "__main__":
    cli.launch(main, parse_args)
