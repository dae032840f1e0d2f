"""Data sets on their real files, or on files in their official layout."""

import shutil
import tarfile
import unicodedata

import numpy as np
import pytest
from PIL import Image

from common import datasets
from common.datasets import glyphs
from common.errors import UserError


@pytest.fixture(scope="session")
def glyph_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glyphs")
    glyphs.load(folder)
    return folder


def test_glyphs_are_2051_characters_in_twelve_faces(glyph_folder):
    whole = glyphs.load(glyph_folder)
    assert whole.images.shape == (2051 * 12, 32, 32, 3)
    assert len(whole.class_names) == 2051 and len(whole.domain_names) == 12
    assert {unicodedata.category(c)[0] for c in whole.class_names} == {"L", "N", "S"}
    ink = (255 - whole.images[..., 0].astype(int)).reshape(2051, -1).sum(axis=1)
    assert [whole.class_names[i] for i in np.flatnonzero(ink == 0)] == ["\ufffc"]  # object replacement character


def test_glyphs_split_by_class_is_seeded_and_disjoint(glyph_folder):
    first, again, other = (datasets.load("glyphs", glyph_folder, seed=s) for s in (1, 1, 2))
    assert first.train.class_names == again.train.class_names != other.train.class_names
    assert not set(first.train.class_names) & set(first.test.class_names)
    assert len(first.train.class_names) + len(first.test.class_names) == 2051
    assert first.captions["ê"] == ["latin small letter e with circumflex"]


def test_glyphs_twins_share_outlines():
    groups = glyphs.twins()
    assert ["A", "Α", "А"] in groups or ["A", "Α"] in groups
    assert all(len(group) > 1 for group in groups)
    assert glyphs.twin_ceiling(["A", "Α"]) == pytest.approx(11 / 23)
    assert glyphs.twin_ceiling(["A", "Q"]) == 1


def test_emoji(emoji_folder):
    unseen = datasets.load("emoji", emoji_folder)
    assert len(unseen.train) + len(unseen.test) == 4808
    assert not set(unseen.train.class_names) & set(unseen.test.class_names)
    assert len(unseen.captions) == 1202 and all(len(texts) == 5 for texts in unseen.captions.values())
    seen = datasets.load("emoji", emoji_folder, protocol="seen")
    assert len(seen.train) == 3606 and set(seen.test.domains) == {3}
    assert seen.train.read(0).shape == (64, 64, 3)


def test_folder_both_protocols(cifar_folder):
    seen = datasets.load("folder", cifar_folder, protocol="seen", seed=3)
    assert (len(seen.train), len(seen.test)) == (8000, 2000)
    assert np.bincount(seen.test.labels).tolist() == [200] * 10
    assert not set(seen.train.images) & set(seen.test.images)
    unseen = datasets.load("folder", cifar_folder, unseen=["cat", "dog"])
    assert unseen.test.class_names == ["cat", "dog"] and len(unseen.test) == 2000
    with pytest.raises(UserError, match="airplane"):
        datasets.load("folder", cifar_folder, unseen=["airplan"])


def test_omniglot_holds_whole_alphabets_back(omniglot_folder):
    data = datasets.load("omniglot", omniglot_folder)
    alphabets = [{data.superclasses[name] for name in part.class_names} for part in (data.train, data.test)]
    assert len(alphabets[0]) == 3 and len(alphabets[1]) == 2 and not alphabets[0] & alphabets[1]
    assert all(np.bincount(part.labels).tolist() == [20] * len(part.class_names) for part in (data.train, data.test))
    named = datasets.load("omniglot", omniglot_folder, unseen=["Balinese"])
    assert {data.superclasses[name] for name in named.test.class_names} == {"Balinese"}


def test_cub200_official_split_and_boxes(shared_data, tmp_path):
    root = tmp_path / "CUB_200_2011"
    shutil.copytree(shared_data / "cub200_2011_meta", root)
    data = datasets.load("cub200", tmp_path)
    assert (len(data.train), len(data.test)) == (5864, 5924)  # as the literature counts them
    assert (len(data.train.class_names), len(data.test.class_names)) == (100, 100)
    assert data.train.class_names[0] == "Black_footed_Albatross"
    for part in (data.train, data.test):
        index = 7
        x, y, width, height = part.boxes[index].astype(int)
        picture = np.zeros((y + height + 9, x + width + 5, 3), np.uint8)
        picture[y : y + height, x : x + width] = 200
        part.images[index].parent.mkdir(parents=True)
        Image.fromarray(picture).save(part.images[index], quality=95)
        bird = part.read(index)
        assert bird.shape == (height, width, 3) and bird.min() > 150
    whole = datasets.load("cub200", tmp_path, keep_whole=True)
    assert whole.train.read(7).shape[0] > data.train.read(7).shape[0]


