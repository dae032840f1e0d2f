"""Photographs looked for in a catalogue of one picture each."""

import numpy as np
import pytest

from common.data.sets import ImageSet
from examples.embedding_learning import catalogue

CLASSES = [f"c{i:02d}" for i in range(12)]


def pictures(labels, names):
    return ImageSet([f"{i}.png" for i in range(len(labels))], np.array(labels), list(names))


@pytest.fixture
def asked():
    """Seven classes to learn from, five unseen ones in another order than the catalogue's; two sides with a gap."""
    rng = np.random.default_rng(0)
    splits = {
        "train": pictures(rng.integers(0, 7, 30), CLASSES[:7]),
        "test": pictures(np.arange(40) % 5, CLASSES[:6:-1]),
        "catalogue": pictures(range(12), CLASSES),
    }
    centres, gap = rng.normal(size=(12, 6)), 3 * rng.normal(size=6)
    place = {name: i for i, name in enumerate(CLASSES)}
    rows = {
        name: centres[[place[split.class_names[label]] for label in split.labels]] + rng.normal(size=(len(split), 6))
        for name, split in splits.items()
    }
    rows["catalogue"] += gap
    return splits, rows


def first(splits, rows, scope, shift):
    """The share of queries whose own catalogue picture is nearer than each other one, by a loop."""
    split, right = splits["test"], 0
    queries, among = rows["test"] - shift[0], rows["catalogue"] - shift[1]
    for query, label in zip(queries, split.labels):
        names = CLASSES if scope == "all_" else sorted(split.class_names)
        cosines = [
            query @ among[i] / np.linalg.norm(query) / np.linalg.norm(among[i]) for i in map(CLASSES.index, names)
        ]
        right += names[int(np.argmax(cosines))] == split.class_names[label]
    return right / len(split)


@pytest.mark.parametrize("scope", ["", "all_"])
def test_hits_are_those_of_a_loop_plain_and_less_the_mean_of_each_side(asked, scope):
    splits, rows = asked
    found = catalogue.hits(splits, rows.__getitem__)
    assert found[f"catalogue_{scope}hit@1"] == pytest.approx(first(splits, rows, scope, (0, 0)))
    shift = rows["train"].mean(axis=0), rows["catalogue"][:7].mean(axis=0)
    assert found[f"catalogue_{scope}centred_hit@1"] == pytest.approx(first(splits, rows, scope, shift))
    assert found["catalogue_centred_hit@1"] > found["catalogue_hit@1"] >= found["catalogue_all_hit@1"]
    assert found["catalogue_hit@5"] == 1  # of five
    assert {key for keys in catalogue.SHOWN for key in keys} == set(found)


def test_a_class_without_a_catalogue_picture_is_not_asked_for(asked):
    splits, rows = asked
    gone = {**splits, "catalogue": splits["catalogue"].select(CLASSES[:-1])}
    left = splits["test"].subset(splits["test"].labels > 0)
    fewer = {**rows, "catalogue": rows["catalogue"][:-1]}
    wanted = catalogue.hits({**gone, "test": left}, {**fewer, "test": rows["test"][splits["test"].labels > 0]}.get)
    assert catalogue.hits(gone, fewer.get) == wanted
    assert catalogue.hits({**splits, "catalogue": splits["catalogue"].select(CLASSES[:7])}, rows.get) == {}
    assert catalogue.hits({name: splits[name] for name in ("train", "test")}, rows.get) == {}
