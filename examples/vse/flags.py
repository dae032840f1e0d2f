"""The flags that the programs share. Imports nothing slow, as `common.cli`."""

from __future__ import annotations

from common import cli

DATA = ("f8k", "f30k", "coco", "emoji", "glyphs", "grocery")


def dataset(default: str | None = None) -> tuple:
    """The row of the flag that names the data, with its two names."""
    text = f"data set: {', '.join(DATA)}, or the start of the file names in --data-path"
    return "--data --dataset", cli.NAME, default, text


FILES = [  # which pictures and sentences
    ("--captions", cli.many(cli.FILE), [], "Flickr8k's token file by its split lists, or COCO's .json; see --images"),
    ("--images", cli.DIR, None, "pictures of --captions; read once by --model"),
    ("--captions-per-image", cli.positive_int, None, "of a picture in .npy features; default is what the rows tell"),
]
PROTOCOL = ("--protocol", cli.choice("unseen", "seen"), "unseen", "seen: no thing is held out (grocery's own lists)")
RANKING = cli.choice("against", "published")
TIES = ("--ties", RANKING, "against", "a wrong answer of the same score is first; published: as first programs sorted")
MODEL = ("params", cli.Kind(metavar="MODEL"), cli.REQUIRED, "the model.params of a run, or an .npz of the 2014 code")
USE = {  # of a saved model
    "data": [
        dataset(),
        *FILES,
        ("--data-path", cli.DIR, None, "folder of the data; default is the model's own"),
        ("--part", cli.choice("train", "dev", "test", "testall"), "test", "what is ranked"),
        cli.ON_ERROR,
        cli.NUM_WORKERS,
    ],
    "devices": [cli.GPU],
}
