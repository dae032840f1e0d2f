#!/usr/bin/env python3
"""Write stand-in image features for the Flickr8k captions, in the layout of Kiros's files.

The features are no images: the mean GloVe vector of an image's first caption, through a fixed random projection to
4096 numbers, plus noise. The other four captions are the sentences.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np

from common import cli


def parse_args(argv=None):
    p = cli.parser(__doc__)
    p.add_argument("--captions", required=True, metavar="FILE", help="Flickr8k.token.txt, its split lists beside it")
    p.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    p.add_argument("--noise", type=cli.non_negative_float, default=0.5, help="noise, in deviations of the signal")
    return p.parse_args(argv)


def main(args):
    from common.get_data import ensure
    from common.text.vectors import WordVectors
    from common.text.vocabulary import tokenise
    from examples.vse import layouts

    captions, out = pathlib.Path(args.captions), pathlib.Path(args.out)
    texts, lists = layouts.read_tokens(captions), layouts.split_lists(captions.parent)
    words = {word for group in texts.values() for word in tokenise(group[0])}
    ensure("glove50")
    from common.files.paths import data_dir

    vectors = WordVectors.read(data_dir("glove50"), words)
    rng = np.random.default_rng(0)
    projection = rng.standard_normal((vectors.dim, 4096), np.float32) / np.sqrt(vectors.dim)
    out.mkdir(parents=True, exist_ok=True)
    for part, names in lists.items():
        known = [[w for w in tokenise(texts[name][0]) if w in vectors] for name in names]
        means = np.stack([vectors.matrix(group).mean(0) if group else np.zeros(vectors.dim) for group in known])
        signal = means.astype(np.float32) @ projection
        noise = args.noise * signal.std() * rng.standard_normal(signal.shape, np.float32)
        np.save(out / f"f8k_{part}_ims.npy", signal + noise)
        (out / f"f8k_{part}_caps.txt").write_text("\n".join(t for n in names for t in texts[n][1:5]) + "\n")


if __name__ == "__main__":
    cli.launch(main, parse_args)
