#!/usr/bin/env python3
"""What INT8 changes: cosines of features read in INT8 to those in float32, and the accuracy of a classifier on both.

Takes the two NAME_data.npy files that examples/transfer/generate_embedding.py wrote for the same pictures, without and
with --int8.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))


def cosines(a, b):
    """(n,) cosines of the rows of `a` and `b`."""
    import numpy as np

    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("float32", help="NAME_data.npy")
    parser.add_argument("int8", help="NAME_data.npy of the same pictures, by --int8")
    parser.add_argument("--seeds", type=int, default=5, help="random splits: 80 %% to learn from, 20 %% held back")
    args = parser.parse_args()
    import numpy as np

    from common.data.splits import split_stratified
    from examples.transfer import model, outputs

    (a, names), (b, _) = outputs.load(args.float32), outputs.load(args.int8)
    centre = a.mean(axis=0)
    print(f"{len(a)} pictures: mean cosine {cosines(a, b).mean():.4f} (smallest {cosines(a, b).min():.4f}),")
    print(f"less the mean of the float32 features: {cosines(a - centre, b - centre).mean():.4f}")
    classes, labels = np.unique(names, return_inverse=True)
    found = []
    for seed in range(args.seeds):
        train, test = split_stratified(labels, 0.2, seed)
        row = []
        for vectors in (a, b):
            fitted = model.fit("logistic", vectors[train], labels[train], classes, {})
            row.append(float((fitted.predict(vectors[test]) == labels[test]).mean()))
        found.append(row)
        print(f"split {seed}: logistic regression {row[0]:.4f} in float32, {row[1]:.4f} in INT8", flush=True)
    first, second = np.mean(found, axis=0)
    print(f"mean: {first:.4f} in float32, {second:.4f} in INT8, {100 * (second - first):+.2f} points")


if __name__ == "__main__":
    main()
