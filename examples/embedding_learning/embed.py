#!/usr/bin/env python3
"""Write the embeddings of pictures, by a trained model, as .npy or .csv."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

SHIPPED = pathlib.Path(__file__).resolve().parent / "pretrained" / "glyphs_conv4.params"


def parse_args(argv=None):
    p = cli.parser(__doc__)
    p.add_argument("pictures", nargs="+", metavar="PATH", help="pictures, folders of them, or .txt lists of paths")
    p.add_argument("--params", default=SHIPPED, metavar="FILE", help="a model of train.py; default is the shipped one")
    p.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help="FILE.npy (paths go to FILE.txt) or FILE.csv (path, e0, e1, ...)",
    )
    p.add_argument(
        "--on-error", default="stop", choices=cli.ON_ERROR, help="a picture that cannot be read: stop, or skip it"
    )
    p.add_argument("--num-workers", type=cli.whole(1, 256), default=2, metavar="N", help="threads that decode pictures")
    p.add_argument("--gpus", type=cli.int_list, default=[], metavar="LIST", help="GPU to use; empty means CPU")
    return p.parse_args(argv)


def main(args):
    from common.files.errors import UserError

    output = pathlib.Path(args.output)
    if output.suffix not in (".npy", ".csv"):
        raise UserError(f"--output {output}: the name must end in .npy or .csv")
    if not output.resolve().parent.is_dir():
        raise UserError(f"--output {output}: its folder does not exist")

    from common.data import images
    from examples.embedding_learning import gallery

    paths = images.readable(images.find(args.pictures), args.on_error, args.num_workers)
    gallery.check_lines(output, paths)
    vectors = gallery.embed(paths, args.params, args.gpus, args.num_workers)
    gallery.write(output, paths, vectors)
    print(f"{len(paths)} embeddings of {vectors.shape[1]} numbers: {output}")


if __name__ == "__main__":
    cli.launch(main, parse_args)
