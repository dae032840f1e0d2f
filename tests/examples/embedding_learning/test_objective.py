"""``--loss``, ``--miner`` and ``--memory``: what they train with, what is kept of it, and a run that was killed."""

import csv
import inspect
import json
import shutil
import types

import numpy as np
import pytest

from common import metrics  # first: MXNet needs the numpy alias that common sets
from common.data.sets import Dataset, ImageSet
from common.files.errors import UserError
from common.files.paths import REPO
from common.train import losses, miners
from examples.embedding_learning import data, embed, model, objective, train

import mxnet as mx  # isort: skip

EXAMPLE = REPO / "examples" / "embedding_learning"
SIZE = 16


@pytest.fixture(scope="module")
def pictures(coloured, tmp_path_factory):
    return coloured(tmp_path_factory.mktemp("pictures"), 8)


def trained(pictures, run, *more):
    argv = [
        "--dataset", "folder", "--data-path", pictures, "--model", "conv4", "--image-size", SIZE, "--resize", SIZE,
        "--embed-dim", 4, "--batch-size", 6, "--batch-k", 2, "--epochs", 2, "--epoch-batches", 3, "--no-plots",
        "--save-interval", 1, "--keep-all", "--num-workers", 0, "--run-dir", run, *more,
    ]  # fmt: skip
    train.main(train.parse_args([str(word) for word in argv]))
    return run


def kept(run, block, epoch=2, batch=0):
    folder = run / "checkpoints" / f"epoch-{epoch:04d}-batch-{batch:06d}"
    return {name: value.asnumpy() for name, value in mx.nd.load(str(folder / f"{block}-0.params")).items()}


def test_every_loss_and_miner_has_a_name():
    bases = {"Loss", "PairLoss", "ClassLoss", "Miner"}
    classes = {name for room in (losses, miners) for name in room.__all__ if inspect.isclass(getattr(room, name))}
    assert {*objective.LOSSES.values(), *objective.MINERS.values()} == classes - bases
    for name in objective.CLASS_LOSSES.values():
        assert issubclass(getattr(losses, name), losses.ClassLoss)


@pytest.mark.parametrize(("flags", "blocks"), [
    (["--loss", "proxy-anchor", "--lr-classes", 0.1, "--loss-options", "margin=0.2", "alpha=16"], ["net", "loss"]),
    (["--loss", "triplet", "--memory", 10], ["net", "memory"]),
    (["--memory", 10], ["net", "loss", "memory"]),
    (["--matryoshka", "2,4", "--memory", 10], ["net", "loss", "memory"]),
    (["--matryoshka", "2,4", "--loss", "proxy-anchor"], ["net", "loss"]),
])  # fmt: skip
def test_a_run_killed_between_two_batches_resumes_to_the_same_bits(pictures, tmp_path, flags, blocks):
    whole = trained(pictures, tmp_path / "whole", *flags)
    killed = shutil.copytree(whole, tmp_path / "killed")
    for checkpoint in sorted((killed / "checkpoints").iterdir())[2:]:
        shutil.rmtree(checkpoint)
    (killed / "margin_loss_model.params").unlink()
    train.main(train.parse_args(["--run-dir", str(killed), "--resume", "--no-plots"]))
    for block in blocks:
        expected, found = kept(whole, block), kept(killed, block)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
        first = kept(whole, block, epoch=0, batch=1)
        assert any(np.abs(first[name] - value).max() > 0 for name, value in expected.items())  # it learns, or moves on
    history = [(run / "metrics.jsonl").read_text().splitlines() for run in (whole, killed)]
    rows = [[{k: v for k, v in json.loads(row).items() if k != "seconds"} for row in lines] for lines in history]
    assert rows[0] == rows[1]


def test_sampler_near_resumes_to_the_same_bits_though_the_backbone_moved(pictures, tmp_path):
    start = trained(pictures, tmp_path / "start") / "margin_loss_model.params"
    flags = ["--sampler", "near", "--params", start, "--backbone-lr", 1, "--lr", 0.01]
    whole = trained(pictures, tmp_path / "whole", *flags)
    killed = shutil.copytree(whole, tmp_path / "killed")
    for checkpoint in sorted((killed / "checkpoints").iterdir())[2:]:
        shutil.rmtree(checkpoint)
    (killed / "margin_loss_model.params").unlink()
    train.main(train.parse_args(["--run-dir", str(killed), "--resume", "--no-plots"]))
    for name, value in kept(whole, "net").items():
        np.testing.assert_array_equal(kept(killed, "net")[name], value)
    plain = kept(trained(pictures, tmp_path / "plain", *flags[2:]), "net")
    assert any(np.abs(plain[name] - value).max() > 0 for name, value in kept(whole, "net").items())


def test_samplers_say_what_they_need(pictures, tmp_path):
    with pytest.raises(UserError, match=r"--sampler near needs a network that has learned: add --use-pretrained"):
        trained(pictures, tmp_path / "near", "--sampler", "near")
    with pytest.raises(UserError, match=r"--sampler groups: not all classes of --dataset folder have a group"):
        trained(pictures, tmp_path / "groups", "--sampler", "groups")
    assert not list(tmp_path.iterdir())


