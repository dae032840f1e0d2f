"""The comparison of losses: what each is given, what is asked when, and the statistics of it."""

import argparse
import csv
import json

import numpy as np
import pytest
from scipy import stats

from common.files.paths import REPO
from examples.embedding_learning import compare, evaluation

SHIPPED = REPO / "examples/embedding_learning/pretrained/glyphs_conv4.params"
SEEDS, TRIALS, LOSSES = (4, 5), 2, ("margin", "softmax", "triplet")


@pytest.fixture(scope="module")
def pictures(coloured, tmp_path_factory):
    return coloured(tmp_path_factory.mktemp("pictures"), 16, size=32, noise=90)


def compared(*argv):
    compare.main(compare.parse_args([str(word) for word in argv]))


def rows(run):
    with open(run / "runs.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_loss_has_one_budget_and_the_test_is_asked_once_a_seed(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path / "data"))
    asked, test = [], evaluation.Evaluator.test
    monkeypatch.setattr(evaluation.Evaluator, "test", lambda self: asked.append(1) or test(self))
    run = tmp_path / "run"
    compared(
        "--dataset", "folder", "--data-path", pictures, "--model", "conv4", "--image-size", 32, "--resize", 32,
        "--params", SHIPPED, "--validation-share", 0.3, "--losses", ",".join(LOSSES), "--seeds", "4,5",
        "--trials", TRIALS, "--epochs", 2, "--epoch-batches", 2, "--run-dir", run,
    )  # fmt: skip
    assert len(asked) == len(LOSSES) * len(SEEDS)
    found, log = rows(run), (run / "log.txt").read_text()
    for loss in LOSSES:
        own = [row for row in found if row["loss"] == loss]
        tuned, chosen = (own[:TRIALS], own[TRIALS:])
        assert [row["recall@1"] for row in tuned] == TRIALS * [""] and [int(row["seed"]) for row in chosen] == [*SEEDS]
        best = max(tuned, key=lambda row: float(row["validation_recall@1"]))
        assert {row["lr"] for row in chosen} == {best["lr"]}
    assert len({row["lr"] for row in found if row["loss"] == "softmax"}) == TRIALS
    assert {row["lr"] for row in found if row["loss"] == "triplet"} <= {row["lr"] for row in found if row["lr"]}
    assert (run / "report.html").is_file() and (run / "plots" / "losses.png").is_file() and "backbone features" in log
    softmax = [float(row["recall@1"]) for row in found if row["loss"] == "softmax" and row["recall@1"]]
    assert json.loads((run / "metrics.json").read_text())["softmax_recall@1"] == pytest.approx(np.mean(softmax))

    # Killed in the midst of a line: what is done stays, the rest is done again, and to the same figures.
    lines = (run / "metrics.jsonl").read_text().splitlines()
    kept = len(lines) - 3
    (run / "metrics.jsonl").write_text("\n".join(lines[:kept]) + "\n" + lines[kept][:20])
    asked.clear()
    compared("--resume", "--run-dir", run)
    assert rows(run) == found and len(asked) == 2
    asked.clear()
    compared("--resume", "--run-dir", run, "--seeds", "4,5,6", "--losses", "margin,softmax,triplet,supcon")
    assert len(asked) == 3 + 3 and rows(run)[: len(found)] == found


def test_few_settings_cover_the_ranges_of_the_rates_too():
    for trials in (1, 3, 8):
        drawn = compare.rates(argparse.Namespace(seed=3, trials=trials))
        for (low, high), column in zip(np.log10(compare.RATES), np.log10(drawn).T):
            assert sorted(np.floor((column - low) / (high - low) * trials)) == list(range(trials))


def test_the_interval_and_the_difference_are_those_of_scipy():
    rng = np.random.default_rng(0)
    ours, others = ([{"seed": seed, "lr": 1.0, "lr_learned": "", "recall@1": value, "map@r": value / 2}
                     for seed, value in enumerate(rng.normal(0.5, 0.1, 6))] for _ in range(2))  # fmt: skip
    found = compare.summary(ours, others)
    values, apart = ([row["recall@1"] for row in rows] for rows in (ours, others))
    low, high = stats.t.interval(0.95, 5, loc=np.mean(values), scale=stats.sem(values))
    assert (found["recall@1"], found["recall@1_half"]) == pytest.approx((np.mean(values), (high - low) / 2))
    assert found["p"] == pytest.approx(stats.ttest_rel(values, apart).pvalue)
    assert "p" not in compare.summary(others, others)


def test_several_tests_are_adjusted_by_holm():
    """The example of Holm's method in R's documentation of p.adjust: 0.01, 0.02, 0.03, 0.04."""
    found = {name: {"p": p} for name, p in zip("abcd", (0.03, 0.01, 0.04, 0.02))}
    compare.adjust({**found, "reference": {}})
    assert [row["p"] for row in found.values()] == pytest.approx([0.06, 0.04, 0.06, 0.06])
