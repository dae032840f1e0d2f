"""Pictures in records: as those in files, whoever wrote or reads them; what is damaged is named."""

import json
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import mxnet as mx
import numpy as np
import pytest
from mxnet import recordio
from PIL import Image

from common.backbones import feature_store
from common.data import images, records, sets
from common.data.imageset import ImageSet
from common.data.loader import Loader
from common.data.samplers import Shuffled
from common.data.transforms import Train
from common.files.errors import UserError

COUNT = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of three classes, smooth and of different sizes."""
    root, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    for i in range(COUNT):
        (root / "abc"[i % 3]).mkdir(exist_ok=True)
        colours = Image.fromarray(rng.integers(0, 256, (3, 4, 3), np.uint8))
        smooth = colours.resize((40 + i, 36), Image.Resampling.BICUBIC)
        smooth.save(root / "abc"[i % 3] / f"{i:02}.{'jpg' if i % 2 else 'png'}")
    return root


@pytest.fixture(scope="module")
def files(folder):
    return sets.load("folder", folder, "seen", say=lambda line: None)


def pack(place, pictures: ImageSet, shards: int = 1, **more):
    """`pictures` in their files' own bytes, mixed over `shards`."""
    order = np.random.default_rng(1).permutation(len(pictures))
    for number, chosen in enumerate(np.array_split(order, shards)):
        contents = [pictures.images[i].read_bytes() for i in chosen]
        about = {"dataset": "folder", "class_names": pictures.class_names, "labels": pictures.labels[chosen], **more}
        records.write(place / f"x-{number}.rec", contents, {"shards": shards, "order": chosen, **about})
    return place


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    whole = sets.whole("folder", folder, say=lambda line: None).images
    return pack(tmp_path_factory.mktemp("packed"), whole, shards=3)


def test_the_same_pictures_labels_and_splits_as_from_files(files, packed):
    said = []
    found = sets.load("folder", packed, "seen", say=said.append)
    assert said == [f"{packed}: 24 pictures of 3 classes in records in 3 files"]
    for own, other in ((files.train, found.train), (files.test, found.test)):
        np.testing.assert_array_equal(own.labels, other.labels)
        assert own.class_names == other.class_names
        for i in range(len(own)):
            np.testing.assert_array_equal(own.read(i), other.read(i))
            assert images.size(own.images[i]) == images.size(other.images[i])


@pytest.mark.parametrize("keep", [False, True])
def test_batches_are_those_of_files_and_go_on_inside_an_epoch(files, packed, keep):
    def batches(pictures, workers, start=0, places=None):
        sampler = Shuffled(len(pictures), 3, 5, places=places)
        return list(Loader(pictures, Train(36, 32), sampler, workers, seed=5, keep=keep).epoch(2, start))

    found = sets.load("folder", packed, "seen", say=lambda line: None).train
    for own, other in zip(batches(files.train, 0), batches(found, 2), strict=True):
        np.testing.assert_array_equal(own.images, other.images)
    whole, rest = batches(found, 0, 0, found.places), batches(found, 3, 4, found.places)
    for own, other in zip(whole[4:], rest, strict=True):
        np.testing.assert_array_equal(own.images, other.images)
        np.testing.assert_array_equal(own.indices, other.indices)


def test_shards_may_be_named_alone_by_a_pattern_or_with_others_of_another_set(packed, files, tmp_path):
    for place, count in ((packed / "x-1.rec", 8), (packed / "x-*.rec", 24), (packed / "x-[01].rec", 16)):
        said = []
        assert len(sets.whole("folder", place, say=said.append).images) == count
        assert f"{count} pictures of 3 classes in records" in said[0]
    (tmp_path / "CLASS").mkdir()
    (tmp_path / "stray.rec").touch()
    assert records.shards(tmp_path) == []  # a folder of class folders stays one
    (tmp_path / "CLASS").rmdir()
    (tmp_path / "stray.rec").unlink()
    for file in packed.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    pack(tmp_path, files.train.select(["a", "b"]))
    with pytest.raises(UserError, match=r"x-1.rec was not packed together with .*x-0.rec: name one set's files"):
        sets.load("folder", tmp_path, "seen")


def test_mxnet_reads_them_too(packed, files):
    dataset = mx.gluon.data.vision.ImageRecordDataset(str(packed / "x-0.rec"))
    own = records.load([packed / "x-0.rec"], "folder", lambda line: None)
    by_path = dict(zip(own["images"], own["labels"]))
    for number in range(len(dataset)):
        pixels, label = dataset[number]
        assert label == by_path[packed / "x-0.rec" / str(number)]
        if images.content(packed / "x-0.rec" / str(number))[:2] != b"\xff\xd8":  # decoders of JPEG may differ
            np.testing.assert_array_equal(pixels.asnumpy(), images.read(packed / "x-0.rec" / str(number)))