def write_cifar(folder, name, labels, rng):
    """`labels` (n, label bytes) with random pixels, in the official binary layout; returns the pixels."""
    pixels = rng.integers(0, 256, (len(labels), 3, 32, 32), np.uint8)
    rows = np.concatenate([labels.astype(np.uint8), pixels.reshape(len(labels), -1)], axis=1)
    (folder / name).write_bytes(rows.tobytes())
    return pixels.transpose(0, 2, 3, 1)


def test_cifar10_binary_folder_and_archive(tmp_path):
    folder, rng = tmp_path / "cifar-10-batches-bin", np.random.default_rng(0)
    folder.mkdir()
    names = [f"thing{i}" for i in range(10)]
    (folder / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    labels = np.arange(20)[:, None] % 10
    parts = [write_cifar(folder, f"data_batch_{i}.bin", labels, rng) for i in range(1, 6)]
    test = write_cifar(folder, "test_batch.bin", labels, rng)
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(folder, folder.name)
    for path in (tmp_path, folder, tmp_path / "cifar-10-binary.tar.gz"):
        data = datasets.load("cifar10", path, protocol="seen")
        np.testing.assert_array_equal(data.train.images, np.concatenate(parts))
        np.testing.assert_array_equal(data.test.images, test)
        assert data.train.class_names == names and data.test.labels.tolist() == labels[:, 0].tolist()
    unseen = datasets.load("cifar10", tmp_path, unseen=["thing3"])
    assert set(unseen.test.class_names) == {"thing3"} and len(unseen.test) == 2
    (folder / "test_batch.bin").write_bytes(b"short")
    with pytest.raises(UserError, match=r"test_batch.bin is 5 bytes"):
        datasets.load("cifar10", folder)


def test_cifar100_superclasses(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "fine_label_names.txt").write_text("apple\nbear\n")
    (tmp_path / "coarse_label_names.txt").write_text("fruit\nlarge\n")
    labels = np.array([[0, 0], [1, 1], [0, 0]])
    for name in ("train.bin", "test.bin"):
        write_cifar(tmp_path, name, labels, rng)
    data = datasets.load("cifar100", tmp_path, protocol="seen")
    assert data.superclasses == {"apple": "fruit", "bear": "large"}
    assert data.train.labels.tolist() == [0, 1, 0]


def test_sop_and_cars_official_layouts(tmp_path):
    header = "image_id class_id super_class_id path\n"
    (tmp_path / "Ebay_train.txt").write_text(header + "1 1 1 bicycle_final/1.JPG\n2 1 1 bicycle_final/2.JPG\n")
    (tmp_path / "Ebay_test.txt").write_text(header + "3 9 2 cabinet_final/3.JPG\n")
    data = datasets.load("sop", tmp_path)
    assert len(data.train) == 2 and data.test.class_names == ["9"] and data.test.labels.tolist() == [0]

    from scipy.io import savemat

    dtype = [("relative_im_path", object), ("class", object)]
    rows = np.array([(f"car_ims/{i:06d}.jpg", i % 4 + 1) for i in range(8)], dtype)
    savemat(tmp_path / "cars_annos.mat", {"annotations": rows, "class_names": np.array(["a", "b", "c", "d"], object)})
    cars = datasets.load("cars196", tmp_path)
    assert cars.train.class_names == ["a", "b"] and cars.test.class_names == ["c", "d"]
    assert cars.test.images[0] == tmp_path / "car_ims/000002.jpg" and cars.test.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("name", ["cub200", "cifar10", "emoji", "omniglot", "sop"])
def test_missing_data_names_the_command(tmp_path, name):
    with pytest.raises(UserError, match=rf"get_data.sh {name}.*--dataset glyphs"):
        datasets.load(name, tmp_path / "nowhere")


def test_select_renumbers_and_refuses_unknown_names(cifar_folder):
    data = datasets.load("folder", cifar_folder, protocol="seen").train
    two = data.select(["truck", "cat"])
    assert two.class_names == ["truck", "cat"] and len(two) == 1600
    assert {path.parent.name for path in two.subset(two.labels == 0).images} == {"truck"}
    with pytest.raises(UserError, match="did you mean truck"):
        data.select(["trucks"])
