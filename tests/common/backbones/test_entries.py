"""The networks' entries: whole, true to what is built, and enough to fetch and convert from."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from common import backbones
from common.backbones import convert, entries, pretrained
from common.backbones.preprocessing import IMAGENET
from common.files.paths import REPO, weights_dir
from tests.common.files.test_sources import DIGITS, check_source

# Keras publishes no checksum of it: a cut file is noticed by its length and by opening it.
NO_SUM = {"keras-mobilenet"}
HUB = "https://huggingface.co/"  # gives a file's sum only with the file
PRETRAINED = backbones.list_backbones(pretrained=True)


@pytest.mark.parametrize("name", PRETRAINED)
def test_each_source_is_whole(name):
    entry = entries.find(name)
    weights, source = entry.weights, entry.source
    check_source(source)
    assert source.check == f"{name}.params" and source.folder == weights_dir().name
    suffix = (weights.member or source.files[0][0])[-12:].partition(".")[2]
    assert f".{suffix}" in convert.CONVERTERS[weights.converter].suffixes or weights.package
    for address, algorithm, value in source.files:
        if weights.name in NO_SUM or address.startswith(HUB):
            assert (algorithm, value) == ("", "")
        elif weights.name.startswith(("torchvision-", "timm-")):  # the first digits stand in the name of the file
            assert algorithm == "sha256" and re.search(rf"-{value}\.(pth|safetensors)$", address)
        else:
            assert re.fullmatch("[0-9a-f]+", value) and len(value) == DIGITS[algorithm]


def test_every_entry_is_a_network():
    assert set(entries.ENTRIES) <= set(backbones.list_backbones())
    assert set(PRETRAINED) == {entry.name for entry in entries.WEIGHTS.values()} <= set(entries.ENTRIES)


@pytest.mark.parametrize("name", entries.ENTRIES)
def test_the_input_size_is_that_of_the_parameters(name):
    entry = entries.find(name)
    assert backbones.input_size(name) == entry.input_size == entry.preprocessing.size
    assert entry.weights is None or entry.weights.preprocessing.size == entry.input_size


def test_a_network_without_an_entry_is_an_ordinary_one():
    for name, size in (("resnet50_v2", 224), ("cifar_resnet20_v1", 32)):
        entry = entries.find(name)
        assert (entry.input_size, entry.weights, entry.source, entry.constructor) == (size, None, None, ())
        assert entry.preprocessing.mean == IMAGENET.mean


def test_a_pretrained_network_is_one_entry(monkeypatch, tmp_path):
    """Added to the table, it is listed, built, fetched, converted, found, and preprocessed as it says."""
    rng = np.random.default_rng(0)
    known = entries.find("efficientnet_lite0")
    shapes = [p.shape for p in backbones.network(known.name)._collect_params_with_prefix().values()]
    arrays = [rng.uniform(0.5, 1.5, shape).astype(np.float32) for shape in shapes]
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    from safetensors.numpy import save_file

    position = [f"features.{i}.{'weight' if len(a.shape) > 1 else 'bias'}" for i, a in enumerate(arrays)]
    save_file(dict(zip(position, arrays)), mirror / "own.safetensors")
    weights = entries.Weights(
        "own-weights", (("http://127.0.0.1:9/own.safetensors", "", ""),), "1 MB", "MIT", entries.LITE, "torchvision"
    )
    own = entries.Entry("own", known.constructor, weights=weights)
    monkeypatch.setitem(entries.ENTRIES, "own", own)
    monkeypatch.setitem(entries.WEIGHTS, "own-weights", own)
    monkeypatch.setenv("EMBEDDING_DATA", str(tmp_path / "data"))

    from common import get_data

    assert "own" in backbones.list_backbones(pretrained=True) and "\nown-weights " in get_data.listing()
    assert get_data.ensure("own-weights", mirror=str(mirror)) == tmp_path / "data" / "weights"
    assert sorted(path.name for path in (tmp_path / "data" / "weights").iterdir()) == ["own.json", "own.params"]
    found = pretrained.find("own", "imagenet")
    assert found.preprocessing == entries.LITE and found.source == "ImageNet, own.params"
    made = backbones.create("own", "imagenet").body.collect_params()
    np.testing.assert_array_equal(next(iter(made.values())).data().asnumpy(), arrays[0])


def test_entries_are_read_without_the_packages():
    """-I -S: no site-packages, so that every import of another's package fails."""
    program = f"import sys, json; sys.path.insert(0, {str(REPO)!r}); from common.backbones.entries import WEIGHTS\n"
    program += "print(json.dumps(list(WEIGHTS)))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == list(entries.WEIGHTS)
