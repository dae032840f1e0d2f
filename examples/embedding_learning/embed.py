#!/usr/bin/env python3
"""Write the embeddings of pictures, by a trained model, for other tools."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # the repository: runs without an install

from common import cli

SHIPPED = pathlib.Path(__file__).resolve().parent / "pretrained" / "glyphs_conv4.params"
FORMATS = (".npy", ".csv", ".tab", ".parquet")
WIDTH = ("--width", cli.width, None, "the first N numbers alone, unit vectors again: train.py --matryoshka")
FLAGS = {
    "pictures": [
        ("pictures", cli.many(cli.PATH), cli.REQUIRED, "pictures, folders of them, or .txt lists of paths"),
        ("--output", cli.FILE, cli.REQUIRED, "FILE.npy (paths go to FILE.txt), .csv (path, e0, ...), .tab or .parquet"),
        WIDTH,
        ("--projector", cli.switch, False, "write the folder FILE_projector too, for TensorBoard's projector"),
        cli.ON_ERROR,
        cli.NUM_WORKERS,
    ],
    "network": [cli.model_file(SHIPPED), cli.GPU, cli.ENGINE],
}


def parse_args(argv=None):
    return cli.parser(__doc__, FLAGS).parse_args(argv)


def main(args):
    from common.files.disk import place
    from common.files.errors import UserError

    output = pathlib.Path(args.output)
    if output.suffix not in FORMATS:
        raise UserError(f"--output {output}: the name must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    place(output, "--output")

    from common.data import images
    from examples.embedding_learning import gallery

    paths = images.named(args.pictures, args.on_error, args.num_workers)
    gallery.check_lines(output, paths)
    vectors = gallery.Embedder(args.params, len(paths), args.engine, args.gpus, args.num_workers, args.width)(paths)
    gallery.write(output, paths, vectors)
    if args.projector:
        gallery.write_projector(output.with_name(f"{output.stem}_projector"), paths, vectors)
    print(f"{len(paths)} embeddings of {vectors.shape[1]} numbers: {output}")


if __name__ == "__main__":
    cli.launch(main, parse_args)
