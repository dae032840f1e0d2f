"""The flags that the export programs of all examples share. Imports nothing slow, as `common.cli`."""

from __future__ import annotations

from common import cli

PACKAGE = "folder for ONNX, model.json and a model card, which runtime/ reads without this suite"
PICTURES = [
    ("--pictures", cli.many(cli.PATH), [], "files, folders, .txt lists: INT8's ranges, to compare; none: float32"),
    ("--check", cli.positive_int, 1000, "pictures to compare on, at most"),
    ("--calibrate", cli.positive_int, 512, "pictures INT8 reads ranges from"),
    ("--int8-agreement", cli.unit_float, 0.985, "of these whose answer INT8 keeps; 0: no convolution stays in float32"),
]
DESCRIBED = [
    ("--resize-in-graph", cli.switch, False, "the network takes one picture of any size, and resizes it itself"),
    ("--name", cli.stem, None, "what the model is called; default is by example and network"),
    ("--trained-on", cli.Kind(metavar="TEXT"), None, "for the model card; default is the name of the data set"),
    ("--licence", cli.Kind(metavar="TEXT"), None, "of the model, for its card; default is what its file says"),
]
READING = [cli.ON_ERROR, cli.NUM_WORKERS, cli.seed("which pictures are drawn")]


def package(params: tuple) -> list[tuple]:
    """The rows of a program that writes a package.

    Parameters
    ----------
    params : tuple
        The row that names the model.
    """
    return [params, ("--package", cli.DIR, cli.REQUIRED, PACKAGE), *PICTURES, *DESCRIBED, *READING]