def test_content_that_holds_the_magic_number_comes_out_whole_in_many_threads(tmp_path):
    magic = struct.pack("<I", 0xCED7230A)
    contents = [b"abcd" + magic + b"efgh" + magic, magic * 3, b"", b"x", b"abc" + magic, b"ab" * 5000]
    about = {"labels": [0] * 6, "order": range(6), "class_names": ["a"], "dataset": "folder"}
    records.write(tmp_path / "m.rec", contents, about)
    reader = recordio.MXIndexedRecordIO(str(tmp_path / "m.idx"), str(tmp_path / "m.rec"), "r")
    paths = records.pictures(tmp_path / "m.rec") * 50
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(records.read, paths)) == contents * 50
    assert [recordio.unpack(reader.read_idx(i))[1] for i in range(6)] == contents
    assert [recordio.unpack(reader.read_idx(i))[0].id2 for i in range(6)] == list(map(zlib.crc32, contents))


def test_what_im2rec_makes_is_read_with_numbers_for_names(files, tmp_path):
    writer = recordio.MXIndexedRecordIO(str(tmp_path / "i.idx"), str(tmp_path / "i.rec"), "w")
    for i in range(8):
        data = cv2.imencode(".png", files.train.read(i)[:, :, ::-1])[1].tobytes()
        writer.write_idx(100 + i, recordio.pack(recordio.IRHeader(0, float(i % 2), i, 0), data))
    writer.close()
    found = sets.whole("folder", tmp_path / "i.rec", say=lambda line: None).images
    assert found.class_names == ["0", "1"] and found.labels.tolist() == [0, 1] * 4
    np.testing.assert_array_equal(found.read(5), files.train.read(5))
    writer = recordio.MXIndexedRecordIO(str(tmp_path / "i.idx"), str(tmp_path / "i.rec"), "w")
    writer.write_idx(0, struct.pack("IfQQ2f", 2, 0, 0, 0, 1, 2) + b"x")
    writer.close()
    with pytest.raises(UserError, match=r"i.rec, record 0, is not as it should be \(it has 2 labels, not one\)"):
        sets.whole("folder", tmp_path / "i.rec")


@pytest.mark.parametrize("way, says", [
    ("a bit", r"x-1.rec, record 2, is not as it should be \(its checksum is another\): it is damaged"),
    ("its head", r"x-1.rec, record 2, is not as it should be \(no whole record begins there\): it is damaged"),
    ("its length", r"x-1.rec, record 2, is not as it should be \(no whole record begins there\): it is damaged"),
    ("the end", r"x-1.json is not as it should be \(x-1.rec is cut off, or another\)"),
    ("the index", r"x-1.idx is not as it should be \(it is of another file\): .*x-1.rec needs the index"),
    ("no index", r"x-1.idx is not as it should be \(No such file or directory\): .*x-1.rec needs the index"),
    ("the text", r"x-1.json is not as it should be \(classes 0 to 7 of 3\): python3 -m common.pack makes it again"),
])  # fmt: skip
def test_damage_is_one_line_that_names_the_record(packed, tmp_path, way, says):
    for file in packed.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    file, index, told = (tmp_path / f"x-1.{suffix}" for suffix in ("rec", "idx", "json"))
    data, start = bytearray(file.read_bytes()), int(index.read_text().split()[5])
    if way in ("a bit", "its head", "its length"):
        data[start + {"a bit": 60, "its head": 0, "its length": 6}[way]] ^= 1
        file.write_bytes(data)
    elif way == "the end":
        file.write_bytes(data[:-50])
    elif way == "the index":
        index.write_text(index.read_text() + f"99\t{len(data) + 100}\n")
    elif way == "no index":
        index.unlink()
    else:
        told.write_text(json.dumps({**json.loads(told.read_text()), "labels": [0, 7, 1, 2, 0, 1, 2, 0]}))
    with pytest.raises(UserError, match=says):
        found = sets.whole("folder", tmp_path, say=lambda line: None).images
        for i in range(len(found)):
            found.read(i)
    if way == "a bit":
        said = []
        kept = sets.whole("folder", tmp_path, "skip", said.append).images
        assert len(kept) == COUNT - 1 and "1 pictures that cannot be read (x-1.rec/2)" in said[-1]
        with pytest.raises(UserError, match="record 24, is not as it should be .there are 8, from 0"):
            images.read(tmp_path / "x-1.rec" / "24")


def test_kept_features_are_of_one_file_of_records_and_one_number(packed, tmp_path):
    found = sets.whole("folder", packed, say=lambda line: None).images
    keys = feature_store.keys(found)
    assert len(set(keys)) == COUNT and feature_store.keys(found) == keys
    assert images.find([str(packed / "x-0.rec")]) == [packed / "x-0.rec" / str(i) for i in range(8)]
