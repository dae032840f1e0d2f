"""Folders of a few pictures in every example that takes one: nothing but the place is given, and figures come out."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from common import pack
from examples.embedding_learning import train as embedding_learning
from examples.im2vec import modelfile
from examples.im2vec import train as im2vec
from examples.transfer import train as transfer
from examples.visual_semantic import train as visual_semantic

SIZE = 16
SHORT = {  # a training of a second
    embedding_learning: ("--model conv4 --embed-dim 8 --epochs 1 --epoch-batches 2", "recall@1"),
    im2vec: ("--model conv4 --embed-dim 8 --epochs 1", "accuracy"),
    transfer: ("--model conv4 --weights None --fine-tune --epochs 1", "accuracy"),
    visual_semantic: ("--model conv4 --epochs-1 1 --epochs-2a 1 --epochs-2b 1", "accuracy"),
}
WORDS = ("red", "green", "blue", "black")


@pytest.fixture(autouse=True)
def own_features(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path / "data"))


def folder(root, **counts):
    """So many pictures of each class: noise around a colour."""
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        colour = rng.integers(40, 215, 3)
        (root / name.replace("__", "/")).mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(colour + rng.integers(-30, 31, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name.replace("__", "/") / f"{number}.png")
    return root


def trained(program, root, run, *more):
    """The figures of a short run, and the pictures that it counted."""
    short, figure = SHORT[program]
    flags = ["--dataset", "folder", "--data-path", root, "--image-size", SIZE, "--run-dir", run, "--no-plots"]
    flags = [flag for flag in flags if program is not transfer or flag != "--no-plots"]
    if program is visual_semantic:
        rng = np.random.default_rng(1)
        lines = [" ".join([word, *map(str, rng.normal(size=4).round(3))]) for word in WORDS]
        run.parent.mkdir(parents=True, exist_ok=True)
        (run.parent / "words.vec").write_text("\n".join(lines) + "\n")
        flags += ["--word-vectors", run.parent / "words.vec"]
    program.main(program.parse_args([str(flag) for flag in (*flags, *short.split(), *more)]))
    figures = json.loads((run / "metrics.json").read_text())
    assert 0 <= figures[figure] <= 1
    log = (run / "log.txt").read_text()
    stages = re.findall(r" \[(\d)/(\d)\] \w", log)  # all of them, in order
    assert stages and stages == [(str(i), str(len(stages))) for i in range(1, len(stages) + 1)]
    return figures, json.loads((run / "args.json").read_text())["data"], log


@pytest.mark.parametrize("program", [*SHORT])
@pytest.mark.parametrize("counts", [
    {"red": 5, "green": 5}, {"red": 2, "green": 2, "blue": 2}, {"red": 7, "green": 1, "blue": 3, "black": 4},
])  # fmt: skip
@pytest.mark.slow
def test_a_few_pictures_are_enough(tmp_path, program, counts):
    _, _, log = trained(program, folder(tmp_path / "p", **counts), tmp_path / "run")
    assert log.count(f"{tmp_path / 'p'}: {sum(counts.values())} pictures of {len(counts)} classes") == 1
    if program in (im2vec, transfer):  # the others may leave that class for the test
        assert log.count("classes have one picture each: it is learned from") == (1 in counts.values())
    if program is transfer:
        assert log.count("folds: the smallest class has") + log.count("no cross-validation: the smallest") == 1


@pytest.mark.slow
@pytest.mark.parametrize("program", [*SHORT])
def test_a_run_on_records_is_that_on_their_files(tmp_path, program):
    root = folder(tmp_path / "p", red=6, green=6, blue=6, black=6)
    output = str(tmp_path / "r.rec")
    pack.main(pack.parse_args(["--data-path", str(root), "--output", output, "--shards", "2"]))
    figures, data, _ = trained(program, root, tmp_path / "files")
    other, counted, _ = trained(program, tmp_path / "r-*.rec", tmp_path / "records")
    assert data == counted
    if program in (embedding_learning, transfer):  # the others go through the records file by file
        time = ("seconds", "per_second")
        same = [name for name in figures if not name.endswith(time)]
        assert {name: figures[name] for name in same} == {name: other[name] for name in same}


@pytest.mark.slow
@pytest.mark.parametrize("program", [*SHORT])
def test_splits_of_folders_are_kept_and_small_classes_left_out(tmp_path, program):
    counts = {f"Train__{name}": 4 for name in WORDS[:3]} | {f"val__{name}": 2 for name in WORDS[:3]}
    root = folder(tmp_path / "p", **counts, **{f"TEST__{name}": 3 for name in WORDS[:3]}, Train__black=1)
    more = ["--unseen", "blue"] if program is visual_semantic else []
    _, data, _ = trained(program, root, tmp_path / "run", "--min-per-class", "2", *more)
    learned, wanted = next(iter(v for k, v in data.items() if "train" in k or "learn" in k)), 12
    assert learned == (8 if program is visual_semantic else wanted)
    held = {key: value for key, value in data.items() if key != "workers"}
    assert (9 if not more else 4) in held.values() and "black" not in str(data)
    if program in (embedding_learning, transfer):
        assert held["validation pictures"] == 6


@pytest.mark.slow
@pytest.mark.parametrize("program", [im2vec, visual_semantic])
def test_balance_draws_all_classes_alike(tmp_path, program, monkeypatch):
    from common.data import samplers

    drawn, real = [], samplers.balanced

    def counted(labels, rng):
        order = real(labels, rng)
        drawn.append(np.bincount(np.asarray(labels)[order]))
        return order

    monkeypatch.setattr(samplers, "balanced", counted)
    root = folder(tmp_path / "p", red=20, green=3, blue=6)
    trained(program, root, tmp_path / "plain")
    assert not drawn
    trained(program, root, tmp_path / "run", "--balance")
    assert drawn and all(counts.max() - counts.min() <= 1 for counts in drawn)
    if program is im2vec:  # what is drawn as often is a negative as often
        counts = [modelfile.describe(tmp_path / run / "model.params")["counts"] for run in ("plain", "run")]
        assert sorted(counts[0]) == [2, 5, 16] and counts[1] == [7, 7, 7]