def test_sampler_groups_takes_the_superclasses(tmp_path):
    """Of a table with categories."""
    args = train.parse_args(["--sampler", "groups", "--batch-size", "4", "--batch-k", "2"])
    names = ["apple", "pear", "milk", "juice"]
    pictures = ImageSet(np.zeros((16, 8, 8, 3), np.uint8), np.arange(16) % 4, names)
    groups = {"apple": "fruit", "juice": "drink", "milk": "drink", "pear": "fruit"}
    parts = data.Parts(Dataset("csv", pictures, pictures, groups), pictures, None, pictures, [])
    kvstore = types.SimpleNamespace(rank=0, num_workers=1)
    args.epoch_batches = 8
    for batch in data.sampler(args, parts, None, 1, kvstore).epoch(0):
        assert len({groups[names[pictures.labels[index]]] for index in batch}) == 1


def test_matryoshka_mines_each_width_by_its_own_distances():
    args = train.parse_args(["--matryoshka", "2,8", "--embed-dim", "8", "--batch-k", "2"])
    loss, miner, _ = objective.create(args, objective.options(args), 3, mx.cpu())
    assert loss.widths == miner.widths == (2, 8)
    assert [one.embed_dim for one in miner._children.values()] == [2, 8]


@pytest.mark.parametrize("widths", ["2,3", "4", "3,2,4", "2,2,4", "1,4", "2,8"])
def test_matryoshka_wants_rising_widths_up_to_all_numbers(widths):
    flags = ["--embed-dim", "4", "--matryoshka", widths]
    if widths == "4":
        assert train.parse_args(flags).matryoshka == [4]
        return
    with pytest.raises(UserError, match=f"--matryoshka {widths}: .* the last is --embed-dim 4"):
        train.parse_args(flags)


def test_every_width_is_tested_and_embedded(pictures, tmp_path):
    run = trained(pictures, tmp_path / "run", "--matryoshka", "2,3,4", "--save-embeddings", "--loss", "softmax")
    rows = np.load(run / "embeddings" / "queries.npy")
    table = list(csv.DictReader((run / "embeddings" / "queries.csv").open(encoding="utf-8")))
    found = json.loads((run / "metrics.json").read_text())
    for width in (2, 3):
        cut = rows[:, :width] / np.linalg.norm(rows[:, :width], axis=1, keepdims=True)
        expected = metrics.search(cut, np.array([int(row["label"]) for row in table])).mean()
        assert {name: found[f"first_{width}_of_trained_{name}"] for name in expected} == pytest.approx(expected)
    files, params = [row["path"] for row in table], run / "margin_loss_model.params"
    flags = [*files, "--params", str(params), "--output", str(tmp_path / "e.npy"), "--width"]
    embed.main(embed.parse_args([*flags, "3"]))
    np.testing.assert_allclose(np.load(tmp_path / "e.npy"), cut, atol=1e-4)
    assert mx.nd.load(str(params))["array:loss.weight"].shape[1] == 4
    (tmp_path / "e.npy").unlink()
    with pytest.raises(UserError, match=r"--width 5: .*margin_loss_model.params gives 4 numbers, no more"):
        embed.main(embed.parse_args([*flags, "5"]))
    assert not (tmp_path / "e.npy").exists()


def test_class_vectors_are_in_the_model_file(pictures, tmp_path):
    run = trained(pictures, tmp_path / "run", "--loss", "sub-centre-arcface", "--loss-options", "centres=2")
    held = mx.nd.load(str(run / "margin_loss_model.params"))["array:loss.weight"]
    _, metadata = model.load(run / "margin_loss_model.params")
    assert held.shape == (2 * metadata["classes"], 4)
    best = metadata["metrics"]["recall@1"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (epoch,) = [row["epoch"] for row in rows if row["batch"] == 0 and row["recall@1"] == best][:1]
    np.testing.assert_array_equal(held.asnumpy(), kept(run, "loss", epoch)["weight"])


def test_class_vectors_have_a_rate_of_their_own(pictures, tmp_path):
    """Adam's first step is as long as its rate."""
    moved = {}
    for rate in (1e-3, 1e-2):
        run = trained(pictures, tmp_path / str(rate), "--loss", "softmax", "--lr-classes", rate)
        one, two = (kept(run, "loss", 0, batch)["weight"] for batch in (1, 2))
        moved[rate] = np.abs(two - one).max()
    assert moved[1e-2] > 5 * moved[1e-3]


def test_each_loss_has_its_miner():
    for argv, expected in [
        ([], "DistanceWeightedMiner"), (["--loss", "triplet"], "SemihardMiner"),
        (["--loss", "circle"], "AllPairsMiner"),
        (["--loss", "multi-similarity"], "MultiSimilarityMiner"), (["--loss", "n-pair"], "NoneType"),
        (["--loss", "cosface"], "NoneType"), (["--miner", "batch-hard"], "BatchHardMiner"),
    ]:  # fmt: skip
        args = train.parse_args([*argv, "--batch-k", "2"])
        _, miner, _ = objective.create(args, objective.options(args), 3, mx.cpu())
        assert type(miner).__name__ == expected


def test_the_readme_has_every_loss_with_its_parameters():
    rows = [line for line in (EXAMPLE / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    for name, kind in objective.LOSSES.items():
        takes = inspect.signature(getattr(losses, kind)).parameters.values()
        shown = " ".join(f"`{p.name}={p.default:.4g}`" for p in takes if p.default is not p.empty)
        expected = f"| {shown} |" if name != "margin" else "`--nu` |"
        assert any(row.startswith(f"| `{name}` |") and row.endswith(expected) for row in rows), (name, shown)
    for name in objective.MINERS:
        assert any(row.startswith(f"| `{name}` |") for row in rows)
