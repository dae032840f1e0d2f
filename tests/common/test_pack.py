"""`python3 -m common.pack`: every data set comes out of its records as it is in files."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from common import pack
from common.data import images, sets
from common.files.errors import UserError


def packed(tmp_path, flags: str, name="x"):
    """The place of what was packed."""
    pack.main(pack.parse_args([*flags.split(), "--output", str(tmp_path / f"{name}.rec"), "--num-workers", "0"]))
    return tmp_path / f"{name}*.rec"


def same(own, other):
    """Whether two splits have the same pictures, classes and facts."""
    assert own.class_names == other.class_names and own.domain_names == other.domain_names
    for field in ("labels", "domains", "is_query", "is_gallery"):
        np.testing.assert_array_equal(getattr(own, field), getattr(other, field))
    for i in range(0, len(own), 1 + len(own) // 5):
        np.testing.assert_array_equal(own.read(i), other.read(i))


PARTS = ("train", "test", "validation", "gallery", "catalogue")


@pytest.mark.parametrize("protocol", ["seen", "unseen"])
def test_groceries_keep_lists_catalogue_and_captions(groceries, tmp_path, protocol):
    place = packed(tmp_path, f"--dataset grocery --data-path {groceries} --shards 2")
    assert sorted(file.name for file in tmp_path.glob("*.rec")) == ["x-00000.rec", "x-00001.rec"]
    own, other = (sets.load("grocery", root, protocol, say=print) for root in (groceries, place))
    for part in PARTS:
        if getattr(own, part) is None:
            assert getattr(other, part) is None
        else:
            same(getattr(own, part), getattr(other, part))
    assert own.captions == other.captions and own.superclasses == other.superclasses
    with pytest.raises(UserError, match="holds grocery: --dataset folder, or grocery"):
        sets.load("emoji", place)
    listed = sets.load("folder", place, None, say=print)  # as one's own pictures, by its lists
    assert len(listed.train) == 30 and len(listed.validation) == 7 and len(listed.test) == 20


@pytest.mark.parametrize("protocol", ["seen", "unseen"])
def test_glyphs_keep_faces_captions_and_pixels(tmp_path, protocol, monkeypatch):
    from common.data.sets import glyphs

    whole = glyphs.load(None)
    few = whole.select(whole.class_names[:30])
    monkeypatch.setattr(glyphs, "load", lambda path: few)
    own = sets.load("glyphs", None, protocol)
    place = packed(tmp_path, "--dataset glyphs")
    other = sets.load("glyphs", place, protocol)
    for part in ("train", "test"):
        same(getattr(own, part), getattr(other, part))
    assert own.captions == other.captions


@pytest.mark.parametrize("protocol", ["seen", "unseen"])
def test_official_splits_and_boxes_are_kept(tmp_path, protocol, monkeypatch):
    from common.data.imageset import ImageSet
    from common.data.sets import cub200
    from common.data.splits import halves

    rng, root = np.random.default_rng(0), tmp_path / "p"
    root.mkdir()
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(root / f"{i}.png")
    boxes = np.tile([3.0, 4, 20, 15], (24, 1))
    whole = ImageSet([root / f"{i}.png" for i in range(24)], np.arange(24) % 6, list("abcdef"), boxes)
    monkeypatch.setattr(cub200, "load", lambda root, keep_whole: halves(
        dataclasses.replace(whole, boxes=None) if keep_whole else whole))  # fmt: skip
    own = sets.load("cub200", root, protocol)
    place = packed(tmp_path, f"--dataset cub200 --data-path {root} --quality 0")
    other = sets.load("cub200", place, protocol)
    for part in ("train", "test"):
        same(getattr(own, part), getattr(other, part))
    assert other.train.read(0).shape == (15, 20, 3)
    with pytest.raises(UserError, match=r"--keep-whole has no effect on records: python3 -m common.pack takes it"):
        sets.load("cub200", place, keep_whole=True)
    place = packed(tmp_path, f"--dataset cub200 --data-path {root} --keep-whole", "w")
    assert sets.load("cub200", tmp_path / "w.rec").train.read(0).shape == (30, 40, 3)


def test_cifar_keeps_its_pixels_and_groups(tmp_path, monkeypatch):
    from common.data.imageset import ImageSet
    from common.data.sets import cifar

    rng = np.random.default_rng(0)
    splits = [ImageSet(rng.integers(0, 256, (n, 32, 32, 3), np.uint8), np.arange(n) % 4, list("abcd")) for n in (12, 8)]
    groups = {"a": "x", "b": "x", "c": "y", "d": "y"}
    monkeypatch.setattr(cifar, "load", lambda name, root: (*splits, groups))
    place = packed(tmp_path, f"--dataset cifar100 --data-path {tmp_path}")
    for protocol in ("seen", "unseen"):
        own, other = (sets.load("cifar100", root, protocol) for root in (tmp_path, place))
        same(own.train, other.train)
        same(own.test, other.test)
        assert other.superclasses == groups


def test_a_table_keeps_queries_gallery_boxes_and_splits(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["path,label,split,is_query,is_gallery,x1,y1,x2,y2,category"]
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{'abc'[i % 3]},{'test' if i % 3 == 2 else 'train'},{i % 2},{1 - i % 2},2,3,30,28,all")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    place = packed(tmp_path, f"--dataset csv --data-path {tmp_path / 'table.csv'} --quality 0 --shards 3")
    own, other = (sets.load("csv", root, None, say=print) for root in (tmp_path / "table.csv", place))
    for part in ("train", "test"):
        same(getattr(own, part), getattr(other, part))
    assert own.superclasses == other.superclasses and own.protocol == other.protocol == "unseen"
    with pytest.raises(UserError, match="--columns has no effect on records"):
        sets.load("csv", place, None, columns=["label=a"])


def test_pictures_are_resized_once_and_else_stay_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    sizes = {"a/large": (60, 90, 3), "a/small": (20, 50, 3), "b/large": (90, 60, 3), "b/even": (30, 30, 3)}
    for name, size in sizes.items():
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        smooth = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), size[1::-1], interpolation=cv2.INTER_CUBIC)
        Image.fromarray(smooth).save(tmp_path / "p" / f"{name}.png")
    place = packed(tmp_path, f"--data-path {tmp_path / 'p'} --resize 30 --quality 90")
    found = sets.whole("folder", place).images
    told = json.loads((tmp_path / "x.json").read_text())
    assert sorted(told["names"]) == ["a/large.png", "a/small.png", "b/even.png", "b/large.png"]
    files = sorted((tmp_path / "p").rglob("*.png"))
    for i, file in enumerate(files):
        original, data = images.read(file), images.content(found.images[i])
        if min(original.shape[:2]) <= 30:
            assert data == file.read_bytes()
        else:
            side = (45, 30) if original.shape[1] > 60 else (30, 45)
            wanted = cv2.resize(original, side, interpolation=cv2.INTER_AREA)
            assert data[:2] == b"\xff\xd8" and np.abs(found.read(i).astype(int) - wanted).mean() < 4


def test_what_cannot_be_packed_is_said(tmp_path, groceries):
    (tmp_path / "p" / "a").mkdir(parents=True)
    (tmp_path / "p" / "b").mkdir()
    for name in ("a/0", "a/1", "b/0"):
        Image.new("RGB", (9, 9)).save(tmp_path / "p" / f"{name}.png")
    with pytest.raises(UserError, match="--shards 4: there are 3 pictures"):
        packed(tmp_path, f"--data-path {tmp_path / 'p'} --shards 4")
    packed(tmp_path, f"--data-path {tmp_path / 'p'}")
    with pytest.raises(UserError, match=r"x.rec is there already, and nothing is overwritten"):
        packed(tmp_path, f"--data-path {tmp_path / 'p'} --shards 2")
    with pytest.raises(UserError, match="x.rec is packed already"):
        packed(tmp_path, f"--data-path {tmp_path / 'x.rec'}", "y")
    (tmp_path / "p" / "a" / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"1.png is not a picture"):
        packed(tmp_path, f"--data-path {tmp_path / 'p'}", "y")
    assert not list(tmp_path.glob("*y*"))  # nothing half written
    packed(tmp_path, f"--data-path {tmp_path / 'p'} --on-error skip", "y")
    assert len(sets.whole("folder", tmp_path / "y.rec").images) == 2


def test_every_data_set_can_be_packed():
    assert set(pack.NAMES) == {*sets.NAMES, "awa2"}
